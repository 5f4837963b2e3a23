"""A point that may go to any of four goals: what a policy with one peak cannot do (Haarnoja et al., 2017)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl import trees
from purerl.types import Action, Array, Box, Environment, Key, Observation, Timestep

GOALS = np.array([[5.0, 0.0], [0.0, 5.0], [-5.0, 0.0], [0.0, -5.0]], np.float32)
WALL = 7.0


class FourGoalsState(struct.PyTreeNode):
    """Where the point is, and for how long it has been at it."""

    position: Array  # [2] metres
    time: Array  # int32, steps since the reset


def four_goals(
    radius: float = 1.0,
    bonus: float = 1.0,
    distance_cost: float = 0.1,
    action_cost: float = 3.0,
    start_deviation: float = 0.1,
    max_steps: int = 30,
) -> Environment:
    """Walk from the middle of a square to one of four goals, which are all as good. Floats may be traced.

    Observation `[2]`: the position x in metres, within +-7. Action `[2]` in [-1, 1]: the step u, in metres. With the
    goals g at (+-5, 0) and (0, +-5),

        x <- clip(x + u, -7, 7)    reward = bonus [arrived] - distance_cost min_g |x - g|^2 - action_cost |u|^2 / 10

    where arrived means within `radius` of a goal; that terminates the episode. It is truncated after `max_steps`.

    Args:
        radius: how near a goal counts as arrived, in m.
        bonus: reward for arriving.
        distance_cost: per square metre to the nearest goal.
        action_cost: per ten square metres of step.
        start_deviation: of the start around the middle, in m.
        max_steps: time limit.
    """

    def reset(key: Key) -> tuple[FourGoalsState, Observation]:
        position = start_deviation * jax.random.normal(key, (2,))
        return trees.strongly_typed((FourGoalsState(position, jnp.int32(0)), position))

    def step(key: Key, state: FourGoalsState, action: Action) -> tuple[FourGoalsState, Timestep]:
        position = jnp.clip(state.position + action, -WALL, WALL)
        distance = jnp.min(jnp.sum(jnp.square(position - GOALS), axis=-1))
        arrived = distance <= jnp.square(radius)
        effort = action_cost * jnp.sum(jnp.square(action)) / 10
        reward = jnp.where(arrived, bonus, 0.0) - distance_cost * distance - effort
        after = FourGoalsState(position, state.time + 1)
        over = ~arrived & (after.time >= max_steps)
        return trees.strongly_typed((after, Timestep(position, reward, arrived, over, info={})))

    return Environment(
        name="goal/four_goals",
        reset=reset,
        step=step,
        observation_space=Box(-WALL, WALL, (2,)),
        action_space=Box(-1.0, 1.0, (2,)),
        max_steps=max_steps,
        render=draw,
    )


def draw(state: Any) -> np.ndarray:
    """The square, its goals and the point, uint8 `[H, W, 3]`."""
    from purerl.environments.drawing import BLUE, GREEN, disc, scene

    shapes = [disc((float(x), float(y)), 1.0, GREEN) for x, y in GOALS]
    x, y = np.asarray(state.position, float)
    return scene([*shapes, disc((x, y), 0.35, BLUE)], -WALL, WALL, -WALL, WALL, width=300)
