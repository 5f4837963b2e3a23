"""MuJoCo Playground's environments, where the optional package is installed."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.environments import playground
from purerl.environments.vectorize import vectorize

INSTALLED = importlib.util.find_spec("mujoco_playground") is not None
needs_playground = pytest.mark.skipif(not INSTALLED, reason='needs pip install "playground>=0.2.0,<0.3"')


@pytest.mark.skipif(INSTALLED, reason="the package is there")
def test_missing_package_names_the_command():
    with pytest.raises(ImportError, match=r"pip install \"playground>="):
        playground.make("CartpoleBalance")


@needs_playground
def test_names_are_those_of_the_package():
    from mujoco_playground._src import dm_control_suite

    assert sorted(dm_control_suite.ALL_ENVS) == list(playground.NAMES)


@needs_playground
def test_contract():
    environment = playground.make("CartpoleBalance", episode_length=4)
    reset, step = jax.jit(environment.reset), jax.jit(environment.step)
    state, observation = reset(jax.random.key(0))
    assert observation.shape == environment.observation_space.shape
    assert observation.dtype == jnp.float32
    assert not np.array_equal(observation, reset(jax.random.key(1))[1])
    assert all(leaf.size and not leaf.aval.weak_type for leaf in jax.tree.leaves(state))
    ends = []
    for i in range(4):
        state, timestep = step(jax.random.key(i), state, jnp.zeros(1))
        ends.append((bool(timestep.terminated), bool(timestep.truncated)))
    assert ends == [(False, False)] * 3 + [(False, True)]
    assert step._cache_size() == 1
    assert environment.render(state).shape == (240, 320, 3)


@needs_playground
@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("Go1JoystickFlatTerrain", {}, "downloads"),
        ("CartpoleBalanse", {}, "CartpoleBalance"),
        ("CartpoleBalance", {"episode_lenght": 3}, "episode_length"),
    ],
)
def test_mistakes_are_explained(name, arguments, words):
    with pytest.raises(ValueError, match=words):
        playground.make(name, **arguments)


@needs_playground
@pytest.mark.slow
@pytest.mark.parametrize("name", playground.NAMES)
def test_every_environment(name):
    environments = vectorize(playground.make(name, episode_length=3), 2)

    @jax.jit
    def play(key):
        def body(state, key):
            actions = jax.vmap(environments.action_space.sample)(jax.random.split(key, 2))
            return environments.step(key, state, actions)

        return jax.lax.scan(body, environments.reset(key), jax.random.split(key, 4))[1]

    timestep = play(jax.random.key(0))
    assert timestep.observation.shape == (4, 2, *environments.observation_space.shape)
    assert all(np.isfinite(leaf).all() for leaf in (timestep.observation, timestep.reward))
    assert np.asarray(timestep.truncated).any()
