"""Configs as JSON and back: frozen dataclasses, checked field by field against their annotations.

`to_json` gives what `json.dumps(..., allow_nan=False)` accepts; `from_json` refuses what does not fit the annotation
and says which field it was. Infinities and NaN, which JSON has not, are written as the strings Python's `float` reads.
"""

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

ELSEWHERE = {
    "alpha": "temperature",
    "buffer_size": "replay_capacity",
    "clip_coef": "clip",
    "clip_range": "clip",
    "ent_coef": "entropy_coefficient",
    "env_id": "env",
    "environment": "env",
    "gae_lambda": "trace_decay",
    "gamma": "discount",
    "hidden_sizes": "widths",
    "lambda": "trace_decay",
    "learning_starts": "warm_up_steps",
    "lr": "learning_rate",
    "max_grad_norm": "max_gradient_norm",
    "n_envs": "num_envs",
    "n_epochs": "epochs",
    "num_minibatches": "minibatches",
    "num_seeds": "seeds",
    "num_steps": "rollout_length",
    "n_steps": "rollout_length",
    "tau": "target_rate",
    "timesteps": "total_steps",
    "total_timesteps": "total_steps",
    "update_epochs": "epochs",
    "vf_coef": "value_coefficient",
}  # what other libraries call it, and what it is called here


class UsageError(TypeError):
    """A TypeError about what the caller has passed, whose message says what to pass instead."""


def a(value: Any) -> str:
    """'an int', 'a Config': of what type a value is, in an error message."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def whole_number(name: str, value: Any) -> int:
    """`value` as an int: an int of Python or NumPy, or a float such as 1e6 that is a whole number.

    Raises UsageError (a TypeError) for what is no number, is traced or is an array; ValueError for a fraction.
    """
    if isinstance(value, Tracer):
        raise UsageError(f"{name} chooses a program and cannot be traced or vmapped; pass a Python int")
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number:
        raise UsageError(f"{name} must be a whole number, got {value!r} ({type(value).__name__})")
    if not math.isfinite(value) or value != int(value):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return int(value)


def to_json(value: Any, path: str = "config") -> Any:
    """Plain JSON data for a config, or for any nesting of dataclasses, mappings, sequences, numbers and strings.

    Raises TypeError naming the `path` of a value that JSON cannot carry (a function, an array with more than 0 axes).
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {f.name: to_json(getattr(value, f.name), f"{path}.{f.name}") for f in fields}
    if isinstance(value, Mapping):
        return {str(k): to_json(v, f"{path}.{k}") for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(v, f"{path}[{i}]") for i, v in enumerate(value)]
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, np.generic | np.ndarray | jax.Array) and value.ndim == 0:
        return to_json(value.item(), path)
    raise TypeError(f"{path} = {value!r} ({type(value).__name__}) cannot be written as JSON")


def from_json(kind: Any, data: Any, path: str = "config") -> Any:
    """The value of type `kind` (a dataclass, a builtin, `X | Y`, `Literal`, a tuple, a mapping) that `data` encodes.

    Raises ValueError naming the `path` where the data does not fit the annotation.
    """
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass_from_json(kind, data, path)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return from_json(arguments[0], data, path)
    if origin in (typing.Union, types.UnionType):
        return _union_from_json(kind, arguments, data, path)
    if origin is typing.Literal:
        if data in arguments:
            return data
        raise ValueError(f"{path}: expected one of {', '.join(map(repr, arguments))}, got {data!r}")
    if kind is tuple or origin is tuple:
        return _tuple_from_json(arguments, data, path)
    if kind in (dict, Mapping) or (origin is not None and issubclass(origin, Mapping)):
        _expect(isinstance(data, Mapping), "an object", data, path)
        value_kind = arguments[1] if arguments else Any
        return {k: from_json(value_kind, v, f"{path}.{k}") for k, v in data.items()}
    return _scalar_from_json(kind, data, path)


def value_from_text(text: str) -> Any:
    """What a flag's value means: JSON where it is JSON (`3.0`, `true`, `[64, 64]`), else the string itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def nearest(name: str, names: typing.Iterable[str]) -> str:
    """A sentence for error messages: what `name` is called here, the names that look like it, else all of them."""
    names = sorted(names)
    if ELSEWHERE.get(name) in names:
        return f"did you mean {ELSEWHERE[name]}?"
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"it must be one of: {', '.join(names)}"


def _expect(condition: bool, expected: str, data: Any, path: str) -> None:
    if not condition:
        raise ValueError(f"{path}: expected {expected}, got {data!r} ({type(data).__name__})")


def _dataclass_from_json(kind: type, data: Any, path: str) -> Any:
    _expect(isinstance(data, Mapping), f"an object with the fields of {kind.__name__}", data, path)
    annotations = typing.get_type_hints(kind, include_extras=True)
    fields = {f.name: annotations[f.name] for f in dataclasses.fields(kind) if f.init}
    for name in data:
        if name not in fields:
            raise ValueError(f"{path} has no field {name!r}: {nearest(name, fields)}")
    values = {name: from_json(fields[name], value, f"{path}.{name}") for name, value in data.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from error


def _union_from_json(kind: Any, arguments: tuple, data: Any, path: str) -> Any:
    for argument in arguments:
        try:
            return from_json(argument, data, path)
        except ValueError:
            continue  # the next alternative may fit
    raise ValueError(f"{path}: expected {kind}, got {data!r} ({type(data).__name__})")


def _tuple_from_json(arguments: tuple, data: Any, path: str) -> tuple:
    _expect(isinstance(data, list | tuple), "a list", data, path)
    if not arguments:
        return tuple(data)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(data)
    _expect(len(arguments) == len(data), f"a list of {len(arguments)}", data, path)
    return tuple(from_json(kind, x, f"{path}[{i}]") for i, (kind, x) in enumerate(zip(arguments, data, strict=True)))


def _scalar_from_json(kind: Any, data: Any, path: str) -> Any:
    if kind is Any:
        return data
    if kind in (None, type(None)):
        _expect(data is None, "null", data, path)
        return None
    if kind is float:
        number = isinstance(data, int | float) and not isinstance(data, bool)
        _expect(number or data in ("inf", "-inf", "nan"), "a number", data, path)
        return float(data)
    if kind in (bool, str):
        _expect(isinstance(data, kind), {bool: "true or false", str: "a string"}[kind], data, path)
        return data
    if kind is int:
        _expect(isinstance(data, int) and not isinstance(data, bool), "an integer", data, path)
        return data
    raise ValueError(f"{path}: fields annotated {kind!r} cannot be read from JSON")
