"""Control with a table of action values: two claims of the textbook, on two problems.

    python experiments/tabular_control.py              # three minutes on two busy cores
    python experiments/tabular_control.py --quick      # under a minute, most of it compiling; the numbers are noisy

Cliff walking (Sutton & Barto, 2018, example 6.6): Q-learning learns the values of the shortest way, along the cliff,
and falls off it while it explores; SARSA and expected SARSA count their own exploration and earn more. Maximisation
bias (example 6.7): the maximum of noisy estimates sends Q-learning to the left, which is worse; double Q-learning is
hardly misled. Planning with such a table is in dyna_maze.py.

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

from purerl.algorithms.tabular import q_learning
from purerl.environments import finite
from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.train import train
from purerl.types import Algorithm, Metrics

STEPWISE: dict[str, Any] = {"steps_per_iteration": 1, "max_steps": 100_000}  # an iteration is a step: see `episodes_of`
LAST = 100  # episodes of cliff walking whose return is compared
WINDOW = 10  # episodes over which a rate is averaged
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


def around(rates: np.ndarray, episode: int) -> float:
    """The mean of a rate over the `WINDOW` episodes around or before this one (counted from 1)."""
    end = min(episode + WINDOW // 2, len(rates))
    return float(np.mean(rates[end - WINDOW : end]))


def summary(cliff: Table, bias: Table) -> dict[str, Any]:
    """The numbers of both claims."""

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
    }


def draw(path: Path, cliff: Table, bias: Table) -> None:
    """One panel per claim."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.3), layout="constrained")
    cliff_axes, bias_axes = axes
    curves(cliff_axes, {rule: smooth(returns.mean(axis=0)) for rule, returns in cliff.items()}, in_words)
    cliff_axes.set(title="Cliff walking", xlabel="episode", ylabel=f"return, mean of {WINDOW} episodes")
    cliff_axes.set_ylim(-100, -10)
    curves(bias_axes, bias, in_words)
    bias_axes.axhline(0.05, color="0.4", linewidth=1, linestyle=":")
    bias_axes.text(300, 0.04, "best possible", ha="right", va="top", color="0.3", fontsize=8)
    bias_axes.set(title="Maximisation bias", xlabel="episode", ylabel="share of runs that go left", ylim=(0, 1))
    for panel in axes:
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
    """'double_q_learning' -> 'double Q-learning'."""
    names = {
        "q_learning": "Q-learning",
        "sarsa": "SARSA",
        "expected_sarsa": "expected SARSA",
        "double_q_learning": "double Q-learning",
    }
    return names[name]


def main(quick: bool = False, seeds: int = 300, out: Path = Path("runs/experiments/tabular_control")) -> None:
    """Run the learners on both problems, print and draw what they do.

    Args:
        quick: a short run that shows that everything works.
        seeds: runs of each learner, in one program; the maximisation bias takes 40 times as many.
        out: where the numbers and the figure go.
    """
    seeds = 20 if quick else seeds
    out.mkdir(parents=True, exist_ok=True)
    results = (cliff_walking(seeds), maximization_bias(40 * seeds))
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
