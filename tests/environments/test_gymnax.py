"""The contract of an environment, over every gymnax environment; and what the adapter repairs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax import make as original
from gymnax.environments import spaces

from purerl.checkpoint import describe_environment
from purerl.data import random_policy
from purerl.environments import from_gymnax, gymnax, make, rescale_actions, vectorize
from purerl.evaluate import evaluate

LIMIT, STEPS, ENVIRONMENTS = 7, 16, 4
QUICK = {"xla_backend_optimization_level": 0}  # half the time to compile; nobody waits for the running
FIXED_START = {"DeepSea-bsuite", "DiscountingChain-bsuite", "FourRooms-misc", "FrozenLake-misc", "Pong-misc"} | {
    "SimpleBandit-bsuite",  # what differs from episode to episode is hidden
    "BernoulliBandit-misc",
    "GaussianBandit-misc",
    "MetaMaze-misc",
    "Asterix-MinAtar",  # enemies and the rest come later
    "Seaquest-MinAtar",
    "SpaceInvaders-MinAtar",
}


def types(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype, getattr(x, "weak_type", False)), tree)


@pytest.mark.parametrize("name", gymnax.NAMES)
def test_contract(name):
    """Spaces, dtypes, bounds, strong types, one trace, truncation exactly at the limit, fresh resets, a picture."""
    environment = make(name, max_steps_in_episode=LIMIT)
    environments = vectorize(environment, ENVIRONMENTS)
    space = environment.observation_space
    traces = []

    def rollout(state, key):
        traces.append(1)

        def one(state, key):
            action_key, step_key = jax.random.split(key)
            action = jax.vmap(environment.action_space.sample)(jax.random.split(action_key, ENVIRONMENTS))
            state, timestep = environments.step(step_key, state, action)
            return state, (timestep, state.episode_length, state.observation)

        return jax.lax.scan(one, state, jax.random.split(key, STEPS))

    rollout = jax.jit(rollout, compiler_options=QUICK)
    start = jax.jit(environments.reset, compiler_options=QUICK)(jax.random.key(0))
    state, (timestep, length, observed) = rollout(start, jax.random.key(1))
    rollout(state, jax.random.key(2))
    assert len(traces) == 1
    assert types(start) == types(state)
    assert not any(x.weak_type for x in jax.tree.leaves(state))

    assert environment.max_steps == LIMIT
    assert timestep.observation.dtype == space.dtype == observed.dtype == start.observation.dtype
    assert timestep.observation.shape == (STEPS, ENVIRONMENTS, *space.shape)
    assert timestep.reward.dtype == jnp.float32
    assert timestep.terminated.dtype == timestep.truncated.dtype == jnp.bool_
    assert timestep.info == {}
    for observations in (timestep.observation, observed, start.observation[None]):
        assert bool(jnp.all(jax.vmap(jax.vmap(space.contains))(observations)))

    terminated, truncated, length = map(np.asarray, (timestep.terminated, timestep.truncated, length))
    assert not np.any(terminated & truncated)
    running = np.zeros(ENVIRONMENTS, int)
    for step in range(STEPS):
        running += 1
        done = terminated[step] | truncated[step]
        np.testing.assert_array_equal(truncated[step], (running >= LIMIT) & ~terminated[step])
        running[done] = 0
        np.testing.assert_array_equal(length[step], running)
    if name not in FIXED_START:
        first = np.asarray(start.observation).reshape(ENVIRONMENTS, -1)
        after = np.asarray(observed)[terminated | truncated].reshape(-1, first.shape[1])
        assert len(np.unique(np.concatenate([first, after]), axis=0)) > 1

    image = environment.render(jax.tree.map(lambda x: x[0], state.environment))
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 1


@pytest.mark.parametrize(
    ("name", "expected", "tolerance"),  # returns of the uniform policy, ALGORITHMS.md section 0
    [
        ("CartPole-v1", 22.6, 2.0),
        ("Acrobot-v1", -498.7, 1.5),
        ("MountainCar-v0", -200.0, 0.01),
        ("Pendulum-v1", -1228.0, 50.0),
        ("Catch-bsuite", -0.59, 0.12),
        ("BernoulliBandit-misc", 50.1, 4.5),
        ("DiscountingChain-bsuite", 1.02, 0.01),
        ("UmbrellaChain-bsuite", 0.0, 0.6),
        ("FrozenLake-misc", 0.014, 0.018),
        ("Breakout-MinAtar", 0.41, 0.15),
    ],
)
def test_the_random_policy_returns_what_it_should(name, expected, tolerance):
    environment = make(name)
    play = jax.jit(lambda key: evaluate(random_policy(environment), environment, key, episodes=512).returns.mean())
    assert float(play(jax.random.key(0))) == pytest.approx(expected, abs=tolerance)


def test_traced_parameters_vary_within_one_program():
    """Full torque for one step from one start, a lane per `max_torque`; each equals the environment made alone."""
    torques = jnp.array([0.5, 1.0, 2.0, 4.0])

    def velocity(max_torque):
        environment = rescale_actions(make("Pendulum-v1", max_torque=max_torque))
        state, _ = environment.reset(jax.random.key(0))
        _, timestep = environment.step(jax.random.key(1), state, jnp.ones(1))
        return timestep.observation[2]

    together = jax.jit(jax.vmap(velocity))(torques)
    alone = [velocity(float(torque)) for torque in torques]
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    np.testing.assert_allclose(np.diff(together), 3.0 * 0.05 * np.diff(torques), rtol=1e-4)  # 3 u dt / (m l^2)


def test_the_bounds_of_a_box_follow_a_traced_parameter():
    high = jax.vmap(lambda torque: make("Pendulum-v1", max_torque=torque).action_space.high * 1.0)(
        jnp.array([1.0, 3.0])
    )
    np.testing.assert_allclose(high, [1.0, 3.0])


def test_bounds_are_constants_when_made_inside_jit():
    @jax.jit
    def inside(x):
        assert make("Pendulum-v1").action_space.high == 2.0
        assert np.isfinite(rescale_actions(make("MountainCarContinuous-v0")).action_space.low)
        return x

    inside(0.0)


def test_what_chooses_a_program_cannot_be_traced():
    for parameter in ("max_steps_in_episode", "size"):
        with pytest.raises(ValueError, match=f"{parameter} .* cannot be traced"):
            jax.jit(lambda x, parameter=parameter: make("DeepSea-bsuite", **{parameter: x}))(3)
    with pytest.raises(ValueError, match="at least 1"):
        make("CartPole-v1", max_steps_in_episode=0)


def test_an_end_at_the_limit_is_an_end():
    """DeepSea's last row is reached in the step of its time limit: terminated, not truncated."""
    environment = make("DeepSea-bsuite", size=3)
    state, _ = environment.reset(jax.random.key(0))
    for _ in range(3):
        state, timestep = environment.step(jax.random.key(0), state, jnp.int32(0))
    assert (bool(timestep.terminated), bool(timestep.truncated)) == (True, False)


def test_the_mass_of_the_cart_pole_is_the_sum_of_its_parts():
    """A heavier pole must give the same step as all dependent parameters set by hand."""
    state, _ = make("CartPole-v1").reset(jax.random.key(0))
    _, derived = make("CartPole-v1", masspole=0.5, length=0.8).step(jax.random.key(0), state, 1)
    by_hand = make("CartPole-v1", masspole=0.5, length=0.8, total_mass=1.5, polemass_length=0.4)
    _, expected = by_hand.step(jax.random.key(0), state, 1)
    np.testing.assert_allclose(derived.observation, expected.observation, rtol=1e-6)


def test_the_agent_of_the_visual_four_rooms_stands_where_the_walls_say():
    environment = make("FourRooms-misc", use_visual_obs=True, pos_fixed=[3, 6])
    state, observation = environment.reset(jax.random.key(0))
    assert observation.dtype == jnp.bool_
    np.testing.assert_array_equal(np.argwhere(observation[..., 1]), [np.asarray(state.pos)])
    assert not bool(observation[3, 6, 0])  # the doorway at row 3, column 6; its transpose is a wall
    assert bool(observation[6, 3, 0])


def test_actions_are_clipped_to_their_space():
    environment = make("MountainCarContinuous-v0")
    state, _ = environment.reset(jax.random.key(0))
    _, inside = environment.step(jax.random.key(0), state, jnp.ones(1))
    _, outside = environment.step(jax.random.key(0), state, 50 * jnp.ones(1))
    np.testing.assert_array_equal(inside.reward, outside.reward)


def test_gradients_pass_through_transitions():
    environment = make("Pendulum-v1")
    state, _ = environment.reset(jax.random.key(0))

    def second_reward(action):
        after, _ = environment.step(jax.random.key(0), state, action)
        return environment.step(jax.random.key(0), after, jnp.zeros(1))[1].reward

    assert float(jnp.abs(jax.grad(second_reward)(0.3 * jnp.ones(1))[0])) > 1e-4


class Old:
    """An environment in the interface of gymnax before version 1: one `done`, which includes the time limit."""

    name = "Old-v0"

    class Params(NamedTuple):
        max_timesteps: int = 5
        goal: int = 3

    default_params = Params()

    def reset_env(self, key, params):
        return jnp.zeros(2, jnp.float16), (jnp.int32(0), jnp.int32(0))

    def step_env(self, key, state, action, params):
        place, time = state
        state = place + action, time + 1
        done = self.is_terminal(state, params)
        return jnp.stack(state).astype(jnp.float16), state, action * 2, done, {"discount": 1 - done}

    def is_terminal(self, state, params):
        return (state[0] >= params.goal) | (state[1] >= params.max_timesteps)

    def observation_space(self, params):
        return spaces.Box(-jnp.inf, jnp.inf, (2,), jnp.float16)

    def action_space(self, params):
        return spaces.Discrete(2)


def test_an_object_of_gymnax_is_what_make_makes():
    ours, made = from_gymnax(*original("Pendulum-v1")), make("Pendulum-v1")
    assert ours.name == "from_gymnax(Pendulum-v1)"
    assert (ours.observation_space.shape, ours.max_steps) == (made.observation_space.shape, made.max_steps)

    def played(environment):
        state, first = environment.reset(jax.random.key(0))
        return first, environment.step(jax.random.key(1), state, jnp.array([7.0]))[1]

    for x, y in zip(jax.tree.leaves(played(ours)), jax.tree.leaves(played(made)), strict=True):
        np.testing.assert_array_equal(x, y)
    assert from_gymnax(original("Breakout-MinAtar")[0]).observation_space.shape == (10, 10, 4)


@pytest.mark.parametrize(("goal", "terminated", "truncated"), [(3, 3, None), (9, None, 5), (5, 5, None)])
def test_the_two_ends_of_an_old_environment_are_told_apart(goal, terminated, truncated):
    """One `done` becomes two; an end in the step of the limit is an end; floats are float32."""
    environment = from_gymnax(Old(), Old.Params(goal=goal))
    vectorize(environment, 2)  # checks the types
    state, _ = environment.reset(jax.random.key(0))
    for time in range(1, (terminated or truncated) + 1):
        state, timestep = environment.step(jax.random.key(0), state, 1)
        assert bool(timestep.terminated) == (time == terminated)
        assert bool(timestep.truncated) == (time == truncated)
    assert timestep.reward == 2.0
    assert timestep.observation.dtype == environment.observation_space.dtype == jnp.float32
    assert environment.max_steps == 5
    assert describe_environment(environment)["parameters"] == {"max_timesteps": 5, "goal": goal}


def test_bounds_of_integers_are_those_of_their_type():
    class Whole(Old):
        def reset_env(self, key, params):
            return jnp.zeros(2, jnp.int32), (jnp.int32(0), jnp.int32(0))

        def observation_space(self, params):
            return spaces.Box(jnp.array([0, -jnp.inf]), 2**31 - 1, (2,), jnp.int32)

    space = from_gymnax(Whole()).observation_space
    assert (space.low.tolist(), space.high, space.dtype) == ([0, -(2**31)], 2**31 - 1, jnp.int32)


def test_parameters_that_json_does_not_have_are_recorded_by_value():
    class Params(NamedTuple):
        max_timesteps: int = 5
        goal: object = np.array([3.0, 4.0])

    class Far(Old):
        default_params = Params()

        def is_terminal(self, state, params):
            return state[0] >= params.goal.sum()

    described = describe_environment(from_gymnax(Far()))
    assert described["parameters"] == {"max_timesteps": 5, "goal": [3.0, 4.0]}
    assert described["not_in_json"] == ["goal"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step_env": None}, "no gymnax environment: it has no step_env"),
        ({"default_params": ()}, "no time limit, neither max_steps_in_episode nor max_timesteps"),
        ({"action_space": lambda self, params: "left"}, "its action space must be a Box or Discrete, and it is str"),
        ({"reset_env": lambda self, key, params: ({"a": 1}, 0)}, "must be one array, and it is a dict"),
    ],
)
def test_what_is_no_environment_of_gymnax(changes, message):
    with pytest.raises(ValueError, match=message):
        from_gymnax(type("Broken", (Old,), changes)())
