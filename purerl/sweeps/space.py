"""The space of a sweep: which fields vary, and how.

    {
        "algorithm": ["dqn", "ppo"],
        "learning_rate": log_uniform(1e-4, 1e-2),
        "clip": when(grid(0.1, 0.2), algorithm="ppo"),
    }

A list is a grid, anything else that is not an axis is a constant (a tuple is one value). Grids are crossed with one
another and with the random draws: every point of the grid gets the same `samples` draws, so points are compared in
pairs. A list of spaces is their union: explicit settings are a list of spaces of constants.
"""

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from purerl.configuration import UsageError, a, nearest, value_from_text

Settings = dict[str, Any]  # one value per field
Space = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Grid:
    """Every one of these values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Uniform:
    """Draws from the uniform distribution on [low, high]; their logarithms if `log`."""

    low: float
    high: float
    log: bool = False

    def at(self, fraction: Any) -> Any:
        """The value at `fraction` in [0, 1] of the way from low to high (the quantile function)."""
        if not self.log:
            return self.low + fraction * (self.high - self.low)
        return self.low * (self.high / self.low) ** fraction


@dataclass(frozen=True)
class Choice:
    """Draws from these values, each as likely as the others."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class When:
    """An axis that exists only where other fields have one of the given values."""

    axis: Any
    condition: tuple[tuple[str, tuple[Any, ...]], ...]

    def holds(self, settings: Settings) -> bool:
        """Whether the settings meet every condition."""
        return all(settings.get(name) in values for name, values in self.condition)


def grid(*values: Any) -> Grid:
    """Every one of `values`. Raises ValueError if there is none or one appears twice."""
    if not values or len({repr(value) for value in values}) < len(values):
        raise ValueError(f"a grid needs different values, got {list(values)}")
    return Grid(values)


def uniform(low: float, high: float) -> Uniform:
    """Uniform draws from [low, high]. Raises ValueError unless low < high, both finite."""
    return _range(low, high, log=False)


def log_uniform(low: float, high: float) -> Uniform:
    """Draws whose logarithm is uniform on [log low, log high]. Raises ValueError unless 0 < low < high, both finite."""
    return _range(low, high, log=True)


def choice(*values: Any) -> Choice:
    """Draws from `values`, equally likely. Raises ValueError like `grid`."""
    return Choice(grid(*values).values)


def when(axis: Any, /, **condition: Any) -> When:
    """`axis` only where each named field has the given value, or one of a list of values; elsewhere the default.

    The fields that decide must stand before this one in the space. `when(x, **{"env.size": 3})` for dotted names.
    """
    if not condition:
        raise ValueError('when needs a condition, for example when(grid(0.1, 0.2), algorithm="ppo")')
    return When(axis, tuple((name, tuple(v) if isinstance(v, list) else (v,)) for name, v in condition.items()))


def expand(space: Space, samples: int = 1, seed: int = 0) -> list[Settings]:
    """All settings of a space, in the order of its grids, without repetitions.

    Args:
        space: see the module.
        samples: joint draws of the random axes, for each point of the grid.
        seed: of the draws. The draws of a field depend on `seed` and its name only: more fields or more samples do not
            change them.

    Raises ValueError for an empty space, for samples < 1, for samples > 1 where nothing is drawn, or for a condition on
    a field that does not stand before.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    spaces = [space] if isinstance(space, Mapping) else list(space) if isinstance(space, Sequence) else [space]
    if wrong := [one for one in spaces if not isinstance(one, Mapping)]:
        raise UsageError(
            f"a space is a dictionary, or a list of them, such as {{'algorithm': 'ppo', 'env': 'CartPole-v1', "
            f"'learning_rate': [1e-3, 1e-4]}}, but got {a(wrong[0])}"
        )
    if not spaces:
        raise ValueError("the list of spaces is empty: give at least one")
    axes = [{name: _axis(name, value) for name, value in one.items()} for one in spaces]
    if samples > 1 and not any(_is_random(axis) for one in axes for axis in one.values()):
        raise ValueError(f"samples = {samples}, but no field of the space is drawn: use uniform, log_uniform or choice")
    found = [settings for one in axes for settings in _expand_one(one, samples, seed)]
    return list({repr(sorted(settings.items())): settings for settings in found}.values())


def parse_axis(text: str) -> Any:
    """An axis from a flag: `1e-3`, `0.1,0.2`, `log_uniform(1e-4, 1e-2)`, `[64,64],[256,256]`, `... when algorithm=ppo`.

    Values are JSON, else strings. Raises ValueError saying what was expected.
    """
    text, _, condition = text.partition(" when ")
    if condition:
        pairs = dict(_pair(part) for part in condition.split(" and "))
        return When(parse_axis(text), tuple((name, tuple(_values(value))) for name, value in pairs.items()))
    call = re.fullmatch(r"\s*([a-z_]+)\s*\((.*)\)\s*", text)
    if call is None:
        values = _values(text)
        return values[0] if len(values) == 1 else grid(*values)
    name, arguments = call[1], _values(call[2])
    if name not in MAKERS:
        raise ValueError(f"{text.strip()}: there is no distribution {name!r}: {nearest(name, MAKERS)}")
    try:
        return MAKERS[name](*arguments)
    except TypeError as error:
        raise ValueError(f"{text.strip()}: {error}") from error


def from_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """A space from TOML or JSON: `{ log_uniform = [1e-4, 1e-2] }`, `{ grid = [1, 2], when = { algorithm = "ppo" } }`.

    Lists are grids; a grid of lists is a grid of tuples. Raises ValueError naming the field.
    """
    return {name: _from_data(name, value) for name, value in data.items()}


def to_data(space: Space) -> Any:
    """The inverse of `from_data`, for `sweep.json`; a union becomes a list."""
    if not isinstance(space, Mapping):
        return [to_data(one) for one in space]
    return {name: _to_data(value) for name, value in space.items()}


MAKERS = {"grid": grid, "uniform": uniform, "log_uniform": log_uniform, "choice": choice}


def _range(low: float, high: float, log: bool) -> Uniform:
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in (low, high))
    if not numbers or not low < high or (log and low <= 0):
        kind = "log_uniform needs numbers 0 <" if log else "uniform needs numbers"
        raise ValueError(f"{kind} low < high, got {low!r} and {high!r}")
    return Uniform(float(low), float(high), log)


def _axis(name: str, value: Any) -> Any:
    """What a space says of one field, as an axis; a constant is a grid of one."""
    if isinstance(value, When):
        return When(_axis(name, value.axis), value.condition)
    if hasattr(value, "ndim") and value.ndim > 0:
        raise ValueError(f"{name}: an array is no axis; give a list, for example values.tolist()")
    if isinstance(value, list):
        try:
            return grid(*value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return value if isinstance(value, Grid | Uniform | Choice) else Grid((value,))


def _is_random(axis: Any) -> bool:
    return isinstance(axis.axis if isinstance(axis, When) else axis, Uniform | Choice)


def _expand_one(axes: dict[str, Any], samples: int, seed: int) -> list[Settings]:
    """The product of the grids, times the draws; each axis is added to those settings that meet its condition."""
    random = [name for name, axis in axes.items() if _is_random(axis)]
    draws = {name: _draw(axes[name], name, samples, seed) for name in random}
    found: list[tuple[int, Settings]] = [(i, {}) for i in range(samples if random else 1)]
    for name, axis in axes.items():
        _check_condition(name, axis, list(axes))
        found = [
            (i, {**settings, **added}) for i, settings in found for added in _additions(name, axis, settings, draws, i)
        ]
    return [settings for _, settings in found]


def _additions(name: str, axis: Any, settings: Settings, draws: dict[str, list[Any]], sample: int) -> list[Settings]:
    """What one axis adds to settings: one dictionary per value."""
    if isinstance(axis, When):
        return _additions(name, axis.axis, settings, draws, sample) if axis.holds(settings) else [{}]
    values = draws[name][sample : sample + 1] if name in draws else axis.values
    return [{name: value} for value in values]


def _check_condition(name: str, axis: Any, names: list[str]) -> None:
    for other, _ in axis.condition if isinstance(axis, When) else ():
        if other not in names[: names.index(name)]:
            raise ValueError(f"{name} depends on {other!r}, which must stand before it in the space")


def _draw(axis: Any, name: str, samples: int, seed: int) -> list[Any]:
    axis = axis.axis if isinstance(axis, When) else axis
    fractions = np.random.default_rng([seed, zlib.crc32(name.encode())]).random(samples)
    if isinstance(axis, Uniform):
        return [float(axis.at(x)) for x in fractions]
    return [axis.values[int(x * len(axis.values))] for x in fractions]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.strip().partition("=")
    if not equals or not name:
        raise ValueError(f"expected NAME=VALUE, got {text!r}")
    return name.strip(), value.strip()


def _values(text: str) -> list[Any]:
    """Comma-separated values; commas within brackets, braces or quotes do not separate."""
    values = [value_from_text(part) for part in _split(text)]
    return [tuple(value) if isinstance(value, list) else value for value in values]


def _split(text: str) -> list[str]:
    """The parts between commas that stand in no bracket, brace or quote. Raises ValueError for one not closed."""
    parts, depth, quoted = [""], 0, False
    for letter in text:
        quoted ^= letter == '"'
        depth += 0 if quoted else (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    stripped = [part.strip() for part in parts]
    if depth or quoted or not all(stripped):
        raise ValueError(f"expected a value, or values separated by commas, got {text!r}")
    return stripped


def _from_data(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return _tuples(value)
    if not isinstance(value, Mapping):
        return value
    rest = dict(value)
    condition, kinds = rest.pop("when", None), [kind for kind in rest if kind in MAKERS]
    if len(rest) != 1 or not kinds or not isinstance(rest[kinds[0]], list):
        kinds = ", ".join(MAKERS)
        raise ValueError(f"{name}: expected one of {kinds} with a list, and perhaps when, got {value!r}")
    try:
        axis = MAKERS[kinds[0]](*_tuples(rest[kinds[0]]))
        return when(axis, **{k: _tuples(v) for k, v in condition.items()}) if condition else axis
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error


def _tuples(values: Any) -> Any:
    """The lists in a list as tuples; anything else as it is."""
    return [tuple(x) if isinstance(x, list) else x for x in values] if isinstance(values, list) else values


def _to_data(value: Any) -> Any:
    if isinstance(value, When):
        return {**_to_data(value.axis), "when": {name: list(values) for name, values in value.condition}}
    if isinstance(value, Uniform):
        return {"log_uniform" if value.log else "uniform": [value.low, value.high]}
    if isinstance(value, Grid | Choice | list):
        values = value if isinstance(value, list) else value.values
        return {
            "choice" if isinstance(value, Choice) else "grid": [list(x) if isinstance(x, tuple) else x for x in values]
        }
    return {"grid": [list(value)]} if isinstance(value, tuple) else value
