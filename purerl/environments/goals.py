"""Environments with a goal of its own for every episode, to be reached and kept: where it is, is observed.

A value of such an observation is a universal value function, Q(s, g, a) (Schaul et al., 2015). The last four numbers of
every observation are the point that the goal is about, x and y, and the goal, x and y; both lie within 1 of the origin.
The reward is 0 within `tolerance` of the goal and -1 elsewhere, so that hardly anything is learned by chance, and much
in hindsight (Andrychowicz et al., 2017); with `dense` it is minus the distance. An episode is truncated after `steps`
steps and never terminates: the best there is to do is to arrive soon and to stay.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from purerl import trees
from purerl.environments.four_goals import four_goals
from purerl.types import Action, Array, Box, Environment, Goals, Key, Observation, Timestep

TWO_NUMBERS = Box(-1.0, 1.0, (2,))
LINK = 0.5  # length of each of the two links of the arm


class GoalState(struct.PyTreeNode):
    """A body of two coordinates, what it shall reach, and for how long it has been at it."""

    body: Array  # [2] the robot's position, or the arm's angles
    goal: Array  # [2]
    time: Array  # int32, steps since the reset


def point_robot(
    speed: float | Array = 0.05, tolerance: float | Array = 0.05, dense: bool = False, steps: int = 50
) -> Environment:
    """A point in the square [-1, 1]^2 that moves by `speed` times the action, as far as the walls allow.

    It starts and shall go to uniformly random places. From corner to corner it takes 2 / speed steps: 40 of 50.
    Observation: position and goal. `speed` and `tolerance` may be traced.
    """

    def draw(key: Key) -> Array:
        return jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)

    def move(position: Array, action: Action) -> Array:
        return jnp.clip(position + speed * action, -1.0, 1.0)

    def render(state: GoalState) -> Any:
        from purerl.environments import drawing

        return drawing.goal_point(jax.device_get(state.body), jax.device_get(state.goal), float(tolerance))

    parameters = {"speed": speed, "tolerance": tolerance, "dense": dense, "steps": steps}
    return _environment("goal/point_robot", draw, move, lambda x: x[:0], lambda x: x, render, parameters)


def planar_arm(
    speed: float | Array = 0.1, tolerance: float | Array = 0.1, dense: bool = False, steps: int = 50
) -> Environment:
    """An arm of two links in the plane, fixed at the origin, whose joints turn by `speed` times the action, in radians.

    It starts at uniformly random angles; the goal of its fingertip is where other random angles would bring it: half
    a turn takes 32 of 50 steps. The second angle is relative to the first link. Observation: cosines of both angles,
    sines, fingertip and goal. `speed` and `tolerance` may be traced.
    """

    def draw(key: Key) -> Array:
        return jax.random.uniform(key, (2,), minval=-jnp.pi, maxval=jnp.pi)

    def move(angles: Array, action: Action) -> Array:
        return angles + speed * action

    def features(angles: Array) -> Array:
        return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)])

    def joints(angles: Array) -> Array:
        """Shoulder, elbow and fingertip, `[3, 2]`."""
        directions = jnp.cumsum(angles)
        links = LINK * jnp.stack([jnp.cos(directions), jnp.sin(directions)], axis=1)
        return jnp.concatenate([jnp.zeros((1, 2)), jnp.cumsum(links, axis=0)])

    def render(state: GoalState) -> Any:
        from purerl.environments import drawing

        return drawing.goal_arm(jax.device_get(joints(state.body)), jax.device_get(state.goal), float(tolerance))

    parameters = {"speed": speed, "tolerance": tolerance, "dense": dense, "steps": steps}
    return _environment("goal/planar_arm", draw, move, features, lambda x: joints(x)[2], render, parameters)


def _environment(
    name: str,
    draw: Callable[[Key], Array],
    move: Callable[[Array, Action], Array],
    features: Callable[[Array], Array],
    point: Callable[[Array], Array],
    render: Callable[[GoalState], Any],
    parameters: dict[str, Any],
) -> Environment:
    """Bring `point(body)` to the goal: bodies are drawn by `draw`, go on by `move` and are seen as `features(body)`.

    The goal is the point of another drawn body. Raises ValueError if an episode has no step.
    """
    tolerance, dense, steps = parameters["tolerance"], parameters["dense"], parameters["steps"]
    if steps < 1:
        raise ValueError(f"{name}: steps must be at least 1, got {steps}")

    def observe(state: GoalState) -> Observation:
        return jnp.concatenate([features(state.body), point(state.body), state.goal])

    def reward(observation: Observation) -> Array:
        distance = jnp.linalg.norm(observation[-4:-2] - observation[-2:])
        return -distance if dense else -(distance > tolerance).astype(jnp.float32)

    def reset(key: Key) -> tuple[GoalState, Observation]:
        body_key, goal_key = jax.random.split(key)
        state = trees.strongly_typed(GoalState(draw(body_key), point(draw(goal_key)), jnp.int32(0)))
        return state, observe(state)

    def step(key: Key, state: GoalState, action: Action) -> tuple[GoalState, Timestep]:
        state = state.replace(body=move(state.body, jnp.clip(action, -1.0, 1.0)), time=state.time + 1)
        observation, late = observe(state), state.time >= steps
        timestep = Timestep(observation, reward(observation), jnp.zeros_like(late), late, info={})
        return trees.strongly_typed((state, timestep))

    goals = Goals(
        achieved=lambda observation: observation[-4:-2],
        replace=lambda observation, goal: jnp.concatenate([observation[:-2], goal]),
        reward=reward,
    )
    size = jax.eval_shape(reset, jax.random.key(0))[1].shape
    return Environment(
        name, reset, step, Box(-1.0, 1.0, size), TWO_NUMBERS, steps, parameters, render=render, goals=goals
    )


ENVIRONMENTS: dict[str, Callable[..., Environment]] = {
    "point_robot": point_robot,
    "planar_arm": planar_arm,
    "four_goals": four_goals,
}
