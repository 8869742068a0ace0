"""Recipes that run: with Lightning, with Hugging Face's Trainer, and on two processes under DDP and FSDP2.

Each script in recipes/ trains at once, trains half and resumes, and asserts the same bits and a support that is not
empty. Each runs in a process of its own, which is forked from one that has imported torch.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from processes import in_processes, said_by

RECIPES = Path(__file__).parent / "recipes"


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}; see the extra recipes")


GLOO = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="torch has no gloo"
)


SHARDS_SOFTSHRINK = pytest.mark.skipif(
    torch.__version__.startswith("2.10."), reason="torch 2.10 cannot shard softshrink, with which Γ is computed"
)


@in_processes
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("lightning_module", marks=needs("lightning")),
        pytest.param("hugging_face", marks=needs("transformers", "accelerate")),
        pytest.param("ddp", marks=GLOO),
        pytest.param("fsdp", marks=[GLOO, SHARDS_SOFTSHRINK]),
    ],
)
def test_a_recipe_runs_and_resumes_bit_exactly(name: str, tmp_path: Path) -> None:
    program = "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    said = said_by(program, str(RECIPES / f"{name}.py"), str(tmp_path), **environment)
    assert said.splitlines()[-1:] == ["equal"], said
