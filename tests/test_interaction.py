"""What off-policy actors and critics share: a replay that is filled, read, never copied, and holds raw observations."""

import jax
import jax.numpy as jnp
import numpy as np

from purerl import make
from purerl.algorithms.continuous_control import sac
from purerl.train import advance, start, train

SMALL = {"num_envs": 10, "steps_per_iteration": 1, "update_to_data": (1, 10), "batch_size": 32, "warm_up_steps": 100}


def test_no_copy_of_a_million_steps_is_in_the_program_of_32_agents():
    """The working memory is the same for any capacity, and less than one agent's replay (10 words a step)."""

    def working_memory(capacity: int) -> int:
        config = sac.Config(**SMALL, replay_capacity=capacity, widths=(16,), critic_widths=(16,))
        algorithm = sac.make(make("Pendulum-v1"), config)
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 32))
        training = jax.eval_shape(jax.vmap(lambda key: start(algorithm, key)), keys)
        go = jax.vmap(lambda t, first: advance(algorithm, t, first, iterations=9, total_iterations=99), (0, None))
        compiled = jax.jit(go, donate_argnums=0).lower(training, jax.ShapeDtypeStruct((), jnp.int32)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small, large = working_memory(100_000), working_memory(1_000_000)
    assert large <= 1.1 * small
    assert large < 1_000_000 * 10 * 4


def test_statistics_are_of_raw_observations_and_the_replay_holds_these():
    """Warm-up and two iterations of 3 environments, all of which the replay still holds."""
    config = sac.Config(
        num_envs=3,
        steps_per_iteration=4,
        update_to_data=(1, 12),
        warm_up_steps=12,
        batch_size=4,
        replay_capacity=36,
        normalize_observations=True,
        widths=(8,),
        critic_widths=(8,),
    )
    algorithm = sac.make(make("Pendulum-v1"), config)
    state = jax.jit(lambda key: train(algorithm, key, 2).state)(jax.random.key(0)).interaction
    words = jax.lax.bitcast_convert_type(state.replay["uint32"], jnp.float32)
    observation = np.asarray(words)[:, :3]
    np.testing.assert_allclose(np.hypot(observation[:, 0], observation[:, 1]), 1.0, rtol=1e-5)  # cosine and sine: raw
    assert state.observation_statistics.count == 36
    np.testing.assert_allclose(state.observation_statistics.mean, observation.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state.observation_statistics.variance, observation.var(0), rtol=1e-4, atol=1e-5)


def test_warm_up_is_uniform_over_the_actions():
    config = sac.Config(
        num_envs=10, warm_up_steps=2000, steps_per_iteration=2, batch_size=4, replay_capacity=2000, widths=(8,)
    )
    algorithm = sac.make(make("Pendulum-v1"), config)
    replay = jax.jit(algorithm.init)(jax.random.key(0)).interaction.replay["uint32"]
    action = np.sort(np.asarray(jax.lax.bitcast_convert_type(replay, jnp.float32))[:, 3])
    assert np.abs(action - np.linspace(-1, 1, 2000)).max() < 0.08  # Kolmogorov-Smirnov, in units of [-1, 1]
