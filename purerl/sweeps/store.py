"""Directories of many runs, a sweep's or a search's: who may write there, and how the old one is deleted."""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from purerl.report import run_directory


class Kind(NamedTuple):
    """What tells the directories of one kind."""

    what: str  # "sweep"
    marker: str  # the JSON file that says what it is, there from the beginning
    format: int  # of the marker
    trained: str  # the folder with everything that was trained
    rest: tuple[str, ...]  # other files and folders that purerl writes

    @property
    def deleted(self) -> str:
        """What `trained` is called on its way out: nothing looks for it there."""
        return f".{self.trained}.deleted"

    @property
    def before(self) -> set[str]:
        """What a kill may leave before there is a marker."""
        return {run_directory.LOCK, f".{self.marker}.tmp"}


def holds(kind: Kind, directory: Path) -> bool:
    """Whether a directory is of this kind."""
    return (directory / kind.marker).exists()


def read(kind: Kind, directory: Path) -> dict[str, Any]:
    """The marker. Raises FileNotFoundError if `directory` is not of this kind, ValueError for another format."""
    if not holds(kind, directory):
        raise FileNotFoundError(f"{directory} is not the directory of a purerl {kind.what} (no {kind.marker})")
    data = run_directory.read_json(directory / kind.marker)
    if data.get("format") != kind.format:
        found = data.get("format")
        raise ValueError(f"{directory} holds a {kind.what} of format {found}, this purerl reads {kind.format}")
    return data


@contextlib.contextmanager
def claimed(kind: Kind, directory: Path, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Make the directory and keep every other process from working on it while in this context.

    Raises FileExistsError if there is something in it and neither `resume` nor `overwrite` is asked for, if what
    `overwrite` would delete is not of this kind, or if another process is at work there. FileNotFoundError if what
    `resume` finds is not of this kind. ValueError if both are asked for.
    """
    if resume and overwrite:
        raise ValueError("resume and overwrite contradict each other")
    if not resume and directory.is_dir():
        _refuse(kind, directory, overwrite)
    if resume and directory.is_dir() and {path.name for path in directory.iterdir()} - kind.before:
        read(kind, directory)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / run_directory.LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileExistsError(f"another process is at work on the {kind.what} in {directory}") from error
        if not resume:
            _refuse(kind, directory, overwrite)  # again: it may have appeared before the lock was ours
        if overwrite:
            _delete(kind, directory)
        yield


def _refuse(kind: Kind, directory: Path, overwrite: bool) -> None:
    found = {path.name for path in directory.iterdir()} - kind.before
    if found and not overwrite:
        raise FileExistsError(f"{directory} is not empty: resume it, overwrite it, or choose another directory")
    if found and kind.marker not in found and not found <= {kind.deleted, kind.trained, *kind.rest}:
        raise FileExistsError(f"{directory} is not a purerl {kind.what} (no {kind.marker}): it is not deleted")


def _delete(kind: Kind, directory: Path) -> None:
    """The trained agents first and in one step, the marker last: whatever a kill leaves can be overwritten."""
    if (directory / kind.deleted).exists():  # left by a kill
        shutil.rmtree(directory / kind.deleted)
    if (directory / kind.trained).exists():
        (directory / kind.trained).rename(directory / kind.deleted)
        shutil.rmtree(directory / kind.deleted)
    for name in (*kind.rest, kind.marker):
        path = directory / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
