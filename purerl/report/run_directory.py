"""The files of a run: strict JSON, written so that a kill at any moment leaves nothing half done.

config.json          what the run is: algorithm, config, environment, seeds, iterations, versions
metrics.jsonl        one line per group of iterations, one number per seed
evaluations.jsonl    one line per evaluation
checkpoints/         see `purerl.checkpoint`
summary.json         how it ended
learning_curve.png   evaluation return against environment steps
.lock                held while a process works on the run
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONFIG = "config.json"
METRICS = "metrics.jsonl"
EVALUATIONS = "evaluations.jsonl"
SUMMARY = "summary.json"
LEARNING_CURVE = "learning_curve.png"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
EPISODE = "episode.gif"
LOCK = ".lock"
DELETED = ".checkpoints.deleted"  # checkpoints on their way out: nothing looks for them there
FILES = (CONFIG, METRICS, EVALUATIONS, SUMMARY, LEARNING_CURVE)
DIRECTORIES = (DELETED, TENSORBOARD, "wandb")


@contextlib.contextmanager
def claimed(directory: Path, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Make the directory of a run and keep every other process from working on it while in this context.

    With `overwrite`, delete the run that is in it (only the files purerl writes).

    Raises FileExistsError if there is something in it and neither `resume` nor `overwrite` is asked for, if what
    `overwrite` would delete is not a run, or if another process is at work there. OSError if it cannot be made,
    ValueError if both are asked for.
    """
    if resume and overwrite:
        raise ValueError("resume and overwrite contradict each other")
    if not resume:
        _refuse_what_exists(directory, overwrite)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{directory} cannot be made: {error.strerror}; choose another directory") from error
    with (directory / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileExistsError(f"another process is at work on the run in {directory}") from error
        if not resume:
            _refuse_what_exists(directory, overwrite)  # again: it may have appeared before the lock was ours
        if overwrite:
            _delete_run(directory)
        yield


def has_checkpoint(directory: Path) -> bool:
    """Whether a training in this directory came as far as its first checkpoint."""
    return any(step.name.isdigit() for step in (directory / CHECKPOINTS).glob("*"))


def _refuse_what_exists(directory: Path, overwrite: bool) -> None:
    if directory.exists() and not directory.is_dir():
        raise FileExistsError(f"{directory} is a file: a run needs a directory of its own")
    found = {path.name for path in directory.iterdir()} - {LOCK} if directory.is_dir() else set()
    if found and not overwrite:
        raise FileExistsError(f"{directory} is not empty: resume it, overwrite it, or choose another directory")
    written = {*FILES, *DIRECTORIES, CHECKPOINTS, EPISODE}
    written |= {_temporary(Path(name)).name for name in written}
    if CONFIG not in found and not found <= written:
        raise FileExistsError(f"{directory} is not a purerl run (no {CONFIG}): it is not deleted")


def _delete_run(directory: Path) -> None:
    """The checkpoints first and in one step, the config last: whatever a kill leaves is a run, and has no old state."""
    if (directory / DELETED).exists():  # left by a kill
        shutil.rmtree(directory / DELETED)
    if (directory / CHECKPOINTS).exists():
        (directory / CHECKPOINTS).rename(directory / DELETED)
    for name in DIRECTORIES:
        if (directory / name).exists():
            shutil.rmtree(directory / name)
    for name in (EPISODE, *reversed(FILES)):
        _temporary(directory / name).unlink(missing_ok=True)
        (directory / name).unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """Where a file is written before it gets its name."""
    return path.with_name(f".{path.name}.tmp")


def dumps(data: Any, indent: int | None = None) -> str:
    """JSON with full precision; ValueError for NaN and infinities, which JSON has not."""
    return json.dumps(data, allow_nan=False, indent=indent)


def replace_text(path: Path, text: str) -> None:
    """Write a file in one step: readers see the old or the new text, never a part of it."""
    temporary = _temporary(path)
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, data: Any) -> None:
    """Write `data` as JSON in one step."""
    replace_text(path, dumps(data, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises FileNotFoundError, or ValueError naming the file if it is not JSON."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: {path.parent} is not the directory of a purerl run")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def append_line(path: Path, data: Any) -> None:
    """Append one line of JSON; it is on the disk when this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write(dumps(data) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file (none if there is no file); a last line that was torn is left out.

    Raises ValueError naming the file if any other line is not JSON.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    result = []
    for number, line in enumerate(lines, start=1):
        try:
            result.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f"{path}, line {number} is not JSON: {error}") from error
    return result


def truncate_lines(path: Path, iteration: int) -> None:
    """Drop, in one step, every line beyond `iteration` (and any that was torn)."""
    if path.exists():
        lines = [line for line in read_lines(path) if line["iteration"] <= iteration]
        replace_text(path, "".join(dumps(line) + "\n" for line in lines))


def diverged_seeds(directory: Path) -> list[int]:
    """The seeds of a run that have diverged by its last line of metrics."""
    lines = read_lines(directory / METRICS)
    return lines[-1]["diverged_seeds"] if lines else []


def write_config(directory: Path, metadata: dict[str, Any], checkpoint_every: int) -> None:
    """Write `config.json`: what the run is (`checkpoint.metadata`), and what may change when it is resumed."""
    write_json(directory / CONFIG, {**metadata, "checkpoint_every": checkpoint_every})


def read_config(directory: Path) -> tuple[dict[str, Any], int]:
    """The metadata and `checkpoint_every` of a run. Raises like `read_json`."""
    below = sorted(directory.glob(f"*/{CONFIG}"), key=lambda path: path.stat().st_mtime)
    if below and not (directory / CONFIG).exists():
        raise FileNotFoundError(
            f"{directory} is not the directory of a purerl run, but the newest one in it is: {below[-1].parent}"
        )
    metadata = read_json(directory / CONFIG)
    return metadata, metadata.pop("checkpoint_every", 1)
