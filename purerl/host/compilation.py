"""The programs of a run, compiled ahead of time: each of them once, whatever the number of groups."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purerl.train import EvaluationPlan, Training, advance, start
from purerl.types import Algorithm, Key


class Programs(NamedTuple):
    """Compiled functions of the whole batch of seeds."""

    init: Callable[[Key], Training] | None  # keys [seeds] -> training; None after a resume, which does not need it
    advance: Callable[..., Any]  # (training, first iteration) -> training, metrics, evaluation; the training is donated
    copy: Callable[[Training], Training]  # into buffers of its own, which no later call is given
    snapshots: Callable[[Training], Any]  # {"last": ..., "best": ...}, in buffers of their own
    seconds: float  # spent compiling
    working_bytes: int  # what `advance` needs besides the training while it runs; 0 where the compiler does not say


def compile_programs(
    algorithm: Algorithm,
    keys: Key,
    *,
    iterations: int,
    group: int,
    plan: EvaluationPlan | None,
    fresh: bool,
) -> Programs:
    """Compile for the seeds of `keys` `[seeds]`, committed to the device to run on."""
    began = time.perf_counter()
    training = training_shapes(algorithm, keys)
    first = jax.ShapeDtypeStruct((), jnp.int32)
    one_group = partial(advance, algorithm, iterations=group, total_iterations=iterations, plan=plan)
    lowered = {
        "advance": jax.jit(jax.vmap(one_group, in_axes=(0, None)), donate_argnums=0).lower(training, first),
        "copy": jax.jit(_copied).lower(training),
        "snapshots": jax.jit(partial(_snapshots, algorithm)).lower(training),
    }
    if fresh:
        lowered["init"] = jax.jit(jax.vmap(partial(start, algorithm))).lower(keys)
    with ThreadPoolExecutor() as threads:
        compiling = {name: threads.submit(program.compile, compiler_options()) for name, program in lowered.items()}
        compiled: dict[str, Any] = {name: program.result() for name, program in compiling.items()}
    analysis = compiled["advance"].memory_analysis()
    return Programs(
        init=compiled.pop("init", None),
        seconds=time.perf_counter() - began,
        working_bytes=analysis.temp_size_in_bytes if analysis else 0,
        **compiled,
    )


def compiler_options() -> dict[str, Any]:
    """What `compile` is told. On a CPU, LLVM's first level of optimisation instead of its default.

    It compiles these programs in about half the time, and they run as fast: the loops that matter are vectorised
    before LLVM sees them.
    """
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}


def training_shapes(algorithm: Algorithm, keys: Key) -> Training:
    """Shapes and types of the training of all seeds, without computing anything."""
    return jax.eval_shape(jax.vmap(partial(start, algorithm)), keys)


def snapshot_shapes(algorithm: Algorithm, keys: Key) -> Any:
    """Shapes and types of the snapshots: the template to load the `policy` item of a checkpoint into."""
    return jax.eval_shape(partial(_snapshots, algorithm), training_shapes(algorithm, keys))


def _copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _snapshots(algorithm: Algorithm, training: Training) -> dict[str, Any]:
    return _copied({"last": jax.vmap(algorithm.snapshot)(training.state), "best": training.best})
