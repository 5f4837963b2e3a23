"""The files of a search.

search.json             the space, the seeds, how it is searched, and the studies with their configs and rungs
generations/G/trials.json   what was proposed for generation G
generations/G/R/        generation G on rung R: a run directory (see `purerl.report.run_directory`); seeds are agents
table.csv               one row per agent and evaluation, written when everything is done
trials.csv              one row per trial
summary.json            the best trials
.lock                   held while a process works on the search
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from purerl.report import run_directory
from purerl.sweeps import store

SEARCH = "search.json"
GENERATIONS = "generations"
PROPOSALS = "trials.json"
TABLE = "table.csv"
TRIALS = "trials.csv"
SUMMARY = "summary.json"
FORMAT = 1
KIND = store.Kind("search", SEARCH, FORMAT, GENERATIONS, (TABLE, TRIALS, SUMMARY))


def is_search(directory: Path) -> bool:
    """Whether a directory holds a search."""
    return store.holds(KIND, directory)


def read(directory: Path) -> dict[str, Any]:
    """`search.json`; raises like `store.read`."""
    return store.read(KIND, directory)


def claimed(directory: Path, *, resume: bool, overwrite: bool) -> AbstractContextManager[None]:
    """The directory for this process alone; see `store.claimed`."""
    return store.claimed(KIND, directory, resume=resume, overwrite=overwrite)


def generation(directory: Path, number: int) -> Path:
    """The directory of a generation."""
    return directory / GENERATIONS / f"{number:04d}"


def rung(directory: Path, number: int, rung_number: int) -> Path:
    """The run directory of a generation on a rung."""
    return generation(directory, number) / str(rung_number)


def read_proposals(directory: Path, number: int) -> list[dict[str, float]] | None:
    """What was proposed for a generation; None if it has not begun."""
    path = generation(directory, number) / PROPOSALS
    return run_directory.read_json(path) if path.exists() else None


def write_proposals(directory: Path, number: int, proposals: list[dict[str, float]]) -> None:
    """Write what is proposed for a generation, before it is trained."""
    generation(directory, number).mkdir(parents=True, exist_ok=True)
    run_directory.write_json(generation(directory, number) / PROPOSALS, proposals)
