"""What each baseline saves: the variance and the bias of policy-gradient estimators at one fixed policy.

    python experiments/gradient_variance.py              # about a minute on one core
    python experiments/gradient_variance.py --quick      # half of it: nearly all of it is compiling

A random problem of 10 states and 3 actions, a softmax policy, 20 steps, discount 0.95, rewards of about 1 +- 1. The
exact gradient comes from backward induction. Total variance is the sum over the 30 logits, per episode; 4,000 batches
of 100 episodes. What theory says (Williams, 1992; Peters & Schaal, 2008; Schulman et al., 2016) and what came out:

From the total return (1842 [1820, 1864]) to the reward to go (531 [524, 537]) falls 71 % of the variance; an average
baseline takes 95 % of the one (88.6) and 94 % of the other (31.3). The optimal number instead of the average saves
0.01 % [0.00, 0.02] and 0.02 % [-0.00, 0.05]: nothing, where scores are about as long everywhere. The optimal number per
parameter (and step) saves another 3 % (86.0) and 8 % (28.8), V instead of the optimal number 2.5 % [2.1, 2.9] (30.5).
These constants are from 20,000 other episodes. From the other 99 of the batch they cost more than they save per
parameter: 36.9 [36.5, 37.3] where the average has 31.7. Q as a control variate, with its expectation added back, has
27.7; exact values below that go with shorter traces, GAE(0.95) 20.5 and GAE(0) 5.34, and the sum over all actions 0.86.
None of these shows a bias (at most 3 % of the gradient, less than the 95 % limit of chance); without the weight
discount^t the reward to go with V is off by 57 % of the gradient, and its variance is 57.1.

Off policy, with actions of another softmax policy, variances are exact (the second moments obey a backward recursion
like that of values). The whole product grows from 1.1 to 6.2e4 in 20 steps and 6.4e8 in 60, by a factor of 1.23 per
step in the end; per decision to 3.5e3 and 6.3e5, by 1.11; with the past ratios only to 1.7e3 and 6.8e4, by 1.08, and a
bias of 20 % of the gradient; with the first-order ratio it stays at 2.6e3, with a bias of 26 %. The rate is that of
E[rho^2], whose spectral radius is 1.19, times discount^2 where late rewards have late ratios, times powers of T.
Simulation cannot show it: at 12 steps 200,000 episodes say 3661 [3267, 4055] where 4403 is the truth.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from purerl.environments.finite import garnet
from purerl.environments.finite.mdp import FiniteMDP, expected_reward
from purerl.operators import score_function
from purerl.operators.returns import generalized_advantage
from purerl.operators.selection import at_action
from purerl.planning import finite_horizon
from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.types import Array, Key

STATES, ACTIONS, HORIZON, BATCH = 10, 3, 20, 100
PARAMETERS = STATES * ACTIONS
HORIZONS = np.arange(1, 61)
SIMULATED = (1, 2, 4, 8, 12)  # steps for which the exact variance off policy is compared with a simulated one
BIASED, OTHERS = "reward to go, V, without discount^t", ", from the batch"
LADDER = (
    "total return",
    "total return, average",
    "total return, optimal",
    "total return, optimal per parameter",
    "reward to go",
    "reward to go, average",
    "reward to go, optimal",
    "reward to go, optimal per parameter",
    "reward to go, V",
    BIASED,
    "reward to go, Q and its expectation",
    "GAE(0.95), V",
    "GAE(0), V",
    "all actions, Q",
)
SAVINGS = [
    ("total return", "reward to go"),
    ("total return", "total return, average"),
    ("total return, average", "total return, optimal"),
    ("total return, optimal", "total return, optimal per parameter"),
    ("reward to go", "reward to go, average"),
    ("reward to go, average", "reward to go, optimal"),
    ("reward to go, optimal", "reward to go, optimal per parameter"),
    ("reward to go, optimal", "reward to go, V"),
    ("reward to go, V", "reward to go, Q and its expectation"),
    ("reward to go, V", "GAE(0.95), V"),
    ("GAE(0.95), V", "GAE(0), V"),
    ("GAE(0), V", "all actions, Q"),
]


class Problem(NamedTuple):
    """Where the gradient is taken: softmax policies by their logits `[S, A]`."""

    mdp: FiniteMDP
    logits: Array  # of the policy whose gradient is wanted
    behaviour: Array  # of the policy that acts, off policy


class Episodes(NamedTuple):
    """What was met, `[T, B]`; nothing ends before T."""

    state: Array
    action: Array
    reward: Array
    successor: Array


def problem() -> Problem:
    """A random problem whose rewards are 1 higher than drawn, so that returns are far from 0."""
    mdp_key, target_key, behaviour_key = jax.random.split(jax.random.key(0), 3)
    mdp = garnet(mdp_key, STATES, ACTIONS, branching=3, discount=0.95)
    logits = 0.7 * jax.random.normal(target_key, (STATES, ACTIONS))
    behaviour = logits + 0.4 * jax.random.normal(behaviour_key, (STATES, ACTIONS))
    return Problem(mdp.replace(reward=mdp.reward + 1.0), logits, behaviour)


def exact_gradient(given: Problem, horizon: int) -> np.ndarray:
    """`[P]`, the derivative of backward induction, in float64."""

    def objective(logits: Array) -> Array:
        return finite_horizon(given.mdp, horizon, policy=jax.nn.softmax(logits)).values[0] @ given.mdp.initial

    with jax.enable_x64(True):
        given = jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, given)
        return np.asarray(jax.jit(jax.grad(objective))(given.logits)).ravel()


def sample(given: Problem, logits: Array, key: Key, horizon: int, episodes: int) -> Episodes:
    """Episodes of the policy with these logits."""
    mdp = given.mdp
    first_key, action_key, successor_key = jax.random.split(key, 3)
    first = jax.random.categorical(first_key, jnp.log(mdp.initial), shape=(episodes,))
    noise = jax.random.gumbel(action_key, (horizon, episodes, ACTIONS))
    chance = jax.random.uniform(successor_key, (horizon, episodes, 1))
    bounds = jnp.cumsum(mdp.transition, axis=-1).at[..., -1].set(1.0)

    def step(state: Array, drawn: tuple[Array, Array]) -> tuple[Array, Episodes]:
        noise, chance = drawn
        action = jnp.argmax(logits[state] + noise, axis=-1)
        successor = jnp.sum(chance >= bounds[state, action], axis=-1)
        return successor, Episodes(state, action, mdp.reward[state, action, successor], successor)

    return jax.lax.scan(step, first, (noise, chance))[1]


def scores(logits: Array, episodes: Episodes) -> Array:
    """`grad log pi(a_t | s_t)`, `[T, B, P]`: a softmax's is `1_a - pi(. | s)` in the row of s."""
    row = jax.nn.one_hot(episodes.action, ACTIONS) - jax.nn.softmax(logits)[episodes.state]
    table = jax.nn.one_hot(episodes.state, STATES)[..., None] * row[..., None, :]
    return table.reshape(*table.shape[:2], PARAMETERS)


class Baselines(NamedTuple):
    """Constants: of the total return `[...]`, and of the reward to go at each step `[T, ...]`; `...` is () or `[P]`."""

    total: Array
    to_go: Array


def constants(given: Problem, key: Key, episodes: int) -> dict[str, Baselines]:
    """The best constants, from separate episodes, so many that leaving one of them out changes nothing."""
    seen = sample(given, given.logits, key, HORIZON, episodes)
    score, mask = scores(given.logits, seen), jnp.ones((HORIZON, episodes), bool)
    total = score_function.total_return(seen.reward, mask, given.mdp.discount)[0]
    to_go = score_function.reward_to_go(seen.reward, mask, given.mdp.discount)

    def both(baseline: Callable[[Array, Array], Array]) -> Baselines:
        of_steps = jax.lax.map(lambda step: baseline(*step)[0], (score, to_go))
        return Baselines(baseline(jnp.sum(score, axis=0), total)[0], of_steps)

    return {
        "average": Baselines(jnp.mean(total), jnp.mean(to_go, axis=1)),
        "optimal": both(score_function.optimal_baseline),
        "optimal per parameter": both(score_function.optimal_baseline_per_parameter),
    }


def estimates(given: Problem, known: dict[str, Baselines], key: Key) -> dict[str, Array]:
    """The gradient `[P]` by every estimator from one batch of the policy's own episodes."""
    mdp, policy = given.mdp, jax.nn.softmax(given.logits)
    episodes = sample(given, given.logits, key, HORIZON, BATCH)
    score, mask = scores(given.logits, episodes), jnp.ones((HORIZON, BATCH), bool)
    solution = finite_horizon(mdp, HORIZON, policy=policy)
    value = jax.vmap(lambda v, s: v[s])(solution.values[:-1], episodes.state)
    successor_value = jax.vmap(lambda v, s: v[s])(solution.values[1:], episodes.successor)
    action_values = jax.vmap(lambda q, s: q[s])(solution.action_values, episodes.state)  # [T, B, A]
    state = score_function.state_weight(mask, mdp.discount)
    total = score_function.total_return(episodes.reward, mask, mdp.discount)
    to_go = score_function.reward_to_go(episodes.reward, mask, mdp.discount)
    ends = jnp.zeros_like(mask).at[-1].set(True)
    advantage = partial(
        generalized_advantage, episodes.reward, value, successor_value, ends, ~mask, discount=mdp.discount
    )

    def mean(weight: Array) -> Array:
        return jnp.einsum("tb,tbp->p", weight, score) / BATCH

    def subtracted(of_episodes: Array, of_steps: Array) -> tuple[Array, Array]:
        """Without the baselines of the episodes, `[B or 1, P or 1]`, and of their steps, `[T, B or 1, P or 1]`."""
        by_step = jnp.sum(state[..., None] * score * (to_go[..., None] - of_steps), axis=(0, 1)) / BATCH
        return jnp.mean(whole * (total[0][:, None] - of_episodes), axis=0), by_step

    def from_others(baseline: Callable[[Array, Array], Array]) -> tuple[Array, Array]:
        of_episodes, of_steps = baseline(whole, total[0]), jax.vmap(baseline)(score, to_go)
        return subtracted(of_episodes.reshape(BATCH, -1), of_steps.reshape(HORIZON, BATCH, -1))

    whole, result = jnp.sum(score, axis=0), {}
    pairs = {name: subtracted(b.total.reshape(1, -1), b.to_go.reshape(HORIZON, 1, -1)) for name, b in known.items()}
    average = score_function.average_of_others
    pairs[f"average{OTHERS}"] = mean(total - average(total, mask)), mean(state * (to_go - average(to_go, mask)))
    pairs[f"optimal{OTHERS}"] = from_others(score_function.optimal_baseline)
    pairs[f"optimal per parameter{OTHERS}"] = from_others(score_function.optimal_baseline_per_parameter)
    for name, (of_total, of_to_go) in pairs.items():
        result |= {f"total return, {name}": of_total, f"reward to go, {name}": of_to_go}
    rows = policy[episodes.state] * (action_values - value[..., None])  # sum_a Q(s, a) grad pi(a | s), logits of s
    expected = jnp.einsum("tb,tbs,tba->sa", state, jax.nn.one_hot(episodes.state, STATES), rows).ravel() / BATCH
    control = mean(state * (to_go - at_action(action_values, episodes.action))) + expected
    return result | {
        "total return": mean(total),
        "reward to go": mean(state * to_go),
        "reward to go, V": mean(state * (to_go - value)),
        BIASED: mean(to_go - value),
        "reward to go, Q and its expectation": control,
        "GAE(0.95), V": mean(state * advantage(trace_decay=0.95)),
        "GAE(0), V": mean(state * advantage(trace_decay=0.0)),
        "all actions, Q": expected,
    }


def off_policy_estimates(given: Problem, key: Key, horizon: int) -> dict[str, Array]:
    """The gradient `[P]` by every estimator from one episode of the behaviour."""
    discount = given.mdp.discount
    episodes = sample(given, given.behaviour, key, horizon, 1)
    mask = jnp.ones((horizon, 1), bool)

    def log_probability(logits: Array) -> Array:
        return at_action(jax.nn.log_softmax(logits)[episodes.state], episodes.action)

    ratio = score_function.importance_ratios(log_probability(given.logits), log_probability(given.behaviour), mask)
    to_go = partial(score_function.reward_to_go, mask=mask, discount=discount)
    state, reward = score_function.state_weight(mask, discount), episodes.reward
    weights = {
        "whole product": ratio.trajectory * score_function.total_return(reward, mask, discount),
        "per decision": state * to_go(ratio.per_decision * reward),
        "past ratios only": state * ratio.per_decision * to_go(reward),
        "first order": state * ratio.first_order * to_go(reward),
    }
    score = scores(given.logits, episodes)
    return {name: jnp.einsum("tb,tbp->p", weight, score) for name, weight in weights.items()}


def exact_moments(given: Problem, estimator: str, horizons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The total variance `[H]` and the mean `[H, P]` of an off-policy estimate from one episode of each length.

    What an estimator sums up along an episode is linear in what it sums up along the rest of it: u(s_t, ...) =
    M(s_t, a_t) u(s_{t+1}, ...), u a small vector that ends in the estimate of one parameter. So

        E[u u^T | s] = E[M E[u u^T | s'] M^T],

    a backward recursion over s, like that of the values. With rho, r and c = grad_p log pi(a | s) of the step:

        whole product      u = (W, W R, W g, W R g)     W = rho W',  R = r + discount R',  g = c + g'
        per decision       u = (1, Y, X)                Y = rho (r + discount Y'),  X = c Y + rho discount X'
        past ratios only   u = (1, G, X)                G = r + discount G',        X = rho (c G + discount X')
        first order        u = (1, G, X)                G = r + discount G',        X = rho c G + discount X'
    """
    softmax = [np.exp(np.asarray(x, np.float64)) for x in (given.logits, given.behaviour)]
    pi, acting = (x / x.sum(1, keepdims=True) for x in softmax)
    move = np.asarray(given.mdp.transition, np.float64)
    shape = (STATES, ACTIONS, PARAMETERS)
    r = np.broadcast_to(np.asarray(expected_reward(given.mdp), np.float64)[..., None], shape)  # not random given (s, a)
    rho = np.broadcast_to((pi / acting)[..., None], shape)
    c = np.eye(STATES)[:, None, :, None] * (np.eye(ACTIONS)[None] - pi[:, None, :])[:, :, None, :]
    c = c.reshape(shape)
    gamma, one, none = float(given.mdp.discount), np.ones(shape), np.zeros(shape)
    rows = {
        "whole product": [
            [rho, none, none, none],
            [rho * r, rho * gamma, none, none],
            [rho * c, none, rho, none],
            [rho * r * c, rho * gamma * c, rho * r, rho * gamma],
        ],
        "per decision": [
            [one, none, none],
            [rho * r, rho * gamma, none],
            [rho * c * r, rho * c * gamma, rho * gamma],
        ],
        "past ratios only": [
            [one, none, none],
            [r, gamma * one, none],
            [rho * c * r, rho * c * gamma, rho * gamma],
        ],
        "first order": [
            [one, none, none],
            [r, gamma * one, none],
            [rho * c * r, rho * c * gamma, gamma * one],
        ],
    }[estimator]
    matrix = np.moveaxis(np.array(rows), (0, 1), (-2, -1))  # [S, A, P, n, n]
    end = np.zeros(matrix.shape[-1])
    end[0] = 1.0
    first = np.broadcast_to(end, (STATES, PARAMETERS, len(end)))
    second = np.broadcast_to(np.outer(end, end), (STATES, PARAMETERS, len(end), len(end)))
    initial = np.asarray(given.mdp.initial, np.float64)
    variance, mean = [], []
    for _ in range(horizons.max()):
        ahead = np.einsum("sat,tpn->sapn", move, first), np.einsum("sat,tpnm->sapnm", move, second)
        first = np.einsum("sa,sapnm,sapm->spn", acting, matrix, ahead[0], optimize=True)
        second = np.einsum("sa,sapnm,sapmk,saplk->spnl", acting, matrix, ahead[1], matrix, optimize=True)
        mean.append(initial @ first[..., -1])
        variance.append(np.sum(initial @ second[..., -1, -1] - mean[-1] ** 2))
    return np.array(variance)[horizons - 1], np.array(mean)[horizons - 1]


def total_variance(found: np.ndarray) -> list[float]:
    """The sum over parameters of the variance over the N estimates `[N, P]`, with its normal 95 % interval."""
    squares = np.sum((found - found.mean(0)) ** 2, axis=1) * len(found) / (len(found) - 1)
    half = 1.96 * squares.std() / np.sqrt(len(found))
    return [float(squares.mean()), float(squares.mean() - half), float(squares.mean() + half)]


def saved(more: np.ndarray, less: np.ndarray) -> list[float]:
    """By how much the total variance of one estimator is larger, as a share, on the same batches; 95 % interval."""
    squares = [np.sum((found - found.mean(0)) ** 2, axis=1) for found in (more, less)]
    difference = (squares[0] - squares[1]) / squares[0].mean()
    half = 1.96 * difference.std() / np.sqrt(len(difference))
    return [float(difference.mean()), float(difference.mean() - half), float(difference.mean() + half)]


def relative_bias(found: np.ndarray, exact: np.ndarray) -> tuple[float, float]:
    """`|mean - exact| / |exact|`, and the 95 % quantile of what chance alone would make of it, without bias."""
    rng, length = np.random.default_rng(0), np.linalg.norm(exact)
    chance = rng.multivariate_normal(np.zeros(len(exact)), np.cov(found.T) / len(found), size=4_000)
    limit = np.quantile(np.linalg.norm(chance, axis=1), 0.95)
    return float(np.linalg.norm(found.mean(0) - exact) / length), float(limit / length)


def measure_on_policy(given: Problem, batches: int) -> dict[str, dict]:
    """Variance per episode (of a batch's mean, times the batch) and bias of every estimator."""
    keys = jax.random.split(jax.random.key(1), batches)
    known = jax.jit(constants, static_argnums=2)(given, jax.random.key(2), 20_000)
    program = jax.jit(lambda known, keys: jax.lax.map(partial(estimates, given, known), keys, batch_size=20))
    exact, estimated = exact_gradient(given, HORIZON), program(known, keys)
    rows = {}
    for name in [y for x in LADDER for y in (x, x + OTHERS) if y in estimated]:
        found = np.asarray(estimated[name], np.float64)
        bias, limit = relative_bias(found, exact)
        variance = [BATCH * x for x in total_variance(found)]
        rows[name] = {"total_variance": variance, "relative_bias": bias, "bias_by_chance_95": limit}
        print(
            f"{name:52s} variance {variance[0]:8.2f} [{variance[1]:.2f}, {variance[2]:.2f}], "
            f"bias {100 * bias:.2f} % of the gradient (by chance: up to {100 * limit:.2f} %)"
        )
    for more, less in SAVINGS:
        share = saved(np.asarray(estimated[more], np.float64), np.asarray(estimated[less], np.float64))
        rows[more].setdefault("saved_by", {})[less] = share
        print(f"{more} -> {less}: {100 * share[0]:.2f} % less [{100 * share[1]:.2f}, {100 * share[2]:.2f}]")
    return rows


def measure_off_policy(given: Problem, episodes: int) -> dict[str, dict]:
    """Exact variance against the number of steps, its growth per step, the bias, and a simulation of short episodes."""
    rows = {}
    exact = np.stack([exact_gradient(given, int(t)) for t in HORIZONS[[0, HORIZON - 1]]])
    pi, acting = (np.asarray(jax.nn.softmax(x), np.float64) for x in (given.logits, given.behaviour))
    squared = np.einsum("sa,sat->st", pi**2 / acting, np.asarray(given.mdp.transition, np.float64))
    radius = float(np.max(np.abs(np.linalg.eigvals(squared))))
    simulated: dict[str, list] = {}
    for steps in SIMULATED:
        keys = jax.random.split(jax.random.key(steps), episodes)
        program = jax.jit(jax.vmap(partial(off_policy_estimates, given, horizon=steps)))
        for name, found in program(keys).items():
            simulated.setdefault(name, []).append([steps, *total_variance(np.asarray(found, np.float64))])
    for name, points in simulated.items():
        variance, mean = exact_moments(given, name, HORIZONS)
        bias = float(np.linalg.norm(mean[HORIZON - 1] - exact[1]) / np.linalg.norm(exact[1]))
        growth = float((variance[-1] / variance[-11]) ** 0.1)
        rows[name] = {
            "variance_by_steps": variance.tolist(),
            "growth_per_step_at_the_end": growth,
            f"relative_bias_at_{HORIZON}": bias,
            "simulated_steps_variance_low_high": points,
        }
        at = {t: float(variance[t - 1]) for t in (1, 10, HORIZON, 40, 60)}
        print(f"{name}: variance {at}, x {growth:.3f} per step in the end, bias {100 * bias:.2f} %; simulated {points}")
    print(f"spectral radius of E[rho^2]: {radius:.3f}, times discount^2: {radius * float(given.mdp.discount) ** 2:.3f}")
    rows["spectral radius of E[rho^2]"] = {"radius": radius, "times_discount_squared": radius * 0.95**2}
    return rows


def main(quick: bool = False, batches: int = 4_000, out: Path = Path("runs/experiments/gradient_variance")) -> None:
    """Measure every estimator and draw their variances.

    Args:
        quick: few batches.
        batches: of 100 episodes, for each estimator.
        out: where the figure and the numbers go.
    """
    batches = 200 if quick else batches
    given = problem()
    on_policy = measure_on_policy(given, batches)
    off_policy = measure_off_policy(given, 50 * batches)
    out.mkdir(parents=True, exist_ok=True)
    numbers = {
        "batches": batches,
        "episodes_per_batch": BATCH,
        "on_policy": on_policy,
        "off_policy": off_policy,
    }
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(on_policy, off_policy, out / "figure.png")


def draw(on_policy: dict[str, dict], off_policy: dict[str, dict], path: Path) -> None:
    """Left the ladder of estimators, right the variance off policy against the length of the episodes."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for i, name in enumerate(LADDER):
        for which, colour, marker in ((name, COLOURS[0], "o"), (name + OTHERS, COLOURS[1], "x")):
            if which not in on_policy:
                continue
            middle, low, high = on_policy[which]["total_variance"]
            right = max(on_policy[x]["total_variance"][0] for x in (name, name + OTHERS) if x in on_policy)
            face = "white" if name == BIASED else colour
            error = [[middle - low], [high - middle]]
            panels[0].errorbar(middle, -i, xerr=error, fmt=marker, color=colour, markerfacecolor=face, capsize=2)
            if which == name:
                text = f"{middle:.0f}" if middle > 100 else f"{middle:.3g}"
                panels[0].annotate(text, (right, -i), (11, -3), textcoords="offset points", fontsize=8)
    panels[0].set_yticks(-np.arange(len(LADDER)), LADDER, fontsize=8)
    panels[0].set(xscale="log", xlabel="total variance of the gradient, per episode")
    panels[0].set_title("On policy (hollow: biased; x: baseline from the other 99)", fontsize=10)
    panels[0].margins(x=0.16)
    curves = {name: row for name, row in off_policy.items() if "variance_by_steps" in row}
    for i, (name, row) in enumerate(curves.items()):
        panels[1].plot(HORIZONS, row["variance_by_steps"], DASHES[i], color=COLOURS[i], label=name)
        for steps, middle, low, high in row["simulated_steps_variance_low_high"]:
            panels[1].errorbar(
                steps, middle, yerr=[[middle - low], [high - middle]], fmt="o", color=COLOURS[i], markersize=3
            )
    panels[1].set(yscale="log", xlabel="steps of an episode", ylabel="total variance of the gradient, per episode")
    panels[1].set_title("Off policy: exact (lines) and simulated (points)", fontsize=10)
    panels[1].legend(frameon=False, fontsize=8)
    for panel in panels:
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    print(f"figure: {path}")


if __name__ == "__main__":
    tyro.cli(main)
