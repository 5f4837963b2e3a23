"""Runs on disk, made into objects again: everything comes from the run directory."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purerl import algorithms, checkpoint, environments
from purerl.configuration import from_json
from purerl.host.compilation import snapshot_shapes
from purerl.report import run_directory
from purerl.types import Algorithm, Environment, State


class SavedRun(NamedTuple):
    """What was trained, and on what it was evaluated."""

    directory: Path
    metadata: dict[str, Any]  # `checkpoint.metadata`
    algorithm: Algorithm
    evaluated_on: Environment | None


class Policies(NamedTuple):
    """Snapshots batched over the seeds: `algorithm.policy(jax.tree.map(lambda x: x[i], policies.best))` acts."""

    last: State
    best: State
    best_score: jax.Array  # [seeds], mean evaluation return; -inf without evaluation
    iteration: int  # iterations done at `last`


def load(directory: str | Path) -> SavedRun:
    """Read and rebuild a run.

    Raises FileNotFoundError if `directory` is not a run, ValueError (CheckpointError) if another version of purerl
    wrote it or if its algorithm or environment cannot be made by name.
    """
    directory = Path(directory)
    metadata = run_directory.read_json(directory / run_directory.CONFIG)
    if metadata.get("format") != checkpoint.FORMAT:
        raise checkpoint.CheckpointError(
            f"{directory} has format {metadata.get('format')}, this purerl reads {checkpoint.FORMAT}"
        )
    module = algorithms.load(metadata["algorithm"])
    config = from_json(module.Config, metadata["config"])
    algorithm = module.make(_environment(metadata["environment"]), config)
    evaluation = metadata["evaluation"]
    evaluated_on = _environment(evaluation["environment"]) if evaluation else algorithm.environment
    plan = (evaluated_on, evaluation["episodes"]) if evaluation and evaluated_on else None
    rebuilt = checkpoint.metadata(algorithm, metadata["seeds"], metadata["iterations"], metadata["group"], plan)
    checkpoint.check(metadata, rebuilt, directory)
    return SavedRun(directory, metadata, algorithm, evaluated_on)


def load_policies(run: SavedRun) -> Policies:
    """The policies of the newest checkpoint; the replay is not read. Raises CheckpointError if there is none."""
    device = jax.devices()[0]
    keys = jnp.stack([jax.random.key(seed) for seed in run.metadata["seeds"]])
    template = snapshot_shapes(run.algorithm, keys)
    with checkpoint.opened(run.directory / run_directory.CHECKPOINTS, read_only=True) as checkpoints:
        _, progress = checkpoints.read_metadata()
        snapshots = checkpoints.restore("policy", template, device)
    best = snapshots["best"]
    return Policies(snapshots["last"], best.snapshot, best.score, progress.iteration)


def _environment(described: dict[str, Any] | None) -> Environment | None:
    return None if described is None else environments.make(described["name"], **described["parameters"])
