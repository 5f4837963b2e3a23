"""The files of a run: strict JSON, written so that a kill at any moment leaves nothing half done.

config.json          what the run is: algorithm, config, environment, seeds, iterations, versions
metrics.jsonl        one line per group of iterations, one number per seed
evaluations.jsonl    one line per evaluation
checkpoints/         see `purerl.checkpoint`
summary.json         how it ended
learning_curve.png   evaluation return against environment steps
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

CONFIG = "config.json"
METRICS = "metrics.jsonl"
EVALUATIONS = "evaluations.jsonl"
SUMMARY = "summary.json"
LEARNING_CURVE = "learning_curve.png"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
FILES = (CONFIG, METRICS, EVALUATIONS, SUMMARY, LEARNING_CURVE)


def prepare(directory: Path, *, resume: bool, overwrite: bool) -> None:
    """Make the directory of a run; with `overwrite`, delete the run that is in it (only the files purerl writes).

    Raises FileExistsError if there is something in it and neither `resume` nor `overwrite` is asked for, or if what
    `overwrite` would delete is not a run. ValueError if both are asked for.
    """
    if resume and overwrite:
        raise ValueError("resume and overwrite contradict each other")
    if directory.is_dir() and any(directory.iterdir()) and not resume:
        if not overwrite:
            raise FileExistsError(f"{directory} is not empty: resume it, overwrite it, or choose another directory")
        if not (directory / CONFIG).exists():
            raise FileExistsError(f"{directory} is not a purerl run (no {CONFIG}): it is not deleted")
        _delete_run(directory)
    directory.mkdir(parents=True, exist_ok=True)


def _delete_run(directory: Path) -> None:
    for name in (CHECKPOINTS, TENSORBOARD, "wandb"):
        shutil.rmtree(directory / name, ignore_errors=True)
    for name in FILES:
        (directory / name).unlink(missing_ok=True)


def dumps(data: Any, indent: int | None = None) -> str:
    """JSON with full precision; ValueError for NaN and infinities, which JSON has not."""
    return json.dumps(data, allow_nan=False, indent=indent)


def replace_text(path: Path, text: str) -> None:
    """Write a file in one step: readers see the old or the new text, never a part of it."""
    temporary = path.with_name(f".{path.name}.tmp")
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
    """Append one line of JSON; it is with the operating system when this returns, so a SIGKILL cannot lose it."""
    with path.open("a", encoding="utf-8") as file:
        file.write(dumps(data) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a JSONL file (none if there is no file); a last line cut short by a kill is left out."""
    if not path.exists():
        return []
    complete = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in complete]


def truncate_lines(path: Path, iteration: int) -> list[dict[str, Any]]:
    """Drop, in one step, every line beyond `iteration` (and any cut short), and return those that stay."""
    if not path.exists():
        return []
    lines = [line for line in read_lines(path) if line["iteration"] <= iteration]
    replace_text(path, "".join(dumps(line) + "\n" for line in lines))
    return lines
