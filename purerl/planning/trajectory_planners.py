"""Planners with derivatives: iLQR or DDP, and direct collocation, around the last plan of an environment."""

from typing import Any

import jax
import jax.numpy as jnp

from purerl.planning.prediction import TerminalValue, as_functions, require_bounded
from purerl.planning.shooting import shift
from purerl.planning.trajectory_optimization import collocation, ilqr
from purerl.types import Action, Array, Box, Environment, EnvState, Key, Planner


def ilqr_planner(
    environment: Environment,
    horizon: int = 20,
    iterations: int = 20,
    second_order: bool = False,
    regularization: float | Array = 0.0,
    discount: float | Array = 1.0,
    value: TerminalValue | None = None,
) -> Planner:
    """`ilqr` through the model (with `second_order` DDP): execute the first action, begin the next search at the plan.

    The state's floating-point numbers are the vector that is controlled, by actions in the units of the environment
    and within its bounds; noise is one draw. Costs `iterations x horizon` derivatives of a step (as many as there are
    numbers in state and action, each) and ten times as many steps.

    Raises TypeError unless actions are vectors in a bounded box.
    """
    space = require_bounded("ilqr_planner", environment)
    low, high = _bounds(space)

    def plan(key: Key, memory: Array, state: EnvState) -> tuple[Array, Action]:
        x, dynamics, cost = as_functions(environment, key, state, horizon, discount, value)
        found = ilqr(
            dynamics, cost, _nothing, x, memory, iterations, second_order, low, high, regularization=regularization
        )
        return shift(found.actions), found.actions[0]

    return Planner(init=lambda key: _middle(space, horizon), plan=plan)


def collocation_planner(
    environment: Environment,
    horizon: int = 20,
    iterations: int = 20,
    penalty: float | Array = 10.0,
    regularization: float | Array = 0.0,
    discount: float | Array = 1.0,
    value: TerminalValue | None = None,
) -> Planner:
    """`collocation` through the model, as `ilqr_planner` does it: the plan is a trajectory of states and actions."""
    space = require_bounded("collocation_planner", environment)
    low, high = _bounds(space)
    first, _ = jax.eval_shape(environment.reset, jax.eval_shape(lambda: jax.random.key(0)))
    size = sum(x.size for x in jax.tree.leaves(first) if jnp.issubdtype(x.dtype, jnp.floating))

    def plan(key: Key, memory: tuple[Array, Array, Array], state: EnvState) -> tuple[Any, Action]:
        states, actions, begun = memory
        x, dynamics, cost = as_functions(environment, key, state, horizon, discount, value)
        states = jnp.where(begun, states, x).at[0].set(x)
        found = collocation(
            dynamics, cost, _nothing, states, actions, iterations, low, high, penalty=penalty,
            regularization=regularization,
        )  # fmt: skip
        return (shift(found.states), shift(found.actions), jnp.ones((), bool)), found.actions[0]

    def init(key: Key) -> tuple[Array, Array, Array]:
        return jnp.zeros((horizon + 1, size)), _middle(space, horizon), jnp.zeros((), bool)

    return Planner(init=init, plan=plan)


def _bounds(space: Box) -> tuple[Array, Array]:
    low, high = (jnp.broadcast_to(jnp.asarray(bound, jnp.float32), space.shape) for bound in (space.low, space.high))
    return low, high


def _middle(space: Box, horizon: int) -> Array:
    """The plan of doing what is in the middle of the box, `[H, A]`."""
    low, high = _bounds(space)
    return jnp.broadcast_to((low + high) / 2, (horizon, *space.shape))


def _nothing(x: Array) -> Array:
    """The last state costs nothing of its own: V is in the last step's cost."""
    return jnp.zeros((), x.dtype)
