"""RoboParking against its equations, and a driver that parks."""

import jax
import jax.numpy as jnp
import numpy as np

from purerl.environments import make, robo_parking
from purerl.evaluate import evaluate
from purerl.types import Policy


def test_one_step_is_the_equation_of_the_docstring():
    environment = make("RoboParking", push=2.0, friction=0.3, time_step=0.05)
    state, observation = environment.reset(jax.random.key(0))
    position, velocity = np.asarray(observation[:2]), np.array([0.4, -0.2])
    state = state.replace(velocity=jnp.asarray(velocity))
    for action, direction in enumerate(robo_parking.PUSHES):
        after, timestep = environment.step(jax.random.key(1), state, jnp.int32(action))
        new_velocity = velocity + 0.05 * (2.0 * np.array(direction) - 0.3 * velocity)
        new_position = position + 0.05 * new_velocity
        np.testing.assert_allclose(timestep.observation, [*new_position, *new_velocity], rtol=1e-5)
        np.testing.assert_allclose(timestep.reward, -0.05 * np.linalg.norm(new_position), rtol=1e-5)
        assert int(after.time) == 1


def parking_driver() -> Policy:
    """Push against the larger coordinate of x + v: a damped spring by four pushes."""

    def act(key, memory, observation):
        error = observation[:2] + observation[2:]
        axis = jnp.argmax(jnp.abs(error))
        return memory, (2 * axis + (error[axis] > 0)).astype(jnp.int32)

    return Policy(lambda key: (), act)


def test_it_can_be_parked_and_parking_terminates_with_the_bonus():
    environment = make("RoboParking")
    result = jax.jit(lambda key: evaluate(parking_driver(), environment, key, episodes=32))(jax.random.key(0))
    assert np.all(result.lengths < 100)
    assert np.all(result.returns > 0)


def test_who_drives_away_is_truncated_at_the_limit():
    environment = make("RoboParking")
    away = Policy(lambda key: (), lambda key, memory, observation: (memory, jnp.int32(0)))
    result = jax.jit(lambda key: evaluate(away, environment, key, episodes=4, max_steps=500))(jax.random.key(0))
    np.testing.assert_array_equal(result.lengths, robo_parking.MAX_STEPS)
    assert np.all(result.returns < -50)


def test_every_parameter_can_be_traced():
    def outcome(push, friction, goal_radius, parking_speed, bonus, time_step):
        environment = robo_parking.make(push, friction, goal_radius, parking_speed, bonus, time_step)
        result = evaluate(parking_driver(), environment, jax.random.key(0), episodes=4)
        return result.returns.mean()

    defaults = jnp.array([1.0, 0.5, 0.1, 0.2, 10.0, 0.1])
    changed = defaults * (1 + jnp.diag(jnp.array([0.3, 0.3, 2.0, -0.9, 0.3, 0.3])))
    returns = jax.jit(jax.vmap(lambda row: outcome(*row)))(jnp.concatenate([defaults[None], changed]))
    assert len(np.unique(returns)) == 7


def test_it_has_a_picture():
    environment = make("RoboParking")
    state, _ = environment.reset(jax.random.key(0))
    assert environment.render(state).shape == (400, 400, 3)
