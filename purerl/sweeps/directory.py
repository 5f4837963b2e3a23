"""The files of a sweep.

sweep.json           the space, the seeds, every trial with its whole config, the programs and their chunks
programs/P/C/        chunk C of program P: a run directory (see `purerl.report.run_directory`) whose seeds are agents
table.csv            one row per agent and evaluation, written when everything is done
agents.csv           one row per agent
summary.json         how the sweep ended, with its best trials
figures/             pictures
.lock                held while a process works on the sweep
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from purerl.report import run_directory
from purerl.sweeps import store

SWEEP = "sweep.json"
PROGRAMS = "programs"
TABLE = "table.csv"
AGENTS = "agents.csv"
SUMMARY = "summary.json"
FIGURES = "figures"
FORMAT = 1
KIND = store.Kind("sweep", SWEEP, FORMAT, PROGRAMS, (TABLE, AGENTS, SUMMARY, FIGURES))


def is_sweep(directory: Path) -> bool:
    """Whether a directory holds a sweep."""
    return store.holds(KIND, directory)


def read(directory: Path) -> dict[str, Any]:
    """`sweep.json`; raises like `store.read`."""
    return store.read(KIND, directory)


def claimed(directory: Path, *, resume: bool, overwrite: bool) -> AbstractContextManager[None]:
    """The directory for this process alone; see `store.claimed`."""
    return store.claimed(KIND, directory, resume=resume, overwrite=overwrite)


def chunk(directory: Path, program: int, number: int) -> Path:
    """The run directory of a chunk."""
    return directory / PROGRAMS / str(program) / f"{number:04d}"


def finished(chunk_directory: Path) -> bool:
    """Whether the agents of a chunk have been trained to the end."""
    summary = chunk_directory / run_directory.SUMMARY
    return summary.exists() and run_directory.read_json(summary)["status"] != "interrupted"


def write_sizes(directory: Path, sizes: Sequence[int]) -> None:
    """Write new sizes of chunks to `sweep.json`, so that a resumed sweep cuts the same."""
    data = read(directory)
    for described, size in zip(data["programs"], sizes, strict=True):
        described["chunk"] = size
    run_directory.write_json(directory / SWEEP, data)
