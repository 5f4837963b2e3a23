"""Each operator against its oracle. The functions take the module under test: a mutant can be put in its place."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from tests.operators import oracles

TOLERANCE = {"rtol": 2e-5, "atol": 2e-5}


def generalized_advantage(returns: ModuleType) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        batch = [oracles.trajectory(rng, 12) for _ in range(3)]
        discount, trace_decay = rng.uniform(0.8, 1.0), rng.uniform(0.0, 1.0)
        stacked = {name: np.stack([one[name] for one in batch], axis=1) for name in batch[0]}
        ours = returns.generalized_advantage(**stacked, discount=discount, trace_decay=trace_decay)
        for b, one in enumerate(batch):
            expected = oracles.generalized_advantage(**one, discount=discount, trace_decay=trace_decay)
            np.testing.assert_allclose(ours[:, b], expected, **TOLERANCE)


def running_discounted_return(returns: ModuleType) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        reward, done, initial = rng.normal(size=15).astype(np.float32), rng.random(15) < 0.3, np.float32(rng.normal())
        last, all_returns = returns.running_discounted_return(initial, jnp.asarray(reward), jnp.asarray(done), 0.9)
        expected = oracles.running_discounted_return(initial, reward, done, 0.9)
        np.testing.assert_allclose(all_returns, expected, **TOLERANCE)
        np.testing.assert_allclose(last, 0.0 if done[-1] else expected[-1], **TOLERANCE)


def q_learning_target(temporal_difference: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for terminated in (True, False) * 5:
        reward, values = np.float32(rng.normal()), rng.normal(size=4).astype(np.float32)
        ours = temporal_difference.q_learning_target(reward, jnp.asarray(terminated), jnp.asarray(values), 0.9)
        np.testing.assert_allclose(ours, oracles.q_learning_target(reward, terminated, values, 0.9), **TOLERANCE)


def losses(temporal_difference: ModuleType) -> None:
    for error in (-3.0, -1.0, -0.3, 0.0, 0.4, 1.0, 2.5):
        for delta in (0.5, 1.0):
            ours = temporal_difference.huber(error, delta)
            np.testing.assert_allclose(ours, oracles.huber(error, delta), **TOLERANCE)
        slope = jax.grad(temporal_difference.huber)(error)
        np.testing.assert_allclose(slope, min(max(error, -1.0), 1.0), **TOLERANCE)
        np.testing.assert_allclose(jax.grad(temporal_difference.half_square)(error), error, **TOLERANCE)


def _log_probabilities(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    new, old = -rng.exponential(size=(2, 30)).astype(np.float32)
    return new, old


def clipped_surrogate(policy_gradient: ModuleType) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        new, old = _log_probabilities(rng)
        advantage = rng.normal(size=30).astype(np.float32)
        ours = policy_gradient.clipped_surrogate(new, old, advantage, 0.2)
        np.testing.assert_allclose(ours, oracles.clipped_surrogate(new, old, advantage, 0.2), **TOLERANCE)


def clipped_value_loss(policy_gradient: ModuleType) -> None:
    for seed in range(10):
        value, old, target = np.random.default_rng(seed).normal(size=(3, 30)).astype(np.float32)
        ours = policy_gradient.clipped_value_loss(value, old, target, 0.2)
        np.testing.assert_allclose(ours, oracles.clipped_value_loss(value, old, target, 0.2), **TOLERANCE)
        np.testing.assert_allclose(
            policy_gradient.value_loss(value, target), np.mean((value - target) ** 2) / 2, **TOLERANCE
        )


def approximate_kl(policy_gradient: ModuleType) -> None:
    new, old = _log_probabilities(np.random.default_rng(0))
    np.testing.assert_allclose(
        policy_gradient.approximate_kl(new, old), oracles.approximate_kl(new, old), rtol=1e-4, atol=1e-5
    )


def standardize(policy_gradient: ModuleType) -> None:
    advantage = np.random.default_rng(0).normal(3.0, 5.0, size=64).astype(np.float32)
    expected = [(x - advantage.mean()) / advantage.std() for x in advantage]
    np.testing.assert_allclose(policy_gradient.standardize(advantage), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(policy_gradient.standardize(jnp.full(1000, 99.3)), 0.0, atol=1e-3)
    mask = jnp.arange(advantage.size) % 3 > 0
    inside = policy_gradient.standardize(advantage, mask)[mask]
    np.testing.assert_allclose(inside, policy_gradient.standardize(advantage[mask]), rtol=1e-4, atol=1e-5)


def adaptive_coefficient(policy_gradient: ModuleType) -> None:
    kl = jnp.array([0.005, 0.0068, 0.01, 0.0145, 0.0155, 1.0])
    ours = policy_gradient.adaptive_coefficient(jnp.float32(3.0), kl, 0.01)
    np.testing.assert_allclose(ours, [1.5, 3.0, 3.0, 3.0, 6.0, 6.0])


def dual_ascent(policy_gradient: ModuleType) -> None:
    kl = jnp.array([0.0, 0.01, 0.03])
    np.testing.assert_allclose(
        policy_gradient.dual_ascent(jnp.float32(0.5), kl, 0.01, 10.0), [0.4, 0.5, 0.7], rtol=1e-6
    )
    np.testing.assert_allclose(
        policy_gradient.dual_ascent(jnp.float32(0.05), kl, 0.01, 10.0), [0, 0.05, 0.25], rtol=1e-6
    )
