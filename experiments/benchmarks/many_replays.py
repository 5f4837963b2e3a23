"""Does the size of the replay cost anything when many agents train in one program?

    python experiments/benchmarks/many_replays.py            # about two minutes on two cores, 1.5 GB of memory
    python experiments/benchmarks/many_replays.py --quick    # small replays, little work: shows that it runs

64 vmapped DQN agents on CartPole-v1, each with a replay of its own of 10,000 or of 100,000 steps, full before the
clock starts. Both programs take turns, and their ratio is taken round by round. A copy of the replays anywhere in
the program would show in its working memory, which the compiler reports: it does not grow with the capacity.
"""

import json
import statistics
import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro

from purerl import dqn, make
from purerl.experience import Sampling
from purerl.host.compilation import compiler_options
from purerl.train import advance, start
from purerl.trees import nbytes


class Case(NamedTuple):
    """A compiled program of all agents, what it goes on with, and bytes: of the replays, and beside its arguments."""

    program: Any
    training: Any
    replay_bytes: int
    working_bytes: int


def make_case(capacity: int, agents: int, iterations: int, sampling: Sampling) -> Case:
    """`agents` DQN agents with full replays, to be trained for `iterations` at a time."""
    config = dqn.Config(
        learning_rate=1e-9,  # nothing is learned: all programs go on seeing the short episodes of a random policy
        num_envs=10,
        batch_size=32,
        replay_capacity=capacity,
        warm_up_steps=capacity,
        sampling=sampling,
    )
    algorithm = dqn.make(make("CartPole-v1"), config)
    go = partial(advance, algorithm, iterations=iterations, total_iterations=10**6)
    training = jax.jit(jax.vmap(partial(start, algorithm)))(jax.random.split(jax.random.key(0), agents))
    lowered = jax.jit(jax.vmap(lambda t, first: go(t, first)[:2], (0, None)), donate_argnums=0).lower(
        training, jax.ShapeDtypeStruct((), jnp.int32)
    )
    program = lowered.compile(compiler_options=compiler_options())
    return Case(program, training, nbytes(training.state.replay), program.memory_analysis().temp_size_in_bytes)


def measure(capacities: tuple[int, int], agents: int, iterations: int, repeats: int, sampling: Sampling) -> dict:
    """Microseconds per environment step of one agent, by capacity, the ratio, and the memory."""
    cases = {capacity: make_case(capacity, agents, iterations, sampling) for capacity in capacities}
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
    steps = agents * iterations * cases[small].training.state.environments.observation.shape[1]
    return {
        "sampling": sampling,
        "agents": agents,
        "microseconds per step": {c: round(statistics.median(s) / steps * 1e6, 3) for c, s in seconds.items()},
        "ratio": round(statistics.median(b / a for a, b in zip(seconds[small], seconds[large], strict=True)), 3),
        "replay bytes": {c: case.replay_bytes for c, case in cases.items()},
        "working bytes": {c: case.working_bytes for c, case in cases.items()},
    }


def main(quick: bool = False, agents: int = 64, repeats: int = 11) -> None:
    """Measure and print one line of JSON per way of sampling.

    Args:
        quick: few agents, small replays, two rounds.
        agents: vmapped, each with a replay of its own.
        repeats: rounds, of which the medians count.
    """
    capacities, iterations = (10_000, 100_000), 200
    if quick:
        capacities, iterations, agents, repeats = (1_000, 10_000), 20, 4, 2
    device = jax.devices()[0].device_kind
    print(f"{device}, jax {jax.__version__}, {time.strftime('%Y-%m-%d')}, CartPole-v1; bound of the ratio: 1.1")
    for sampling in ("uniform", "proportional"):
        print(json.dumps(measure(capacities, agents, iterations, repeats, sampling)), flush=True)


if __name__ == "__main__":
    tyro.cli(main)
