"""What C51, QR-DQN and IQN say about a return, against its true distribution.

    python experiments/distributional_returns.py              # about four minutes on one core
    python experiments/distributional_returns.py --quick      # about 90 seconds, nearly all of it compiling

The claim (Bellemare et al., 2017; Dabney et al., 2018a, 2018b): distributional temporal differences learn the whole
distribution of the return, not only its mean. Two policies are evaluated, each by DQN on a problem whose only action is
to follow the policy, and their return distributions are known exactly. A chain tosses a coin in its first step and pays
10 or 0 in its third. On the windy gridworld of Sutton & Barto with stochastic wind, a policy that is random in one step
of ten earns -10 per step, so that the kappa = 1 of the quantile Huber loss is small against the returns, until it
reaches the goal. What must come out: C51 within the distance of two atoms, 0.28, of the chain's return in
Wasserstein-1, the quantiles of QR-DQN within 5 % of the range on average (kappa = 1 costs them 2 ln 2 - 1 = 0.386 of
10, whatever else is right), a distance that falls with the number of quantiles on the grid, and quantiles of IQN that
cross in less than 5 % of neighbouring levels there.

Measured, means of three seeds: 0.12 for C51, 0.388 for QR-DQN (the price of kappa and nothing else) and 0.392 for IQN
on the chain; 21.8, 10.8, 6.0, 4.7 and 4.5 with 2, 4, 8, 16 and 32 quantiles on the grid, where a step costs a little of
the tails, again and again; no crossing on the grid. On the chain, whose quantiles are a step, the cosines of IQN ring
about it, and 8.6 % of neighbouring levels cross.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from scipy.stats import wasserstein_distance

from purerl import train
from purerl.algorithms.value_based import dqn
from purerl.environments.finite import as_environment, finite_mdp
from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.types import Environment

HEADS: dict[str, dict[str, Any]] = {
    "C51": {"head": "categorical", "atoms": 51},
    "QR-DQN": {"head": "quantile", "atoms": 32},
    "IQN": {"head": "implicit_quantile", "atoms": 16},
}
NUMBERS_OF_QUANTILES = (2, 4, 8, 16)  # and 32, those of QR-DQN above
LEVELS = 32  # at which the implicit quantiles are read
WIND = (0, 0, 0, 1, 1, 1, 2, 2, 1, 0)
ROWS, GOAL, START = 7, (3, 7), (3, 0)


class Problem(NamedTuple):
    """A policy to evaluate, and the truth about it."""

    name: str
    environment: Environment  # its only action follows the policy
    start: int
    returns: np.ndarray  # [K], what may come of the start
    probabilities: np.ndarray  # [K]
    fixed: dict[str, Any]  # fields of the Config


def chain() -> Problem:
    """0 -> 1 or 2 by a coin; 1 -> 3 and 2 -> 4; 3 pays 10, 4 pays 0; 5 is the end."""
    transition, reward = np.zeros((2, 6, 1, 6))
    transition[0, 0, [1, 2]] = 0.5
    transition[[1, 2, 3, 4], 0, [3, 4, 5, 5]] = 1.0
    reward[3, 0, 5] = 10.0
    mdp = finite_mdp(transition, reward, 1.0, terminal=np.arange(6) == 5, initial=np.eye(6)[0])
    fixed = {"support_low": -2.0, "support_high": 12.0, "discount": 1.0}
    return Problem("chain", as_environment(mdp, "chain", 10), 0, np.array([0.0, 10.0]), np.array([0.5, 0.5]), fixed)


def windy_gridworld(discount: float = 0.95, epsilon: float = 0.1) -> Problem:
    """Sutton & Barto (2018), example 6.5; in a third of the windy steps each the wind is one stronger or weaker."""
    columns = len(WIND)
    states, goal, start = ROWS * columns, GOAL[0] * columns + GOAL[1], START[0] * columns + START[1]
    moves = np.zeros((4, states, states))
    for row, column in np.ndindex(ROWS, columns):
        gusts = (-1, 0, 1) if WIND[column] else (0,)
        for action, (down, right) in enumerate(((0, -1), (1, 0), (0, 1), (-1, 0))):
            for gust in gusts:
                to_row = np.clip(row + down - WIND[column] - gust, 0, ROWS - 1)
                to_column = np.clip(column + right, 0, columns - 1)
                moves[action, row * columns + column, to_row * columns + to_column] += 1 / len(gusts)
    moves[:, goal] = np.eye(states)[goal]
    steps_left = np.zeros(states)
    for _ in range(1000):
        steps_left = np.where(np.arange(states) == goal, 0.0, 1 + (moves @ steps_left).min(0))
    best = moves[np.argmin(moves @ steps_left, axis=0), np.arange(states)]
    follow = (1 - epsilon) * best + epsilon * moves.mean(0)

    reached, here = [], np.eye(states)[start]
    while here[goal] < 1 - 1e-9:
        reached.append(here[goal])
        here = here @ follow
    duration = np.arange(len(reached))
    probabilities = np.diff(np.append(reached, 1.0), prepend=0.0)[: len(reached)]
    returns = -10.0 * (1 - discount**duration) / (1 - discount)
    mdp = finite_mdp(
        follow[:, None], np.full((states, 1), -10.0), discount, np.arange(states) == goal, np.eye(states)[start]
    )
    fixed = {"support_low": -10.0 / (1 - discount), "support_high": 0.0, "discount": discount}
    return Problem("windy gridworld", as_environment(mdp, "windy", 500), start, returns, probabilities, fixed)


def beliefs(problem: Problem, seeds: int, iterations: int, **head: Any) -> tuple[np.ndarray, np.ndarray]:
    """Equally many returns and their probabilities, `[seeds, K]` each, as learned for the start of the problem.

    Implicit quantiles are read at `LEVELS` levels.
    """
    config = dqn.Config(
        learning_rate=1e-2,
        anneal_learning_rate=True,
        num_envs=16,
        steps_per_iteration=2,
        updates_per_iteration=2,
        replay_capacity=8192,
        batch_size=64,
        warm_up_steps=2048,
        target_period=32,
        target_rate=0.1,
        widths=(32,),
        **problem.fixed | head,
    )
    algorithm = dqn.make(problem.environment, config)
    implicit = {"atoms": LEVELS} if config.head == "implicit_quantile" else {}
    network = dqn.q_function(problem.environment, dqn.Config(**vars(config) | implicit))

    def learn(key):
        state = train(algorithm, key, iterations).state
        z = network.apply(state.params, jnp.int32(problem.start)).of(jnp.int32(0))
        if config.head == "categorical":
            return z.support, z.probabilities()
        return z.values, jnp.full_like(z.values, 1 / z.values.size)

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(learn))(jax.random.split(jax.random.key(0), seeds)))


def distances(problem: Problem, values: np.ndarray, mass: np.ndarray) -> list[float]:
    """Wasserstein-1 to the true distribution, for each seed."""
    return [
        wasserstein_distance(problem.returns, one, problem.probabilities, weight)
        for one, weight in zip(values, mass, strict=True)
    ]


def quantiles(values: np.ndarray, mass: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The quantiles of a distribution at these levels."""
    order = np.argsort(values)
    return values[order][np.minimum(np.searchsorted(np.cumsum(mass[order]), levels), len(values) - 1)]


def best_distance(problem: Problem, count: int) -> float:
    """Wasserstein-1 of the best `count` equally likely returns: the quantiles at the midpoints."""
    midpoints = (np.arange(count) + 0.5) / count
    return wasserstein_distance(
        problem.returns, quantiles(problem.returns, problem.probabilities, midpoints), problem.probabilities
    )


def main(
    quick: bool = False,
    seeds: int = 3,
    iterations: int = 6000,
    out: Path = Path("runs/experiments/distributional_returns"),
) -> None:
    """Evaluate two policies with every head, and one with growing numbers of quantiles.

    Args:
        quick: a short run that shows that everything works.
        seeds: trained in one program.
        iterations: of DQN, each with 32 steps and two updates.
        out: where the figure and the numbers go.
    """
    if quick:
        seeds, iterations = 2, 300
    out.mkdir(parents=True, exist_ok=True)
    figure, panels = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    numbers: dict[str, Any] = {"seeds": seeds, "iterations": iterations}
    levels = (np.arange(1000) + 0.5) / 1000
    grid = windy_gridworld()
    for problem, axes in zip((chain(), grid), panels, strict=False):
        truth = quantiles(problem.returns, problem.probabilities, levels)
        axes.plot(truth, levels, color="black", linewidth=3, alpha=0.35, label="truth")
        numbers[problem.name] = {"mean": float(problem.returns @ problem.probabilities), "wasserstein": {}}
        for i, (name, head) in enumerate(HEADS.items()):
            values, mass = beliefs(problem, seeds, iterations, **head)
            axes.plot(quantiles(values[0], mass[0], levels), levels, DASHES[i], color=COLOURS[i], label=name)
            numbers[problem.name]["wasserstein"][name] = distances(problem, values, mass)
            print(f"{problem.name}, {name}: Wasserstein-1 {numbers[problem.name]['wasserstein'][name]}", flush=True)
            if name == "IQN":
                numbers[problem.name]["crossing"] = float(np.mean(np.diff(values, axis=-1) < 0))
        axes.set(xlabel="return", ylabel="probability of at most that", title=f"Return of the {problem.name}")

    spread = {}
    for count in NUMBERS_OF_QUANTILES:
        spread[count] = distances(grid, *beliefs(grid, seeds, iterations, head="quantile", atoms=count))
    spread[HEADS["QR-DQN"]["atoms"]] = numbers[grid.name]["wasserstein"]["QR-DQN"]
    numbers["wasserstein of QR-DQN on the grid, by quantiles"] = spread
    panels[2].plot(list(spread), np.mean(list(spread.values()), axis=1), "o-", color=COLOURS[1], label="QR-DQN")
    ideal = [best_distance(grid, count) for count in spread]
    panels[2].plot(list(spread), ideal, "--", color="black", label="best possible")
    panels[2].set(xlabel="quantiles", ylabel="Wasserstein-1 to the truth", title="More quantiles come closer")
    panels[2].set_xscale("log", base=2)
    panels[2].set_yscale("log")
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.legend(frameon=False)
    figure.savefig(out / "figure.png", dpi=100)
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(numbers, indent=1))
    print(f"figure: {out / 'figure.png'}")


if __name__ == "__main__":
    tyro.cli(main)
