"""What a search is: from its arguments to a plan, and `search.json`, from which the plan can be made again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from purerl import checkpoint
from purerl.configuration import nearest, to_json
from purerl.devices import over_agents
from purerl.host import memory
from purerl.report.statistics import interquartile_mean, mean
from purerl.sweeps import plan as sweep_plan
from purerl.sweeps.plan import Program
from purerl.sweeps.search import directory as files
from purerl.sweeps.search import proposals
from purerl.sweeps.search.branches import Branch, branches
from purerl.sweeps.search.generations import Plan, Study
from purerl.sweeps.search.halving import Halving, ladder
from purerl.sweeps.space import to_data
from purerl.sweeps.trials import ENVIRONMENT, Catalogue
from purerl.types import Environment

AGGREGATES: dict[str, Callable[..., Any]] = {"iqm": interquartile_mean, "mean": mean}
VERSIONS = ("purerl", "numerics", "optuna")
MAY_CHANGE = ("trials", "checkpoint_minutes", "keep", "space", *VERSIONS)  # when a search is resumed


class Options(NamedTuple):
    """How the space is searched, as `search.json` keeps it."""

    trials: int
    generation: int
    halving: Halving | None
    aggregate: Literal["iqm", "mean"]
    sampler: str | proposals.MakeSampler
    sample_seed: int
    evaluations: int
    episodes: int
    preset: bool
    checkpoint_minutes: float
    keep: Literal["training", "policy"]


def make(
    space: Mapping[str, Any],
    seeds: Sequence[int],
    options: Options,
    catalogue: Catalogue,
    evaluate_on: Environment | None,
) -> Plan:
    """The plan of a search. Raises ValueError for what is wrong with it, MemoryError if a generation cannot fit."""
    _check(options)
    found = branches(space)
    batch = options.generation * len(found)
    if options.trials % batch:
        fewer = options.trials // batch * batch
        names = f"{fewer} or {fewer + batch}" if fewer else f"{batch}"
        studies = f"{len(found)} studies, one per combination of the lists, of " if len(found) > 1 else ""
        raise ValueError(
            f"trials ({options.trials}) must be a multiple of {batch} ({studies}{options.generation} trials per "
            f"generation): give {names}, or another generation"
        )
    return Plan(
        studies=tuple(_study(branch, tuple(seeds), options, catalogue, evaluate_on) for branch in found),
        generations=options.trials // options.generation,
        size=options.generation,
        seeds=tuple(seeds),
        aggregate=AGGREGATES[options.aggregate],
        catalogue=catalogue,
        preset=options.preset,
        episodes=options.episodes,
        evaluate_on=evaluate_on,
    )


def describe(space: Mapping[str, Any], plan: Plan, options: Options) -> dict[str, Any]:
    """`search.json`. Raises TypeError naming what JSON cannot carry."""
    identity = checkpoint.metadata(plan.studies[0].program.algorithm, [0], 1, 1, None)
    return {
        "format": files.FORMAT,
        "purerl": identity["purerl"],
        "numerics": {**identity["numerics"], "devices": jax.device_count()},
        "optuna": proposals.require().__version__,
        "space": to_json(to_data(space), "space"),
        "seeds": list(plan.seeds),
        "evaluate_on": checkpoint.describe_environment(plan.evaluate_on),
        **options._asdict(),
        "halving": None if options.halving is None else asdict(options.halving),
        "sampler": proposals.name_of(options.sampler),
        "studies": [_describe_study(study) for study in plan.studies],
    }


def saved_options(saved: Mapping[str, Any], sampler: str | proposals.MakeSampler | None = None) -> Options:
    """The options in `search.json`; a sampler of one's own is given again."""
    chosen = {name: saved[name] for name in Options._fields}
    halving = None if saved["halving"] is None else Halving(**saved["halving"])
    return Options(**{**chosen, "halving": halving, "sampler": sampler or saved["sampler"]})


def check_same(saved: dict[str, Any], described: dict[str, Any], directory: Path) -> None:
    """Raise CheckpointError, listing what differs, unless a saved search is the one asked for, or the start of it."""
    before, now = (_comparable(data) for data in (saved, described))
    lines = [f"  {name}: saved {a!r}, now {b!r}" for name, a, b in checkpoint.differences(before, now)]
    if described["trials"] < saved["trials"]:
        lines.append(f"  trials: saved {saved['trials']}, now {described['trials']}: there may be more, not fewer")
    if lines:
        raise checkpoint.CheckpointError(
            f"{directory} holds another search, it cannot be resumed as this one:\n" + "\n".join(lines[:20])
        )


def _check(options: Options) -> None:
    """Raise ValueError for what is out of range."""
    for name in ("trials", "generation", "episodes", "evaluations"):
        if getattr(options, name) < 1:
            why = ": a search ranks its trials by them" if name == "evaluations" else ""
            raise ValueError(f"{name} must be at least 1{why}, got {getattr(options, name)}")
    if options.sample_seed < 0 or options.checkpoint_minutes < 0:
        name = "sample_seed" if options.sample_seed < 0 else "checkpoint_minutes"
        raise ValueError(f"{name} must be at least 0, got {getattr(options, name)}")
    if options.aggregate not in AGGREGATES:
        raise ValueError(f"there is no aggregate {options.aggregate!r}: {nearest(options.aggregate, AGGREGATES)}")
    if options.keep not in ("training", "policy"):
        raise ValueError(f"keep must be 'training' or 'policy', got {options.keep!r}")


def _study(
    branch: Branch, seeds: tuple[int, ...], options: Options, catalogue: Catalogue, evaluate_on: Environment | None
) -> Study:
    programs = sweep_plan.programs(branch.corners(catalogue, options.preset), seeds, catalogue, options.evaluations)
    if len(programs) > 1:
        first = programs[0].trials[0]
        apart = [name for name in branch.axes if name.startswith(ENVIRONMENT)]
        raise ValueError(
            f"{first.environment} must see the value of {' or '.join(apart)} before it is compiled, so one program "
            f"cannot vary it: give a list instead, each value of which gets a study and programs of its own"
        )
    program = programs[0]
    if evaluate_on is None and program.algorithm.environment is None:
        raise ValueError(f"{program.algorithm.name} has no environment to evaluate on: give evaluate_on")
    _require_memory(program, options.generation, len(seeds))
    return Study(branch, program, ladder(options.halving, options.generation, program.groups))


def _require_memory(program: Program, generation: int, seeds: int) -> None:
    """Raise MemoryError if the training of a generation alone exceeds what the devices have left."""
    needed = generation * seeds * program.agent_bytes
    available = memory.available_bytes(over_agents(generation * seeds).devices)
    if available is not None and needed > available:
        raise MemoryError(
            f"a generation of {generation} trials x {seeds} seeds of {program.algorithm.name} on {program.environment} "
            f"needs {memory.human(needed)}, but there are {memory.human(available)} left: make the generation smaller, "
            f"or use fewer seeds, a smaller replay or fewer environments"
        )


def _describe_study(study: Study) -> dict[str, Any]:
    program, first = study.program, study.program.trials[0]
    config, axes = to_json(first.config), study.branch.axes
    parameters = {name: value for name, value in first.parameters.items() if f"{ENVIRONMENT}{name}" not in axes}
    return {
        "settings": to_json(study.branch.settings, "settings"),
        "axes": to_data(axes),
        "algorithm": first.algorithm,
        "environment": first.environment,
        "parameters": to_json(parameters, "env"),
        "config": {name: value for name, value in config.items() if name not in axes},
        "total_steps": first.total_steps,
        "iterations": program.groups * program.group,
        "group": program.group,
        "rungs": [[rung.trials, rung.groups * program.group] for rung in study.rungs],
    }


def _comparable(data: Mapping[str, Any]) -> dict[str, Any]:
    """What must agree; studies by their numbers, so that a difference names one."""
    result = {name: value for name, value in data.items() if name not in MAY_CHANGE}
    result["studies"] = {str(i): study for i, study in enumerate(data["studies"])}
    return result
