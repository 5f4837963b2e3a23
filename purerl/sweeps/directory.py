"""The files of a sweep.

sweep.json           the space, the seeds, every trial with its whole config, the programs and their chunks
programs/P/C/        chunk C of program P: a run directory (see `purerl.report.run_directory`) whose seeds are agents
table.csv            one row per agent and evaluation, written when everything is done
agents.csv           one row per agent
summary.json         how the sweep ended, with its best trials
figures/             pictures
.lock                held while a process works on the sweep
"""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from purerl.report import run_directory

FORMAT = 1
SWEEP = "sweep.json"
PROGRAMS = "programs"
TABLE = "table.csv"
AGENTS = "agents.csv"
SUMMARY = "summary.json"
FIGURES = "figures"
DELETED = ".programs.deleted"


def is_sweep(directory: Path) -> bool:
    """Whether a directory holds a sweep."""
    return (directory / SWEEP).exists()


def chunk(directory: Path, program: int, number: int) -> Path:
    """The run directory of a chunk."""
    return directory / PROGRAMS / str(program) / f"{number:04d}"


def finished(chunk_directory: Path) -> bool:
    """Whether the agents of a chunk have been trained to the end."""
    summary = chunk_directory / run_directory.SUMMARY
    return summary.exists() and run_directory.read_json(summary)["status"] != "interrupted"


def read(directory: Path) -> dict[str, Any]:
    """`sweep.json`. Raises FileNotFoundError if `directory` holds no sweep, ValueError for one of another format."""
    if not is_sweep(directory):
        raise FileNotFoundError(f"{directory} is not the directory of a purerl sweep (no {SWEEP})")
    data = run_directory.read_json(directory / SWEEP)
    if data.get("format") != FORMAT:
        raise ValueError(f"{directory} holds a sweep of format {data.get('format')}, this purerl reads {FORMAT}")
    return data


def write_sizes(directory: Path, sizes: Sequence[int]) -> None:
    """Write new sizes of chunks to `sweep.json`, so that a resumed sweep cuts the same."""
    data = read(directory)
    for described, size in zip(data["programs"], sizes, strict=True):
        described["chunk"] = size
    run_directory.write_json(directory / SWEEP, data)


@contextlib.contextmanager
def claimed(directory: Path, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Make the directory of a sweep and keep every other process from working on it while in this context.

    Raises FileExistsError if there is something in it and neither `resume` nor `overwrite` is asked for, if what
    `overwrite` would delete is not a sweep, or if another process is at work there. ValueError if both are asked for.
    """
    if resume and overwrite:
        raise ValueError("resume and overwrite contradict each other")
    if resume and directory.exists() and any(directory.iterdir()):
        read(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / run_directory.LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileExistsError(f"another process is at work on the sweep in {directory}") from error
        if not resume:
            _make_room(directory, overwrite)
        yield


def _make_room(directory: Path, overwrite: bool) -> None:
    """Refuse what is in the directory, or delete the sweep: trained agents in one step, `sweep.json` last."""
    found = {path.name for path in directory.iterdir()} - {run_directory.LOCK}
    if not found:
        return
    if not overwrite:
        raise FileExistsError(f"{directory} is not empty: resume it, overwrite it, or choose another directory")
    if SWEEP not in found and DELETED not in found:
        raise FileExistsError(f"{directory} is not a purerl sweep (no {SWEEP}): it is not deleted")
    if (directory / DELETED).exists():  # left by a kill
        shutil.rmtree(directory / DELETED)
    if (directory / PROGRAMS).exists():
        (directory / PROGRAMS).rename(directory / DELETED)
        shutil.rmtree(directory / DELETED)
    if (directory / FIGURES).exists():
        shutil.rmtree(directory / FIGURES)
    for name in (TABLE, AGENTS, SUMMARY, SWEEP):
        (directory / name).unlink(missing_ok=True)
