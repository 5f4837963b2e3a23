"""Ctrl-C as a request: finish what is running, save, then stop."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from purerl import processes


@contextlib.contextmanager
def deferred(note: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Within this context the first Ctrl-C only makes the yielded function answer True; the second one interrupts.

    Signals reach the main thread only: in any other thread this does nothing. Neither does it where several processes
    train together: one of them cannot stop while the others go on, so there Ctrl-C interrupts at once.
    """
    requests: list[int] = []
    if threading.current_thread() is not threading.main_thread() or processes.several():
        yield lambda: False
        return
    previous = signal.getsignal(signal.SIGINT)

    def handle(number, frame):
        if requests:
            raise KeyboardInterrupt
        requests.append(number)
        note("Ctrl-C: finishing the current group of iterations and saving (press again to stop at once)")

    signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: bool(requests)
    finally:
        signal.signal(signal.SIGINT, previous)
