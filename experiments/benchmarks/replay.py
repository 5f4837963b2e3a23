"""What an iteration of replay costs, by capacity: uniform, proportional and rank-based, one agent and many.

    python experiments/benchmarks/replay.py             # about two minutes on one core
    python experiments/benchmarks/replay.py --quick     # small capacities, little work: shows that it runs

An iteration adds a block of 10 transitions (two observations of 4 floats, an action, a reward, a flag) to a full
replay, samples and reads 128, and gives these new priorities. Uniform replay has no priorities; the last column is what
they cost per sampled transition. Sorting, done eight times per turn of the ring, is measured apart and spread over the
iterations between two sorts. The fastest of several rounds counts, in which all cases take turns: it holds no sort.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro

from purerl.replay import Priorities, importance_weights, proportional, rank_based, uniform_replay
from purerl.types import Array, Key

BLOCK, BATCH, ITERATIONS = 10, 128, 50
KINDS: dict[str, Callable[..., Priorities] | None] = {
    "uniform": None,
    "proportional": proportional,
    "rank-based": rank_based,
}


class Case(NamedTuple):
    """A compiled program of `ITERATIONS` iterations, its state, and a compiled sort."""

    run: Callable[[Any, Array], Any]
    state: Any
    sort: Callable[[Any], Any]


def make_case(kind: str, capacity: int, agents: int) -> Case:
    """`agents` learners whose replay of `capacity` is full and whose priorities are all known."""
    example = {"observations": jnp.zeros(8), "action": jnp.int32(0), "reward": jnp.zeros(()), "end": jnp.array(False)}
    replay = uniform_replay(capacity, BLOCK, example)
    make = KINDS[kind]
    priorities = make(capacity, BLOCK, 0.6) if make else None

    def full(key: Key) -> Any:
        if make is None:
            return jnp.zeros(())
        whole = make(capacity, capacity, 0.6)  # a block that fills it
        state = whole.enter(whole.init(), jnp.int32(0))
        return whole.sort(whole.update(state, jnp.arange(capacity), jax.random.exponential(key, (capacity,))))

    def iteration(state: tuple[Any, Any, Array], inputs: tuple[Array, Key]) -> tuple[tuple[Any, Any, Array], None]:
        (stored, priority, seen), (written, key) = state, inputs
        fresh = jax.tree.map(lambda x: jnp.broadcast_to((seen + x).astype(x.dtype), (BLOCK, *x.shape)), example)
        stored = replay.add(stored, fresh, written)
        if priorities is None:
            batch = replay.sample(stored, key, written + 1, BATCH)
            return (stored, priority, seen + jnp.mean(batch["observations"])), None
        priority = priorities.enter(priority, written)
        slots, probability = priorities.sample(priority, key, BATCH)
        batch = replay.read(stored, slots)
        weight = importance_weights(probability, capacity, 0.4)
        surprise = weight * (1.0 + jnp.mean(batch["observations"], axis=-1))
        return (stored, priorities.update(priority, slots, surprise), seen + jnp.mean(surprise)), None

    def iterations(state: Any, key: Key, first: Array) -> Any:
        numbers = first + jnp.arange(ITERATIONS)
        keys = jax.random.split(jax.random.fold_in(key, first), ITERATIONS)
        return jax.lax.scan(iteration, state, (numbers, keys))[0]

    keys = jax.random.split(jax.random.key(0), agents)
    state = jax.jit(jax.vmap(lambda key: (replay.init(), full(key), jnp.zeros(()))))(keys)
    run = jax.jit(jax.vmap(iterations, in_axes=(0, 0, None)), donate_argnums=0)
    sort = jax.jit(jax.vmap(priorities.sort if priorities else lambda x: x))
    return Case(lambda state, first: run(state, keys, first), state, lambda state: sort(state[1]))


def seconds(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """How long a call takes, and what it returns."""
    began = time.perf_counter()
    result = jax.block_until_ready(function(*arguments))
    return time.perf_counter() - began, result


def measure(capacities: tuple[int, ...], agents: int, rounds: int) -> list[dict[str, Any]]:
    """Microseconds per iteration and agent of every kind and capacity."""
    best: dict[tuple[str, int], list[float]] = {}
    for capacity in capacities:
        cases = {kind: make_case(kind, capacity, agents) for kind in KINDS}
        states = {kind: case.state for kind, case in cases.items()}
        for number in range(rounds + 1):
            first = jnp.int32(2 * capacity // BLOCK + number * ITERATIONS + 1)
            for kind, case in cases.items():
                taken, states[kind] = seconds(case.run, states[kind], first)
                sorting, _ = seconds(case.sort, states[kind])
                if number:
                    old = best.get((kind, capacity), [1e9, 1e9])
                    best[kind, capacity] = [min(old[0], taken), min(old[1], sorting)]
    rows = []
    for (kind, capacity), (taken, sorting) in best.items():
        cost = taken / ITERATIONS / agents * 1e6
        plain = best["uniform", capacity][0] / ITERATIONS / agents * 1e6
        between_sorts = -(-capacity // BLOCK // 8)
        rows.append(
            {
                "agents": agents,
                "kind": kind,
                "capacity": capacity,
                "microseconds": cost,
                "microseconds_of_sorting": sorting / between_sorts / agents * 1e6 if kind == "rank-based" else 0.0,
                "microseconds_per_sample": (cost - plain) / BATCH,
            }
        )
    return rows


def main(
    quick: bool = False,
    capacities: tuple[int, ...] = (10_000, 100_000, 1_000_000),
    agents: tuple[int, ...] = (1, 16),
    rounds: int = 7,
    out: Path = Path("runs/experiments/benchmarks/replay"),
) -> None:
    """Measure and print a table.

    Args:
        quick: two small capacities, two rounds.
        capacities: transitions per agent.
        agents: vmapped agents, each with a replay of its own.
        rounds: of which the fastest counts.
        out: where numbers.json goes.
    """
    capacities, agents, rounds = ((10_000, 40_000), (1, 2), 2) if quick else (capacities, agents, rounds)
    device = jax.devices()[0].device_kind
    print(f"{device}, {time.strftime('%Y-%m-%d')}; microseconds per iteration and agent")
    print("| agents | replay | capacity | add + sample + update | sorting | per sampled transition |")
    print("|---|---|---|---|---|---|", flush=True)
    rows = [row for count in agents for row in measure(capacities, count, rounds)]
    for row in sorted(rows, key=lambda row: (row["agents"], list(KINDS).index(row["kind"]), row["capacity"])):
        print(
            f"| {row['agents']} | {row['kind']} | {row['capacity']:,} | {row['microseconds']:.0f} | "
            f"{row['microseconds_of_sorting']:.1f} | {row['microseconds_per_sample']:.2f} |"
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / "numbers.json").write_text(json.dumps({"device": device, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
