"""Checkpoints of a training, exact to the last bit, and the refusal to load the wrong one.

A checkpoint is written by orbax as a directory that appears in one rename, so a kill at any moment leaves the last
complete one. It has three items: `training` (all of `purerl.train.Training`, vmapped over the seeds), `policy` (only
what acting needs, of the last and of the best parameters, so that evaluating never loads a replay) and `metadata`
(JSON). Nothing is pickled. Trees are stored as flat `{path: array}` dictionaries: keys as their key data, leaves
without elements left out; loading puts them back into a template made by `jax.eval_shape`.
"""

import contextlib
import importlib.metadata
import logging
import platform
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from purerl import processes, trees
from purerl.configuration import to_json
from purerl.types import Algorithm, Discrete, Environment, MultiDiscrete, Space

FORMAT = 3
KEEP = 2  # how many checkpoints stay on disk

Tree = TypeVar("Tree")


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or from another run."""


class Progress(NamedTuple):
    """How far a run was when it was saved."""

    iteration: int
    train_seconds: float
    compile_seconds: float


def describe_environment(environment: Environment | None) -> dict[str, Any] | None:
    """What must agree for two environments to be taken for the same one, as JSON.

    `purerl.environments.make(name, **parameters)` builds it again unless it has `wrappers` or parameters that are
    `not_in_json`: those (arrays by their values, functions and models by their names) can only be compared.
    """
    if environment is None:
        return None
    parameters, not_in_json = {}, []
    for name, value in environment.parameters.items():
        try:
            parameters[name] = to_json(value, name)
        except TypeError:
            parameters[name] = _in_words(value)
            not_in_json.append(name)
    return {
        "name": environment.name,
        "parameters": parameters,
        "not_in_json": not_in_json,
        "wrappers": list(environment.wrappers),
        "max_steps": environment.max_steps,
        "observation_space": _describe_space(environment.observation_space),
        "action_space": _describe_space(environment.action_space),
    }


def _in_words(value: Any) -> Any:
    """What JSON cannot carry, such that equal values have equal words: arrays by value, all else by name."""
    if isinstance(value, np.ndarray | jax.Array) and not isinstance(value, Tracer):
        return to_json(np.asarray(value).tolist())
    named: Any = value if hasattr(value, "__qualname__") else type(value)
    return f"<{class_name(named)}>"


def _describe_space(space: Space) -> dict[str, Any]:
    if isinstance(space, Discrete):
        return {"kind": "Discrete", "n": int(space.n)}
    if isinstance(space, MultiDiscrete):
        return {"kind": "MultiDiscrete", "sizes": [int(size) for size in space.sizes]}
    return {"kind": "Box", "shape": list(space.shape), "dtype": jnp.dtype(space.dtype).name}


def class_name(kind: type) -> str:
    """Module and name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def metadata(
    algorithm: Algorithm,
    seeds: Sequence[int],
    iterations: int,
    group: int,
    evaluation: tuple[Environment, int] | None,
) -> dict[str, Any]:
    """What must agree for a run to be continued, as JSON.

    Args:
        algorithm: gives name, config and environment.
        seeds: one per agent.
        iterations: of the whole run; schedules depend on it.
        group: iterations between two evaluations.
        evaluation: the environment evaluated on and the number of episodes; None without evaluation.
    """
    evaluated = evaluation and {"environment": describe_environment(evaluation[0]), "episodes": evaluation[1]}
    return {
        "format": FORMAT,
        "algorithm": algorithm.name,
        "config": to_json(algorithm.config),
        "config_class": class_name(type(algorithm.config)),
        "environment": describe_environment(algorithm.environment),
        "evaluation": evaluated,
        "seeds": list(seeds),
        "iterations": iterations,
        "group": group,
        "env_steps_of_init": algorithm.env_steps_of_init,
        "env_steps_per_iteration": algorithm.env_steps_per_iteration,
        "purerl": importlib.metadata.version("purerl"),
        "numerics": {
            "jax": jax.__version__,
            "jaxlib": importlib.metadata.version("jaxlib"),
            "python": platform.python_version(),
            "device": jax.devices()[0].device_kind,
        },
    }


def require_format(saved: dict[str, Any], where: Path) -> None:
    """Raise CheckpointError if another version of purerl wrote this metadata, in another format."""
    if saved.get("format") != FORMAT:
        raise CheckpointError(
            f"{where} has checkpoint format {saved.get('format')}, this purerl reads {FORMAT}: train it again, or read "
            f"it with the version that wrote it ({saved.get('purerl', 'unknown')})"
        )


def check(saved: dict[str, Any], current: dict[str, Any], where: Path, purpose: str = "resumed") -> None:
    """Raise CheckpointError, listing every difference, unless `saved` and `current` metadata are of the same run.

    `purpose` says in the message what cannot be done with it. Another jax, python or kind of device
    only warns: the run goes on, but not bit for bit.
    """
    require_format(saved, where)
    lines = [
        f"  {name}: saved {before!r}, now {now!r}"
        for name, before, now in differences(saved, current)
        if not name.startswith("numerics")
    ]
    if lines:
        raise CheckpointError(
            f"{where} belongs to another run, it cannot be {purpose} as this one (use its settings, or another "
            f"directory):\n" + "\n".join(lines)
        )
    for name, before, now in differences(saved["numerics"], current["numerics"]):
        message = f"{where} was saved with {name} {before}, now it is {now}: bit-identical results are not promised"
        warnings.warn(message, stacklevel=3)


def differences(saved: Any, current: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """`(name, saved, current)` of everything in which two nestings of dictionaries differ."""
    if not (isinstance(saved, dict) and isinstance(current, dict)):
        if saved != current:
            yield prefix, saved, current
        return
    for name in sorted(saved.keys() | current.keys()):
        path = f"{prefix}.{name}" if prefix else name
        yield from differences(saved.get(name, "nothing"), current.get(name, "nothing"), path)


def _key_implementation(key: Any) -> Any:
    """Which generator a key (or the `jax.ShapeDtypeStruct` of one) belongs to."""
    found: list[Any] = []
    jax.eval_shape(lambda traced: found.append(jax.random.key_impl(traced)), key)
    return found[0]


def flatten(tree: Any) -> dict[str, jax.Array]:
    """A tree of arrays as `{path: array}`: keys as key data, leaves without elements left out."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(p): jax.random.key_data(x) if trees.is_key(x) else x for p, x in leaves if x.size}


def unflatten(template: Tree, arrays: dict[str, jax.Array]) -> Tree:
    """The inverse of `flatten` for a tree like `template` (arrays or `jax.ShapeDtypeStruct`s)."""

    def leaf(path, x):
        if not x.size:
            return jnp.zeros(x.shape, x.dtype)
        array = arrays[jax.tree_util.keystr(path)]
        return jax.random.wrap_key_data(array, impl=_key_implementation(x)) if trees.is_key(x) else array

    return jax.tree_util.tree_map_with_path(leaf, template)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep orbax's remarks about its own options off the console; errors still come through."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class Checkpoints(NamedTuple):
    """An open directory of checkpoints."""

    manager: Any  # orbax.checkpoint.CheckpointManager
    directory: Path

    def latest(self) -> int | None:
        """Iterations done at the newest complete checkpoint; None if there is none."""
        return self.manager.latest_step()

    def save(self, progress: Progress, training: Any, policy: Any, metadata: dict[str, Any]) -> None:
        """Start writing a checkpoint in the background. The arrays must not be donated before `wait` returns."""
        import orbax.checkpoint as ocp

        record = {"run": metadata, "progress": progress._asdict()}
        items = ocp.args.Composite(
            training=ocp.args.StandardSave(flatten(training)),
            policy=ocp.args.StandardSave(flatten(policy)),
            metadata=ocp.args.JsonSave(record),
        )
        with _quiet():
            self.manager.save(progress.iteration, args=items)

    def wait(self) -> None:
        """Return when everything is on disk; raises what went wrong in the background."""
        self.manager.wait_until_finished()

    def restore(self, item: str, template: Tree, sharding: Any) -> tuple[dict[str, Any], Progress, Tree]:
        """Metadata, progress and item `training` or `policy` (like `template`) of the newest checkpoint.

        `sharding` is of all arrays; those that were saved by other devices are moved.

        A checkpoint that cannot be read is passed over with a warning, for the one before. Raises CheckpointError if
        none can.
        """
        import orbax.checkpoint as ocp

        flat = jax.eval_shape(flatten, template)
        shapes = {path: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding) for path, x in flat.items()}
        wanted = ocp.args.Composite(**{item: ocp.args.StandardRestore(shapes), "metadata": ocp.args.JsonRestore()})
        steps = sorted(self.manager.all_steps(), reverse=True)
        for step in steps:
            try:
                with _quiet():
                    items = self.manager.restore(step, args=wanted)
            except (ValueError, KeyError, OSError) as error:
                message = f"checkpoint {self.directory / str(step)} cannot be read: {error}"
                if step == steps[-1]:
                    raise CheckpointError(message) from error
                warnings.warn(f"{message}; falling back to the one before", stacklevel=2)
            else:
                tree = unflatten(template, items[item])
                tree = tree if processes.several() else jax.device_put(tree, sharding)
                return items.metadata["run"], Progress(**items.metadata["progress"]), tree
        raise CheckpointError(f"{self.directory} holds no complete checkpoint")

    def forget_after(self, iteration: int) -> None:
        """Delete the checkpoints newer than the one that was restored: they could not be read."""
        for step in self.manager.all_steps():
            if step > iteration:
                self.manager.delete(step)


@contextlib.contextmanager
def opened(directory: Path, read_only: bool = False) -> Iterator[Checkpoints]:
    """Open a directory of checkpoints; a writer makes it, and clears what killed writers left, a reader does not.

    Leaving the context waits for what is still being written.
    """
    import orbax.checkpoint as ocp

    directory = directory.absolute()
    if read_only and not directory.exists():
        raise CheckpointError(f"{directory} does not exist: there is nothing to load")
    with _quiet():
        if read_only:
            options = ocp.CheckpointManagerOptions(read_only=True)
        else:
            directory.mkdir(parents=True, exist_ok=True)
            options = ocp.CheckpointManagerOptions(max_to_keep=KEEP, cleanup_tmp_directories=True)
        manager = ocp.CheckpointManager(directory, options=options, item_names=("training", "policy", "metadata"))
    try:
        yield Checkpoints(manager, directory)
    finally:
        with _quiet():
            manager.close()
