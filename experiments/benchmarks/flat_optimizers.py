"""What optimisers on one vector of all parameters (`optax.flatten`) gain over the same ones leaf by leaf.

    python -m experiments.benchmarks.flat_optimizers              # about two minutes
    python -m experiments.benchmarks.flat_optimizers --quick

The settings are those of `python -m experiments.benchmarks`. Both programs of an algorithm are timed in turn, several
times over, so that a noisy machine slows them alike; medians are compared.
"""

import statistics
from contextlib import nullcontext
from functools import partial
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import tyro

from purerl import load, make
from purerl.train import advance, start
from purerl.types import Algorithm

from .settings import SETTINGS
from .throughput import measure

CASES = (("dqn", 1), ("dqn", 16), ("ppo", 1), ("pqn", 1), ("sac", 1), ("td3", 1))
FORMS = ("one vector", "leaf by leaf")


def made(name: str, form: str) -> Algorithm:
    """The algorithm of a setting with its optimisers in that form."""
    setting, module = SETTINGS[name], load(SETTINGS[name].algorithm)
    with mock.patch("optax.flatten", lambda inner: inner) if form == "leaf by leaf" else nullcontext():
        return module.make(make(setting.environment), module.Config(**setting.fields))


def program(algorithm: Algorithm, agents: int, iterations: int) -> tuple[Any, tuple]:
    """So many iterations of so many agents, and what they begin with."""
    training = jax.jit(jax.vmap(partial(start, algorithm)))(jax.random.split(jax.random.key(0), agents))
    piece = partial(advance, algorithm, iterations=iterations, total_iterations=100 * iterations)
    return lambda training, first: jax.vmap(lambda one: piece(one, first)[:2])(training), (training, jnp.int32(0))


def main(quick: bool = False, repeats: int = 11) -> None:
    """Time every case in both forms and print a line of each.

    Args:
        quick: short scans and few repeats: shows that it runs.
        repeats: of each program after one to warm up.
    """
    print(f"device: {jax.devices()[0].device_kind}, jax {jax.__version__}, float32")
    for name, agents in CASES:
        algorithms = {form: made(name, form) for form in FORMS}
        steps = (2_000 if SETTINGS[name].environment == "Pendulum-v1" else 32_000) // (20 if quick else 1)
        iterations = max(1, steps // algorithms[FORMS[0]].env_steps_per_iteration // agents)
        programs = {form: program(algorithm, agents, iterations) for form, algorithm in algorithms.items()}
        seconds = measure(programs, 2 if quick else repeats)
        one, other = (1e6 * statistics.median(seconds[form]) / iterations for form in FORMS)
        ratio = statistics.median(b / a for a, b in zip(*(seconds[form] for form in FORMS), strict=True))
        print(
            f"{name}, {agents} agents: {one:.0f} us per iteration, leaf by leaf {other:.0f}: {ratio:.2f} times as fast"
        )


if __name__ == "__main__":
    tyro.cli(main)
