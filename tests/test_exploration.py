"""Schedules and random actions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from purerl.exploration import epsilon_greedy, linear_schedule, ornstein_uhlenbeck


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.7, 1.0])
def test_epsilon_greedy_has_its_probabilities(epsilon):
    """The greedy action 1 - epsilon + epsilon / A, every other one epsilon / A."""
    values = jnp.broadcast_to(jnp.array([0.0, 2.0, 1.0, -1.0]), (40_000, 4))
    actions = epsilon_greedy(jax.random.uniform(jax.random.key(0), (40_000,)), values, epsilon)
    counts = np.bincount(actions, minlength=4)
    expected = np.array([0.0, 1.0, 0.0, 0.0]) * (1 - epsilon) + epsilon / 4
    if epsilon == 0.0:
        assert counts.tolist() == [0, 40_000, 0, 0]
    else:
        assert scipy.stats.chisquare(counts, 40_000 * expected).pvalue > 1e-3
    assert actions.dtype == jnp.int32


def test_a_linear_schedule_ends_at_its_fraction():
    progress = jnp.array([0.0, 0.1, 0.2, 0.4, 0.9])
    np.testing.assert_allclose(linear_schedule(progress, 1.0, 0.2, 0.4), [1.0, 0.8, 0.6, 0.2, 0.2], rtol=1e-6)


def test_noise_is_remembered_as_the_reversion_says():
    """Against the recurrence itself, and its long run: deviation / sqrt(reversion (2 - reversion)), correlated."""
    draws = jax.random.normal(jax.random.key(0), (50_000,))
    for reversion in (1.0, 0.15):
        _, noise = jax.lax.scan(
            lambda noise, draw, r=reversion: (ornstein_uhlenbeck(noise, draw, r, 0.2),) * 2, jnp.zeros(()), draws
        )
        np.testing.assert_allclose(noise[1], (1 - reversion) * noise[0] + 0.2 * draws[1], rtol=1e-5)
        np.testing.assert_allclose(noise.std(), 0.2 / np.sqrt(reversion * (2 - reversion)), rtol=0.03)
        np.testing.assert_allclose(np.corrcoef(noise[:-1], noise[1:])[0, 1], 1 - reversion, atol=0.02)
