"""A signal that comes while Python frees an object is not lost."""

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


def free(freed: list[Freed]) -> None:
    with stops_like_ctrl_c():
        freed.clear()
        for _ in range(1000):
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, Stopped), (signal.SIGHUP, Stopped), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_that_python_drops_is_sent_again(number: signal.Signals, raised: type[BaseException]) -> None:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    freed = [Freed(number)]
    try:
        with pytest.raises(raised) as caught:
            free(freed)
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught.value.args == (() if number == signal.SIGINT else (number,))
