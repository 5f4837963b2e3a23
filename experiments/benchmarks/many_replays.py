"""Does the size of the replay cost anything when many agents train in one program?

    python experiments/benchmarks/many_replays.py            # about two minutes on two cores, 1.5 GB of memory
    python experiments/benchmarks/many_replays.py --algorithm sac    # about five minutes, 3 GB
    python experiments/benchmarks/many_replays.py --quick    # small replays, little work: shows that it runs

64 vmapped DQN agents on CartPole-v1, each with a replay of its own of 10,000 or of 100,000 steps, or 32 SAC agents on
Pendulum-v1 with 100,000 or 1,000,000, full before the clock starts. Both programs take turns, and their ratio is taken
round by round. A copy of the replays anywhere in the program would show in its working memory, which the compiler
reports: it does not grow with the capacity.
"""

import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import tyro

from purerl import dqn, make
from purerl.algorithms.continuous_control import sac
from purerl.experience import Sampling
from purerl.host.compilation import compiler_options
from purerl.train import advance, start
from purerl.trees import nbytes
from purerl.types import Algorithm


class Case(NamedTuple):
    """A compiled program of all agents, what it goes on with, and bytes: of the replays, and beside its arguments."""

    program: Any
    training: Any
    replay_bytes: int
    working_bytes: int


class Setting(NamedTuple):
    """Who learns what, in how many copies, and from how much."""

    agents: int
    environment: str
    capacities: tuple[int, int]
    make: Callable[[int, Sampling], Algorithm]  # of a capacity and a way of sampling


def many_dqn(capacity: int, sampling: Sampling) -> Algorithm:
    """Nothing is learned: all programs go on seeing the short episodes of a random policy."""
    config = dqn.Config(
        learning_rate=1e-9,
        num_envs=10,
        batch_size=32,
        replay_capacity=capacity,
        warm_up_steps=capacity,
        sampling=sampling,
    )
    return dqn.make(make("CartPole-v1"), config)


def many_sac(capacity: int, sampling: Sampling) -> Algorithm:
    """Ten environments with one update for ten steps, as above."""
    config = sac.Config(
        num_envs=10,
        steps_per_iteration=1,
        update_to_data=(1, 10),
        batch_size=32,
        replay_capacity=capacity,
        warm_up_steps=capacity,
        sampling=sampling,
        widths=(64, 64),
        critic_widths=(64, 64),
    )
    return sac.make(make("Pendulum-v1"), config)


SETTINGS = {
    "dqn": Setting(64, "CartPole-v1", (10_000, 100_000), many_dqn),
    "sac": Setting(32, "Pendulum-v1", (100_000, 1_000_000), many_sac),
}


def make_case(algorithm: Algorithm, agents: int, iterations: int) -> Case:
    """`agents` agents with full replays, to be trained for `iterations` at a time."""
    go = partial(advance, algorithm, iterations=iterations, total_iterations=10**6)
    training = jax.jit(jax.vmap(partial(start, algorithm)))(jax.random.split(jax.random.key(0), agents))
    lowered = jax.jit(jax.vmap(lambda t, first: go(t, first)[:2], (0, None)), donate_argnums=0).lower(
        training, jax.ShapeDtypeStruct((), jnp.int32)
    )
    program = lowered.compile(compiler_options=compiler_options())
    replay = getattr(training.state, "interaction", training.state).replay
    return Case(program, training, nbytes(replay), program.memory_analysis().temp_size_in_bytes)


def measure(setting: Setting, iterations: int, repeats: int, sampling: Sampling) -> dict:
    """Microseconds per environment step of one agent, by capacity, the ratio, and the memory."""
    agents, capacities = setting.agents, setting.capacities
    algorithms = {capacity: setting.make(capacity, sampling) for capacity in capacities}
    cases = {capacity: make_case(one, agents, iterations) for capacity, one in algorithms.items()}
    carried = {capacity: case.training for capacity, case in cases.items()}
    seconds: dict[int, list[float]] = {capacity: [] for capacity in capacities}
    for repeat in range(repeats + 1):
        for capacity, case in cases.items():
            began = time.perf_counter()
            carried[capacity], _ = jax.block_until_ready(
                case.program(carried[capacity], jnp.int32(repeat * iterations))
            )
            if repeat:
                seconds[capacity].append(time.perf_counter() - began)
    small, large = capacities
    steps = agents * iterations * algorithms[small].env_steps_per_iteration
    return {
        "sampling": sampling,
        "agents": agents,
        "microseconds per step": {c: round(statistics.median(s) / steps * 1e6, 3) for c, s in seconds.items()},
        "ratio": round(statistics.median(b / a for a, b in zip(seconds[small], seconds[large], strict=True)), 3),
        "replay bytes": {c: case.replay_bytes for c, case in cases.items()},
        "working bytes": {c: case.working_bytes for c, case in cases.items()},
    }


def main(
    quick: bool = False, algorithm: Literal["dqn", "sac"] = "dqn", agents: int | None = None, repeats: int = 11
) -> None:
    """Measure and print one line of JSON per way of sampling.

    Args:
        quick: few agents, small replays, two rounds.
        algorithm: who learns.
        agents: vmapped, each with a replay of its own (default: 64 of DQN, 32 of SAC).
        repeats: rounds, of which the medians count.
    """
    setting, iterations = SETTINGS[algorithm], 200
    setting = setting._replace(agents=agents or setting.agents)
    if quick:
        setting, iterations, repeats = setting._replace(agents=4, capacities=(1_000, 10_000)), 20, 2
    device = jax.devices()[0].device_kind
    print(
        f"{device}, jax {jax.__version__}, {time.strftime('%Y-%m-%d')}, {algorithm} on {setting.environment}; bound of "
        f"the ratio: 1.1"
    )
    for sampling in ("uniform", "proportional"):
        print(json.dumps(measure(setting, iterations, repeats, sampling)), flush=True)


if __name__ == "__main__":
    tyro.cli(main)
