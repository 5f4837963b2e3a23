"""Runs on disk, made into objects again: everything comes from the run directory."""

from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax

from purerl import algorithms, checkpoint, environments, trees
from purerl.configuration import from_json
from purerl.host.compilation import Agents, snapshot_shapes
from purerl.report import run_directory
from purerl.types import Algorithm, Environment, State


class SavedRun(NamedTuple):
    """What was trained, and on what it was evaluated."""

    directory: Path
    metadata: dict[str, Any]  # `checkpoint.metadata`
    algorithm: Algorithm
    evaluated_on: Environment | None
    checkpoint_every: int  # groups


class Policies(NamedTuple):
    """Snapshots batched over the seeds: `algorithm.policy(jax.tree.map(lambda x: x[i], policies.best))` acts."""

    last: State
    best: State
    best_score: jax.Array  # [seeds], mean evaluation return; -inf without evaluation
    iteration: int  # iterations done at `last`


def load(directory: str | Path, algorithm: Algorithm | None = None, evaluate_on: Environment | None = None) -> SavedRun:
    """Read and rebuild a run.

    What cannot be made by name (an algorithm of your own, a wrapped environment) is passed as it was made for the
    training: `algorithm`, and the environment to evaluate on if it is not the algorithm's own.

    Raises FileNotFoundError if `directory` is not a run, ValueError (CheckpointError) if another version of purerl
    wrote it, if its algorithm or environment cannot be made by name, or if those passed are not those of the run.
    """
    directory = Path(directory)
    metadata, checkpoint_every = run_directory.read_config(directory)
    checkpoint.require_format(metadata, directory)
    algorithm = algorithm or _rebuilt(metadata, directory)
    evaluation, evaluated_on = metadata["evaluation"], evaluate_on or algorithm.environment
    if evaluation and evaluate_on is None and evaluation["environment"] != metadata["environment"]:
        evaluated_on = _environment(evaluation["environment"], directory)
    plan = (evaluated_on, evaluation["episodes"]) if evaluation and evaluated_on else None
    rebuilt = checkpoint.metadata(algorithm, metadata["seeds"], metadata["iterations"], metadata["group"], plan)
    rebuilt["numerics"] = {**metadata["numerics"], **rebuilt["numerics"]}  # how the training was split does not matter
    checkpoint.check(metadata, rebuilt, directory, purpose="rebuilt")
    return SavedRun(directory, metadata, algorithm, evaluated_on, checkpoint_every)


def load_policies(run: SavedRun) -> Policies:
    """The policies of the newest checkpoint; the replay is not read. Raises CheckpointError if there is none."""
    keys = trees.keys(run.metadata["seeds"])
    template = snapshot_shapes(lambda floats: run.algorithm, Agents(keys, floats={}))
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with checkpoint.opened(run.directory / run_directory.CHECKPOINTS, read_only=True) as checkpoints:
        _, progress, snapshots = checkpoints.restore("policy", template, sharding)
    best = snapshots["best"]
    return Policies(snapshots["last"], best.snapshot, best.score, progress.iteration)


def _rebuilt(metadata: dict[str, Any], directory: Path) -> Algorithm:
    module = _module(metadata, directory)
    config = from_json(module.Config, metadata["config"])
    return module.make(_environment(metadata["environment"], directory), config)


def _module(metadata: dict[str, Any], directory: Path) -> ModuleType:
    """The module of the run's algorithm, if it is the one in the table."""
    name, config_class = metadata["algorithm"], metadata["config_class"]
    if name not in algorithms.ALGORITHMS:
        raise _not_by_name(directory, f"the algorithm {name!r} ({config_class}) is not in purerl's table")
    module = algorithms.load(name)
    if checkpoint.class_name(module.Config) != config_class:
        raise _not_by_name(directory, f"its {name!r} was made with {config_class}, which is not purerl's {name}")
    return module


def _environment(described: dict[str, Any] | None, directory: Path) -> Environment | None:
    """Make an environment by name, if the name says all there is to it."""
    if described is None:
        return None
    name = described["name"]
    if described["wrappers"]:
        raise _not_by_name(directory, f"{name} was wrapped in {', '.join(described['wrappers'])}")
    if described["not_in_json"]:
        raise _not_by_name(directory, f"{name} had parameters that JSON cannot carry: {described['not_in_json']}")
    if not environments.known(name):
        raise _not_by_name(directory, f"the environment {name!r} is not one of purerl's")
    return environments.make(name, **described["parameters"])


def _not_by_name(directory: Path, reason: str) -> checkpoint.CheckpointError:
    return checkpoint.CheckpointError(
        f"{directory} cannot be rebuilt by name: {reason}. Evaluate it from Python: make the algorithm as for the "
        f"training, then purerl.saved.load({str(directory)!r}, algorithm); resume it with purerl.run(..., resume=True)"
    )
