"""The package's shape: packages and modules on floors, imports that point downward only, and short files."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import torch

import sparsify
from sparsify import viz

PACKAGE = Path(sparsify.__file__).parent

# From the ground up: a module imports from its own floor or a lower one, and nothing in a circle.
FLOORS = (
    ("errors", "files", "folders", "limits", "progress", "publications", "settings", "sums", "text"),
    ("devices",),
    ("data", "optim"),
    ("drawing", "nets"),
    ("config",),
    ("runs",),
    ("training",),
    ("pruning",),
    ("analysis",),
    ("study",),
    ("viz",),
    ("report",),
    ("cli",),
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
LONGEST = 350
MODULES = {
    ".".join(("sparsify", *path.relative_to(PACKAGE).with_suffix("").parts)): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name not in ("__init__.py", "__main__.py")
}


def imported(text: str) -> Iterator[str]:
    """The package's modules that a module's code imports anywhere: at its top, in functions, for type checkers."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "sparsify")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sparsify":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in names)


IMPORTS = {name: sorted(set(imported(path.read_text(encoding="utf-8")))) for name, path in MODULES.items()}


def upward(name: str, targets: list[str]) -> list[str]:
    """Those of the targets that lie above the module."""
    floor = FLOOR[name.split(".")[1]]
    return [target for target in targets if FLOOR.get(target.split(".")[1], len(FLOORS)) > floor]


def circle(graph: dict[str, list[str]]) -> list[str]:
    """The first circle of imports, its first module again at its end; empty if there is none."""
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for target in graph.get(name, ()):
            if found := visit(target, [*trail, name]):
                return found
        done.add(name)
        return []

    return next((found for name in graph if (found := visit(name, []))), [])


def test_every_package_and_module_has_a_floor():
    own = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir() if path.suffix in ("", ".py")}
    assert own - {"__init__", "__main__", "__pycache__", "COMMIT"} == set(FLOOR)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_downward(name):
    assert upward(name, IMPORTS[name]) == []


def test_nothing_imports_in_a_circle():
    assert circle(IMPORTS) == []


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_long(name):
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_no_module_bears_the_name_of_what_the_package_exports():
    stems = {name.split(".")[1] for name in MODULES}
    assert stems & set(sparsify.__all__) == set()


def test_what_is_looked_at_is_every_import():
    deferred = "from __future__ import annotations\ndef load():\n    from sparsify.runs import Run\n    return Run\n"
    typing = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sparsify.config\n"
    assert list(imported(deferred)) == ["sparsify.runs"]
    assert list(imported(typing)) == ["sparsify.config"]
    assert upward("sparsify.optim.registry", ["sparsify.config", "sparsify.errors"]) == ["sparsify.config"]
    assert circle({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c", "b"]


def test_help_and_what_a_study_is_imports_neither_torch_nor_matplotlib():
    code = (
        "import sys; from sparsify.cli.app import main; from sparsify.study.toml import load_study\n"
        "load_study('lenet-mnist')\n"
        "for line in (['--help'], ['train', '--help'], ['prune', '--help']): main(line)\n"
        "slow = ('torch', 'torchvision', 'matplotlib', 'numpy', 'sklearn', 'pandas', 'scipy', 'jinja2')\n"
        "print([m for m in slow if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
    assert "--weight-decay" in answer.stdout


@pytest.mark.parametrize("package", [sparsify, viz], ids=["sparsify", "viz"])
def test_type_checkers_see_what_is_exported(package):
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == package._EXPORTS
    assert sorted(package.__all__) == sorted(seen)


def test_the_figures_are_there_without_an_import_of_their_own_and_wait_for_matplotlib():
    code = (
        "import sys, sparsify; figures = sparsify.viz; print('sweep' in dir(figures), 'viz' in dir(sparsify))\n"
        "slow = ('torch', 'matplotlib', 'numpy', 'pandas')\n"
        "print([m for m in slow if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == ["True True", "[]"]
    with pytest.raises(AttributeError, match="nothing"):
        _ = viz.nothing


def test_the_version_is_that_of_the_distribution_and_needs_no_torch():
    code = "import sys, sparsify; print(sparsify.__version__, 'torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == [metadata.version("sparsify-study"), "False"]


def test_a_process_that_a_test_starts_imports_the_package_that_is_tested(tmp_path):
    """Wherever it starts, and whatever is installed: what it shows is of this code."""
    code = "import sparsify; print(sparsify.__file__)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == sparsify.__file__


def test_the_package_says_that_it_has_types():
    assert (PACKAGE / "py.typed").read_bytes() == b""


def test_every_export_exists():
    assert all(getattr(viz, name).__name__ == name for name in viz.__all__)
    for name in sparsify.__all__:
        assert name == "Mask" or getattr(sparsify, name).__name__ == name
    assert sparsify.Mask == dict[str, torch.Tensor]
    assert set(sparsify.__all__) <= set(dir(sparsify))
    with pytest.raises(AttributeError, match="nothing"):
        _ = sparsify.nothing


def test_only_devices_asks_what_kind_a_device_is():
    kinds = re.compile(r"""\.type (?:==|!=|in) \(?["'](?!cpu)|\.is_(?:cuda|mps|xpu)\b|torch\.mps|cuda\.is_available""")
    asking = [name for name, path in MODULES.items() if kinds.search(path.read_text(encoding="utf-8"))]
    assert asking == ["sparsify.devices"]
