"""A signal that Python or a library drops is not lost. Each is raised in a process of its own."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from sparsify.cli.stopping import stops_like_ctrl_c

PROGRAM = """
import contextlib, signal, sys, time

from sparsify.cli import stopping


class Freed:
    def __del__(self):
        signal.raise_signal(number)


def freed():
    objects = [Freed()]
    objects.clear()
    time.sleep(60)


def caught():
    with contextlib.suppress(BaseException):
        signal.raise_signal(number)
    time.sleep(60)


def caught_and_failing_later():
    with contextlib.suppress(BaseException):
        signal.raise_signal(number)
    raise AttributeError("half imported")


number = getattr(signal, sys.argv[1])
signal.signal(number, signal.default_int_handler)  # under nohup SIGHUP is ignored, in the background SIGINT
stopping.AGAIN = 0.2
try:
    with stopping.stops_like_ctrl_c():
        globals()[sys.argv[2]]()
except BaseException as error:
    numbers = [signal.Signals(one).name for one in error.args]
    print(type(error).__name__, *numbers, "from", repr(error.__cause__))
time.sleep(2 * stopping.AGAIN)  # nothing is sent any more
print("as before" if signal.getsignal(number) == signal.default_int_handler else "another handler")
print("as before" if sys.unraisablehook == sys.__unraisablehook__ else "another hook")
"""


def said(name: str, what: str) -> list[str]:
    """What is raised when the signal of this name comes amid what the program does; handler and hook afterwards."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, name, what], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines()


@pytest.mark.parametrize(
    ("name", "raised"), [("SIGTERM", "Stopped SIGTERM"), ("SIGHUP", "Stopped SIGHUP"), ("SIGINT", "KeyboardInterrupt")]
)
def test_a_signal_that_python_drops_is_sent_again(name: str, raised: str) -> None:
    assert said(name, "freed") == [f"{raised} from None", "as before", "as before"]


def test_a_signal_that_a_library_catches_is_sent_again() -> None:
    assert said("SIGTERM", "caught") == ["Stopped SIGTERM from None", "as before", "as before"]


def test_an_error_after_a_signal_is_the_stop() -> None:
    """As of a library that caught it amid an import, and misses what it would have imported."""
    cause = repr(AttributeError("half imported"))
    assert said("SIGTERM", "caught_and_failing_later") == [f"Stopped SIGTERM from {cause}", "as before", "as before"]


def test_outside_of_the_main_thread_nothing_is_changed() -> None:
    """Python allows handlers of signals there alone."""
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(handlers_within)
    assert found.result() == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def handlers_within() -> list[object]:
    with stops_like_ctrl_c():
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_an_error_without_a_signal_is_itself() -> None:
    with pytest.raises(AttributeError), stops_like_ctrl_c():
        raise AttributeError("a fault")
