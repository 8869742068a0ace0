"""What every test shares: no test touches the user's cache folder; real MNIST comes from $SPARSIFY_DATA.

Tests compute with one thread, or with as many as $SPARSIFY_TEST_THREADS says. What hypothesis draws is drawn 30 times,
or as often as $SPARSIFY_TEST_EXAMPLES says, unless the test itself says how often.
"""

from __future__ import annotations

import gc
import os

# before torch is imported: threads that wait for each other are not to take a core that others compute on
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import torch
from hypothesis import settings

from benchmarks.accessibility import chromium
from sparsify.training.display import TrainingDisplay
from sparsify.training.trainer import Progress

# a process that a test starts imports the package that is tested, not the one that is installed, wherever it starts
PLACES = (str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, PLACES))

# the same examples every time; no deadline, because the first example of a test pays for the imports
EXAMPLES = int(os.environ.get("SPARSIFY_TEST_EXAMPLES", "30"))
settings.register_profile("sparsify", deadline=None, derandomize=True, max_examples=EXAMPLES)
settings.load_profile("sparsify")

# the networks are tiny: threads that wait for each other cost more than they do
torch.set_num_threads(int(os.environ.get("SPARSIFY_TEST_THREADS", "1")))


LONGEST = (
    "test_again.py",
    "test_examples.py",
    "test_faults.py",
    "test_gpu_check.py",
    "test_notebooks.py",
    "test_page.py",
    "test_readme.py",
    "test_recipes.py",
    "test_running.py",
    "test_study_command.py",
    "test_trainer.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Have xdist hand out the files in their order, not by the number of their tests, which says little of the time."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that at the end no process is alone with one of them."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking through all libraries and tests, as statsmodels has it do often."""
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that is marked `cuda` where there is no GPU."""
    if item.get_closest_marker("cuda") is not None and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture(autouse=True)
def _auto_is_the_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that name no device mean the CPU, also where there is a GPU; those marked `cuda` name theirs."""
    if torch.cuda.is_available() and request.node.get_closest_marker("cuda") is None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for the processes that it starts


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty folder in the place of the user's cache folder.

    Not by XDG_CACHE_HOME, which would have matplotlib look for its fonts anew; so a test that starts another process
    with `folder:` data gives it that variable itself.
    """
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platformdirs, "user_cache_path", lambda *_, **__: folder)
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_core() -> Iterator[None]:
    """One core: processes of their own would take longer to start than these trainings take.

    Tests of such processes ask for `two_cores`; what a process started by a test may use is not changed.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.sched_getaffinity", lambda _pid: {0}, raising=False)
        yield


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores, so that two trainings have a process each."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0, 1}, raising=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real browser, which shows what the package writes. Its loop ends with the module: others start their own."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
    program = chromium()
    if program is None:
        pytest.skip("there is no chromium to show the report in")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def ctrl_c_in_epoch_2() -> Callable[[], AbstractContextManager[None]]:
    """Within it every training is interrupted in its second epoch, as if somebody had pressed Ctrl-C."""
    heard = TrainingDisplay.__call__

    def interrupt(display: TrainingDisplay, progress: Progress) -> None:
        heard(display, progress)
        if progress.epoch == 2 and progress.row is None:
            raise KeyboardInterrupt

    @contextmanager
    def pressed() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TrainingDisplay, "__call__", interrupt)
            yield

    return pressed


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder of real MNIST; skips where there is none."""
    root = Path(os.environ.get("SPARSIFY_DATA") or "missing")
    if not (root / "MNIST" / "raw").is_dir():
        pytest.skip("real MNIST is not in $SPARSIFY_DATA")
    return root
