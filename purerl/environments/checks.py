"""Checks of what is given for an environment, made once, where it enters, and before anything is compiled."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl.configuration import UsageError, a
from purerl.types import Algorithm, Box, Discrete, Environment, MultiDiscrete, Timestep


def require_environment(found: Any, who: str) -> None:
    """Raise UsageError (a TypeError) unless `found` is a `purerl.Environment` with spaces of purerl's own.

    Args:
        found: what was given.
        who: what needs it, for the message: the name of an algorithm or of a function.
    """
    if not isinstance(found, Environment):
        raise UsageError(f"{who} needs a purerl.Environment, but got {_what_it_is(found)}")
    for kind in ("observation_space", "action_space"):
        space = getattr(found, kind)
        if not isinstance(space, Box | Discrete | MultiDiscrete):
            raise UsageError(
                f"{found.name}: {kind} must be a purerl.Box, Discrete or MultiDiscrete, but it is {type(space)}; for "
                f"example purerl.Discrete(2) or purerl.Box(low=-1.0, high=1.0, shape=(3,))"
            )


def integer_bound(bound: Any, dtype: Any) -> np.ndarray:
    """A bound, perhaps of a wider type or infinite, as integers of this type: the nearest that it has."""
    limits = np.iinfo(dtype)
    return np.clip(np.asarray(bound, np.float64), limits.min, limits.max).astype(dtype)


def check_types(environment: Environment) -> None:
    """Trace one reset and one step (nothing is computed) and compare them with what the environment declares.

    Raises UsageError (a TypeError) for a reset or a step of another form, for observations, rewards and flags of
    another shape or type than declared, for a state that changes its form from step to step, and for Python control
    flow that depends on a traced value.
    """
    name, space, actions = environment.name, environment.observation_space, environment.action_space
    key = jax.eval_shape(lambda: jax.random.key(0))
    state, first = _pair(f"{name}: reset", "(state, observation)", environment.reset, key)
    _require(name, "the observation of reset", first, space.shape, space.dtype)
    action = jax.ShapeDtypeStruct(actions.shape, actions.dtype)
    after, step = _pair(f"{name}: step", "(state, purerl.Timestep)", environment.step, key, state, action)
    if not isinstance(step, Timestep):
        raise UsageError(f"{name}: step must return (state, purerl.Timestep), but its second part is {type(step)}")
    _require(name, "the observation of step", step.observation, space.shape, space.dtype)
    _require(name, "reward", step.reward, (), jnp.float32)
    _require(name, "terminated", step.terminated, (), jnp.bool_)
    _require(name, "truncated", step.truncated, (), jnp.bool_)
    _same_form(name, state, after)


def _require(name: str, what: str, found: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Raise unless `found`, a `jax.ShapeDtypeStruct`, has this shape and type."""
    expected = (tuple(shape), jnp.dtype(dtype))
    if hasattr(found, "shape") and (found.shape, found.dtype) == expected:
        return
    is_ = f"{found.dtype} of shape {found.shape}" if hasattr(found, "shape") else a(found)
    raise UsageError(
        f"{name}: {what} must be {expected[1]} of shape {expected[0]}, but it is {is_}; correct the environment or its "
        f"space"
    )


def _pair(where: str, form: str, function: Any, *arguments: Any) -> tuple[Any, Any]:
    """Both parts of what an environment's function returns, as shapes."""
    try:
        result = jax.eval_shape(function, *arguments)
    except (jax.errors.TracerBoolConversionError, jax.errors.ConcretizationTypeError) as error:
        raise UsageError(
            f"{where} asks a traced array for its value (an `if`, `while`, `int` or `float` of Python), and a compiled "
            f"program has none yet; use jnp.where, jax.lax.cond or jax.lax.while_loop there"
        ) from error
    if not (isinstance(result, tuple) and len(result) == 2):
        parts = f"a tuple of {len(result)}" if isinstance(result, tuple) else a(result)
        raise UsageError(f"{where} must return {form}, but it returns {parts}")
    return result


def _same_form(name: str, before: Any, after: Any) -> None:
    """Raise unless a state after a step has the structure, the shapes and the types of a state after a reset."""
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise UsageError(
            f"{name}: the state that step returns must have the structure of that of reset, but one is "
            f"{jax.tree.structure(after)} and the other {jax.tree.structure(before)}"
        )
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            raise UsageError(
                f"{name}: state{jax.tree_util.keystr(path)} is {x.dtype} of shape {x.shape} after reset, but {y.dtype} "
                f"of shape {y.shape} after step; give both the same, for example with jnp.asarray(x, jnp.{x.dtype})"
            )


def _what_it_is(found: Any) -> str:
    """What somebody took for an environment, and what to do instead."""
    module = type(found).__module__.partition(".")[0]
    if isinstance(found, str):
        return f"the name {found!r}; pass purerl.make({found!r})"
    if isinstance(found, Algorithm):
        return f"the algorithm {found.name}; pass the environment that it was made for: algorithm.environment"
    if hasattr(found, "num_envs") and hasattr(found, "action_space") and isinstance(found, tuple):
        return "one that is vectorised already; pass the single environment, and the number of copies as num_envs"
    if hasattr(found, "step_env"):
        name = getattr(found, "name", "CartPole-v1")
        return f"an object of gymnax; pass purerl.make({name!r}), or purerl.environments.from_gymnax(it, params)"
    if isinstance(found, tuple) and any(hasattr(part, "step_env") for part in found):
        return "the pair that gymnax.make returns; pass purerl.make(name), or purerl.environments.from_gymnax(*pair)"
    if module in ("gymnasium", "gym") or hasattr(found, "unwrapped"):
        return "an object of Gymnasium; pass purerl.make(name), or purerl.environments.from_gymnasium(it)"
    return f"{a(found)}; make one with purerl.make(name), or see purerl.Environment for your own"
