"""Soft Q-learning samples the best policy that is paid for entropy, whatever its shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import train
from purerl.algorithms.continuous_control import soft_q
from tests.algorithms.one_transition import one_step

TEMPERATURE = 0.5


@pytest.mark.parametrize("peak", [0.0, 0.5])
def test_draws_have_the_density_of_the_best_policy(peak):
    """pi(a) is proportional to exp(-c (|a| - peak)^2 / (2 alpha)): one peak at 0, or two of them."""
    curvature = 16.0
    config = soft_q.Config(
        temperature=TEMPERATURE,
        learning_rate=3e-3,
        critic_learning_rate=1e-2,
        anneal_learning_rate=True,
        num_envs=16,
        update_to_data=(1, 16),
        replay_capacity=16_384,
        batch_size=32,
        widths=(32,),
        critic_widths=(32, 32),
        activation="tanh",
    )
    algorithm = soft_q.make(one_step(lambda a: -curvature * (jnp.abs(a) - peak) ** 2 / 2, 1.0), config)

    @jax.jit
    @jax.vmap
    def draws(key):
        state = train(algorithm, key, 1000).state
        policy = algorithm.policy(state, greedy=False)
        keys = jax.random.split(jax.random.key(1), 500)
        return jax.vmap(lambda key: policy.act(key, (), jnp.zeros(1))[1][0])(keys)

    found = np.asarray(draws(jax.random.split(jax.random.key(0), 2)))
    grid = np.linspace(-1, 1, 2001)
    density = np.exp(-curvature * (np.abs(grid) - peak) ** 2 / (2 * TEMPERATURE))
    density /= density.sum()
    magnitude = np.sum(density * np.abs(grid))
    deviation = np.sqrt(np.sum(density * grid**2))
    np.testing.assert_allclose(np.abs(found).mean(-1), magnitude, rtol=0.15)
    np.testing.assert_allclose(np.sqrt((found**2).mean(-1)), deviation, rtol=0.15)
    assert np.all(np.abs((found > 0).mean(-1) - 0.5) < 0.25)
