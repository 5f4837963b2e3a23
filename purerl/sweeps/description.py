"""`sweep.json`: what a sweep is, so that it can be read and resumed by its directory alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from purerl import checkpoint
from purerl.configuration import from_json, to_json
from purerl.sweeps import directory as files
from purerl.sweeps import plan
from purerl.sweeps.execute import Options
from purerl.sweeps.plan import Program
from purerl.sweeps.space import Settings, Space, to_data
from purerl.sweeps.trials import Catalogue, Trial
from purerl.types import Environment

MAY_CHANGE = ("memory", "chunk", "checkpoint_minutes", "keep", "space", "purerl", "numerics")  # when a sweep is resumed


def describe(
    space: Space,
    trials: Sequence[Trial],
    seeds: Sequence[int],
    programs: Sequence[Program],
    options: Options,
    preset: bool,
) -> dict[str, Any]:
    """`sweep.json`. Raises TypeError naming what JSON cannot carry."""
    described = [
        {
            "number": trial.number,
            "settings": to_json(trial.settings, "settings"),
            "algorithm": trial.algorithm,
            "environment": trial.environment,
            "parameters": to_json(trial.parameters, "env"),
            "config": to_json(trial.config),
            "total_steps": trial.total_steps,
        }
        for trial in trials
    ]
    identity = checkpoint.metadata(programs[0].algorithm, [0], 1, 1, None)
    return {
        "format": files.FORMAT,
        "purerl": identity["purerl"],
        "numerics": {**identity["numerics"], "devices": jax.device_count()},
        "space": to_json(to_data(space), "space"),
        "preset": preset,
        "seeds": list(seeds),
        "evaluations": options.evaluations,
        "episodes": options.episodes,
        "evaluate_on": checkpoint.describe_environment(options.evaluate_on),
        "checkpoint_minutes": options.checkpoint_minutes,
        "keep": options.keep,
        "memory": options.memory,
        "chunk": options.chunk,
        "trials": described,
        "programs": [plan.describe(program) for program in programs],
    }


def check_same(saved: dict[str, Any], described: dict[str, Any], directory: Path) -> None:
    """Raise CheckpointError, listing what differs, unless a saved sweep is the one that is asked for."""
    before, now = (_comparable(data) for data in (saved, described))
    lines = [f"  {name}: saved {a!r}, now {b!r}" for name, a, b in checkpoint.differences(before, now)]
    if lines:
        raise checkpoint.CheckpointError(
            f"{directory} holds another sweep, it cannot be resumed as this one:\n" + "\n".join(lines[:20])
        )


def saved_trial(data: Mapping[str, Any], catalogue: Catalogue) -> Trial:
    """A trial from `sweep.json`, with the config it was trained with."""
    name = data["algorithm"]
    config = from_json(catalogue.algorithm(name).Config, data["config"], name)
    parameters = {key: _value(value) for key, value in data["parameters"].items()}
    settings = saved_settings(data)
    return Trial(data["number"], settings, name, data["environment"], parameters, config, data["total_steps"])


def saved_settings(data: Mapping[str, Any]) -> Settings:
    """The settings of a trial from `sweep.json`, as a space of constants."""
    return {name: _value(value) for name, value in data["settings"].items()}


def saved_environment(described: Mapping[str, Any], directory: Path, catalogue: Catalogue) -> Environment:
    """The environment that a sweep was evaluated on. Raises CheckpointError if its name does not say all about it."""
    if described["wrappers"] or described["not_in_json"]:
        raise checkpoint.CheckpointError(
            f"{directory} was evaluated on {described['name']} with wrappers or parameters that cannot be made by "
            f"name: pass evaluate_on as for the training"
        )
    return catalogue.environment(described["name"], described["parameters"])


def _comparable(data: Mapping[str, Any]) -> dict[str, Any]:
    """What must agree, without the sizes of chunks; trials by their numbers, so that a difference names one."""
    result = {name: value for name, value in data.items() if name not in MAY_CHANGE}
    result["programs"] = {i: {k: v for k, v in p.items() if k != "chunk"} for i, p in enumerate(data["programs"])}
    result["trials"] = {str(trial["number"]): trial for trial in data["trials"]}
    return result


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
