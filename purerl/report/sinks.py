"""Where the numbers of a run go while it runs. A sink is a named tuple of functions, like everything else.

`open` is called once before training, `write` after every group of iterations, `close` with the summary at the end
(also when the run was interrupted). A run that turns out to be finished already is closed without having been opened.
All of it happens on the host, while the device works on the next group.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from purerl.report import run_directory
from purerl.report.records import Record, RunInformation, median, survivors


class Sink(NamedTuple):
    """Something that listens to a run."""

    open: Callable[[RunInformation], None]
    write: Callable[[Record], None]
    close: Callable[[dict[str, Any] | None], None]  # the summary; None if the run failed
    note: Callable[[str], None] = lambda message: None  # a sentence for the person at the console


def jsonl(directory: Path) -> Sink:
    """Lines in `metrics.jsonl` and `evaluations.jsonl`; after a resume, first forget what came after the checkpoint."""
    metrics, evaluations = directory / run_directory.METRICS, directory / run_directory.EVALUATIONS

    def open_(information: RunInformation) -> None:
        run_directory.truncate_lines(metrics, information.iteration)
        run_directory.truncate_lines(evaluations, information.iteration)

    def write(record: Record) -> None:
        clock = {"iteration": record.iteration, "env_steps": record.env_steps}
        run_directory.append_line(metrics, {**clock, **record.metrics, "diverged_seeds": record.diverged_seeds})
        if record.evaluation is not None:
            run_directory.append_line(evaluations, {**clock, **record.evaluation})

    return Sink(open_, write, lambda summary: None)


def picture(directory: Path) -> Sink:
    """`learning_curve.png`, drawn at the end of a run that has a curve to draw."""

    def close(summary: dict[str, Any] | None) -> None:
        returns = [summary["evaluation"], *summary["episode_return_per_seed"]] if summary else []
        if any(x is not None for x in returns):
            from purerl.report.pictures.learning_curve import learning_curve

            learning_curve([directory], directory / run_directory.LEARNING_CURVE)

    return Sink(lambda information: None, lambda record: None, close)


def wandb(project: str = "purerl", **options: Any) -> Sink:
    """Weights & Biases: every metric per seed and as the median. Offline unless logged in (or WANDB_MODE says else).

    Args:
        project: the project's name.
        options: passed on to `wandb.init`.

    Raises ImportError with the pip command if wandb is not installed.
    """
    try:
        import wandb as library
    except ImportError as error:
        raise ImportError('logging to wandb needs the package wandb: pip install "purerl[wandb]"') from error
    runs: list[Any] = []
    seeds: list[int] = []

    def open_(information: RunInformation) -> None:
        seeds[:] = information.metadata["seeds"]
        settings: dict[str, Any] = {"mode": _wandb_mode(), "resume": "allow", "config": information.metadata}
        if information.directory is not None:
            path = information.directory.absolute()
            created = (path / run_directory.CONFIG).stat().st_mtime_ns
            settings |= {"dir": str(path), "name": path.name}
            settings["id"] = hashlib.sha1(f"{path}{created}".encode()).hexdigest()[:16]
        runs.append(library.init(project=project, **(settings | options)))

    def write(record: Record) -> None:
        runs[-1].log(dict(_scalars(record, seeds)) | {"env_steps": record.env_steps}, step=record.iteration)

    def close(summary: dict[str, Any] | None) -> None:
        for run in runs:
            run.summary.update(summary or {})
            run.finish(exit_code=0 if summary else 1)

    return Sink(open_, write, close)


def tensorboard(directory: Path) -> Sink:
    """TensorBoard event files under `directory`, against environment steps per seed.

    Raises ImportError with the pip command if tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError(
            'logging to tensorboard needs the package tensorboardX: pip install "purerl[tensorboard]"'
        ) from error
    writers: list[Any] = []
    seeds: list[int] = []

    def open_(information: RunInformation) -> None:
        seeds[:] = information.metadata["seeds"]
        resumed_after = information.env_steps + 1 if information.iteration else None
        writers.append(SummaryWriter(str(directory), purge_step=resumed_after))

    def write(record: Record) -> None:
        for name, value in _scalars(record, seeds):
            writers[-1].add_scalar(name, value, record.env_steps)

    def close(summary: dict[str, Any] | None) -> None:
        for writer in writers:
            writer.close()

    return Sink(open_, write, close)


def _wandb_mode() -> str:
    if "WANDB_MODE" in os.environ:
        return os.environ["WANDB_MODE"]
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    logged_in = "WANDB_API_KEY" in os.environ or (netrc.exists() and "wandb" in netrc.read_text())
    return "online" if logged_in else "offline"


def _scalars(record: Record, seeds: Sequence[int]) -> list[tuple[str, float]]:
    """`(name, number)` for trackers that know scalars only: each seed, and the median over those not diverged."""
    groups = {"train": record.metrics, "evaluation": record.evaluation or {}}
    result: list[tuple[str, float]] = [("train/diverged_seeds", len(record.diverged_seeds))]
    for group, values in groups.items():
        for name, per_seed in values.items():
            middle = median(survivors(per_seed, seeds, record.diverged_seeds))
            numbers = [("median", middle), *((f"seed_{i}", x) for i, x in enumerate(per_seed))]
            result += [(f"{group}/{name}/{which}", x) for which, x in numbers if x is not None]
    return result
