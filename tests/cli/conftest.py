"""A command line in an empty folder, refusals, and tiny runs that are trained once."""

from __future__ import annotations

import shlex
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import QUICK, Answer, Sparsify, disk

from sparsify.cli.app import main
from sparsify.config import Config


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder and a terminal's usual width."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("SPARSIFY_DATA", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sparsify(capsys: pytest.CaptureFixture[str]) -> Sparsify:
    """Run one command line in this process. Whatever it is: no traceback, no ANSI codes, the terminal is none."""

    def call(line: str) -> Answer:
        capsys.readouterr()
        try:
            code = main(shlex.split(line))
        except SystemExit as exit_:
            pytest.fail(f"main raised SystemExit({exit_.code}); stderr: {capsys.readouterr().err!r}")
        answer = Answer(code, *capsys.readouterr())
        for text in (answer.out, answer.err):
            assert "Traceback" not in text
            assert "\x1b" not in text
        return answer

    return call


@pytest.fixture
def refused(sparsify: Sparsify, tmp_path: Path) -> Callable[..., Answer]:
    """The command ends with status 2 and one line that holds the fragments, and nothing on the disk changes."""

    def call(line: str, *fragments: str) -> Answer:
        before = disk(tmp_path)
        answer = sparsify(line)
        assert answer.code == 2, answer
        assert answer.err.startswith("error: ")
        assert answer.err.endswith("\n")
        assert answer.err.count("\n") == 1, answer.err
        assert disk(tmp_path) == before
        for fragment in fragments:
            assert fragment in answer.err
        return answer

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tiny run of every optimizer, the SLBI one the newest but for the SGD one; not to be written to."""
    folder = tmp_path_factory.mktemp("trained") / "runs"
    for opt in ("sgd-pull", "slbi-adam", "slbi", "sgd"):
        assert main(shlex.split(f"train {QUICK} --opt {opt} --runs-dir {folder}")) == 0
        time.sleep(0.01)  # so that their ages differ
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """A copy of `trained` as ./runs, ages included."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are built, but not rendered, which is what takes the time."""
    from matplotlib.figure import Figure

    contents = {"png": b"a picture", "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><defs><style/></defs></svg>'}
    monkeypatch.setattr(Figure, "savefig", lambda _self, buffer, *, format, **_: buffer.write(contents[format]))


class Stop(Exception):
    pass


@pytest.fixture(scope="session")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs that was stopped at the end of the second one; not to be written to."""
    from sparsify import train

    def stop(progress):
        if progress.epoch == 2:
            raise Stop

    config, runs = Config(data="digits", epochs=2, opt="slbi"), tmp_path_factory.mktemp("stopped")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Stop):
            train(config, device="cpu", runs_dir=runs, listener=stop)
    return runs / config.name


@pytest.fixture
def unfinished(stopped: Path, runs: Path) -> Path:
    """A copy of `stopped` in ./runs, beside those that are finished."""
    return Path(shutil.copytree(stopped, runs / stopped.name))
