"""Brax's environments: true ends, fresh resets, one program, physics that can be swept."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.environments import brax
from purerl.environments.vectorize import vectorize

pytestmark = pytest.mark.filterwarnings("ignore:Accessing .* directly from `Data`:DeprecationWarning")  # in brax


@pytest.fixture(scope="module")
def pendulum():
    return brax.make("inverted_pendulum", backend="spring", episode_length=5)


def test_contract_and_ends(pendulum):
    reset, step = jax.jit(pendulum.reset), jax.jit(pendulum.step)
    state, observation = reset(jax.random.key(0))
    assert pendulum.observation_space.contains(observation)
    assert observation.dtype == jnp.float32
    assert not np.array_equal(observation, reset(jax.random.key(1))[1])  # resets are fresh
    assert all(leaf.size and not leaf.aval.weak_type for leaf in jax.tree.leaves(state))

    flags = []
    for i in range(5):
        state, timestep = step(jax.random.key(i), state, jnp.zeros(1))
        flags.append((bool(timestep.terminated), bool(timestep.truncated)))
        assert timestep.reward.dtype == jnp.float32
        assert timestep.observation.shape == pendulum.observation_space.shape
    assert flags == [(False, False)] * 4 + [(False, True)]
    assert step._cache_size() == 1

    picture = pendulum.render(state)
    assert picture.shape == (240, 320, 3)
    assert picture.dtype == np.uint8
    assert len(np.unique(picture)) > 20


def test_termination_under_vectorize():
    environment = brax.make("inverted_pendulum", backend="spring")
    environments = vectorize(environment, 3)

    @jax.jit
    def push(key):
        def body(state, key):
            return environments.step(key, state, jnp.array([[1.0], [-1.0], [0.0]]))

        return jax.lax.scan(body, environments.reset(key), jax.random.split(key, 40))

    state, timestep = push(jax.random.key(0))
    fell = np.asarray(timestep.terminated)
    assert fell[:, 0].any()
    assert fell[:, 1].any()
    assert not np.asarray(timestep.truncated).any()
    assert float(state.statistics.episodes) == fell.sum()
    # The successor of a termination is the fallen pole itself, not the next start.
    assert (np.abs(np.asarray(timestep.observation)[fell][:, 1]) > 0.2).all()
    assert (np.abs(np.asarray(timestep.observation)[~fell][:, 1]) <= 0.2).all()


@pytest.mark.parametrize(
    "backend",
    ["spring", *(pytest.param(name, marks=pytest.mark.slow) for name in ("generalized", "positional", "mjx"))],
)
def test_physics_is_swept_in_one_program(backend):
    """Each lane changes one factor of a hopper and falls differently; with all factors 1 nothing changes."""

    def fall(**scales):
        environment = brax.make("hopper", backend=backend, **scales)
        state, _ = environment.reset(jax.random.key(3))
        actions = jnp.broadcast_to(jnp.array([0.3, -0.5, 0.8]), (40, 3))
        _, timestep = jax.lax.scan(lambda s, action: environment.step(jax.random.key(0), s, action), state, actions)
        return timestep.observation

    factors = {"friction_scale": 0.05, "gravity_scale": 0.5}
    if backend in ("generalized", "mjx"):
        factors |= {"mass_scale": 1.5, "damping_scale": 5.0}
    lanes = np.ones((1 + len(factors), len(factors)), np.float32)  # lane 0 as it is, lane i with factor i changed
    np.fill_diagonal(lanes[1:], list(factors.values()))
    swept = jax.jit(jax.vmap(lambda scales: fall(**scales)))(dict(zip(factors, lanes.T, strict=True)))
    plain = jax.jit(fall)()
    np.testing.assert_allclose(swept[0][:5], plain[:5], rtol=1e-3, atol=1e-4)
    for lane, name in enumerate(factors, start=1):
        assert np.abs(swept[lane] - swept[0]).max() > 1e-3, name


def test_arguments_reach_brax():
    environment = brax.make("hopper", backend="spring", terminate_when_unhealthy=False)
    assert environment.parameters["terminate_when_unhealthy"] is False
    assert environment.observation_space.shape == (11,)


@pytest.mark.parametrize(
    ("name", "arguments", "error", "words"),
    [
        ("swimmer", {}, ValueError, "broken"),
        ("hoper", {}, ValueError, "hopper"),
        ("hopper", {"backend": "bullet"}, ValueError, "spring"),
        ("hopper", {"healthy_rewards": 2.0}, TypeError, "healthy_reward"),
        ("hopper", {"episode_length": 0}, ValueError, "at least 1"),
        ("hopper", {"mass_scale": 2.0, "backend": "spring"}, ValueError, "does not read the model's mass"),
        ("fast", {"gravity_scale": 2.0}, ValueError, "no physics"),
    ],
)
def test_mistakes_are_explained(name, arguments, error, words):
    with pytest.raises(error, match=words):
        brax.make(name, **arguments)


def test_silent(capfd, tmp_path, monkeypatch):
    """No warning, no line printed, no MUJOCO_LOG.TXT: halfcheetah is the one that would cause all three."""
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        brax.make("halfcheetah")
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_only_threefry_keys():
    environment = brax.make("fast")
    with pytest.raises(ValueError, match="threefry"):
        environment.reset(jax.random.key(0, impl="rbg"))


@pytest.mark.slow
@pytest.mark.parametrize("backend", brax.BACKENDS)
@pytest.mark.parametrize("name", brax.NAMES)
def test_every_environment_on_every_backend(name, backend):
    environments = vectorize(brax.make(name, backend=backend, episode_length=6), 2)

    @jax.jit
    def play(state, key):
        def body(state, key):
            actions = jax.vmap(environments.action_space.sample)(jax.random.split(key, 2))
            return environments.step(key, state, actions)

        return jax.lax.scan(body, state, jax.random.split(key, 8))

    state = jax.jit(environments.reset)(jax.random.key(0))
    state, timestep = play(state, jax.random.key(1))
    state, timestep = play(state, jax.random.key(2))
    assert play._cache_size() == 1
    assert timestep.observation.shape == (8, 2, *environments.observation_space.shape)
    assert all(np.isfinite(leaf).all() for leaf in (timestep.observation, timestep.reward))
    assert np.asarray(timestep.truncated | timestep.terminated).any()
