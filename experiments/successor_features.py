"""Successor features turn four known policies into one for any new task, without a single sample of it.

    python experiments/successor_features.py              # about ten minutes on one core
    python experiments/successor_features.py --quick      # half a minute and most of it compiling; learns little

The claim of Barreto et al. (2017): with the successor features of known policies, generalised policy improvement (GPI)
acts at least as well on a new task as the best of them. Four rooms (gymnax's, moves fail in one case of three, no end,
discount 0.95), phi is one-hot in the four outer corners, a source policy is optimal for each corner, and a task weighs
the corners: convexly, or with both signs. Values are exact, by linear solves, and given as shares of the optimal value
at the start. With exact successor features GPI is not worse than the best source at *any* state for any task, and loses
less than 0.1 % to the optimum on average, where the best source loses 0.2 to 0.4 %.

With networks that learned psi from 50,000 random transitions GPI loses 1 % of the value of all tasks together, at 0
samples of the task; fitted Q-iteration from scratch needs 10,000 for that. It is no longer better than the best exact
source, and the plain mean of its shares on tasks of both signs is 0.95: some of those are worth nearly nothing, and
small errors there are large shares.
"""

import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from purerl.algorithms.value_based import fitted_iteration, successor_features
from purerl.data import Transitions, collect
from purerl.environments.finite import FiniteMDP, as_environment
from purerl.environments.finite.four_rooms import COLUMNS, corner_features, four_rooms
from purerl.operators import successor
from purerl.planning import exact_policy_evaluation, policy_iteration
from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.train import train
from purerl.types import Array, Key

ROOMS, PHI = four_rooms(), jnp.asarray(corner_features())
STATES, ACTIONS = ROOMS.num_states, ROOMS.num_actions
FREE = ~np.asarray(ROOMS.terminal)
START = 4 * COLUMNS + 1
ENVIRONMENT = as_environment(ROOMS.replace(initial=FREE / FREE.sum()), "four rooms", max_steps=50)


class Comparison(NamedTuple):
    """Exact values on every task, `[N, S]`."""

    improved: Array  # of generalised policy improvement
    source: Array  # of the best source policy, chosen per state
    optimal: Array


def rewarded(w: Array) -> FiniteMDP:
    """The rooms with the reward `phi . w`, earned on leaving a state."""
    return ROOMS.replace(reward=jnp.broadcast_to((PHI @ w)[:, None, None], ROOMS.reward.shape))


def source_policies() -> Array:
    """The optimal policies of the four corners, `[P, S, A]`."""
    return jax.lax.map(lambda w: policy_iteration(rewarded(w)).policy, jnp.eye(4))


def exact_features(policies: Array) -> Array:
    """psi `[P, S, A, D]`."""
    phi = jnp.broadcast_to(PHI[:, None, :], (STATES, ACTIONS, 4))
    of = jax.vmap(
        lambda policy: successor.successor_features(ROOMS.transition, phi, policy, ROOMS.terminal, ROOMS.discount)
    )
    return of(policies)


def learned_features(key: Key, transitions: int, iterations: int, config: successor_features.Config) -> Array:
    """psi `[P, S, A, D]` learned from random transitions; each of its policies is greedy in what is learned of it."""
    data_key, key = jax.random.split(key)
    data = collect(ENVIRONMENT, None, data_key, transitions, num_envs=40)
    algorithm = successor_features.make(ENVIRONMENT, data, lambda s, a, after: PHI[s], jnp.eye(4), config)
    state = train(algorithm, key, iterations).state
    at = jax.vmap(successor_features.action_features, in_axes=(None, None, 0, None), out_axes=1)
    return at(ENVIRONMENT, state, jnp.arange(STATES), config)


def draw_tasks(key: Key, kind: str, count: int) -> Array:
    """Weights of the corners `[count, 4]`: "convex" (uniform on the simplex) or "mixed" (normal, of both signs)."""
    if kind == "convex":
        return jax.random.dirichlet(key, jnp.ones(4), (count,))
    w = np.asarray(jax.random.normal(key, (4 * count, 4)))
    return jnp.asarray(w[(w > 0).any(1) & (w < 0).any(1)][:count])


def compare(psi: Array, policies: Array, tasks: Array) -> Comparison:
    """Generalised policy improvement on `psi`, the best of the source policies, and the optimum."""

    def one(w: Array) -> Comparison:
        task = rewarded(w)
        values = jax.vmap(successor.generalized_policy_improvement, in_axes=(1, None))(psi, w)
        improved = exact_policy_evaluation(task, jax.nn.one_hot(jnp.argmax(values, axis=-1), ACTIONS))
        sources = jax.vmap(lambda policy: exact_policy_evaluation(task, policy))(policies)
        return Comparison(improved, jnp.max(sources, axis=0), policy_iteration(task).values)

    return jax.lax.map(one, tasks)


def summary(found: Comparison) -> dict[str, float]:
    """Shares of the optimal value at the start, and in how many tasks no state is worse off than with any source.

    "total" is the share of the sum over tasks: a mean of shares depends on tasks that are worth next to nothing.
    """
    slack = 1e-5 * jnp.max(jnp.abs(found.optimal), axis=-1, keepdims=True)  # rounding of float32
    better = jnp.all((found.improved >= found.source - slack) | ~FREE, axis=-1)
    gpi, source = (x[:, START] / found.optimal[:, START] for x in (found.improved, found.source))
    return {
        "tasks": len(better),
        "tasks_not_worse_at_any_state": int(jnp.sum(better)),
        "gpi_mean": float(jnp.mean(gpi)),
        "gpi_total": float(jnp.sum(found.improved[:, START]) / jnp.sum(found.optimal[:, START])),
        "gpi_min": float(jnp.min(gpi)),
        "best_source_mean": float(jnp.mean(source)),
        "best_source_min": float(jnp.min(source)),
    }


def from_scratch(key: Key, tasks: Array, transitions: int, iterations: int) -> Array:
    """Shares of the optimal value at the start `[N]`, by fitted Q-iteration on so many random transitions per task."""
    config = fitted_iteration.Config(discount=0.95, regression="exact", l2=1e-9, widths=())
    data_key, key = jax.random.split(key)
    data = collect(ENVIRONMENT, None, data_key, transitions, num_envs=10)

    def one(w: Array) -> Array:
        rewards: Transitions = data._replace(reward=(PHI @ w)[data.observation])
        params = train(fitted_iteration.make(ENVIRONMENT, rewards, config), key, iterations).state.fit.params
        policy = jax.nn.one_hot(jnp.argmax(params, axis=-1), ACTIONS)
        values = exact_policy_evaluation(rewarded(w), policy)
        return values[START] / policy_iteration(rewarded(w)).values[START]

    return jax.lax.map(one, tasks)


def main(quick: bool = False, seeds: int = 2, out: Path = Path("runs/experiments/successor_features")) -> None:
    """Compare exact and learned successor features with the best source, the optimum and learning from scratch.

    Args:
        quick: fewer tasks and transitions.
        seeds: datasets (and initial networks) that psi is learned from.
        out: where the figure and the numbers go.
    """
    count, seeds, transitions, iterations = (20, 1, 4_000, 30) if quick else (200, seeds, 50_000, 120)
    policies = jax.jit(source_policies)()
    exact = jax.jit(exact_features)(policies)
    learn = jax.jit(lambda key: learned_features(key, transitions, iterations, successor_features.Config()))
    learned = [learn(jax.random.key(seed)) for seed in range(seeds)]
    evaluate = jax.jit(compare)
    numbers: dict = {"exact": {}, "learned": {}, "fitted_q_iteration": {}}
    shares: dict[str, dict[str, np.ndarray]] = {}
    for i, kind in enumerate(("convex", "mixed")):
        tasks = draw_tasks(jax.random.key(10 + i), kind, count)
        found = evaluate(exact, policies, tasks)
        from_data = [evaluate(psi, policies, tasks) for psi in learned]
        numbers["exact"][kind] = summary(found)
        numbers["learned"][kind] = [summary(one) for one in from_data]
        shares[kind] = {
            "best exact source": np.asarray(found.source / found.optimal)[:, START],
            "GPI, learned": np.asarray(from_data[0].improved / found.optimal)[:, START],
            "GPI, exact": np.asarray(found.improved / found.optimal)[:, START],
        }
    tasks = draw_tasks(jax.random.key(10), "convex", 4 if quick else 20)
    for size in (100, 1_000) if quick else (100, 300, 1_000, 3_000, 10_000):
        program = jax.jit(from_scratch, static_argnums=(2, 3))
        numbers["fitted_q_iteration"][size] = [float(x) for x in program(jax.random.key(20), tasks, size, 100)]

    print("Claim: GPI on the features of four known policies needs no sample of a new task to be nearly optimal on it.")
    for kind, row in numbers["exact"].items():
        print(
            f"{kind} tasks: with exact features not worse than the best source at any state in "
            f"{row['tasks_not_worse_at_any_state']} of {row['tasks']}; share of the optimal value at the start: GPI "
            f"{row['gpi_mean']:.4f} (min {row['gpi_min']:.3f}), best source {row['best_source_mean']:.4f} "
            f"(min {row['best_source_min']:.3f})"
        )
        for seed, one in enumerate(numbers["learned"][kind]):
            print(f"    learned from dataset {seed}: GPI {one['gpi_mean']:.4f}, of the total {one['gpi_total']:.4f}")
    for size, row in numbers["fitted_q_iteration"].items():
        print(f"fitted Q-iteration from scratch on {size} transitions of a convex task: {np.mean(row):.4f}")
    out.mkdir(parents=True, exist_ok=True)
    (out / "numbers.json").write_text(json.dumps(numbers, indent=2) + "\n")
    draw(shares, numbers["fitted_q_iteration"], out / "figure.png")


def draw(shares: dict[str, dict[str, np.ndarray]], scratch: dict[int, list[float]], path: Path) -> None:
    """What is lost to the optimum, sorted over tasks, for both kinds of tasks; and learning from scratch."""
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for panel, (kind, ways) in zip(panels, shares.items(), strict=False):
        for i, (name, share) in enumerate(ways.items()):
            lost = np.sort(np.maximum(1 - share, 1e-6))[::-1]
            place = np.linspace(0, 100, len(lost))
            panel.plot(place, lost, linestyle=DASHES[i], color=COLOURS[i], label=name)
        panel.set(yscale="log", ylim=(1e-5, 1), xlabel="% of tasks", ylabel="value lost to the optimum")
        panel.set_title(f"Tasks with {kind} weights" if kind == "convex" else "Tasks with weights of both signs")
        panel.legend(frameon=False, fontsize=8)
    sizes = list(scratch)
    low, middle, high = np.percentile([scratch[size] for size in sizes], [25, 50, 75], axis=1)
    panels[2].plot(sizes, middle, color=COLOURS[3], marker="o", label="fitted Q-iteration")
    panels[2].fill_between(sizes, low, high, color=COLOURS[3], alpha=0.2, linewidth=0)
    for i, (name, share) in enumerate(shares["convex"].items()):
        panels[2].axhline(np.median(share), linestyle=DASHES[i], color=COLOURS[i], label=f"{name}, 0 transitions")
    panels[2].set(xscale="log", xlabel="transitions of the new task", ylabel="share of the optimal value")
    panels[2].set_title("Learning a convex task from scratch")
    panels[2].legend(frameon=False, fontsize=8, loc="center left")
    for panel in panels:
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    print(f"figure: {path}")


if __name__ == "__main__":
    tyro.cli(main)
