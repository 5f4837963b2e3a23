"""Differentiating through the steps of an environment: what must hold, what flows back, and resets beside the flow."""

from typing import Any

import jax
import jax.extend
import jax.numpy as jnp

from purerl.configuration import UsageError
from purerl.environments.wrappers import Wrapped
from purerl.types import Action, Array, Environment, EnvState, Key, Observation, Timestep


@jax.custom_vjp
def pass_back(tree: Any, decay: Array) -> Any:
    """The same tree. What flows back through it is multiplied by `decay`, and is zero if any of it is not finite."""
    return tree


def _pass_back_reverse(decay: Array, cotangent: Any) -> tuple[Any, Array]:
    leaves, structure = jax.tree.flatten(cotangent)
    smooth = [x.dtype != jax.dtypes.float0 for x in leaves]
    finite = jnp.array(True)
    for leaf in (x for x, moves in zip(leaves, smooth, strict=True) if moves):
        finite &= jnp.all(jnp.isfinite(leaf))
    passed = [jnp.where(finite, decay * x, 0.0) if moves else x for x, moves in zip(leaves, smooth, strict=True)]
    return jax.tree.unflatten(structure, passed), jnp.zeros_like(decay)


pass_back.defvjp(lambda tree, decay: (tree, decay), _pass_back_reverse)


def already_stepped(environment: Environment) -> Environment:
    """An environment whose state is what a step led to, so that `vectorize` counts and resets and does not step."""

    def reset(key: Key) -> tuple[Wrapped, Observation]:
        state, observation = environment.reset(key)
        action = jnp.zeros(environment.action_space.shape, environment.action_space.dtype)
        _, timestep = jax.eval_shape(environment.step, key, state, action)
        return Wrapped(state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), timestep)), observation

    def step(key: Key, state: Wrapped, action: Action) -> tuple[Wrapped, Timestep]:
        return state, state.memory

    return environment._replace(reset=reset, step=step)


def require_derivatives(algorithm: str, environment: Environment) -> None:
    """Raise TypeError unless a step can be differentiated in reverse and its outcome moves with the action.

    It is traced, and nothing is computed: a derivative that is zero by construction (`stop_gradient`, rounding,
    comparisons all the way) is found, one that is zero by numbers (a saturated clip) is not.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    state, _ = jax.eval_shape(environment.reset, key)
    action = jax.ShapeDtypeStruct(environment.action_space.shape, environment.action_space.dtype)

    def outcome(key: Key, state: EnvState, action: Action) -> list[Array]:
        after, timestep = environment.step(key, state, action)
        leaves = jax.tree.leaves((after, timestep.observation, timestep.reward))
        return [x for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)]

    def pulled_back(cotangent: list[Array], key: Key, state: EnvState, action: Action) -> Array:
        _, pull = jax.vjp(lambda action: outcome(key, state, action), action)
        return pull(cotangent)[0]

    cotangent = jax.eval_shape(outcome, key, state, action)
    try:
        jaxpr = jax.make_jaxpr(pulled_back)(cotangent, key, state, action).jaxpr
    except ValueError as error:
        if "Reverse-mode" not in str(error):
            raise
        raise UsageError(
            f"{algorithm} differentiates through the simulator in reverse, and the steps of {environment.name} contain "
            f"a loop without a fixed number of turns (such as a solver with more than one iteration); use a simulator "
            f"without one, or an algorithm without derivatives, for example ppo"
        ) from error
    moved = set(jaxpr.invars[: len(cotangent)])
    for equation in jaxpr.eqns:
        if any(isinstance(x, jax.extend.core.Var) and x in moved for x in equation.invars):
            moved.update(equation.outvars)
    if not any(isinstance(x, jax.extend.core.Var) and x in moved for x in jaxpr.outvars):
        raise UsageError(
            f"{algorithm} differentiates through the simulator, but the derivative of every step of {environment.name} "
            f"in the action is zero; use an algorithm without derivatives, for example ppo"
        )
