"""Learned dynamics on problems whose dynamics and noise are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import make
from purerl.data.transitions import Transitions
from purerl.models import (
    EnsembleConfig,
    calibration,
    disagreement,
    imagine_from,
    learned_environment,
    make_ensemble,
    open_loop_error,
)
from purerl.planning import sequence_return
from purerl.types import Box, Environment

SMALL = {"members": 3, "learning_rate": 3e-3, "widths": (32, 32), "updates_per_round": 50, "max_rounds": 30}


def toy(key: jax.Array, rows: int, noise: float = 0.3) -> Transitions:
    """o' = o + (sin o_0 + a, -o_1 / 2) + N(0, sigma(o)^2), sigma = noise (1 + o_0 > 0); reward o_0 a."""
    keys = jax.random.split(key, 3)
    observation = jax.random.uniform(keys[0], (rows, 2), minval=-2, maxval=2)
    action = jax.random.uniform(keys[1], (rows, 1), minval=-1, maxval=1)
    mean = jnp.stack([jnp.sin(observation[:, 0]) + action[:, 0], -observation[:, 1] / 2], axis=1)
    change = mean + deviation(observation, noise) * jax.random.normal(keys[2], mean.shape)
    no = jnp.zeros(rows, bool)
    return Transitions(observation, action, observation[:, 0] * action[:, 0], no, no, observation + change)


def deviation(observation: jax.Array, noise: float) -> jax.Array:
    return noise * (1 + (observation[:, :1] > 0)) * jnp.ones(2)


SPACES = Environment("toy", None, None, Box(-9.0, 9.0, (2,)), Box(-1.0, 1.0, (1,)), 50)  # pyright: ignore


@pytest.fixture(scope="module")
def fitted():
    """The ensemble, what it learned from 4000 noisy transitions, and how that went."""
    ensemble = make_ensemble(SPACES, EnsembleConfig(**SMALL))
    state = ensemble.init(jax.random.key(0))
    data = toy(jax.random.key(1), 5000)
    program = jax.jit(ensemble.fit)
    state, report = program(state, jax.random.key(2), data, jnp.asarray(4000))
    return ensemble, state, report


def test_means_and_deviations_are_those_of_the_data(fitted):
    ensemble, state, report = fitted
    test = toy(jax.random.key(3), 2000, noise=0.0)
    found = ensemble.predict(state, test.observation, test.action)
    assert found.mean.shape == (3, 2000, 3)
    mean = np.asarray(found.mean.mean(0))
    np.testing.assert_allclose(
        np.sqrt(np.mean((mean[:, :2] - (test.successor - test.observation)) ** 2)), 0.0, atol=0.08
    )
    assert np.sqrt(np.mean((mean[:, 2] - test.reward) ** 2)) < 0.08
    away = np.abs(np.asarray(test.observation[:, 0])) > 0.3
    ratio = np.asarray(found.deviation.mean(0)[:, :2] / deviation(test.observation, 0.3))[away]
    assert abs(np.median(ratio) - 1) < 0.1
    assert 1 < int(report.rounds) <= 30
    assert np.all(report.held_out_error < 0.5)


def test_its_intervals_hold_what_they_should(fitted):
    ensemble, state, _ = fitted
    test = toy(jax.random.key(4), 3000)
    outcome = jnp.concatenate([test.successor - test.observation, test.reward[:, None]], axis=1)
    levels, frequencies = calibration(ensemble, state, test.observation, test.action, outcome)
    # the reward has no noise, and its least deviation is bounded: its intervals are too wide
    assert np.all(np.abs(frequencies - levels) < 0.2)
    narrow = ensemble._replace(
        predict=lambda *inputs: (lambda p: p._replace(deviation=p.deviation / 5))(ensemble.predict(*inputs))
    )
    _, fewer = calibration(narrow, state, test.observation, test.action, outcome)
    assert np.all(fewer[2:] < frequencies[2:] - 0.1)


def test_members_disagree_where_there_were_no_data(fitted):
    ensemble, state, _ = fitted
    inside = jax.random.uniform(jax.random.key(0), (200, 2), minval=-2, maxval=2)
    action = jnp.zeros((200, 1))
    near = disagreement(ensemble, state, inside, action)
    far = disagreement(ensemble, state, inside + jnp.sign(inside) * 4, action)
    assert np.median(far) > 3 * np.median(near)


def test_rows_beyond_the_count_are_not_learned_from():
    """Poison in rows that must not be looked at changes nothing."""
    ensemble = make_ensemble(SPACES, EnsembleConfig(**SMALL | {"max_rounds": 2}))
    state, key = ensemble.init(jax.random.key(0)), jax.random.key(1)
    data = toy(jax.random.key(1), 100)
    program = jax.jit(ensemble.fit)
    clean, _ = program(state, key, data, jnp.asarray(60))
    beyond = data._replace(successor=data.successor.at[60:].add(1000.0))
    same, _ = program(state, key, beyond, jnp.asarray(60))
    jax.tree.map(np.testing.assert_array_equal, clean.params, same.params)


def test_the_held_out_rows_are_only_looked_at():
    """Rewards that change places among every fifth row, which moves no mean, change that error and no update."""
    ensemble = make_ensemble(SPACES, EnsembleConfig(**SMALL | {"max_rounds": 3, "patience": 9}))
    data = toy(jax.random.key(1), 200, noise=0.0)
    held = jnp.arange(0, 200, 5)
    other = data._replace(reward=data.reward.at[held].set(data.reward[held[::-1]]))
    program = jax.jit(ensemble.fit)

    def fit(data: Transitions):
        return program(ensemble.init(jax.random.key(0)), jax.random.key(1), data, jnp.asarray(200))[1]

    reports = [fit(data), fit(other)]
    np.testing.assert_allclose(reports[0].loss, reports[1].loss, rtol=1e-3)
    assert np.all(reports[1].held_out_error > 1.2 * reports[0].held_out_error)
    learned = data._replace(reward=data.reward.at[held + 1].set(data.reward[held[::-1] + 1]))
    assert abs(float(fit(learned).loss - reports[0].loss)) > 0.01  # the rows beside them are learned from


def test_least_squares_without_variances():
    ensemble = make_ensemble(SPACES, EnsembleConfig(**SMALL | {"probabilistic": False, "learn_reward": False}))
    data = toy(jax.random.key(1), 2000, noise=0.05)
    state, report = jax.jit(ensemble.fit)(ensemble.init(jax.random.key(0)), jax.random.key(2), data, jnp.asarray(2000))
    found = ensemble.predict(state, data.observation, data.action)
    assert found.mean.shape == (3, 2000, 2)
    np.testing.assert_array_equal(found.deviation, 0.0)
    assert np.all(report.held_out_error < 0.1)


def test_many_agents_fit_as_one_does():
    ensemble = make_ensemble(SPACES, EnsembleConfig(**SMALL | {"max_rounds": 3}))
    data, keys = toy(jax.random.key(1), 200), jax.random.split(jax.random.key(5), 2)

    def learn(key):
        state, report = ensemble.fit(ensemble.init(key), key, data, jnp.asarray(200))
        return ensemble.predict(state, data.observation, data.action).mean, report.held_out_error

    together = jax.jit(jax.vmap(learn))(keys)
    alone = jax.jit(learn)(keys[1])
    for one, many in zip(alone, together, strict=True):
        np.testing.assert_allclose(many[1], one, atol=2e-3)


@pytest.mark.parametrize("propagation", ["ts1", "ts_infinity", "mean"])
def test_a_model_is_an_environment(fitted, propagation):
    ensemble, state, _ = fitted
    starts = jnp.array([[0.5, 1.0]])
    model, gathered = (
        learned_environment(SPACES, ensemble, state, starts, propagation=propagation, gather=gather)
        for gather in (False, True)
    )
    first, observation = model.reset(jax.random.key(0))
    np.testing.assert_array_equal(observation, starts[0])
    action = jnp.array([0.2])
    keys = jax.random.split(jax.random.key(1), 500)
    after, timestep = jax.vmap(model.step, (0, None, None))(keys, first, action)
    expected = np.array([0.5 + np.sin(0.5) + 0.2, 0.5])
    np.testing.assert_allclose(timestep.observation.mean(0), expected, atol=0.15)
    np.testing.assert_allclose(timestep.reward.mean(), 0.1, atol=0.08)
    spread = timestep.observation.std(0)
    assert np.all(spread < 1e-6) if propagation == "mean" else np.all((spread > 0.4) & (spread < 0.8))
    one, same = model.step(keys[0], first, action)[1], gathered.step(keys[0], first, action)[1]
    np.testing.assert_allclose(one.observation, same.observation, atol=1e-5)
    second, _ = jax.vmap(model.step, (0, 0, None))(keys[::-1], after, action)
    changed = np.asarray(second.member != after.member)
    assert changed.any() == (propagation == "ts1")
    assert set(np.asarray(after.member).tolist()) == {0, 1, 2}


def test_known_rewards_and_ends_are_asked_instead(fitted):
    ensemble, state, _ = fitted
    model = learned_environment(
        SPACES, ensemble, state, jnp.zeros((1, 2)), reward=lambda o, a, after: 7.0 + a[0],
        termination=lambda o, a, after: after[0] > -99,
    )  # fmt: skip
    total = sequence_return(model, jax.random.key(0), imagine_from(jnp.zeros(2)), jnp.full((5, 1), 0.5))
    np.testing.assert_allclose(total, 7.5)  # the first step ended it
    blind = make_ensemble(SPACES, EnsembleConfig(learn_reward=False))
    with pytest.raises(ValueError, match="give learned_environment a reward function"):
        learned_environment(SPACES, blind, blind.init(jax.random.key(0)), jnp.zeros((1, 2)))


def test_long_predictions_err_more_and_beat_persistence():
    """The pendulum, from 2000 random steps: errors grow with the horizon and stay below those of no change."""
    environment = make("Pendulum-v1")

    def episode(key):
        reset_key, act_key = jax.random.split(key)
        state, observation = environment.reset(reset_key)

        def step(carry, key):
            state, observation = carry
            action = environment.action_space.sample(key)
            state, timestep = environment.step(key, state, action)
            row = Transitions(
                observation, action, timestep.reward, timestep.terminated, timestep.truncated, timestep.observation
            )
            return (state, timestep.observation), row

        return jax.lax.scan(step, (state, observation), jax.random.split(act_key, 200))[1]

    data = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), 11))
    train = jax.tree.map(lambda x: x[:10].reshape(2000, *x.shape[2:]), data)
    ensemble = make_ensemble(environment, EnsembleConfig(**SMALL))
    fit = jax.jit(ensemble.fit)
    state, _ = fit(ensemble.init(jax.random.key(0)), jax.random.key(1), train, jnp.asarray(2000))
    last = jax.tree.map(lambda x: x[10], data)
    observations = jnp.concatenate([last.observation, last.successor[-1:]])
    model = learned_environment(environment, ensemble, state, train.observation)
    errors = open_loop_error(model, jax.random.key(2), observations, last.action, 20)
    scale = observations.std(0)
    persistence = [
        float(jnp.sqrt(jnp.mean(jnp.square((observations[k:] - observations[:-k]) / scale)))) for k in (1, 20)
    ]
    assert errors[0] < 0.1 * persistence[0]
    assert errors[0] < errors[19] < 0.5 * persistence[1]


def test_what_it_refuses():
    with pytest.raises(TypeError, match="predicts vectors"):
        make_ensemble(make("Breakout-MinAtar"), EnsembleConfig())


def test_termination_is_learned_and_ends_imagined_episodes():
    """A step that pushes beyond 1 ends the episode: nearly every prediction away from the border is right."""
    keys = jax.random.split(jax.random.key(0), 2)
    x, u = jax.random.uniform(keys[0], (2000, 1), minval=-1), jax.random.uniform(keys[1], (2000, 1), minval=-1)
    after = x + 0.5 * u
    data = Transitions(x, u, jnp.ones(2000), after[:, 0] > 1.0, jnp.zeros(2000, bool), after)
    environment = make("probe/constant")._replace(
        observation_space=Box(-2.0, 2.0, (1,)), action_space=Box(-1.0, 1.0, (1,))
    )
    ensemble = make_ensemble(environment, EnsembleConfig(members=2, widths=(32,), learn_termination=True))
    state = ensemble.init(jax.random.key(1))
    state, _ = jax.jit(ensemble.fit)(state, jax.random.key(2), data, jnp.asarray(2000))
    model = learned_environment(environment, ensemble, state, x)
    step = jax.jit(jax.vmap(lambda key, o, a: model.step(key, imagine_from(o), a)[1]))
    timestep = step(jax.random.split(jax.random.key(3), 2000), x, u)
    clear = jnp.abs(after[:, 0] - 1.0) > 0.05
    assert jnp.mean((timestep.terminated == data.terminated)[clear]) > 0.99
    assert 20 < jnp.sum(timestep.terminated) < 300
