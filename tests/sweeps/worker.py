"""The sweep that the tests share, also in processes of its own: killed, or sharing the sweep with others.

python tests/sweeps/worker.py sweep DIR [--chunk N] [--kill-after REPORTS] [--fresh]
                              [--coordinator HOST:PORT --processes N --process I]
"""

import argparse
import os
import signal
from typing import Any

from purerl import processes, sweep
from purerl.report.sweep_console import Display, silent
from tests import toy_learner

WORKER = __file__
OWN: dict[str, Any] = {"algorithms": {"toy": toy_learner}, "environments": {"corridor": toy_learner.corridor}}
SPACE = {
    "algorithm": "toy",
    "env": "corridor",
    "num_envs": [2, 3],
    "learning_rate": [0.1, 0.2, 0.3],
    "empty_leaf": False,
}


def quiet_sweep(directory: Any, space: Any = None, display: Display | None = None, **options: Any) -> Any:
    """Twelve iterations of every agent, four evaluations of three episodes."""
    chosen = {"seeds": 3, "evaluations": 4, "episodes": 3, "checkpoint_minutes": 0.0} | options
    space = SPACE if space is None else space
    envs = space.get("num_envs", 3)
    parts = [{**space, "num_envs": n, "total_steps": 12 * n} for n in (envs if isinstance(envs, list) else [envs])]
    if "num_envs" not in space:
        parts = [{**space, "total_steps": 36}]
    return sweep(parts, directory=directory, display=display or silent(), **OWN, **chosen)


def killing(reports: int) -> Display:
    """Kills this process when so many groups of iterations have been reported."""
    seen: list[int] = []
    quiet = silent()

    def write(record: Any) -> None:
        seen.append(1)
        if len(seen) == reports:
            os.kill(os.getpid(), signal.SIGKILL)

    return quiet._replace(sink=lambda program, positions: quiet.sink(program, positions)._replace(write=write))


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["sweep"])
    parser.add_argument("directory")
    parser.add_argument("--chunk", type=int)
    parser.add_argument("--kill-after", type=int)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--coordinator")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process", type=int)
    options = parser.parse_args()
    if options.coordinator:
        processes.connect(options.coordinator, options.processes, options.process)
    display = killing(options.kill_after) if options.kill_after else None
    quiet_sweep(options.directory, chunk=options.chunk, resume=not options.fresh, display=display)


if __name__ == "__main__":
    main()
