"""The environments with goals against geometry, and against what their goals promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.data import random_policy
from purerl.environments import flatten_observation, frame_stack, goals, make, rescale_actions, time_limit
from purerl.evaluate import evaluate
from purerl.types import Policy

NAMES = ["goal/point_robot", "goal/planar_arm"]


def random_steps(environment, seed: int, steps: int = 20):
    """States, observations before and timesteps of random steps, one environment for each, `[steps, ...]`."""
    reset_key, action_key = jax.random.split(jax.random.key(seed))
    states, observations = jax.vmap(environment.reset)(jax.random.split(reset_key, steps))
    actions = jax.vmap(environment.action_space.sample)(jax.random.split(action_key, steps))
    after, timesteps = jax.vmap(environment.step)(jax.random.split(action_key, steps), states, actions)
    return jax.device_get((states, observations, actions, after, timesteps))


def fingertip(angles):
    first, both = angles[..., 0], angles[..., 0] + angles[..., 1]
    return goals.LINK * np.stack([np.cos(first) + np.cos(both), np.sin(first) + np.sin(both)], axis=-1)


def test_the_robot_moves_by_its_action_and_stops_at_the_walls():
    states, observations, actions, after, timesteps = random_steps(make("goal/point_robot", speed=0.7), seed=0)
    moved = np.clip(states.body + 0.7 * actions, -1.0, 1.0)
    assert np.any(np.abs(moved) == 1.0)
    np.testing.assert_array_equal(observations, np.concatenate([states.body, states.goal], axis=1))
    np.testing.assert_allclose(timesteps.observation, np.concatenate([moved, states.goal], axis=1), rtol=1e-6)
    np.testing.assert_array_equal(after.goal, states.goal)


def test_the_arm_turns_its_joints_and_sees_its_fingertip():
    states, observations, actions, _, timesteps = random_steps(make("goal/planar_arm", speed=0.3), seed=1)
    for angles, seen in ((states.body, observations), (states.body + 0.3 * actions, timesteps.observation)):
        expected = [np.cos(angles), np.sin(angles), fingertip(angles), states.goal]
        np.testing.assert_allclose(seen, np.concatenate(expected, axis=1), atol=1e-5)
    assert np.all(np.linalg.norm(states.goal, axis=1) <= 2 * goals.LINK + 1e-6)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_reward_of_a_step_is_that_of_its_successor(name, dense):
    environment = make(name, dense=dense, tolerance=0.5)
    *_, timesteps = random_steps(environment, seed=2)
    distance = np.linalg.norm(timesteps.observation[:, -4:-2] - timesteps.observation[:, -2:], axis=1)
    assert 0 < np.sum(distance > 0.5) < len(distance)
    expected = -distance if dense else -(distance > 0.5).astype(float)
    np.testing.assert_allclose(timesteps.reward, expected, rtol=1e-6)
    np.testing.assert_array_equal(jax.vmap(environment.goals.reward)(timesteps.observation), timesteps.reward)


@pytest.mark.parametrize("name", NAMES)
def test_a_replaced_goal_changes_nothing_else_and_what_is_achieved_is_rewarded(name):
    environment = make(name)
    _, observations, *_ = random_steps(environment, seed=3)
    replaced = jax.vmap(environment.goals.replace)(observations, jnp.full((20, 2), 0.25))
    np.testing.assert_array_equal(replaced[:, :-2], observations[:, :-2])
    np.testing.assert_array_equal(replaced[:, -2:], 0.25)
    achieved = jax.vmap(environment.goals.achieved)(observations)
    own = jax.vmap(environment.goals.replace)(observations, achieved)
    np.testing.assert_array_equal(jax.vmap(environment.goals.achieved)(own), achieved)
    np.testing.assert_array_equal(jax.vmap(environment.goals.reward)(own), 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_observations_are_in_their_space_and_episodes_are_truncated(name):
    environment = make(name, steps=7)
    assert environment.max_steps == 7
    _, observations, *_, timesteps = random_steps(environment, seed=4)
    assert all(environment.observation_space.contains(x) for x in (*observations, *timesteps.observation))
    state, _ = environment.reset(jax.random.key(0))
    for time in range(7):
        state, timestep = environment.step(jax.random.key(0), state, jnp.zeros(2))
        assert (bool(timestep.terminated), bool(timestep.truncated)) == (False, time == 6)
    with pytest.raises(ValueError, match="at least 1"):
        make(name, steps=0)


def towards_the_goal(name: str) -> Policy:
    """Straight to the goal; the arm by the angles that bring it there, each the shorter way round."""

    def act(key, memory, observation):
        goal = observation[-2:]
        if name == "goal/point_robot":
            return memory, jnp.clip((goal - observation[:2]) / 0.05, -1.0, 1.0)
        bend = jnp.arccos(jnp.minimum(jnp.linalg.norm(goal) / (2 * goals.LINK), 1.0))
        wanted = jnp.array([jnp.arctan2(goal[1], goal[0]) - bend, 2 * bend])
        turn = wanted - jnp.arctan2(observation[2:4], observation[:2])
        return memory, jnp.clip(jnp.arctan2(jnp.sin(turn), jnp.cos(turn)) / 0.1, -1.0, 1.0)

    return Policy(lambda key: (), act)


@pytest.mark.parametrize("name", NAMES)
def test_goals_can_be_reached_in_time_and_hardly_by_chance(name):
    environment = make(name)
    chance = random_policy(environment)
    good, bad = (
        jax.jit(lambda key, policy=policy: evaluate(policy, environment, key, episodes=64))(jax.random.key(0)).returns
        for policy in (towards_the_goal(name), chance)
    )
    assert np.all(good > -50)
    assert np.mean(good) > -25
    assert np.mean(bad) < -48


@pytest.mark.parametrize("name", NAMES)
def test_speed_and_tolerance_can_be_traced(name):
    def outcome(speed, tolerance):
        environment = make(name, speed=speed, tolerance=tolerance)
        return evaluate(towards_the_goal(name), environment, jax.random.key(0), episodes=8).returns.mean()

    returns = jax.jit(jax.vmap(outcome))(jnp.array([0.05, 0.02, 0.05]), jnp.array([0.05, 0.05, 0.3]))
    assert len(np.unique(returns)) == 3


def test_wrappers_keep_the_goals_unless_they_change_the_observation():
    environment = make("goal/point_robot")
    assert time_limit(rescale_actions(environment), 5).goals is environment.goals
    assert flatten_observation(environment).goals is None
    assert frame_stack(environment, 2).goals is None


@pytest.mark.parametrize("name", NAMES)
def test_there_is_a_picture(name):
    environment = make(name)
    state, _ = environment.reset(jax.random.key(0))
    assert environment.render(state).shape == (400, 400, 3)


def test_four_goals_are_all_as_good_and_end_the_episode():
    """Straight walks from the middle: six steps of 0.7 m arrive within a metre of a goal, and all earn the same."""
    environment = make("goal/four_goals", start_deviation=0.0)
    step = jax.jit(environment.step)
    earned = []
    for direction in np.array([[1, 0], [0, 1], [-1, 0], [0, -1]]):
        state, observation = environment.reset(jax.random.key(0))
        np.testing.assert_array_equal(observation, 0)
        rewards = []
        for i in range(6):
            state, timestep = step(jax.random.key(1), state, 0.7 * direction)
            assert bool(timestep.terminated) == (i == 5)
            rewards.append(float(timestep.reward))
        distances = 5 - 0.7 * np.arange(1, 7)
        expected = -0.1 * distances**2 - 3.0 * 0.49 / 10 + np.array([0, 0, 0, 0, 0, 1.0])
        np.testing.assert_allclose(rewards, expected, rtol=1e-4)
        earned.append(sum(rewards))
    np.testing.assert_allclose(earned, earned[0], rtol=1e-5)


def test_four_goals_stop_at_the_walls_and_are_cut():
    environment = make("goal/four_goals", max_steps=12)
    state, _ = environment.reset(jax.random.key(0))
    for i in range(12):
        state, timestep = environment.step(jax.random.key(1), state, jnp.array([1.0, 1.0]))
        assert bool(timestep.truncated) == (i == 11)
    np.testing.assert_array_equal(state.position, [7.0, 7.0])
    assert environment.render(state).shape == (300, 300, 3)
