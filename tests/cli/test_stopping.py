"""A signal that Python or a library drops is not lost."""

import contextlib
import signal
import time

import pytest

from sparsify.cli.stopping import Stopped, stops_like_ctrl_c


class Freed:
    """While it is freed a signal comes."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsify.cli.stopping.AGAIN", 0.2)


def free(freed: list[Freed]) -> None:
    with stops_like_ctrl_c():
        freed.clear()
        for _ in range(1000):
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, Stopped), (signal.SIGHUP, Stopped), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_that_python_drops_is_sent_again(number: signal.Signals, raised: type[BaseException]) -> None:
    # under nohup SIGHUP is ignored, in the background SIGINT; without a handler of ours the default would end the tests
    before = signal.signal(number, signal.default_int_handler)
    freed = [Freed(number)]
    try:
        with pytest.raises(raised) as caught:
            free(freed)
    finally:
        signal.signal(number, before)
    assert caught.value.args == (() if number == signal.SIGINT else (number,))


def test_a_signal_that_a_library_catches_is_sent_again() -> None:
    with pytest.raises(Stopped), stops_like_ctrl_c():
        catch_all()


def catch_all() -> None:
    with contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGTERM)
    time.sleep(60)


def test_an_error_after_a_signal_is_the_stop() -> None:
    """As of a library that caught it amid an import, and misses what it would have imported."""
    with pytest.raises(Stopped) as caught, stops_like_ctrl_c():
        fail_later()
    assert caught.value.args == (signal.SIGTERM,)
    assert isinstance(caught.value.__cause__, AttributeError)


def fail_later() -> None:
    with contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGTERM)
    raise AttributeError("half imported")


def test_an_error_without_a_signal_is_itself() -> None:
    with pytest.raises(AttributeError), stops_like_ctrl_c():
        raise AttributeError("a fault")
