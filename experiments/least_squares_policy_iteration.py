"""LSPI crosses four rooms from random transitions, and does not from those of its own good policy.

    python experiments/least_squares_policy_iteration.py              # about a minute on one core
    python experiments/least_squares_policy_iteration.py --quick      # half of it, most of it compiling

The claim of Lagoudakis and Parr (2003): one dataset serves every evaluation, whoever collected it, and a handful of
iterations is enough. What has to be in the data is every action wherever the policy may come: the good policy's own
steps say nothing about the actions that it does not take, and what these lead to is extrapolated. So a dataset of steps
that are good is worse than one of steps that are random, and a share of random actions mends it.

The features are 36 radial ones of the position and a constant, the same for every action; the policy that collects is
the one that LSPI finds in random transitions, except for a share of random actions. Success is to reach the goal within
500 steps from anywhere. It is certain after 5,000 random transitions and rare after as many of the good policy: the
table that is printed and the figure have the rest.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from purerl import EvaluationPlan, Policy, make, train
from purerl.algorithms.value_based import lspi
from purerl.data import Transitions, collect
from purerl.operators.least_squares import radial_basis
from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.types import Array, Key, Observation

SIZES = (500, 1000, 2000, 5000)
SHARES = (1.0, 0.3, 0.1, 0.0)  # of random actions in the behaviour policy
ITERATIONS = 10
CENTRES = jnp.stack(jnp.meshgrid(*[jnp.linspace(1.0, 11.0, 6)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
ENVIRONMENT = make("FourRooms-misc")


def where_it_is(observation: Observation) -> Array:
    """The position in 36 bumps and a constant, `[..., 4] -> [..., 37]`; the goal, which never moves, is not seen."""
    return radial_basis(observation[..., :2], CENTRES, 2.0)


def learn(data: Transitions, key: Key) -> tuple[Policy, Array, Array]:
    """The policy of LSPI, its success, and the share of successors in which each iteration changed it."""
    algorithm = lspi.make(ENVIRONMENT, data, lspi.Config(discount=0.95, ridge=1e-4), where_it_is)
    plan = EvaluationPlan(episodes=100)
    result = train(algorithm, key, ITERATIONS, evaluate_every=ITERATIONS, plan=plan)
    assert result.evaluations is not None
    return algorithm.policy(result.state), jnp.mean(result.evaluations.returns), result.metrics["policy_change"]


def partly_random(policy: Policy, share: Array) -> Policy:
    """The policy, but with probability `share` a uniform action."""

    def act(key: Key, memory: tuple, observation: Observation) -> tuple[tuple, Array]:
        own_key, draw_key, choice_key = jax.random.split(key, 3)
        memory, own = policy.act(own_key, memory, observation)
        return memory, jnp.where(
            jax.random.bernoulli(choice_key, share), ENVIRONMENT.action_space.sample(draw_key), own
        )

    return Policy(init=policy.init, act=act)


def main(
    quick: bool = False, seeds: int = 20, out: Path = Path("runs/experiments/least_squares_policy_iteration")
) -> None:
    """Learn from datasets of several sizes and behaviours, and draw how often the goal is reached.

    Args:
        quick: fewer seeds.
        seeds: datasets of each kind, all kinds of one size in one program.
        out: where the figure and the numbers go.
    """
    keys = jax.random.split(jax.random.key(0), 4 if quick else seeds)

    def measure(size: int, share: Array, key: Key) -> tuple[Array, Array]:
        wide_key, first_key, data_key, key = jax.random.split(key, 4)
        good, _, _ = learn(collect(ENVIRONMENT, None, wide_key, 5000), first_key)
        _, success, change = learn(collect(ENVIRONMENT, partly_random(good, share), data_key, size), key)
        return success, change

    success, changes = {}, {}
    for size in SIZES:
        program = jax.jit(
            jax.vmap(jax.vmap(lambda share, key, size=size: measure(size, share, key), (None, 0)), (0, None))
        )
        success[size], changes[size] = (np.asarray(x) for x in program(jnp.array(SHARES), keys))

    print("share of episodes that reach the goal, mean over datasets (lowest):")
    print(f"{'transitions':>24}" + "".join(f"{size:>14,}" for size in SIZES))
    for i, share in enumerate(SHARES):
        row = "".join(f"{success[size][i].mean():7.2f} ({success[size][i].min():.2f})" for size in SIZES)
        print(f"{share:18.0%} random{row}")
    settled = np.mean(np.all(changes[SIZES[-1]][0][:, -3:] < 0.01, axis=-1))
    print(
        f"policy changes in less than 1 % of the successors in the last three iterations: {settled:.0%} of the datasets"
    )
    numbers = {
        "sizes": SIZES,
        "success": {
            f"{share:g}": [success[size][i].round(3).tolist() for size in SIZES] for i, share in enumerate(SHARES)
        },
        "policy change": changes[SIZES[-1]][0].mean(axis=0).round(4).tolist(),
        "settled": float(settled),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(success, changes[SIZES[-1]][0], out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


def draw(success: dict[int, np.ndarray], change: np.ndarray, path: Path) -> None:
    """Success against the size of the dataset, and how the policy settles on the largest random one."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for i, share in enumerate(SHARES):
        found = np.stack(list(success.values()))[:, i]  # [sizes, seeds]
        low, middle, high = np.percentile(found, [25, 50, 75], axis=1)
        left.fill_between(SIZES, low, high, color=COLOURS[i], alpha=0.2, linewidth=0)
        label = {1.0: "random actions", 0.0: "the good policy itself"}.get(share, f"{share:.0%} random actions")
        left.plot(SIZES, middle, color=COLOURS[i], linestyle=DASHES[i], marker=".", label=label)
    left.set(xscale="log", xticks=SIZES, xlabel="transitions", ylabel="episodes that reach the goal", ylim=(0, 1.03))
    left.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
    left.minorticks_off()
    left.legend(frameon=False, fontsize=8)
    iterations = np.arange(1, ITERATIONS + 1)
    right.plot(iterations, change.T, color=COLOURS[0], linewidth=0.7, alpha=0.4)
    right.plot(iterations, change.mean(axis=0), color=COLOURS[0])
    right.set(xlabel="iteration", ylabel="share of successors with a new action", title="5,000 random transitions")
    for panel in (left, right):
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    left.set_title(f"median and middle half of {len(change)} datasets")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    tyro.cli(main)
