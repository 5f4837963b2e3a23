"""Lambda of GAE trades bias for variance when the values are wrong: how much of each, and where the best one is.

    python experiments/gae_bias_variance.py              # 15 seconds on one core
    python experiments/gae_bias_variance.py --quick      # a few seconds

A random problem of 20 states and 3 actions, a fixed random policy, discount 0.95, and a V that is off by a random
number per state, half a deviation of the true V over the states large. 200,000 rollouts of 220 steps, whose first 20
make the gradient sum_t discount^t A_t grad log pi. The claim (Schulman et al., 2016): with lambda the variance rises
and the bias falls, and the best lambda is between 0 and 1. Measured, with 95 % intervals:

    lambda                               0              0.5            0.9              0.95             1
    squared bias of the lambda-return    .0569 +- .0004 .0165 +- .0003 .0022 +- .0005   .0009 +- .0005   .0000 +- .0002
    its variance                         .450 +- .001   .699 +- .001   3.30 +- .01      5.12 +- .02      10.42 +- .05
    squared bias of the gradient         .107 +- .002   .0275 +- .0010 .0011 +- .0003   .0002 +- .0002   .0000 +- .0002
    its variance                         7.72 +- .02    8.73 +- .03    21.2 +- .1       29.9 +- .1       55.1 +- .3

The bias falls at every one of 21 values of lambda. The variance rises from 0.15 on; below that it falls a little, by
1.4 % from 0 to 0.15 for the gradient, as at lambda = 0 the errors of V themselves are noise. The squared error of the
mean over 1, 10, 100, 1,000 and 10,000 episodes is least at lambda = 0.15, 0.25, 0.55, 0.8 and 0.95. Over 1,000 it is
0.9 % of the squared gradient there, 5.4 % at lambda = 0 and 2.6 % at 1.
"""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from purerl.environments.finite import garnet
from purerl.environments.finite.mdp import FiniteMDP
from purerl.operators.returns import generalized_advantage
from purerl.planning import action_values, exact_policy_evaluation
from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.types import Array, Key

STATES, ACTIONS, DISCOUNT, STEPS, USED = 20, 3, 0.95, 220, 20
TRACE_DECAYS = (0.0, 0.5, 0.9, 0.95, 1.0)
CURVE = tuple(np.round(np.linspace(0.0, 1.0, 21), 2).tolist())
BATCHES = (1, 10, 100, 1_000, 10_000)  # episodes


class Problem(NamedTuple):
    """A policy, and values that are not quite its own."""

    mdp: FiniteMDP
    policy: Array  # [S, A]
    values: Array  # [S], exact
    wrong: Array  # [S]


class Estimates(NamedTuple):
    """What one rollout says: sums over rollouts of these are all that is kept."""

    gradient: Array  # [L, S A]
    advantage: Array  # [L, S, A], sum of A_hat per state and action
    square: Array  # [L, S, A], sum of A_hat^2
    visits: Array  # [S, A]


def problem(error: float) -> Problem:
    """A random problem and policy; V is off by a random function of the state, `error` deviations of V large."""
    mdp_key, policy_key, error_key = jax.random.split(jax.random.key(0), 3)
    mdp = garnet(mdp_key, STATES, ACTIONS, branching=3, discount=DISCOUNT)
    policy = jax.nn.softmax(jax.random.normal(policy_key, (STATES, ACTIONS)))
    values = exact_policy_evaluation(mdp, policy)
    off = jax.random.normal(error_key, (STATES,))
    return Problem(mdp, policy, values, values + error * jnp.std(values) * off)


def rollout(given: Problem, key: Key) -> tuple[Array, Array, Array, Array]:
    """States, actions, rewards and successors, `[T]`; nothing ends, and the time limit is far behind the used steps."""
    mdp = given.mdp
    first_key, step_key = jax.random.split(key)
    bounds = jnp.cumsum(mdp.transition, axis=-1).at[..., -1].set(1.0)
    choices = jnp.cumsum(given.policy, axis=-1).at[..., -1].set(1.0)

    def step(state: Array, drawn: Array):
        action = jnp.sum(drawn[0] >= choices[state])
        successor = jnp.sum(drawn[1] >= bounds[state, action])
        return successor, (state, action, mdp.reward[state, action, successor], successor)

    first = jax.random.categorical(first_key, jnp.log(mdp.initial))
    return jax.lax.scan(step, first, jax.random.uniform(step_key, (STEPS, 2)))[1]


def estimate(given: Problem, trace_decays: Array, key: Key) -> Estimates:
    """Advantages and the gradient `sum_t discount^t A_hat_t grad log pi(a_t | s_t)` of the first steps."""
    state, action, reward, successor = rollout(given, key)
    ends = jnp.zeros(STEPS, bool).at[-1].set(True)
    advantage = jax.vmap(
        partial(
            generalized_advantage,
            reward,
            given.wrong[state],
            given.wrong[successor],
            jnp.zeros(STEPS, bool),
            ends,
            DISCOUNT,
        )
    )(trace_decays)[:, :USED]
    state, action = state[:USED], action[:USED]
    here = jax.nn.one_hot(state, STATES)
    pair = here[:, :, None] * jax.nn.one_hot(action, ACTIONS)[:, None, :]
    score = here[:, :, None] * (jax.nn.one_hot(action, ACTIONS) - given.policy[state])[:, None, :]
    weight = DISCOUNT ** jnp.arange(USED) * advantage
    return Estimates(
        gradient=jnp.einsum("lt,tsa->lsa", weight, score).reshape(len(trace_decays), -1),
        advantage=jnp.einsum("lt,tsa->lsa", advantage, pair),
        square=jnp.einsum("lt,tsa->lsa", advantage**2, pair),
        visits=jnp.sum(pair, axis=0),
    )


def exact_gradient(given: Problem) -> np.ndarray:
    """`[S A]`: `sum_t discount^t sum_s d_t(s) pi(a | s) A(s, a)` over the steps used, in float64."""
    move, pi = np.asarray(given.mdp.transition, np.float64), np.asarray(given.policy, np.float64)
    advantage = np.asarray(action_values(given.mdp, given.values) - given.values[:, None], np.float64)
    states, visits = np.asarray(given.mdp.initial, np.float64), np.zeros(STATES)
    for t in range(USED):
        visits += DISCOUNT**t * states
        states = np.einsum("s,sa,sat->t", states, pi, move)
    return (visits[:, None] * pi * advantage).ravel()


def measure(given: Problem, rollouts: int, trace_decays: tuple[float, ...]) -> list[dict]:
    """For every lambda: bias and variance of the lambda-return and of the gradient, with 95 % intervals.

    The lambda-return is `A_hat + V`, an estimate of Q(s, a): errors of V(s) itself are a baseline and bias no gradient.

    The interval of a squared bias is that of a jackknife over 50 groups of rollouts; the noise of the mean, which makes
    its square too large, is subtracted.
    """
    groups = 50
    keys = jax.random.split(jax.random.key(1), (groups, rollouts // groups))
    decays = jnp.asarray(trace_decays)

    def group(keys: Array) -> tuple[Estimates, Array]:
        found = jax.vmap(partial(estimate, given, decays))(keys)
        mean = jax.tree.map(lambda x: jnp.mean(x, axis=0), found)
        return mean, jnp.mean(jnp.sum(found.gradient**2, axis=-1), axis=0)

    found, squares = jax.device_get(jax.jit(lambda keys: jax.lax.map(group, keys))(keys))
    found, squares = jax.tree.map(lambda x: x.astype(np.float64), (found, squares))
    exact = exact_gradient(given)
    truth = np.asarray(action_values(given.mdp, given.values) - given.wrong[:, None], np.float64)

    def summary(chosen: np.ndarray) -> np.ndarray:
        """`[4, L]` from some groups: squared bias and variance of the lambda-return, and of the gradient."""
        mean, size = jax.tree.map(lambda x: x[chosen].mean(0), found), len(chosen) * (rollouts // groups)
        visits = np.maximum(mean.visits, 1e-12)
        share = mean.visits / mean.visits.sum()
        pair = mean.advantage / visits
        spread = np.maximum(mean.square / visits - pair**2, 0)
        noise = np.sum(share * spread / (visits * size), axis=(-2, -1))
        return_bias = np.sum(share * (pair - truth) ** 2, axis=(-2, -1)) - noise
        variance = squares[chosen].mean(0) - np.sum(mean.gradient**2, axis=-1)
        gradient_bias = np.sum((mean.gradient - exact) ** 2, axis=-1) - variance / size
        return np.stack([return_bias, np.sum(share * spread, axis=(-2, -1)), gradient_bias, variance])

    everything = np.arange(groups)
    value = summary(everything)
    left_out = np.stack([summary(np.delete(everything, i)) for i in everything])
    half = 1.96 * np.sqrt((groups - 1) / groups * np.sum((left_out - left_out.mean(0)) ** 2, axis=0))
    names = ("return_squared_bias", "return_variance", "gradient_squared_bias", "gradient_variance")
    return [
        {"trace_decay": decay} | {n: [float(value[i, j]), float(half[i, j])] for i, n in enumerate(names)}
        for j, decay in enumerate(trace_decays)
    ]


def main(
    quick: bool = False,
    rollouts: int = 200_000,
    error: float = 0.5,
    out: Path = Path("runs/experiments/gae_bias_variance"),
) -> None:
    """Measure bias and variance for every lambda and draw them.

    Args:
        quick: few rollouts.
        rollouts: of 220 steps, whose first 20 are used.
        error: of the values, in deviations of the exact ones over the states.
        out: where the figure and the numbers go.
    """
    rollouts = 2_000 if quick else rollouts
    given = problem(error)
    rows = measure(given, rollouts, CURVE)
    length = float(np.sum(exact_gradient(given) ** 2))
    for row in rows:
        if row["trace_decay"] in TRACE_DECAYS:
            print(
                ", ".join(f"{k} {v if isinstance(v, float) else f'{v[0]:.4g} +- {v[1]:.2g}'}" for k, v in row.items())
            )
    best = {}
    for batch in BATCHES:
        mean_square = [row["gradient_squared_bias"][0] + row["gradient_variance"][0] / batch for row in rows]
        best[batch] = {
            "trace_decay": CURVE[int(np.argmin(mean_square))],
            "error": min(mean_square) / length,
            "error_at_0": mean_square[0] / length,
            "error_at_1": mean_square[-1] / length,
        }
        print(f"batch of {batch}: {best[batch]}")
    numbers = {
        "rollouts": rollouts,
        "squared_length_of_the_gradient": length,
        "rows_value_and_half_of_95_percent_interval": rows,
        "best_by_episodes_per_batch_relative_to_the_gradient": best,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(rows, length, out / "figure.png")


def draw(rows: list[dict], length: float, path: Path) -> None:
    """Bias and variance of the lambda-return and of the gradient against lambda, and the error of a batch's mean."""
    figure, panels = plt.subplots(1, 3, figsize=(13, 3.9), layout="constrained")
    for panel, kind, scale in ((panels[0], "return", 1.0), (panels[1], "gradient", length)):
        for i, name in enumerate(("squared_bias", "variance")):
            value, half = np.array([row[f"{kind}_{name}"] for row in rows]).T / scale
            clear = value > half  # what cannot be told from 0 has no place on a logarithmic axis
            x = np.array(CURVE)[clear]
            label = name.replace("_", " ")
            panel.plot(x, value[clear], DASHES[i], marker="o", markersize=3, color=COLOURS[i], label=label)
            low, high = (value - half)[clear], (value + half)[clear]
            panel.fill_between(x, low, high, color=COLOURS[i], alpha=0.25, linewidth=0)
        panel.set(yscale="log", xlabel="lambda", title=f"of the {'lambda-return' if kind == 'return' else kind}")
        panel.legend(frameon=False, fontsize=8)
    panels[0].set_ylabel("in units of the reward, squared")
    panels[1].set_ylabel("in units of the squared gradient")
    for i, batch in enumerate(BATCHES):
        error = [(row["gradient_squared_bias"][0] + row["gradient_variance"][0] / batch) / length for row in rows]
        panels[2].plot(CURVE, error, DASHES[i % 4], color=COLOURS[i], label=f"{batch:,}")
        at = int(np.argmin(error))
        panels[2].plot(CURVE[at], error[at], "o", color=COLOURS[i], markersize=5)
    panels[2].set(yscale="log", xlabel="lambda", ylabel="squared error, in the same unit")
    panels[2].set_title("mean of a batch of so many episodes (dot: best)")
    panels[2].legend(frameon=False, fontsize=8)
    for panel in panels:
        panel.title.set_fontsize(10)
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    print(f"figure: {path}")


if __name__ == "__main__":
    tyro.cli(main)
