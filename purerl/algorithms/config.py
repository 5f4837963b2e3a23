"""Checks of configurations, made before anything is compiled."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from purerl.configuration import UsageError, a
from purerl.environments.checks import require_environment
from purerl.types import Box, Discrete, Environment, MultiDiscrete, Space


def check_config(
    config: Any,
    *,
    positive: Sequence[str] = (),
    non_negative: Sequence[str] = (),
    fraction: Sequence[str] = (),
    infinite: Sequence[str] = (),
) -> None:
    """Raise unless every field has the type of its annotation and lies in its range.

    A `float` field may be traced (then its range cannot be checked) and must otherwise be finite, unless it is named in
    `infinite`. Every other field chooses a program and must be a plain Python value.

    Args:
        config: a frozen dataclass.
        positive: fields that must be > 0.
        non_negative: fields that must be >= 0.
        fraction: fields that must be in [0, 1].
        infinite: float fields that may also be infinity, meaning "off".

    Raises TypeError for a value of the wrong type (a traced or batched static field among them), ValueError for one
    out of range; both name the field, the value and what to do instead.
    """
    algorithm = name_of(config)
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        where = f"{algorithm}: {field.name}"
        if hints[field.name] is float:
            _check_float(where, value, may_be_infinite=field.name in infinite)
        else:
            _check_static(where, value, hints[field.name])
    ranges = [(positive, lambda x: x > 0, "> 0"), (non_negative, lambda x: x >= 0, ">= 0")]
    ranges.append((fraction, lambda x: 0 <= x <= 1, "in [0, 1]"))
    for names, holds, description in ranges:
        for name in names:
            if not hasattr(config, name):
                raise UsageError(
                    f"{algorithm}.Config has no {name}, which this algorithm needs; pass each algorithm a Config of "
                    f"its own, as in ppo.make(environment, ppo.Config())"
                )
            value = getattr(config, name)
            if is_concrete(value) and not np.all(holds(np.asarray(value))):
                raise ValueError(f"{algorithm}: {name} must be {description}, got {value}")


def name_of(config: Any) -> str:
    """The name of the algorithm that `config` configures: that of the module which defines its class.

    Raises UsageError (a TypeError) for anything but an instance of a dataclass.
    """
    if isinstance(config, type) and dataclasses.is_dataclass(config):
        name = config.__module__.rpartition(".")[2]
        raise UsageError(f"{name} needs a Config, but got the class itself; pass an instance, {name}.Config()")
    if not dataclasses.is_dataclass(config):
        raise UsageError(
            f"an algorithm needs its Config, but got {a(config)}; the environment comes first, then the "
            f"Config, as in ppo.make(environment, ppo.Config(learning_rate=1e-3))"
        )
    return type(config).__module__.rpartition(".")[2]


def is_concrete(value: Any) -> bool:
    """Whether `value` can be looked at now: not traced by `jit`, `vmap` or `grad`."""
    return not isinstance(value, Tracer)


def _check_float(where: str, value: Any, may_be_infinite: bool) -> None:
    if not is_concrete(value):
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise UsageError(
                f"{where} is a float, but values of type {value.dtype} are traced or vmapped for it; pass floats, for "
                f"example jnp.array([1.0, 2.0])"
            )
        return
    if isinstance(value, list | tuple) or np.shape(value) != ():
        raise UsageError(
            f"{where} must be one number, got {value!r}; to train with several values, vmap over them or use "
            f"purerl.sweep"
        )
    if not _is_number(value):
        raise UsageError(f"{where} must be a number, got {value!r} ({type(value).__name__})")
    number = float(value)
    if math.isnan(number) or (math.isinf(number) and not may_be_infinite):
        raise ValueError(f"{where} must be a finite number, got {number}")


def _is_number(value: Any) -> bool:
    return jnp.issubdtype(np.asarray(value).dtype, jnp.number) and not isinstance(value, complex)


def _check_static(where: str, value: Any, annotation: Any) -> None:
    parts = value if isinstance(value, tuple | list) else (value,)
    if any(isinstance(part, jax.Array) for part in parts):
        raise UsageError(
            f"{where} chooses a program and cannot be traced, vmapped or an array: only float fields can be swept "
            f"inside one program; make one algorithm per value of this field, or let purerl.sweep do so"
        )
    if get_origin(annotation) is Literal:
        if value not in get_args(annotation):
            raise ValueError(f"{where} must be one of {', '.join(map(repr, get_args(annotation)))}, got {value!r}")
        return
    expected = get_origin(annotation) or annotation
    right = isinstance(value, expected) and (expected is bool or not isinstance(value, bool))
    if not right:
        kind = getattr(expected, "__name__", str(expected))
        hint = f"; write {kind}(...)" if expected in (int, tuple) and isinstance(value, np.integer | list) else ""
        raise UsageError(f"{where} must be of type {kind}, got {value!r} ({type(value).__name__}){hint}")
    if isinstance(value, tuple) and not all(isinstance(x, get_args(annotation)[0]) for x in value):
        raise UsageError(f"{where} must be a tuple of {get_args(annotation)[0].__name__}, got {value!r}")


def require_discrete(algorithm: str, environment: Environment) -> Discrete:
    """The environment's action space, which must be discrete; TypeError with a way out otherwise."""
    require_environment(environment, algorithm)
    space = environment.action_space
    if isinstance(space, MultiDiscrete):
        raise UsageError(
            f"{algorithm} needs one discrete action, but those of {environment.name} are {len(space.sizes)} choices at "
            f"once (sizes {space.sizes}); use an algorithm that takes them, for example ppo, or number their "
            f"combinations in a wrapper"
        )
    if not isinstance(space, Discrete):
        raise UsageError(
            f"{algorithm} needs discrete actions, but {environment.name} has continuous ones (shape {space.shape}); "
            f"use an algorithm for continuous actions, for example ppo"
        )
    return space


def require_vector_actions(algorithm: str, environment: Environment) -> Space:
    """The environment's action space: discrete, several discrete ones, or a vector of reals; TypeError otherwise."""
    require_environment(environment, algorithm)
    space = environment.action_space
    if isinstance(space, Box) and (len(space.shape) != 1 or not jnp.issubdtype(space.dtype, jnp.floating)):
        raise UsageError(
            f"{algorithm} needs discrete actions or a vector of continuous ones, but the actions of {environment.name} "
            f"have shape {space.shape} and type {jnp.dtype(space.dtype)}; convert them in a wrapper"
        )
    return space


def require_continuous(algorithm: str, environment: Environment) -> Box:
    """The environment's action space, which must be a vector of reals; TypeError with a way out otherwise."""
    require_environment(environment, algorithm)
    space = environment.action_space
    if not isinstance(space, Box):
        raise UsageError(
            f"{algorithm} needs continuous actions, but {environment.name} has discrete ones, in which nothing can be "
            f"differentiated; use an algorithm for discrete actions, for example ppo"
        )
    require_vector_actions(algorithm, environment)
    return space


def require_real_observations(algorithm: str, environment: Environment) -> None:
    """What `normalize_observations` needs; ValueError if the observations are discrete."""
    if not isinstance(environment.observation_space, Box):
        raise ValueError(
            f"{algorithm}: normalize_observations needs real-valued observations, but those of {environment.name} are "
            f"discrete; leave it off (they are one-hot encoded)"
        )
