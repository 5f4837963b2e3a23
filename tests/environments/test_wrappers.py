"""Wrappers against obvious calculations in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import environments as purerl_environments
from purerl.environments import (
    flatten_observation,
    frame_stack,
    frozen_normalization,
    make,
    multiply_rewards,
    normalize_observations,
    rescale_actions,
    scale_rewards,
    select_observation,
    sticky_actions,
    time_limit,
    vectorize,
    with_last_action_and_reward,
)
from purerl.normalization import RunningStatistics
from purerl.types import Box, Discrete, Environment, MultiDiscrete, Timestep

KEY = jax.random.key(0)


def echo(action_space) -> Environment:
    """Observe (time, action executed); never ends."""

    def observe(time, action):
        return jnp.concatenate([time[None], jnp.ravel(action)]).astype(jnp.float32)

    def reset(key):
        time = jnp.zeros((), jnp.int32)
        return time, observe(time, jnp.zeros(action_space.shape))

    def step(key, time, action):
        no = jnp.zeros((), bool)
        return time + 1, Timestep(observe(time + 1, action), 1.0 * action.sum(), no, no, {})

    size = 1 + int(np.prod(action_space.shape))
    return Environment("echo", reset, step, Box(-np.inf, np.inf, (size,)), action_space, 10_000)


def play(environment, actions, key=KEY):
    """Observations [T + 1, ...] and the timesteps of a sequence of actions."""

    def one(state, inputs):
        return environment.step(inputs[0], state, inputs[1])

    state, first = environment.reset(key)
    _, timesteps = jax.lax.scan(one, state, (jax.random.split(key, len(actions)), actions))
    return np.concatenate([np.asarray(first)[None], np.asarray(timesteps.observation)]), timesteps


def test_rescale_actions_maps_the_unit_box_to_the_bounds_and_clips():
    low, high = np.array([-2.0, 0.0, -np.inf], np.float32), np.array([2.0, 10.0, np.inf], np.float32)
    environment = rescale_actions(echo(Box(low, high, (3,))))
    actions = jnp.array([[-1.0, -1.0, -1.0], [0.0, 0.0, 0.0], [1.0, 0.5, 1.0], [7.0, -7.0, 7.0]])
    observations, _ = play(environment, actions)
    np.testing.assert_allclose(observations[1:, 1:], [[-2, 0, -1], [0, 5, 0], [2, 7.5, 1], [2, 0, 7]])
    np.testing.assert_array_equal(environment.action_space.low, [-1, -1, -np.inf])
    np.testing.assert_array_equal(environment.action_space.high, [1, 1, np.inf])


def test_rescale_actions_takes_traced_bounds_and_leaves_choices_alone():
    def torque(bound):
        environment = rescale_actions(echo(Box(-bound, 3 * bound, (1,))))
        state, _ = environment.reset(KEY)
        return environment.step(KEY, state, jnp.array([0.5]))[1].observation[1]

    np.testing.assert_allclose(jax.jit(jax.vmap(torque))(jnp.array([1.0, 2.0])), [2.0, 4.0])
    discrete = echo(Discrete(3))
    assert rescale_actions(discrete) is discrete
    assert rescale_actions(make("Pendulum-v1")).action_space == Box(-1.0, 1.0, (1,))


def test_time_limit_truncates_at_the_limit_and_not_what_terminates_there():
    environment = time_limit(echo(Discrete(2)), 3)
    _, timesteps = play(environment, jnp.zeros(4, jnp.int32))
    np.testing.assert_array_equal(timesteps.truncated, [False, False, True, True])
    assert environment.max_steps == 3

    environment = time_limit(make("probe/discount"), 2)
    _, timesteps = play(environment, jnp.zeros(2, jnp.int32))
    np.testing.assert_array_equal(timesteps.truncated, [False, False])
    np.testing.assert_array_equal(timesteps.terminated, [False, True])

    environment = time_limit(make("probe/truncation"), 100)  # the limit inside still holds
    _, timesteps = play(environment, jnp.zeros(5, jnp.int32))
    np.testing.assert_array_equal(timesteps.truncated, [False] * 4 + [True])
    assert environment.max_steps == 5
    with pytest.raises(ValueError, match="at least 1"):
        time_limit(environment, 0)


def test_frame_stack_shows_the_last_frames_oldest_first():
    environment = frame_stack(echo(Discrete(10)), 3)
    observations, _ = play(environment, jnp.array([5, 6, 7]))
    frames = [(0, 0), (0, 0), (0, 0), (1, 5), (2, 6), (3, 7)]
    for t in range(4):
        np.testing.assert_array_equal(observations[t], np.ravel(frames[t : t + 3]))
    assert environment.observation_space.shape == (6,)


@pytest.mark.parametrize(("name", "shape"), [("Catch-bsuite", (10, 5, 2)), ("Breakout-MinAtar", (10, 10, 8))])
def test_frame_stack_of_images(name, shape):
    plain, stacked = make(name), frame_stack(make(name), 2)
    actions = jnp.array([0, 1, 2, 0])
    before, _ = play(plain, actions)
    after, _ = play(stacked, actions)
    assert stacked.observation_space.shape == after.shape[1:] == shape
    assert after.dtype == before.dtype == bool
    channels = before[..., None] if before.ndim == 3 else before
    for t in range(5):
        np.testing.assert_array_equal(after[t], np.concatenate([channels[max(t - 1, 0)], channels[t]], axis=-1))


def test_frame_stack_refuses_integers():
    with pytest.raises(ValueError, match="array observations"):
        frame_stack(make("FrozenLake-misc"), 2)
    with pytest.raises(ValueError, match="frames >= 1"):
        frame_stack(make("CartPole-v1"), 0)


def test_frame_stack_repeats_bounds():
    space = frame_stack(make("Pendulum-v1"), 2).observation_space
    np.testing.assert_array_equal(space.high, [1, 1, 8, 1, 1, 8])


def test_flatten_observation():
    environment = flatten_observation(make("FrozenLake-misc"))
    _, observation = environment.reset(KEY)
    np.testing.assert_array_equal(observation, np.eye(16)[0])
    assert environment.observation_space.shape == (16,)

    environment = flatten_observation(make("Catch-bsuite"))
    _, observation = environment.reset(KEY)
    _, image = make("Catch-bsuite").reset(KEY)
    np.testing.assert_array_equal(observation, np.asarray(image, np.float32).ravel())
    assert observation.dtype == environment.observation_space.dtype == jnp.float32
    assert bool(environment.observation_space.contains(observation))

    bounds = flatten_observation(make("Pendulum-v1")).observation_space
    np.testing.assert_array_equal(bounds.high, [1, 1, 8])


def test_multiply_rewards_changes_nothing_else():
    environment = make("goal/planar_arm")
    wrapped, state, action = multiply_rewards(environment, 0.1), environment.reset(KEY)[0], jnp.array([0.3, -0.5])
    (after, plain), (same, tenth) = (one.step(KEY, state, action) for one in (environment, wrapped))
    jax.tree.map(np.testing.assert_array_equal, (same, tenth._replace(reward=plain.reward)), (after, plain))
    traced = jax.jit(lambda factor: multiply_rewards(environment, factor).step(KEY, state, action)[1].reward)(0.1)
    elsewhere = [one.goals.reward(one.goals.replace(plain.observation, jnp.ones(2))) for one in (environment, wrapped)]
    np.testing.assert_allclose([tenth.reward, traced, elsewhere[1]], 0.1 * np.array([plain.reward] * 2 + elsewhere[:1]))
    assert plain.reward != 0 != elsewhere[0]
    assert wrapped.wrappers == ("multiply_rewards(0.1)",)


def test_sticky_actions_repeat_the_action_executed_last():
    actions = jnp.arange(1, 2001, dtype=jnp.int32)
    executed = play(sticky_actions(echo(Discrete(3000)), 0.25), actions)[0][1:, 1]
    chosen = np.asarray(actions)
    stuck = executed != chosen
    assert executed[0] == chosen[0]
    np.testing.assert_array_equal(executed[1:][stuck[1:]], executed[:-1][stuck[1:]])
    assert stuck.mean() == pytest.approx(0.25, abs=0.04)
    np.testing.assert_array_equal(play(sticky_actions(echo(Discrete(9)), 0.0), actions[:8])[0][1:, 1], chosen[:8])
    np.testing.assert_array_equal(play(sticky_actions(echo(Discrete(9)), 1.0), actions[:8])[0][1:, 1], [1] * 8)


def test_sticky_probability_can_be_traced_and_actions_continuous():
    def executed(probability):
        environment = sticky_actions(echo(Box(-1.0, 1.0, (2,))), probability)
        state, _ = environment.reset(KEY)
        state, _ = environment.step(KEY, state, jnp.array([0.1, 0.2]))
        return environment.step(KEY, state, jnp.array([0.3, 0.4]))[1].observation[1:]

    both = jax.jit(jax.vmap(executed))(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(both, [[0.3, 0.4], [0.1, 0.2]])


def test_selected_components_are_all_that_is_observed():
    whole = make("CartPole-v1")
    masked = select_observation(whole, (0, 2))
    actions = jnp.array([0, 1, 1, 0, 1], jnp.int32)
    np.testing.assert_array_equal(play(masked, actions)[0], play(whole, actions)[0][:, [0, 2]])
    assert masked.observation_space.shape == (2,)
    np.testing.assert_array_equal(masked.observation_space.high, np.asarray(whole.observation_space.high)[[0, 2]])
    for components in ((), (4,), (-1,)):
        with pytest.raises(ValueError, match=r"components must be some of 0 .. 3, got"):
            select_observation(whole, components)
    with pytest.raises(ValueError, match="needs observations that are vectors"):
        select_observation(make("Breakout-MinAtar"), (0,))


def test_last_action_and_reward_follow_the_observation():
    discrete = with_last_action_and_reward(echo(Discrete(3)))
    observations, _ = play(discrete, jnp.array([2, 0], jnp.int32))
    expected = [[0, 0, 0, 0, 0, 0], [1, 2, 0, 0, 1, 2], [2, 0, 1, 0, 0, 0]]  # time, echo, one-hot action, reward
    np.testing.assert_array_equal(observations, expected)
    continuous = with_last_action_and_reward(echo(Box(-1.0, 1.0, (2,))))
    observations, _ = play(continuous, jnp.array([[0.5, -0.25]]))
    np.testing.assert_allclose(observations[1], [1, 0.5, -0.25, 0.5, -0.25, 0.25])
    several = with_last_action_and_reward(echo(MultiDiscrete((2, 3))))
    observations, _ = play(several, jnp.array([[1, 2]], jnp.int32))
    np.testing.assert_allclose(observations[1], [1, 1, 2, 0, 1, 0, 0, 1, 3])
    assert several.observation_space.shape == (9,)


def vector_rollout(environments, steps=30):
    """The start, and the states and timesteps of random actions; the same randomness whatever is wrapped around."""
    action_keys, step_keys = jax.random.split(jax.random.key(3), (2, steps))

    def one(state, keys):
        sample = environments.action_space.sample
        action = jax.vmap(sample)(jax.random.split(keys[0], environments.num_envs))
        state, timestep = environments.step(keys[1], state, action)
        return state, (state, timestep)

    @jax.jit
    def run(key):
        start = environments.reset(key)
        return start, *jax.lax.scan(one, start, (action_keys, step_keys))[1]

    return jax.device_get(run(KEY))


def test_normalize_observations_uses_everything_seen_so_far():
    environments = vectorize(make("CartPole-v1"), 4)
    raw_start, raw_states, raw = vector_rollout(environments)
    start, states, normalized = vector_rollout(normalize_observations(environments, clip=2.0))
    np.testing.assert_array_equal(raw.reward, normalized.reward)
    assert (raw.terminated | raw.truncated).any()
    seen = [raw_start.observation]
    np.testing.assert_allclose(start.environment.memory.mean, seen[0].mean(0), atol=1e-6)
    for t in range(30):
        seen.append(raw_states.observation[t])
        everything = np.concatenate(seen).astype(np.float64)
        mean, deviation = everything.mean(0), everything.std(0)
        for before, after in ((raw_states, states), (raw, normalized)):
            expected = np.clip((before.observation[t] - mean) / deviation, -2.0, 2.0)
            np.testing.assert_allclose(after.observation[t], expected, atol=2e-3)
    np.testing.assert_array_equal(states.statistics.return_sum, raw_states.statistics.return_sum)
    assert np.abs(states.observation).max() == 2.0


def test_frozen_normalization_neither_learns_nor_forgets():
    statistics = RunningStatistics(jnp.array([1.0, 0.0, 0.0]), jnp.array([4.0, 1.0, 0.25]), jnp.float32(10))
    plain, frozen = make("Pendulum-v1"), frozen_normalization(make("Pendulum-v1"), statistics, clip=3.0)
    actions = jnp.ones((20, 1))
    before, _ = play(plain, actions)
    after, _ = play(frozen, actions)
    np.testing.assert_allclose(after, np.clip((before - [1, 0, 0]) / [2, 1, 0.5], -3, 3), atol=1e-5)
    assert frozen.observation_space == Box(-3.0, 3.0, (3,))


def test_scale_rewards_divides_by_the_deviation_of_the_discounted_return():
    environments = vectorize(time_limit(make("Pendulum-v1"), 7), 4)
    _, raw_states, raw = vector_rollout(environments)
    _, states, scaled = vector_rollout(scale_rewards(environments, 0.9, clip=5.0))
    returns, seen = np.zeros(4), []
    for t in range(30):
        returns = 0.9 * returns + raw.reward[t]
        seen.extend(returns)
        expected = np.clip(raw.reward[t] / np.std(seen), -5.0, 5.0)
        np.testing.assert_allclose(scaled.reward[t], expected, rtol=1e-3)
        returns[raw.terminated[t] | raw.truncated[t]] = 0.0
    np.testing.assert_array_equal(states.observation, raw_states.observation)
    np.testing.assert_array_equal(states.statistics.return_sum, raw_states.statistics.return_sum)
    assert raw_states.statistics.episodes[-1] > 0


def test_vector_wrappers_compose_in_either_order_and_clear_statistics():
    plain = vectorize(time_limit(make("Pendulum-v1"), 7), 2)
    one = scale_rewards(normalize_observations(plain), 0.9)
    other = normalize_observations(scale_rewards(plain, 0.9))
    (_, states, steps), (_, other_states, other_steps) = vector_rollout(one, 10), vector_rollout(other, 10)
    np.testing.assert_allclose(steps.reward, other_steps.reward, rtol=1e-6)
    np.testing.assert_allclose(states.observation, other_states.observation, rtol=1e-6)
    last = jax.tree.map(lambda x: x[-1], states)
    assert last.statistics.episodes == 2
    assert last.clear_statistics().statistics.episodes == 0


def test_wrapped_environments_keep_name_parameters_and_picture():
    environment = make("Pendulum-v1", max_torque=1.0)
    statistics = RunningStatistics(jnp.zeros(6), jnp.ones(6), jnp.float32(1))
    wrapped = frame_stack(sticky_actions(time_limit(rescale_actions(environment), 5), 0.1), 2)
    wrapped = frozen_normalization(flatten_observation(wrapped), statistics)
    assert (wrapped.name, wrapped.parameters) == (environment.name, environment.parameters)
    inner, _ = environment.reset(KEY)
    outer, _ = wrapped.reset(KEY)
    np.testing.assert_array_equal(wrapped.render(outer), environment.render(inner))
    assert frame_stack(make("probe/action"), 2).render is None


def test_wrapped_states_are_strongly_typed_and_keep_their_types():
    environment = frame_stack(sticky_actions(time_limit(make("Catch-bsuite"), 5), 0.1), 2)
    for environments in (
        vectorize(environment, 2),
        scale_rewards(normalize_observations(vectorize(make("CartPole-v1"), 2)), 0.9),
    ):
        start = jax.eval_shape(environments.reset, KEY)
        after, _ = jax.eval_shape(environments.step, KEY, start, jnp.zeros(2, jnp.int32))
        assert jax.tree.structure(start) == jax.tree.structure(after)
        for a, b in zip(jax.tree.leaves(start), jax.tree.leaves(after), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            assert not a.weak_type
            assert not b.weak_type


def test_all_wrappers_are_at_the_front_door():
    assert {"rescale_actions", "frozen_normalization", "scale_rewards"} <= set(purerl_environments.__all__)
