"""Every public docstring has an example, and every example runs, in the docstrings of the whole package."""

from __future__ import annotations

import ast
import doctest
import functools
import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sparsify
from sparsify import viz

PACKAGE = Path(sparsify.__file__).parent
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FIRST = ("sparsify", "sparsify.study.toml.load_study", "sparsify.study.running.run_study")
"""The examples that make what the others use."""


def docstrings(tree: ast.Module | ast.ClassDef | ast.FunctionDef, name: str) -> Iterator[tuple[str, str]]:
    """The docstrings of a module, and of what it defines, each with its full name."""
    yield name, ast.get_docstring(tree) or ""
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield from docstrings(node, f"{name}.{node.name}")


def parsed(name: str, text: str, globs: dict[str, Any]) -> doctest.DocTest:
    """The example in a docstring; a docstring that has none is one without lines."""
    return doctest.DocTestParser().get_doctest(text, globs, name, None, None)


EXAMPLES = {
    name: text
    for path in sorted(PACKAGE.rglob("*.py"))
    for name, text in docstrings(
        ast.parse(path.read_text(encoding="utf-8")),
        ".".join(("sparsify", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"),
    )
    if ">>>" in text
}


def methods(cls: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that a class defines; without those that stand in for one of a base class."""
    for name, value in vars(cls).items():
        if isinstance(value, (classmethod, staticmethod)):
            value = value.__func__
        if isinstance(value, functools.cached_property):
            value = value.func
        wanted = isinstance(value, (property, types.FunctionType)) and not name.startswith("_")
        if wanted and not any(name in vars(base) for base in cls.__mro__[1:]):
            yield name, value


def public() -> Iterator[tuple[str, Any]]:
    """The public classes and functions by name, and the classes' methods, those of their own bases included."""
    for package in (sparsify, viz):
        for name in package.__all__:
            one = getattr(package, name)
            if inspect.isfunction(one) or inspect.isclass(one):  # the alias `Mask` is neither
                yield f"{package.__name__}.{name}", one
            for base in one.__mro__ if inspect.isclass(one) else ():
                if (base.__module__.startswith("sparsify.") and "optim" not in base.__module__) or base is one:
                    yield from ((f"{package.__name__}.{name}.{method}", value) for method, value in methods(base))


PUBLIC = dict(public())


def mistakes(test: doctest.DocTest) -> str:
    """What is wrong with an example; its names stay in `test.globs`."""
    report: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=report.append, clear_globs=False)
    return "".join(report)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the examples take for granted, in a folder for what they write."""
    globs: dict[str, Any] = {"sparsify": sparsify, "np": np, "torch": torch, "Path": Path}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("examples"))
        for name in FIRST:
            first = parsed(name, EXAMPLES[name], globs)
            mistakes(first)  # they are tests of their own
            globs |= first.globs
        yield globs


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_docstring_has_an_example(name: str) -> None:
    text = inspect.cleandoc(PUBLIC[name].__doc__ or "")
    assert parsed(name, text, {}).examples, f"{name} has no example: end its docstring with one, behind >>>"


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_runs(name: str, names: dict[str, Any]) -> None:
    if 'device="cuda"' in EXAMPLES[name] and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert mistakes(parsed(name, EXAMPLES[name], names)) == ""


def test_an_example_that_fails_is_seen() -> None:
    text = '"""A module."""\nclass One:\n    """One.\n\n    >>> 1 + 1\n    3\n    """\n    def told(self): """Told."""'
    found = dict(docstrings(ast.parse(text), "module"))
    assert found == {"module": "A module.", "module.One": "One.\n\n>>> 1 + 1\n3", "module.One.told": "Told."}
    assert "Expected:\n    3\nGot:\n    2" in mistakes(parsed("One", found["module.One"], {}))
    assert parsed("told", found["module.One.told"], {}).examples == []


def test_the_methods_that_need_an_example_are_the_public_ones() -> None:
    class Base:
        def stood_in_for(self) -> None: ...

    class One(Base):
        def told(self) -> None: ...

        def stood_in_for(self) -> None: ...

        @property
        def asked(self) -> int:
            return 1

        @classmethod
        def made(cls) -> None: ...

        def _own(self) -> None: ...

    assert [name for name, _ in methods(One)] == ["told", "asked", "made"]
    assert {"sparsify.Run.lock", "sparsify.Run.metrics", "sparsify.viz.sweep", "sparsify.Config.from_dict"} <= set(
        PUBLIC
    )
