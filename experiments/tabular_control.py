"""Control with a table of action values: four claims of the textbook, on four problems.

    python experiments/tabular_control.py              # three minutes on two cores
    python experiments/tabular_control.py --quick      # under a minute, most of it compiling; the numbers are noisy

Cliff walking (Sutton & Barto, 2018, example 6.6): Q-learning learns the values of the shortest way, along the cliff,
and falls off it while it explores; SARSA and expected SARSA count their own exploration and earn more. Maximisation
bias (example 6.7): the maximum of noisy estimates sends Q-learning to the left, which is worse; double Q-learning is
hardly misled. Dyna maze (figure 8.2): the more updates from the model, the fewer real steps to the goal. Blocking maze
(example 8.2): when the wall moves, most runs of Dyna-Q keep walking against it; the bonus of Dyna-Q+ makes all of them
find the new way.

Every learner acts epsilon-greedily with epsilon 0.1 over all available actions and breaks ties at random.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.axes import Axes

from purerl.algorithms.tabular import dyna_q, q_learning
from purerl.environments import finite
from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.train import advance, start, train
from purerl.types import Algorithm, Metrics

STEPWISE: dict[str, Any] = {"steps_per_iteration": 1, "max_steps": 100_000}  # an iteration is a step: see `episodes_of`
LAST = 100  # episodes of cliff walking whose return is compared
WINDOW = 10  # episodes over which a rate is averaged
WALL_MOVES, STEPS = 1_000, 3_000  # of the blocking maze
Table = dict[str, np.ndarray]


def episodes_of(metrics: Metrics, episodes: int) -> tuple[jax.Array, jax.Array]:
    """Returns and lengths of the first `episodes` episodes, NaN where unfinished, from metrics of every step `[N]`."""
    number = jnp.cumsum(metrics["episodes"]).astype(jnp.int32) - 1
    place = jnp.where(metrics["episodes"] > 0, number, episodes)
    blank = jnp.full(episodes, jnp.nan)
    names = ("episode_return_sum", "episode_length_sum")
    returns, lengths = (blank.at[place].set(metrics[name], mode="drop") for name in names)
    return returns, lengths


def play(algorithm: Algorithm, runs: int, episodes: int, steps: int) -> tuple[np.ndarray, np.ndarray, Any]:
    """Returns and lengths `[runs, episodes]` of that many runs of `steps` steps, and their last states."""

    def one(key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        result = train(algorithm, key, steps)
        return *episodes_of(result.metrics, episodes), result.state

    returns, lengths, states = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), runs))
    if np.isnan(returns).any():
        raise ValueError(f"{steps} steps are too few for {episodes} episodes of {algorithm.config}: raise `steps`")
    return np.asarray(returns), np.asarray(lengths), states


def cliff_walking(runs: int, rules: tuple[str, ...] = ("q_learning", "sarsa", "expected_sarsa")) -> Table:
    """Returns `[runs, 500]` by rule: step size 0.5, no discount."""
    returns = {}
    for rule in rules:
        config = q_learning.Config(rule=rule, learning_rate=0.5, discount=1.0, **STEPWISE)  # pyright: ignore
        returns[rule], _, _ = play(q_learning.make(finite.cliff_walking(), config), runs, 500, steps=30_000)
    return returns


def maximization_bias(runs: int) -> Table:
    """Share of the runs `[300]` that go left in each episode, by rule: step size 0.1, no discount."""
    lefts = {}
    for rule in ("q_learning", "double_q_learning"):
        config = q_learning.Config(rule=rule, learning_rate=0.1, discount=1.0, **STEPWISE)  # pyright: ignore
        _, lengths, _ = play(q_learning.make(finite.maximization_bias(), config), runs, 300, steps=601)
        lefts[rule] = np.mean(lengths == 2, axis=0)  # to the right ends the episode at once
    return lefts


def dyna_maze(runs: int, planning: tuple[int, ...] = (0, 5, 50)) -> Table:
    """Steps `[runs, 25]` of each episode by the number of planning updates: step size 0.1, discount 0.95.

    Values within 1e-9 of the best count as ties. The textbook does not say so; of the tolerances 0, 1e-12, 1e-9 and
    1e-5 (relative) it is the one that gives the numbers of the table this is compared with. Without a tolerance the
    tiny values that a reward leaves far from the goal already show the way, and 39 steps do in episode 2, not 46.
    """
    lengths = {}
    for updates in planning:
        config = dyna_q.Config(planning_updates=updates, tie_tolerance=1e-9, **STEPWISE)
        _, lengths[str(updates)], _ = play(
            dyna_q.make(finite.dyna_maze(), config), runs, 25, steps=12_000 if updates else 25_000
        )
    return lengths


def blocking_maze(runs: int) -> Table:
    """Goals reached until each step `[runs, 3000]`: 50 planning updates, step size 0.1, bonus 0.001."""
    plus = {"bonus": 1e-3, "plan_untried_actions": True}
    variants: dict[str, dict[str, Any]] = {"dyna_q": {}, "dyna_q_plus": plus}
    return {name: _through_the_move(dyna_q_in_the_maze(fields), runs) for name, fields in variants.items()}


def dyna_q_in_the_maze(fields: dict[str, Any]) -> list[Algorithm]:
    """The same learner for the maze before and after the wall moves."""
    config = dyna_q.Config(planning_updates=50, **STEPWISE, **fields)
    return [dyna_q.make(finite.blocking_maze(moved=moved), config) for moved in (False, True)]


def _through_the_move(algorithms: list[Algorithm], runs: int) -> np.ndarray:
    """The learner of the first maze goes on, with the state it has, in the second."""

    def one(key: jax.Array) -> jax.Array:
        training, goals, first = start(algorithms[0], key), [], 0
        for algorithm, steps in zip(algorithms, (WALL_MOVES, STEPS - WALL_MOVES), strict=True):
            training, metrics, _ = advance(
                algorithm, training, jnp.int32(first), iterations=steps, total_iterations=STEPS
            )
            goals.append(metrics["episode_return_sum"])
            first += steps
        return jnp.cumsum(jnp.concatenate(goals))

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), runs)))


def around(rates: np.ndarray, episode: int) -> float:
    """The mean of a rate over the `WINDOW` episodes around or before this one (counted from 1)."""
    end = min(episode + WINDOW // 2, len(rates))
    return float(np.mean(rates[end - WINDOW : end]))


def recovered(goals: np.ndarray) -> np.ndarray:
    """Which runs `[runs]` reach the goal regularly in the last 500 steps of the blocking maze (16 steps suffice)."""
    return goals[:, -1] - goals[:, -501] >= 10


def summary(cliff: Table, bias: Table, dyna: Table, blocking: Table) -> dict[str, Any]:
    """The numbers of the four claims."""

    def mean(x: np.ndarray) -> list[float]:
        return [round(float(np.mean(x)), 2), round(float(np.std(x) / np.sqrt(len(x))), 2)]

    return {
        "cliff walking: return of the last 100 of 500 episodes, [mean, standard error]": {
            rule: mean(returns[:, -LAST:].mean(axis=1)) for rule, returns in cliff.items()
        },
        "maximisation bias: share of runs that go left": {
            rule: {
                "peak": round(float(rates.max()), 3),
                "around episode 50": round(around(rates, 50), 3),
                "at the end (300)": round(around(rates, 300), 3),
            }
            for rule, rates in bias.items()
        },
        "Dyna maze: steps of an episode, [mean, standard error], by planning updates": {
            updates: {f"episode {i}": mean(lengths[:, i - 1]) for i in (1, 2, 3, 10, 25)}
            for updates, lengths in dyna.items()
        },
        "blocking maze": {
            name: {
                "goals before the wall moves": mean(goals[:, WALL_MOVES - 1]),
                "goals after": mean(goals[:, -1] - goals[:, WALL_MOVES - 1]),
                "share of runs that recover": round(float(np.mean(recovered(goals))), 3),
            }
            for name, goals in blocking.items()
        },
    }


def draw(path: Path, cliff: Table, bias: Table, dyna: Table, blocking: Table) -> None:
    """One panel per claim."""
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
    cliff_axes, bias_axes, dyna_axes, blocking_axes = axes.ravel()
    curves(cliff_axes, {rule: smooth(returns.mean(axis=0)) for rule, returns in cliff.items()}, in_words)
    cliff_axes.set(title="Cliff walking", xlabel="episode", ylabel=f"return, mean of {WINDOW} episodes")
    cliff_axes.set_ylim(-100, -10)
    curves(bias_axes, bias, in_words)
    bias_axes.axhline(0.05, color="0.4", linewidth=1, linestyle=":")
    bias_axes.text(300, 0.04, "best possible", ha="right", va="top", color="0.3", fontsize=8)
    bias_axes.set(title="Maximisation bias", xlabel="episode", ylabel="share of runs that go left", ylim=(0, 1))
    curves(dyna_axes, {k: x.mean(axis=0) for k, x in dyna.items()}, lambda k: f"{k} planning updates")
    dyna_axes.set(title="Dyna maze", xlabel="episode", ylabel="steps to the goal", yscale="log")
    curves(blocking_axes, {name: x.mean(axis=0) for name, x in blocking.items()}, in_words)
    blocking_axes.axvline(WALL_MOVES, color="0.4", linewidth=1, linestyle=":")
    blocking_axes.text(WALL_MOVES, 0, " the wall moves", va="bottom", color="0.3", fontsize=8)
    blocking_axes.set(title="Blocking maze", xlabel="step", ylabel="goals reached (mean)")
    for panel in axes.ravel():
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.legend(frameon=False, fontsize=8.5)
    figure.savefig(path, dpi=90)


def curves(axes: Axes, lines: Table, label: Callable[[str], str]) -> None:
    """One line per learner, counted from 1."""
    for i, (name, values) in enumerate(lines.items()):
        axes.plot(np.arange(1, len(values) + 1), values, DASHES[i], color=COLOURS[i], label=label(name))


def smooth(values: np.ndarray) -> np.ndarray:
    """The mean of each value and those before it, `WINDOW` in all where there are so many."""
    total = np.cumsum(np.concatenate([[0.0], values]))
    first = np.maximum(np.arange(1, len(values) + 1) - WINDOW, 0)
    return (total[1:] - total[first]) / (np.arange(1, len(values) + 1) - first)


def in_words(name: str) -> str:
    """'dyna_q_plus' -> 'Dyna-Q+'."""
    names = {
        "q_learning": "Q-learning",
        "sarsa": "SARSA",
        "expected_sarsa": "expected SARSA",
        "double_q_learning": "double Q-learning",
        "dyna_q": "Dyna-Q",
        "dyna_q_plus": "Dyna-Q+",
    }
    return names[name]


def main(quick: bool = False, seeds: int = 300, out: Path = Path("runs/experiments/tabular_control")) -> None:
    """Run the learners on the four problems, print and draw what they do.

    Args:
        quick: a short run that shows that everything works.
        seeds: runs of each learner, in one program; the maximisation bias takes 40 times as many.
        out: where the numbers and the figure go.
    """
    seeds = 20 if quick else seeds
    out.mkdir(parents=True, exist_ok=True)
    results = (cliff_walking(seeds), maximization_bias(40 * seeds), dyna_maze(seeds), blocking_maze(seeds))
    numbers = summary(*results)
    (out / "numbers.json").write_text(json.dumps(numbers, indent=2) + "\n")
    draw(out / "tabular_control.png", *results)
    for claim, values in numbers.items():
        print(claim)
        for name, value in values.items():
            print(f"    {name}: {value}")
    print(f"figure: {out / 'tabular_control.png'}")


if __name__ == "__main__":
    tyro.cli(main)
