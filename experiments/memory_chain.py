"""Who remembers a cue 10 or 30 steps later? Recurrent learners do, memoryless ones guess; and why states are stored.

    python experiments/memory_chain.py              # about five minutes on one core
    python experiments/memory_chain.py --quick      # a minute or two, most of it compiling; learns little

MemoryChain of bsuite (Osband et al., 2020) shows a bit in the beginning and asks for it after `memory_length` steps,
for a reward of 1 or -1. R2D2 (Kapturowski et al., 2019) and PQN (Gallici et al., 2024) with a recurrent core reach a
return of at least 0.95 with either length, while DQN and PQN without one stay at chance, 0.

The claim about replayed sequences (Kapturowski et al., 2019, figure 1): a network started with a memory of zeros in the
middle of an episode does not give the values that it gives when it has seen the whole episode. The difference,

    delta Q = |q(h') - q(h)| / |max_a q(h)|,    both with the present parameters

where h is the memory of the whole episode so far and h' the one that learning begins with, is measured at the first
step learned from, over sequences of the replay (the mean of one over the mean of the other). Zeros without burn-in are
at least twice as far off as stored memories with burn-in, each in the replay of an agent trained in that way (6.6 times
with length 30; with length 10 a burn-in of 20 steps spans an episode and makes up for everything).
"""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.ticker import EngFormatter

from purerl import dqn, make
from purerl.algorithms.value_based import pqn, r2d2
from purerl.experience import Step, example_step
from purerl.replay.sequences import sequence_replay
from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.train import EvaluationPlan, advance, start
from purerl.types import Algorithm, Array, Key, State

RECURRENT: dict[str, Any] = {"anneal_learning_rate": True, "learning_rate": 1e-3, "core_width": 32, "widths": (32,)}
REPLAYED = RECURRENT | {"batch_size": 16, "share_observations": True}
STORED, ZERO = "R2D2", "R2D2, zero states, no burn-in"
LEARNERS: dict[str, tuple[ModuleType, dict[str, Any]]] = {
    STORED: (r2d2, REPLAYED),
    ZERO: (r2d2, REPLAYED | {"stored_state": False, "burn_in": 0}),
    "PQN, recurrent": (pqn, RECURRENT | {"core": "gru", "minibatches": 8, "exploration_fraction": 0.3}),
    "DQN": (dqn, {"num_envs": 16, "steps_per_iteration": 4, "updates_per_iteration": 4, "replay_capacity": 12_800}),
    "PQN": (pqn, {"minibatches": 8, "exploration_fraction": 0.3, "widths": (64, 64)}),
}
BURN_IN = r2d2.Config().burn_in
STRATEGIES = {  # is the memory the stored one, and how many steps is it brought up to date
    "stored, burn-in": (True, BURN_IN),
    "stored, no burn-in": (True, 0),
    "zero, burn-in": (False, BURN_IN),
    "zero, no burn-in": (False, 0),
}


class Curves(NamedTuple):
    """What one learner did, for `L` lengths and `S` seeds, at `E` evaluations."""

    steps: np.ndarray  # [E] of the environment
    returns: np.ndarray  # [E, L, S] greedy
    discrepancies: dict[str, np.ndarray]  # delta Q per strategy, [E, L, S]; empty for learners without sequences


def train_on_chains(
    module: ModuleType, settings: dict[str, Any], lengths: tuple[int, ...], seeds: int, steps: int, evaluations: int
) -> Curves:
    """Train an agent per length and seed, in one program, and look at them `evaluations` times."""

    def algorithm(length: int | Array) -> Algorithm:
        return module.make(make("MemoryChain-bsuite", memory_length=length), module.Config(**settings))

    one = algorithm(lengths[0])
    iterations = max(1, steps // (one.env_steps_per_iteration * evaluations))
    total, plan = iterations * evaluations, EvaluationPlan(episodes=128)

    def begin(length: Array, key: Key):
        return start(algorithm(length), key)

    def chunk(length: Array, training: Any, first: Array):
        training, _, evaluation = advance(
            algorithm(length), training, first, iterations=iterations, total_iterations=total, plan=plan
        )
        return training, jnp.mean(evaluation.returns) if evaluation else 0.0

    over_agents = partial(_over_lengths_and_seeds, jnp.array(lengths))
    training = jax.jit(over_agents(begin))(jax.random.split(jax.random.key(0), (len(lengths), seeds)))
    go_on = jax.jit(over_agents(chunk, shared=1), donate_argnums=0)
    measure = jax.jit(over_agents(lambda _, state, blocks: discrepancies(one, max(lengths), state, blocks), shared=1))
    env_steps, returns, found = [], [], []
    for i in range(evaluations):
        training, score = go_on(training, jnp.int32(i * iterations))
        env_steps.append(one.env_steps_of_init + (i + 1) * iterations * one.env_steps_per_iteration)
        returns.append(np.asarray(score))
        if module is r2d2:
            found.append(measure(training.state, jnp.int32(env_steps[-1] // one.env_steps_per_iteration)))
    stacked = {name: np.stack([x[name] for x in found]) for name in found[0]} if found else {}
    return Curves(np.array(env_steps), np.stack(returns), stacked)


def _over_lengths_and_seeds(lengths: Array, function: Any, shared: int = 0) -> Any:
    """`function(length, agent, *shared)` over agents `[L, S]`; the last `shared` arguments are the same for all."""
    same = (None,) * shared
    over_seeds = jax.vmap(function, in_axes=(None, 0, *same))
    return partial(jax.vmap(over_seeds, in_axes=(0, 0, *same)), lengths)


def discrepancies(algorithm: Algorithm, length: int, state: State, blocks: Array) -> dict[str, Array]:
    """delta Q at the first step learned from, per strategy, over 256 sequences of the replay of `blocks` blocks."""
    config, environment = algorithm.config, algorithm.environment
    assert environment is not None
    network, period = r2d2.q_network(environment, config), config.period
    apply: Callable[..., Any] = network.apply
    before = -(-(length + 1) // period) * period + BURN_IN  # an episode ends in these steps, before the burn-in
    replay = sequence_replay(
        config.replay_capacity,
        period,
        config.num_envs,
        before + 1,
        example_step(environment, config.share_observations),
        network.initial_memory(()),
    )
    sequences = replay.draw(jax.random.key(0), blocks, 256)
    steps: Step = replay.read(state.replay, sequences)[1]
    done = steps.terminated | steps.truncated
    resets = jnp.concatenate([jnp.zeros_like(done[:1]), done[:-1]])

    def last_values(memory: Any, first: int) -> Array:
        """q of the last step, `[256, A]`, from the memory before step `first`."""
        _, values = apply(state.params, memory, steps.observation[first:], resets[first:])
        return values[-1]

    zeros = network.initial_memory((256,))
    exact = last_values(zeros, 0)
    size = jnp.mean(jnp.abs(jnp.max(exact, axis=-1)))
    result = {}
    for name, (stored, burn_in) in STRATEGIES.items():
        first = before - burn_in
        at_first = (sequences + first // period * config.num_envs) % replay.sequences
        memory = replay.read(state.replay, at_first)[0] if stored else zeros
        result[name] = jnp.mean(jnp.linalg.norm(last_values(memory, first) - exact, axis=-1)) / size
    return result


def draw(curves: dict[str, Curves], lengths: tuple[int, ...], seeds: int, file: Path) -> None:
    """Returns for every length, and delta Q of both kinds of R2D2 for the greatest length."""
    figure, panels = plt.subplots(1, len(lengths) + 1, figsize=(12, 4), layout="constrained")
    for i, (name, one) in enumerate(curves.items()):
        for j, length in enumerate(lengths):
            _band(panels[j], one.steps, one.returns[:, j], i, name)
            panels[j].set(title=f"MemoryChain of length {length}", ylabel="greedy return", ylim=(-0.5, 1.05))
    for i, (name, strategy) in enumerate(((STORED, "stored, burn-in"), (ZERO, "zero, no burn-in"))):
        one = curves[name]
        _band(panels[-1], one.steps, one.discrepancies[strategy][:, -1], i, name)
    panels[-1].set(
        title=f"Error of replayed values, length {lengths[-1]}", ylabel="delta Q at the first step", yscale="log"
    )
    for axes in panels:
        axes.set_xlabel("environment steps")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
    title = f"median and quartiles over {seeds} seeds"
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, title=title
    )
    figure.savefig(file, dpi=100)


def _band(axes: Any, steps: np.ndarray, values: np.ndarray, i: int, label: str) -> None:
    """The median over seeds of `values` `[E, S]` and a band from quartile to quartile."""
    low, middle, high = np.percentile(values, [25, 50, 75], axis=-1)
    axes.plot(steps, middle, DASHES[i % len(DASHES)], color=COLOURS[i], label=label)
    axes.fill_between(steps, low, high, color=COLOURS[i], alpha=0.2, linewidth=0)


def main(
    quick: bool = False,
    seeds: int = 5,
    steps: int = 100_000,
    evaluations: int = 16,
    out: Path = Path("runs/experiments/memory_chain"),
) -> None:
    """Train recurrent and memoryless learners on chains of length 10 and 30.

    Args:
        quick: a short run that shows that everything works.
        seeds: agents per learner and length.
        steps: environment steps of each.
        evaluations: of 128 greedy episodes, over the run.
        out: where the figure and the numbers go.
    """
    lengths = (3, 6) if quick else (10, 30)
    seeds, steps, evaluations = (2, 10_000, 2) if quick else (seeds, steps, evaluations)
    out.mkdir(parents=True, exist_ok=True)
    curves: dict[str, Curves] = {}
    numbers: dict[str, Any] = {"lengths": lengths, "seeds": seeds, "learners": {}}
    for name, (module, settings) in LEARNERS.items():
        began = time.perf_counter()
        one = curves[name] = train_on_chains(module, settings, lengths, seeds, steps, evaluations)
        final = one.returns[-1].round(3)
        print(f"{name}: final returns after {one.steps[-1]} steps, one row per length {lengths}:\n{final}", flush=True)
        numbers["learners"][name] = {
            "env_steps": one.steps.tolist(),
            "returns": one.returns.round(4).tolist(),
            "delta_q": {strategy: x.round(5).tolist() for strategy, x in one.discrepancies.items()},
            "seconds": round(time.perf_counter() - began, 1),
        }
    numbers["delta_q"] = delta_q = {
        f"{name}: {strategy}": [round(float(x), 4) for x in one.discrepancies[strategy].mean(axis=(0, 2))]
        for name, one in curves.items()
        for strategy in one.discrepancies
    }
    for name, values in delta_q.items():
        print(f"delta Q, mean over the run, per length: {name}: {values}")
    zero, stored = (delta_q[name][-1] for name in (f"{ZERO}: zero, no burn-in", f"{STORED}: stored, burn-in"))
    numbers["ratio"] = round(zero / stored, 2) if stored else None  # a burn-in longer than an episode leaves 0
    print(
        f"length {lengths[-1]}: zero states without burn-in are {numbers['ratio']} times as far off as stored with it"
    )
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(curves, lengths, seeds, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


if __name__ == "__main__":
    tyro.cli(main)
