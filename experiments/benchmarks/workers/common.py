"""What all workers share: the job that they are given as JSON, and the line of JSON that they answer with."""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Job(NamedTuple):
    """One training: see `settings.Setting`; `library` is the worker's argument where it serves several."""

    setting: dict[str, Any]
    agents: int
    seed: int
    episodes: int
    library: str = ""


def read_job() -> Job:
    """From the command line."""
    return Job(*json.loads(sys.argv[1]))


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` returns, and seconds."""
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


def report(compiling: float, running: float, steps: int, returns: list[float], updates: int | None = None) -> None:
    """Print the answer: seconds, and of each agent the steps, the mean returns and, where counted, the updates."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"compiling": compiling, "running": running, "steps": steps, "returns": returns}
    print(json.dumps(found | {"memory_mb": memory, "updates": updates}))
