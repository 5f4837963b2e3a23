"""The search that the tests share, also in a process of its own that is killed.

python tests/sweeps/search_worker.py DIR REPORTS
"""

import sys
from typing import Any

from purerl import log_uniform
from purerl.report.sweep_console import Display, silent
from purerl.search import Halving, search
from tests.sweeps.worker import OWN, killing

WORKER = __file__
SEARCHED = {"algorithm": "toy", "env": "corridor", "learning_rate": log_uniform(1e-3, 1.0)}


def quiet_search(directory: Any, space: Any = None, display: Display | None = None, **options: Any) -> Any:
    """Two generations of six settings with two seeds; six train 3 iterations, three of them 6 and one of these 12."""
    chosen: dict[str, Any] = {"trials": 12, "generation": 6, "seeds": 2, "halving": Halving(2, 3), "total_steps": 36}
    chosen |= {"evaluations": 4, "episodes": 3, "checkpoint_minutes": 0.0}
    space = SEARCHED if space is None else space
    return search(space, directory=directory, display=display or silent(), **OWN, **(chosen | options))


if __name__ == "__main__":
    quiet_search(sys.argv[1], resume=True, display=killing(int(sys.argv[2])))
