"""The programs of a run, compiled ahead of time: each of them once, whatever the number of groups."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purerl.devices import Layout
from purerl.train import EvaluationPlan, Training, advance, start
from purerl.types import Algorithm, Array, Key

Learner = Callable[[dict[str, Array]], Algorithm]  # from traced hyperparameters by name, each a scalar


class Agents(NamedTuple):
    """What differs between the agents of one program; every array is `[agents]`."""

    keys: Key
    floats: dict[str, Array]  # hyperparameters by name; {}: all agents have the same


class Programs(NamedTuple):
    """Compiled functions of the whole batch of agents; `first` is the iteration that a group begins with."""

    init: Callable[[Agents], Training] | None  # None after a resume, which does not need it
    advance: Callable[
        ..., Any
    ]  # (floats, training, first iteration) -> training, metrics, evaluation; donates training
    copy: Callable[[Training], Training]  # into buffers of its own, which no later call is given
    snapshots: Callable[..., Any]  # (floats, training) -> {"last": ..., "best": ...}, in buffers of their own
    seconds: float  # spent compiling
    working_bytes: int  # what `advance` needs besides the training while it runs; 0 where the compiler does not say


def compile_programs(
    learner: Learner,
    agents: Agents,
    layout: Layout,
    *,
    iterations: int,
    group: int,
    plan: EvaluationPlan | None,
    fresh: bool,
) -> Programs:
    """Compile for agents like these (arrays or shapes), lying on the devices as `layout` says."""
    began = time.perf_counter()
    training = training_shapes(learner, agents)

    def init(agents: Agents) -> Training:
        return start(learner(agents.floats), agents.keys)

    def one_group(floats: dict[str, Array], training: Training, first: Array) -> Any:
        algorithm = learner(floats)
        return advance(algorithm, training, first, iterations=group, total_iterations=iterations, plan=plan)

    snapshots = layout.vmap(partial(_snapshots, learner), (0, 0))
    ours, shared = layout.sharding, layout.shared
    first = jax.ShapeDtypeStruct((), jnp.int32)
    with layout.lowering():
        lowered = {
            "advance": jax.jit(
                layout.vmap(one_group, (0, 0, None)),
                donate_argnums=1,
                in_shardings=(ours, ours, shared),
                out_shardings=ours,
            ).lower(agents.floats, training, first),
            "copy": jax.jit(_copied, in_shardings=ours, out_shardings=ours).lower(training),
            "snapshots": jax.jit(snapshots, in_shardings=ours, out_shardings=ours).lower(agents.floats, training),
        }
        if fresh:
            lowered["init"] = jax.jit(layout.vmap(init, (0,)), in_shardings=ours, out_shardings=ours).lower(agents)
    with ThreadPoolExecutor() as threads:
        compiling = {name: threads.submit(program.compile, compiler_options()) for name, program in lowered.items()}
        compiled: dict[str, Any] = {name: program.result() for name, program in compiling.items()}
    analysis = compiled["advance"].memory_analysis()
    return Programs(
        init=compiled.pop("init", None),
        seconds=time.perf_counter() - began,
        working_bytes=analysis.temp_size_in_bytes * layout.mesh.size if analysis else 0,
        **compiled,
    )


def compiler_options() -> dict[str, Any]:
    """What `compile` is told. On a CPU, LLVM's first level of optimisation instead of its default.

    It compiles these programs in about half the time, and they run as fast: the loops that matter are vectorised
    before LLVM sees them. A level in the environment variable XLA_FLAGS comes first.
    """
    if jax.default_backend() != "cpu" or "xla_backend_optimization_level" in os.environ.get("XLA_FLAGS", ""):
        return {}
    return {"xla_backend_optimization_level": 1}


def training_shapes(learner: Learner, agents: Agents) -> Training:
    """Shapes and types of the training of all agents, without computing anything."""

    def one(agent: Agents) -> Training:
        return start(learner(agent.floats), agent.keys)

    return jax.eval_shape(jax.vmap(one), agents)


def snapshot_shapes(learner: Learner, agents: Agents) -> Any:
    """Shapes and types of the snapshots: the template to load the `policy` item of a checkpoint into."""
    return jax.eval_shape(jax.vmap(partial(_snapshots, learner)), agents.floats, training_shapes(learner, agents))


def _copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _snapshots(learner: Learner, floats: dict[str, Array], training: Training) -> dict[str, Any]:
    last = learner(floats).snapshot(training.state)
    return _copied({"last": last, "best": training.best})
