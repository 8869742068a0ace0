"""The package's shape: imports point downward only, and help does not wait for torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sparsify

PACKAGE = Path(sparsify.__file__).parent

# From the top down; a module imports from its own layer or a lower one, and within a layer without a cycle.
LAYERS = [
    {"cli", "__main__"},
    {"console"},
    {"report"},
    {"plantables", "studytables", "studyfolder"},
    {"tables", "findings", "tensorboard"},
    {"verdicts"},
    {"contrasts", "affordable"},
    {"points"},
    {"study"},
    {"viz"},
    {"studyfile", "estimates"},
    {"planning", "armnets"},
    {"grid", "arms"},
    {"parallel", "tickets"},
    {
        "training",
        "trainer",
        "starting",
        "finetuning",
        "pruning",
        "measuring",
        "iterative",
        "scoring",
        "analysis",
        "agreement",
        "comparison",
        "longform",
    },
    {"runs", "iteration"},
    {"shrunk", "export", "deployment"},
    {"shrinking"},
    {"criteria", "inclusion", "cost", "sweep", "outcomes", "onepass", "latency", "gradients", "checkpoint"},
    {"evaluation", "environment"},
    {"config"},
    {"mask", "selection", "layers", "nets", "modules", "data", "optim", "schedules", "seeds", "devices", "ratios"},
    {"files", "statistics", "phrases", "plaintext"},
    {"errors"},
    {"__init__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> list[str]:
    """Dotted names of sparsify's modules that a file imports, those for type checking left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sparsify":
            names += [f"{node.module}.{alias.name}" for alias in node.names]
            assert node.level == 0
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.split(".")[0] == "sparsify"]
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path):
    if path.parent == PACKAGE and path.name == "__init__.py":
        return
    assert part(path) in RANK, f"{part(path)} has no place in LAYERS"
    for name in imported(path):
        target = name.split(".")[1]
        assert RANK[target] >= RANK[part(path)], f"{path.name} imports {name}, which lies above it"


def test_modules_import_without_a_cycle():
    graph = {}
    for path in modules():
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        graph[name] = set()
        for target in imported(path):
            target = target.removeprefix("sparsify.")
            while target and not ((PACKAGE / target.replace(".", "/")).is_dir() or module_file(target).exists()):
                target = target.rpartition(".")[0]
            # a registry imports its own builders inside functions; they import the package's names back
            if target and target != name and not name.startswith(target + ".") and not target.startswith(name + "."):
                graph[name].add(target)
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"a cycle: {' → '.join([*trail, name])}"
        if name not in done:
            for target in graph.get(name, ()):
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def module_file(name: str) -> Path:
    return PACKAGE / (name.replace(".", "/") + ".py")


def test_help_imports_neither_torch_nor_matplotlib():
    code = (
        "import sys; from sparsify.cli import main\n"
        "for line in (['--help'], ['train', '--help'], ['prune', '--help']): main(line)\n"
        "slow = ('torch', 'torchvision', 'matplotlib', 'numpy', 'sklearn', 'pandas', 'scipy', 'jinja2')\n"
        "print([m for m in slow if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
    assert "--weight-decay" in answer.stdout


def test_every_export_exists():
    for name in sparsify.__all__:
        assert name == "Mask" or getattr(sparsify, name).__name__ == name
    assert sparsify.Mask == dict[str, torch.Tensor]
    assert set(sparsify.__all__) <= set(dir(sparsify))
    with pytest.raises(AttributeError, match="nothing"):
        _ = sparsify.nothing


def test_no_module_is_long():
    """Files of 50 to 300 lines: a reader must be able to hold one in mind."""
    for path in modules():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 350, path.name
