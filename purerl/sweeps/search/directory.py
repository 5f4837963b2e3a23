"""The files of a search.

search.json             the space, the seeds, how it is searched, and the studies with their configs and rungs
generations/G/trials.json   what was proposed for generation G
generations/G/R/        generation G on rung R: a run directory (see `purerl.report.run_directory`); seeds are agents
table.csv               one row per agent and evaluation, written when everything is done
trials.csv              one row per trial
summary.json            the best trials
.lock                   held while a process works on the search
"""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from purerl.report import run_directory

FORMAT = 1
SEARCH = "search.json"
GENERATIONS = "generations"
PROPOSALS = "trials.json"
TABLE = "table.csv"
TRIALS = "trials.csv"
SUMMARY = "summary.json"
DELETED = ".generations.deleted"
BEFORE = {run_directory.LOCK, f".{SEARCH}.tmp"}  # what a kill may leave before there is a search


def is_search(directory: Path) -> bool:
    """Whether a directory holds a search."""
    return (directory / SEARCH).exists()


def read(directory: Path) -> dict[str, Any]:
    """`search.json`. Raises FileNotFoundError if `directory` holds no search, ValueError for another format."""
    if not is_search(directory):
        raise FileNotFoundError(f"{directory} is not the directory of a purerl search (no {SEARCH})")
    data = run_directory.read_json(directory / SEARCH)
    if data.get("format") != FORMAT:
        raise ValueError(f"{directory} holds a search of format {data.get('format')}, this purerl reads {FORMAT}")
    return data


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


@contextlib.contextmanager
def claimed(directory: Path, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Make the directory of a search and keep every other process from working on it while in this context.

    Raises FileExistsError if there is something in it and neither `resume` nor `overwrite` is asked for, if what
    `overwrite` would delete is not a search, or if another process is at work there. ValueError if both are asked for.
    """
    if resume and overwrite:
        raise ValueError("resume and overwrite contradict each other")
    if resume and directory.exists() and {path.name for path in directory.iterdir()} - BEFORE:
        read(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / run_directory.LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileExistsError(f"another process is at work on the search in {directory}") from error
        if not resume:
            _make_room(directory, overwrite)
        yield


def _make_room(directory: Path, overwrite: bool) -> None:
    """Refuse what is in the directory, or delete the search: trained agents in one step, `search.json` last."""
    found = {path.name for path in directory.iterdir()} - BEFORE
    if not found:
        return
    if not overwrite:
        raise FileExistsError(f"{directory} is not empty: resume it, overwrite it, or choose another directory")
    if SEARCH not in found and DELETED not in found:
        raise FileExistsError(f"{directory} is not a purerl search (no {SEARCH}): it is not deleted")
    if (directory / DELETED).exists():  # left by a kill
        shutil.rmtree(directory / DELETED)
    if (directory / GENERATIONS).exists():
        (directory / GENERATIONS).rename(directory / DELETED)
        shutil.rmtree(directory / DELETED)
    for name in (TABLE, TRIALS, SUMMARY, SEARCH):
        (directory / name).unlink(missing_ok=True)
