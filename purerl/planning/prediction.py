"""What a sequence of actions earns, asked of a model: of an environment itself, or of a learned one, which is the same.

Every planner plans in an `Environment`: its `step` is the model. A sequence of H actions from a state earns

    J(a_0, ..., a_{H-1}) = sum_{t < H} discount^t alive_t r_t  +  discount^H alive_H V(o_H)

where `alive_t` is 1 until a step has terminated and 0 from then on, and V, a value of the last observation, stands for
all that comes later (none: 0). Time limits do not end a plan: they are no part of what is planned for.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree

from purerl.types import Action, Array, Box, Environment, EnvState, Key, Observation

TerminalValue = Callable[[Observation], Array]


def sequence_return(
    environment: Environment,
    key: Key,
    state: EnvState,
    actions: Action,
    discount: float | Array = 1.0,
    value: TerminalValue | None = None,
) -> Array:
    """`J` of one sequence of actions `[H, ...]` from `state`, a scalar.

    The same key means the same chances: sequences that are compared are compared on one draw of the noise.
    """

    def play(carry: tuple[EnvState, Array, Array], inputs: tuple[Key, Action]) -> tuple[Any, Observation]:
        state, weight, total = carry
        state, timestep = environment.step(inputs[0], state, inputs[1])
        total = total + jnp.where(weight > 0, weight * timestep.reward, 0.0)
        return (state, weight * discount * ~timestep.terminated, total), timestep.observation

    keys = jax.random.split(key, actions.shape[0])
    start = state, jnp.ones(()), jnp.zeros(())
    (_, weight, total), observations = jax.lax.scan(play, start, (keys, actions))
    if value is None:
        return total
    return total + jnp.where(weight > 0, weight * value(jax.tree.map(lambda x: x[-1], observations)), 0.0)


def mean_return(
    environment: Environment,
    key: Key,
    state: EnvState,
    actions: Action,
    discount: float | Array = 1.0,
    value: TerminalValue | None = None,
    particles: int = 1,
) -> Array:
    """`J` of many sequences `[N, H, ...]`, each the mean over the same `particles` draws of the noise, `[N]`.

    A deterministic model needs one.
    """

    def of_one(key: Key) -> Array:
        return jax.vmap(lambda one: sequence_return(environment, key, state, one, discount, value))(actions)

    if particles == 1:
        return of_one(key)
    return jnp.mean(jax.vmap(of_one)(jax.random.split(key, particles)), axis=0)


def as_functions(
    environment: Environment,
    key: Key,
    state: EnvState,
    horizon: int,
    discount: float | Array = 1.0,
    value: TerminalValue | None = None,
) -> tuple[Array, Callable[[Array, Array, Array], Array], Callable[[Array, Array, Array], Array]]:
    """An environment as planners with derivatives want it: the state as a vector x, `f(x, u, t)` and `cost(x, u, t)`.

    x holds the floating-point numbers of `state`, and everything else (counters, keys) stays as it is there. The costs
    are `-discount^t r_t`, the last one with `-discount^(t+1) V(o_{t+1})`, and the noise is one draw, the same for every
    trajectory. Termination has no derivative and is not seen: give what it costs by a reward or by V.
    """
    leaves, structure = jax.tree.flatten(state)
    moves = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]
    x, unravel = ravel_pytree([leaf for leaf, floating in zip(leaves, moves, strict=True) if floating])
    keys = jax.random.split(key, horizon)

    def whole(x: Array) -> EnvState:
        floats = iter(unravel(x))
        return jax.tree.unflatten(
            structure, [next(floats) if floating else leaf for leaf, floating in zip(leaves, moves, strict=True)]
        )

    def vector(state: EnvState) -> Array:
        pairs = zip(jax.tree.leaves(state), moves, strict=True)
        return ravel_pytree([leaf for leaf, floating in pairs if floating])[0]

    def dynamics(x: Array, u: Array, t: Array) -> Array:
        return vector(environment.step(keys[t], whole(x), u)[0])

    def cost(x: Array, u: Array, t: Array) -> Array:
        _, timestep = environment.step(keys[t], whole(x), u)
        later = 0.0 if value is None else jnp.where(t == horizon - 1, discount * value(timestep.observation), 0.0)
        return -(jnp.asarray(discount) ** t) * (timestep.reward + later)

    return x, dynamics, cost


def require_bounded(planner: str, environment: Environment) -> Box:
    """The action space of `environment`, a `Box` with finite bounds. Raises TypeError if it is another one."""
    space = environment.action_space
    if not isinstance(space, Box):
        raise TypeError(
            f"{planner} searches among actions in a box, and those of {environment.name} are {space}; "
            f"random_shooting and uct plan with discrete actions"
        )
    bounds = [bound for bound in (space.low, space.high) if not isinstance(bound, Tracer)]
    if not np.all(np.isfinite([np.broadcast_to(bound, space.shape) for bound in bounds])):
        raise TypeError(
            f"{planner} searches among bounded actions, and those of {environment.name} lie between {space.low} and "
            f"{space.high}; give it finite bounds with `environment._replace(action_space=Box(low, high, shape))`"
        )
    return space
