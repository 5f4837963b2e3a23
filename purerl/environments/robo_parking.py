"""RoboParking: a robot on a flat lot, four pushes, one place to park. The worked example of writing an environment.

An environment is two pure functions and the spaces they live in:

    reset(key)               -> state, observation       draw a start
    step(key, state, action) -> state, Timestep          one step of time, no automatic reset

The state is a frozen dataclass of arrays. Its randomness comes from `key` and from nowhere else; a parameter is read
from the closure and may be a traced number, so that one compiled program can hold a thousand lots with a thousand
frictions; a choice between two outcomes is `jnp.where`, never `if`. Nothing is inherited and nothing is registered:
`vectorize(make(), 64)` gives sixty-four of them, `dqn.make(make(), dqn.Config())` an agent to learn it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from purerl import trees
from purerl.types import Action, Array, Box, Discrete, Environment, Key, Observation, Timestep

PUSHES = ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))  # east, west, north, south
MAX_STEPS = 200


class RoboParkingState(struct.PyTreeNode):
    """Where the robot is, how it moves, and for how long it has been at it."""

    position: Array  # [2] metres
    velocity: Array  # [2] metres per second
    time: Array  # int32, steps since the reset


def make(
    push: float = 1.0,
    friction: float = 0.5,
    goal_radius: float = 0.1,
    parking_speed: float = 0.2,
    bonus: float = 10.0,
    time_step: float = 0.1,
) -> Environment:
    """Drive to the origin and come to rest there. Every parameter may be traced.

    The robot starts at rest, uniformly in the square of side 2 around the origin. Each step pushes it east, west,
    north or south (actions 0 to 3); there is no action for doing nothing, so parking means braking in time. With
    position x, velocity v, push p of the chosen direction, friction f and time step h,

        v <- v + h (p - f v)        x <- x + h v        reward = -h |x|

    Once |x| <= goal_radius and |v| <= parking_speed the robot is parked: the reward is `bonus` more and the episode
    is *terminated*. After 200 steps without parking it is *truncated*. The robot that drives away forever collects
    the worst return, the one that parks at once the best, and a random one about -50.

    Args:
        push: acceleration of a push, in m/s^2.
        friction: loss of speed, in 1/s.
        goal_radius: how near the origin counts as parked, in m.
        parking_speed: how slow counts as parked, in m/s.
        bonus: reward for parking.
        time_step: h, in s; below 1 / friction.

    Returns the environment; observations are (x, y, velocity x, velocity y), float32 and unbounded.
    """

    def observe(state: RoboParkingState) -> Observation:
        return jnp.concatenate([state.position, state.velocity])

    def reset(key: Key) -> tuple[RoboParkingState, Observation]:
        position = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
        state = trees.strongly_typed(RoboParkingState(position, jnp.zeros(2), jnp.int32(0)))
        return state, observe(state)

    def step(key: Key, state: RoboParkingState, action: Action) -> tuple[RoboParkingState, Timestep]:
        acceleration = push * jnp.array(PUSHES)[action] - friction * state.velocity
        velocity = state.velocity + time_step * acceleration
        state = RoboParkingState(state.position + time_step * velocity, velocity, state.time + 1)
        distance, speed = jnp.linalg.norm(state.position), jnp.linalg.norm(state.velocity)
        parked = (distance <= goal_radius) & (speed <= parking_speed)
        reward = -time_step * distance + jnp.where(parked, bonus, 0.0)
        late = state.time >= MAX_STEPS
        return trees.strongly_typed((state, Timestep(observe(state), reward, parked, late & ~parked, info={})))

    def render(state: RoboParkingState) -> Any:
        from purerl.environments import drawing

        return drawing.robo_parking(jax.device_get(state.position), jax.device_get(state.velocity), goal_radius)

    parameters = {"push": push, "friction": friction, "goal_radius": goal_radius}
    parameters |= {"parking_speed": parking_speed, "bonus": bonus, "time_step": time_step}
    space = Box(-jnp.inf, jnp.inf, (4,))
    return Environment("RoboParking", reset, step, space, Discrete(len(PUSHES)), MAX_STEPS, parameters, render=render)
