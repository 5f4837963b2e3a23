"""Score-function gradients: against sums in NumPy, and against the exact gradient of a small problem, three ways."""

import itertools
from functools import cache
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.environments.finite import finite_mdp
from purerl.environments.finite.mdp import FiniteMDP
from purerl.operators import score_function
from purerl.planning import finite_horizon

HORIZON, DISCOUNT = 4, 0.8
EPISODES, BATCH = 400_000, 100
TARGET = jnp.array([[0.5, -0.5], [-0.3, 0.6], [0.2, 0.1]])  # logits of the policy whose gradient is wanted
BEHAVIOUR = jnp.array([[0.1, 0.3], [0.2, 0.1], [-0.3, 0.2]])


def ragged(seed: int, steps: int = 6, episodes: int = 5) -> tuple[np.ndarray, ...]:
    """Rewards, two rows of log-probabilities and a mask; the padding holds what must not be read."""
    rng = np.random.default_rng(seed)
    mask = np.arange(steps)[:, None] < rng.integers(1, steps + 1, episodes)
    arrays = rng.normal(size=(3, steps, episodes)).astype(np.float32)
    return *np.where(mask, arrays, np.nan), mask


def check_returns(module: ModuleType) -> None:
    for seed, discount in itertools.product(range(5), (0.0, 0.7, 1.0)):
        reward, _, _, mask = ragged(seed)
        to_go, total, state = np.zeros((3, *mask.shape))
        for b in range(mask.shape[1]):
            length = mask[:, b].sum()
            for t in range(length):
                to_go[t, b] = sum(discount ** (k - t) * reward[k, b] for k in range(t, length))
                total[t, b] = sum(discount**k * reward[k, b] for k in range(length))
                state[t, b] = discount**t
        np.testing.assert_allclose(module.reward_to_go(reward, mask, discount), to_go, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(module.total_return(reward, mask, discount), total, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(module.state_weight(mask, discount), state, rtol=1e-5, atol=1e-6)


def check_baselines(module: ModuleType) -> None:
    for seed in range(5):
        weight, _, _, mask = ragged(seed)
        rng = np.random.default_rng(seed)
        score, returns = rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=5).astype(np.float32)
        average = np.zeros(mask.shape)
        optimal, per_parameter = np.zeros(5), np.zeros((5, 3))
        for i in range(5):
            others = [j for j in range(5) if j != i]
            for t in range(6):
                going = [weight[t, j] for j in others if mask[t, j]]
                average[t, i] = np.mean(going) if going and mask[t, i] else 0.0
            squares = [score[j] @ score[j] for j in others]
            optimal[i] = np.average(returns[others], weights=squares)
            for p in range(3):
                per_parameter[i, p] = np.average(returns[others], weights=score[others, p] ** 2)
        np.testing.assert_allclose(module.average_of_others(weight, mask), average, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(module.optimal_baseline(score, returns), optimal, rtol=1e-5, atol=1e-6)
        ours = module.optimal_baseline_per_parameter(score, returns)
        np.testing.assert_allclose(ours, per_parameter, rtol=1e-5, atol=1e-6)


def check_ratios(module: ModuleType) -> None:
    for seed in range(5):
        _, new, old, mask = ragged(seed)
        ours = module.importance_ratios(new, old, mask)
        for b in range(mask.shape[1]):
            product = 1.0
            for t in range(mask.shape[0]):
                rho = np.exp(new[t, b]) / np.exp(old[t, b]) if mask[t, b] else 0.0
                product *= rho if mask[t, b] else 1.0
                np.testing.assert_allclose(ours.first_order[t, b], rho, rtol=1e-4)
                np.testing.assert_allclose(ours.per_decision[t, b], product if mask[t, b] else 0.0, rtol=1e-4)
            np.testing.assert_allclose(ours.trajectory[b], product, rtol=1e-4)


def check_surrogate(module: ModuleType) -> None:
    """The value and its gradient; none through the weight, none in the padding."""
    weight, log_probability, _, mask = ragged(0)
    expected = sum(weight[t, b] * log_probability[t, b] for t, b in zip(*np.nonzero(mask), strict=True)) / 5
    np.testing.assert_allclose(module.surrogate(log_probability, weight, mask), expected, rtol=1e-5)
    gradient = jax.grad(module.surrogate, (0, 1))(log_probability, weight, mask)
    np.testing.assert_allclose(gradient[0], np.where(mask, weight, 0.0) / 5, rtol=1e-5)
    assert not np.any(gradient[1])


CHECKS = [check_returns, check_baselines, check_ratios, check_surrogate]


@pytest.mark.parametrize("check", CHECKS)
def test_operator_equals_its_oracle(check):
    check(score_function)  # asserts


def test_one_large_score_does_not_drown_the_others():
    """The sum of the others is not the sum minus one's own, which would be 0 / 0 here in float32."""
    score, returns = jnp.array([[1e6], [1e-3], [1e-3]]), jnp.array([5.0, 1.0, 3.0])
    ours = score_function.optimal_baseline_per_parameter(score, returns)
    np.testing.assert_allclose(ours[:, 0], [2.0, 5.0, 5.0], rtol=1e-6)
    np.testing.assert_allclose(score_function.optimal_baseline(score, returns), [2.0, 5.0, 5.0], rtol=1e-6)


def test_an_episode_alone_has_no_baseline():
    assert score_function.optimal_baseline(jnp.ones((1, 2)), jnp.ones(1)) == 0.0
    assert not np.any(score_function.average_of_others(jnp.ones((3, 1)), jnp.ones((3, 1), bool)))


def bandit_variances(logits: np.ndarray, reward: np.ndarray) -> dict[str, float]:
    """Total variance of `grad log pi(a) (r_a - b)` for each baseline, by enumeration of the arms.

    Each arm is repeated in proportion to its probability and the operators see 100,000 episodes, in which leaving one
    out changes nothing.
    """
    probability = np.exp(logits) / np.exp(logits).sum()
    counts = np.rint(probability * 100_000).astype(int)
    arm = np.repeat(np.arange(len(reward)), counts)
    score, returns = jnp.asarray((np.eye(len(reward)) - probability)[arm]), jnp.asarray(reward[arm])
    baselines = {
        "none": jnp.zeros_like(returns),
        "mean": score_function.average_of_others(returns[None], jnp.ones((1, len(arm)), bool))[0],
        "optimal": score_function.optimal_baseline(score, returns),
    }
    baselines = {name: b[:, None] for name, b in baselines.items()}
    baselines["optimal per parameter"] = score_function.optimal_baseline_per_parameter(score, returns)
    return {name: float(jnp.var(score * (returns[:, None] - b), axis=0).sum()) for name, b in baselines.items()}


def test_baselines_of_a_softmax_bandit():
    """Rewards near 6 with a spread of 0.3: from 23.7 without a baseline to 0.0188, 0.0188 and 0.0104.

    The reference states 23.7, 0.0189, 0.0187 and 0.0103 for a "softmax bandit with reward offset 5" and nothing more
    of it. This is the closest with logits and rewards that are multiples of 0.1; no simple one gives all the digits.
    The numbers below are sums over the three arms, made by hand from the definitions.
    """
    logits, reward = np.array([0.5, 0.5, 0.0]), 5.0 + np.array([0.7, 1.4, 1.0])
    probability = np.exp(logits) / np.exp(logits).sum()
    score = np.eye(3) - probability
    square = np.sum(score**2, axis=1)
    baseline = {
        "none": 0.0,
        "mean": probability @ reward,
        "optimal": (probability * square) @ reward / (probability @ square),
        "optimal per parameter": (probability * reward) @ score**2 / (probability @ score**2),
    }
    exact = {}
    for name, b in baseline.items():
        estimate = score * (reward[:, None] - b)
        exact[name] = probability @ np.sum((estimate - probability @ estimate) ** 2, axis=1)
    stated = {"none": 23.7, "mean": 0.0189, "optimal": 0.0187, "optimal per parameter": 0.0103}
    assert exact == pytest.approx(stated, rel=0.015)
    with jax.enable_x64(True):
        found = bandit_variances(logits, reward)
    assert found == pytest.approx(exact, rel=1e-3)
    assert found["none"] > found["mean"] > found["optimal"] > found["optimal per parameter"]


def problem() -> FiniteMDP:
    """Three states and an end that every step may lead to."""
    transition = np.zeros((4, 2, 4))
    transition[0, :] = [0.1, 0.6, 0.2, 0.1], [0.1, 0.1, 0.6, 0.2]
    transition[1, :] = [0.5, 0.1, 0.3, 0.1], [0.1, 0.2, 0.4, 0.3]
    transition[2, :] = [0.7, 0.1, 0.1, 0.1], [0.1, 0.3, 0.5, 0.1]
    reward = np.array([[1.0, 0.0], [-1.0, 2.0], [0.5, 1.5], [0.0, 0.0]])
    return finite_mdp(transition, reward, DISCOUNT, terminal=np.arange(4) == 3, initial=[0.6, 0.3, 0.1, 0.0])


def policy(logits: jax.Array) -> jax.Array:
    """`[S, A]`; what happens at the end does not matter."""
    return jnp.concatenate([jax.nn.softmax(logits), jnp.full((1, 2), 0.5)])


def objective(logits: jax.Array) -> jax.Array:
    """J by backward induction."""
    mdp = problem()
    return finite_horizon(mdp, HORIZON, policy=policy(logits)).values[0] @ mdp.initial


def enumerated_gradient() -> np.ndarray:
    """`sum over paths of p(path) R(path) grad log p(path)`: the definition, every path by hand."""
    mdp, pi = problem(), np.asarray(policy(TARGET), np.float64)
    move, reward = np.asarray(mdp.transition, np.float64), np.asarray(mdp.reward, np.float64)
    total = np.zeros((3, 2))

    def follow(state: int, t: int, chance: float, earned: float, score: np.ndarray) -> None:
        nonlocal total
        if t == HORIZON or state == 3:
            total = total + chance * earned * score
            return
        for action in range(2):
            further = score.copy()
            further[state] += np.eye(2)[action] - pi[state]
            for after in range(4):
                p = chance * pi[state, action] * move[state, action, after]
                follow(after, t + 1, p, earned + DISCOUNT**t * reward[state, action, after], further)

    for state in range(3):
        follow(state, 0, float(mdp.initial[state]), 0.0, np.zeros((3, 2)))
    return total


@cache
def exact_gradient() -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(jax.grad(objective)(jnp.asarray(TARGET, jnp.float64)))


def test_the_exact_gradient_is_the_same_three_ways():
    step, finite = 1e-5, np.zeros((3, 2))
    with jax.enable_x64(True):
        value = jax.jit(objective)
        for s, a in np.ndindex(3, 2):
            change = step * np.eye(6)[2 * s + a].reshape(3, 2)
            finite[s, a] = (value(TARGET + change) - value(TARGET - change)) / (2 * step)
    np.testing.assert_allclose(finite, exact_gradient(), atol=1e-8)
    np.testing.assert_allclose(enumerated_gradient(), exact_gradient(), atol=1e-6)


class Episodes(NamedTuple):
    """What a policy met, `[T, B]`."""

    state: jax.Array
    action: jax.Array
    reward: jax.Array
    mask: jax.Array


def sample(logits: jax.Array, seed: int) -> Episodes:
    mdp = problem()

    def step(state, key):
        action_key, successor_key = jax.random.split(key)
        action = jax.random.categorical(action_key, jnp.log(policy(logits))[state])
        after = jax.random.categorical(successor_key, jnp.log(mdp.transition)[state, action])
        return after, Episodes(state, action, mdp.reward[state, action, after], state != 3)

    first_key, step_key = jax.random.split(jax.random.key(seed))
    first = jax.random.categorical(first_key, jnp.log(mdp.initial), shape=(EPISODES,))
    return jax.lax.scan(step, first, jax.random.split(step_key, HORIZON))[1]


def log_probability(logits: jax.Array, episodes: Episodes) -> jax.Array:
    return jnp.log(policy(logits))[episodes.state, episodes.action]


def estimates(episodes: Episodes, weight: jax.Array) -> jax.Array:
    """One gradient per batch, `[EPISODES / BATCH, 6]`."""

    def one(episodes: Episodes, weight: jax.Array) -> jax.Array:
        def loss(logits):
            return score_function.surrogate(log_probability(logits, episodes), weight, episodes.mask)

        return jax.grad(loss)(TARGET).ravel()

    return jax.vmap(one, in_axes=1)(*in_batches((episodes, weight)))


def in_batches(tree):
    """`[T, EPISODES]` to `[T, EPISODES / BATCH, BATCH]`."""
    return jax.tree.map(lambda x: x.reshape(HORIZON, -1, BATCH), tree)


def on_policy_weights(episodes: Episodes) -> dict[str, jax.Array]:
    reward, mask = episodes.reward, episodes.mask
    total = score_function.total_return(reward, mask, DISCOUNT)
    to_go = score_function.reward_to_go(reward, mask, DISCOUNT)
    state = score_function.state_weight(mask, DISCOUNT)
    values = finite_horizon(problem(), HORIZON, policy=policy(TARGET)).values[:-1]
    learned = jnp.take_along_axis(values, episodes.state, axis=1) + jnp.array([0.3, -0.2, 0.1, 0.0])[episodes.state]

    def average(weight):
        others = jax.vmap(score_function.average_of_others, 1, 1)(*in_batches((weight, mask)))
        return others.reshape(weight.shape)

    return {
        "total return": total,
        "total return, average": total - average(total),
        "reward to go": state * to_go,
        "reward to go, constant": state * (to_go - 2.0),
        "reward to go, average": state * (to_go - average(to_go)),
        "reward to go, value": state * (to_go - learned),
        "practice": to_go,
        "practice, average": to_go - average(to_go),
    }


def off_policy_weights(episodes: Episodes) -> dict[str, jax.Array]:
    reward, mask = episodes.reward, episodes.mask
    ratio = score_function.importance_ratios(
        log_probability(TARGET, episodes), log_probability(BEHAVIOUR, episodes), mask
    )
    total = score_function.total_return(reward, mask, DISCOUNT)
    to_go = score_function.reward_to_go(reward, mask, DISCOUNT)
    state = score_function.state_weight(mask, DISCOUNT)
    corrected = score_function.reward_to_go(ratio.per_decision * reward, mask, DISCOUNT)
    return {
        "trajectory": ratio.trajectory * total,
        "per decision": state * corrected,
        "per decision, constant": state * (corrected - 2.0 * ratio.per_decision),
        "past ratios only": state * ratio.per_decision * to_go,
        "first order": state * ratio.first_order * to_go,
    }


@cache
def measured() -> dict[str, np.ndarray]:
    """Estimates `[batches, 6]` of every estimator."""
    with jax.enable_x64(False):
        found = {}
        for logits, seed, weights in ((TARGET, 0, on_policy_weights), (BEHAVIOUR, 1, off_policy_weights)):
            episodes = jax.jit(sample)(logits, seed)
            one = jax.jit(estimates)
            found |= {name: np.asarray(one(episodes, w)) for name, w in weights(episodes).items()}
            if logits is TARGET:
                found |= {name: np.asarray(x) for name, x in jax.jit(optimal_estimates)(episodes).items()}
    return found


def optimal_estimates(episodes: Episodes) -> dict[str, jax.Array]:
    """`mean_i g_i (R_i - b_i)` over each batch."""

    def one(episodes: Episodes) -> tuple[jax.Array, jax.Array]:
        def episode_log_probability(logits):
            return jnp.sum(jnp.where(episodes.mask, log_probability(logits, episodes), 0.0), axis=0)

        score = jax.jacobian(episode_log_probability)(TARGET).reshape(BATCH, 6)
        returns = score_function.total_return(episodes.reward, episodes.mask, DISCOUNT)[0]
        scalar = score_function.optimal_baseline(score, returns)[:, None]
        each = score_function.optimal_baseline_per_parameter(score, returns)
        return jnp.mean(score * (returns[:, None] - scalar), 0), jnp.mean(score * (returns[:, None] - each), 0)

    scalar, each = jax.vmap(one, in_axes=1)(in_batches(episodes))
    return {"optimal baseline": scalar, "optimal baseline per parameter": each}


BIASED = ("practice", "practice, average", "past ratios only", "first order")
UNBIASED = (
    "total return",
    "total return, average",
    "optimal baseline",
    "optimal baseline per parameter",
    "reward to go",
    "reward to go, constant",
    "reward to go, average",
    "reward to go, value",
    "trajectory",
    "per decision",
    "per decision, constant",
)


def z_scores(name: str) -> np.ndarray:
    """How many standard errors the mean estimate is away from the gradient, `[6]`."""
    found = measured()[name]
    return (found.mean(0, dtype=np.float64) - exact_gradient().ravel()) / (found.std(0) / np.sqrt(len(found)))


@pytest.mark.parametrize("name", UNBIASED)
def test_exact_estimators_have_the_exact_gradient_as_mean(name):
    mean, exact = measured()[name].mean(0, dtype=np.float64), exact_gradient().ravel()
    assert mean @ exact / np.linalg.norm(mean) / np.linalg.norm(exact) > 0.99
    assert np.abs(z_scores(name)).max() < 4


@pytest.mark.parametrize("name", BIASED)
def test_biased_estimators_are_what_they_are_labelled(name):
    assert np.abs(z_scores(name)).max() > 10
    error = measured()[name].mean(0, dtype=np.float64) - exact_gradient().ravel()
    assert np.linalg.norm(error) > 0.05 * np.linalg.norm(exact_gradient())


def test_variances_are_in_the_order_of_theory():
    variance = {name: found.var(0).sum() for name, found in measured().items()}
    assert variance["total return"] > 1.05 * variance["reward to go"]
    assert variance["reward to go"] > 1.05 * max(variance[f"reward to go, {b}"] for b in ("average", "value"))
    assert variance["total return"] > 1.05 * variance["optimal baseline"]
    assert variance["optimal baseline"] > variance["optimal baseline per parameter"]
    assert variance["trajectory"] > 1.05 * variance["per decision"]


def test_a_baseline_has_no_mean():
    """E sum_t grad log pi b(s_t) = 0, for a number and for a function of the state; not for one of the action."""
    episodes = jax.jit(sample)(TARGET, 2)
    of_state = jnp.array([3.0, -1.0, 2.0, 0.0])[episodes.state]
    of_action = of_state * episodes.action
    for baseline, none in ((jnp.full_like(of_state, 5.0), True), (of_state, True), (of_action, False)):
        found = np.asarray(jax.jit(estimates)(episodes, baseline))
        z = found.mean(0, dtype=np.float64) / (found.std(0) / np.sqrt(len(found)))
        assert (np.abs(z).max() < 4) == none


def test_a_batch_of_one_length_uses_its_mean_but_for_a_factor():
    weight = jax.random.normal(jax.random.key(0), (3, 8))
    ours = weight - score_function.average_of_others(weight, jnp.ones((3, 8), bool))
    np.testing.assert_allclose(ours, (weight - weight.mean(1, keepdims=True)) * 8 / 7, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(4,), (4, 2, 1)])
def test_ranks_are_checked(shape):
    with pytest.raises(AssertionError):
        score_function.reward_to_go(jnp.ones(shape), jnp.ones(shape, bool), 0.9)
    with pytest.raises(AssertionError):
        score_function.reward_to_go(jnp.ones((4, 2)), jnp.ones((4, 1), bool), 0.9)
