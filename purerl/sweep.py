"""Sweeps: many settings times many seeds, in as few compiled programs as possible.

    from purerl import sweep, log_uniform

    space = {"algorithm": "ppo", "env": "CartPole-v1", "learning_rate": log_uniform(1e-4, 1e-2), "clip": [0.1, 0.2]}
    result = sweep(space, samples=8, seeds=8, total_steps=100_000)
    print(result.best().trial.settings)

Whatever is a `float` varies inside one program; everything else chooses a program (see `purerl.sweeps.plan`).
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from purerl import checkpoint, processes
from purerl.devices import idle_cores, idle_gpu
from purerl.report import run_directory
from purerl.report.sweep_console import Display, silent, sweep_console
from purerl.run import seed_numbers
from purerl.sweeps import directory as files
from purerl.sweeps import plan, summary
from purerl.sweeps.description import check_same, describe, saved_environment, saved_settings, saved_trial
from purerl.sweeps.execute import Options, chunk_sizes, disk_warning, execute, saying_how_to_go_on
from purerl.sweeps.plan import Program
from purerl.sweeps.results import SweepResult
from purerl.sweeps.space import Space, expand
from purerl.sweeps.trials import Catalogue, Trial, resolve_all
from purerl.types import Environment


def sweep(
    space: Space,
    *,
    seeds: int | Sequence[int] = 8,
    seed: int = 0,
    samples: int = 1,
    sample_seed: int = 0,
    total_steps: int | None = None,
    directory: str | Path | None = None,
    evaluations: int = 20,
    episodes: int = 128,
    evaluate_on: Environment | None = None,
    preset: bool = True,
    memory: int | None = None,
    chunk: int | None = None,
    checkpoint_minutes: float = 10.0,
    keep: Literal["training", "policy"] = "training",
    resume: bool = False,
    overwrite: bool = False,
    algorithms: Mapping[str, Any] | None = None,
    environments: Mapping[str, Callable[..., Environment]] | None = None,
    display: Display | None = None,
) -> SweepResult:
    """Train every setting of `space` with every seed and return what was found.

    Args:
        space: values and axes (`grid`, `uniform`, `log_uniform`, `choice`, `when`, lists) by name: "algorithm", "env",
            "total_steps", any field of the algorithm's Config, and "env.NAME" for a parameter of the environment; or a
            list of such spaces.
        seeds: how many agents per setting, or the list of their seeds; `seed` is added to each.
        seed: the first seed.
        samples: draws of the random axes for each point of the grid.
        sample_seed: of those draws.
        total_steps: environment steps per agent, where the space does not say (default: the preset's, else 500,000).
        directory: where everything goes (default: runs/sweep_TIME); see `purerl.sweeps.directory`.
        evaluations: how often every agent is evaluated; 0: never.
        episodes: per evaluation and agent.
        evaluate_on: the environment to evaluate on (default: the one the agent is trained on).
        preset: start from the tuned settings of (algorithm, environment), if there are any.
        memory: bytes that a chunk may use (default: four fifths of what is left on the devices).
        chunk: agents that train at a time (default: as many as fit).
        checkpoint_minutes: at most so much work of a chunk is lost when the sweep is killed.
        keep: "training" keeps every agent's whole state to train on with, "policy" only what acts.
        resume: go on with the sweep in `directory`, or start it if there is none.
        overwrite: delete a sweep that is in `directory` already.
        algorithms: your own by name: a module, or anything with `Config` and `make(environment, config)`.
        environments: your own by name: functions of their parameters.
        display: who is told of the progress (default: the console; `purerl.report.sweep_console.silent()`: nobody).

    After `purerl.processes.connect`, every process calls this with the same arguments; their devices train together.

    Raises ValueError for what is wrong with the space or an argument, FileExistsError if `directory` holds something,
    CheckpointError if `resume` finds another sweep there, MemoryError if one agent alone cannot fit; all of it before
    anything is compiled or written. After Ctrl-C the current group of iterations is finished and saved, then
    KeyboardInterrupt is raised.
    """
    options = Options(evaluations, episodes, evaluate_on, checkpoint_minutes, keep, memory, chunk)
    _check_arguments(options)
    if directory is None and (resume or overwrite):
        raise ValueError("resume and overwrite need a directory")
    catalogue = Catalogue(algorithms or {}, environments or {})
    budget = {} if total_steps is None else {"total_steps": total_steps}
    settings = [{**budget, **one} for one in expand(space, samples, sample_seed)]
    trials = resolve_all(settings, catalogue, preset)
    numbers = tuple(seed_numbers(seeds, seed))
    programs = tuple(plan.programs(trials, numbers, catalogue, evaluations))
    sizes = chunk_sizes(programs, options)
    described = describe(space, trials, numbers, programs, options, preset)
    display = (display or sweep_console()) if processes.first() else silent()
    run_directory.dumps(described)  # raises before anything is written
    if directory is None:
        began = processes.agree([int(time.time())])[0]
        directory = Path("runs") / f"sweep_{time.strftime('%Y%m%d-%H%M%S', time.localtime(began))}"
    with contextlib.ExitStack() as stack:
        with processes.refused_together():
            if processes.first():
                stack.enter_context(files.claimed(Path(directory), resume=resume, overwrite=overwrite))
                sizes = _begin(Path(directory), described, sizes)
        sizes = processes.agree(sizes)
        return _go(Path(directory), trials, numbers, programs, sizes, options, display)


def load(
    directory: str | Path,
    *,
    algorithms: Mapping[str, Any] | None = None,
    environments: Mapping[str, Callable[..., Environment]] | None = None,
    evaluate_on: Environment | None = None,
) -> SweepResult:
    """The results of a sweep on disk, finished or not. What was not purerl's own must be given as for the training.

    Raises FileNotFoundError if `directory` holds no sweep, ValueError (CheckpointError) if what is there cannot be
    made again with these arguments and this version.
    """
    directory = Path(directory)
    saved = files.read(directory)
    catalogue = Catalogue(algorithms or {}, environments or {})
    trials = tuple(saved_trial(one, catalogue) for one in saved["trials"])
    programs = tuple(plan.programs(trials, saved["seeds"], catalogue, saved["evaluations"]))
    described = [plan.describe(program) for program in programs]
    before = [{k: v for k, v in one.items() if k != "chunk"} for one in saved["programs"]]
    if described != before:
        raise checkpoint.CheckpointError(f"{directory} was made with other programs: {before}, now {described}")
    sizes = tuple(one["chunk"] for one in saved["programs"])
    if evaluate_on is None and saved["evaluate_on"] is not None:
        evaluate_on = saved_environment(saved["evaluate_on"], directory, catalogue)
    return SweepResult(directory, trials, tuple(saved["seeds"]), programs, sizes, evaluate_on)


def resume(
    directory: str | Path, *, memory: int | None = None, display: Display | None = None, **own: Any
) -> SweepResult:
    """Go on with a sweep that was stopped or killed; everything else comes from its directory.

    Args:
        memory: bytes that a chunk may use (default: as before).
        display: who is told of the progress (default: the console).
        own: `algorithms`, `environments` and `evaluate_on`, as they were given to `sweep`.
    """
    saved, loaded = files.read(Path(directory)), load(directory, **own)
    return sweep(
        [saved_settings(one) for one in saved["trials"]],
        seeds=saved["seeds"],
        directory=directory,
        evaluations=saved["evaluations"],
        episodes=saved["episodes"],
        evaluate_on=loaded.evaluate_on,
        preset=saved["preset"],
        memory=memory or saved["memory"],
        chunk=saved["chunk"],
        checkpoint_minutes=saved["checkpoint_minutes"],
        keep=saved["keep"],
        resume=True,
        display=display,
        **{name: value for name, value in own.items() if name != "evaluate_on"},
    )


def _go(
    directory: Path,
    trials: tuple[Trial, ...],
    seeds: tuple[int, ...],
    programs: tuple[Program, ...],
    sizes: list[int],
    options: Options,
    display: Display,
) -> SweepResult:
    """Train what is left, then let process 0 write the tables."""
    if processes.first():
        lines = (
            summary.overview(programs, sizes) + disk_warning(programs, directory, options) + idle_cores() + idle_gpu()
        )
        for line in lines:
            display.note(line)
    names = {
        trial.number * len(seeds) + i: ", ".join([*(f"{k}={v}" for k, v in trial.settings.items()), f"seed={seed}"])
        for trial in trials
        for i, seed in enumerate(seeds)
    }
    display.start(programs, names)
    try:
        with saying_how_to_go_on(directory, display):
            sizes = execute(programs, sizes, directory, options, display)
    finally:
        display.stop()
    processes.meet("every chunk is trained")
    result = SweepResult(directory, trials, seeds, programs, tuple(sizes), options.evaluate_on)
    if processes.first():
        for line in summary.write(result):
            display.note(line)
    return result


def _begin(directory: Path, described: dict[str, Any], sizes: list[int]) -> list[int]:
    """Write `sweep.json`, or compare with the one that is there; returns the sizes of the chunks."""
    if files.is_sweep(directory):
        saved = files.read(directory)
        check_same(saved, described, directory)
        sizes = [one["chunk"] for one in saved["programs"]]
    else:
        for one, size in zip(described["programs"], sizes, strict=True):
            one["chunk"] = size
        run_directory.write_json(directory / files.SWEEP, described)
    return sizes


def _check_arguments(options: Options) -> None:
    """Raise ValueError for what is out of range."""
    for name in ("memory", "chunk", "episodes"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if options.checkpoint_minutes < 0:
        raise ValueError(f"checkpoint_minutes must be at least 0, got {options.checkpoint_minutes}")
    if options.keep not in ("training", "policy"):
        raise ValueError(f"keep must be 'training' or 'policy', got {options.keep!r}")
