"""The one auto-reset, against a simulation in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType

from purerl.environments import make, vectorize
from purerl.types import Box, Discrete, Environment, Timestep

END, STEPS = 6, 40


def staircase() -> Environment:
    """Start on step 0 to 4, climb one per step, terminated on step 6; action 1 truncates. Reward: half the step."""

    def reset(key):
        floor = jax.random.randint(key, (), 0, 5)
        return floor, floor[None].astype(jnp.float32)

    def step(key, floor, action):
        floor = floor + 1
        terminated = floor >= END
        observation = floor[None].astype(jnp.float32)
        return floor, Timestep(observation, 0.5 * floor, terminated, (action == 1) & ~terminated, {})

    return Environment("staircase", reset, step, Box(0.0, 6.0, (1,)), Discrete(2), max_steps=6)


def climb(key, num_envs=5, clear_at=None):
    """Random actions, a third of which truncate; everything that happens, stacked over steps."""
    environments = vectorize(staircase(), num_envs)
    reset_key, action_key, step_key = jax.random.split(key, 3)
    actions = jax.random.bernoulli(action_key, 1 / 3, (STEPS, num_envs)).astype(jnp.int32)

    def one(state, inputs):
        index, action, key = inputs
        if clear_at is not None:
            cleared = state.clear_statistics()
            state = jax.tree.map(lambda a, b: jnp.where(index == clear_at, a, b), cleared, state)
        state, timestep = environments.step(key, state, action)
        return state, (state, timestep)

    start = environments.reset(reset_key)
    _, (states, timesteps) = jax.lax.scan(one, start, (jnp.arange(STEPS), actions, jax.random.split(step_key, STEPS)))
    return start, actions, states, timesteps


def check_against_simulation(start, actions, states, timesteps, clear_at=None):
    """Replay it with plain Python, taking only the starts of fresh episodes as given."""
    num_envs = actions.shape[1]
    floor = np.asarray(start.environment).copy()
    returns, lengths, finished = np.zeros(num_envs), np.zeros(num_envs, int), []
    fresh = []
    for t in range(STEPS):
        if t == clear_at:
            finished = []
        for i in range(num_envs):
            floor[i] += 1
            terminated = floor[i] >= END
            truncated = bool(actions[t, i] == 1) and not terminated
            assert timesteps.observation[t, i, 0] == floor[i]  # the true successor, also at an end
            assert timesteps.reward[t, i] == 0.5 * floor[i]
            assert timesteps.terminated[t, i] == terminated
            assert timesteps.truncated[t, i] == truncated
            returns[i] += 0.5 * floor[i]
            lengths[i] += 1
            if terminated or truncated:
                finished.append((returns[i], lengths[i]))
                returns[i], lengths[i] = 0, 0
                floor[i] = states.environment[t, i]
                assert 0 <= floor[i] < 5
                fresh.append(floor[i])
            assert states.environment[t, i] == floor[i]
            assert states.observation[t, i, 0] == floor[i]
            assert states.episode_return[t, i] == returns[i]
            assert states.episode_length[t, i] == lengths[i]
        assert states.statistics.episodes[t] == len(finished)
        assert states.statistics.return_sum[t] == sum(x for x, _ in finished)
        assert states.statistics.length_sum[t] == sum(x for _, x in finished)
    assert len(set(fresh)) > 2  # starts are drawn anew, not stored


def test_successors_resets_and_statistics_are_exact():
    check_against_simulation(*jax.device_get(jax.jit(climb)(jax.random.key(0))))


def test_clearing_starts_the_count_anew_and_leaves_running_episodes_alone():
    result = jax.jit(lambda key: climb(key, clear_at=20))(jax.random.key(1))
    check_against_simulation(*jax.device_get(result), clear_at=20)


def test_under_vmap_every_agent_sees_what_it_would_see_alone():
    keys = jax.random.split(jax.random.key(2), 3)
    together = jax.device_get(jax.jit(jax.vmap(climb))(keys))
    for agent in range(3):
        alone = jax.device_get(jax.jit(climb)(keys[agent]))
        mine = jax.tree.map(lambda x, agent=agent: x[agent], together)
        jax.tree.map(np.testing.assert_array_equal, mine, alone)
        check_against_simulation(*mine)


def test_environments_start_differently():
    observation = vectorize(make("CartPole-v1"), 8).reset(jax.random.key(0)).observation
    assert len(np.unique(observation, axis=0)) == 8


@pytest.mark.parametrize("ended", [0, 1, 10, 11, 37, 85])
def test_each_of_many_environments_starts_from_its_own_key(ended):
    """85 environments are reset ten at a time; whoever is done gets the reset of its own key, the others go on."""
    environments, key = vectorize(staircase(), 85), jax.random.key(ended)
    floors = jnp.zeros(85, jnp.int32)
    start = environments.reset(key).replace(environment=floors, observation=floors[:, None].astype(jnp.float32))
    action = jax.random.permutation(key, jnp.arange(85) < ended).astype(jnp.int32)  # truncates
    state, timestep = jax.jit(environments.step)(key, start, action)
    fresh, _ = jax.vmap(staircase().reset)(jax.random.split(key, 2 * 85)[85:])
    np.testing.assert_array_equal(timestep.truncated, action == 1)
    np.testing.assert_array_equal(state.environment, jnp.where(action == 1, fresh, 1))
    np.testing.assert_array_equal(state.observation[:, 0], state.environment)


@pytest.mark.parametrize("devices", [1, 2])
def test_environments_on_several_devices_are_reset_together(devices):
    """Queueing is a cumulative sum over all environments, for which devices would have to talk to each other."""
    environments = vectorize(staircase(), 64)
    arguments = jax.random.key(0), environments.reset(jax.random.key(0)), jnp.zeros(64, jnp.int32)
    with jax.sharding.use_abstract_mesh(AbstractMesh((devices,), ("data",), axis_types=(AxisType.Auto,))):
        program = str(jax.make_jaxpr(environments.step)(*arguments))
    assert ("cumsum" in program) == (devices == 1)


def test_many_agents_with_many_environments_see_what_each_would_see_alone():
    keys = jax.random.split(jax.random.key(4), 3)
    together = jax.jit(jax.vmap(lambda key: climb(key, 70)))(keys)
    for i, key in enumerate(keys):
        alone = climb(key, 70)
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda x, i=i: x[i], together), alone)
        check_against_simulation(*alone)


@pytest.mark.parametrize("num_envs", [0, -1])
def test_there_must_be_an_environment(num_envs):
    with pytest.raises(ValueError, match="at least 1"):
        vectorize(staircase(), num_envs)
