"""The space of a search: what Optuna searches, and what makes a study of its own.

Float ranges (`uniform`, `log_uniform`) are searched. Every combination of the lists (algorithms, environments, widths,
numbers of environments, ...) is a branch: one Optuna study, and one set of compiled programs.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from purerl.sweeps.space import Choice, Settings, Uniform, When, expand
from purerl.sweeps.trials import SPECIAL, Catalogue, Trial, float_fields, resolve


class Branch(NamedTuple):
    """One combination of the static values of a space."""

    number: int
    settings: Settings  # the static values
    axes: dict[str, Uniform]  # what is searched
    names: tuple[str, ...]  # of the space, in its order

    def with_values(self, values: Mapping[str, float]) -> Settings:
        """The settings of a trial, in the order of the space."""
        both = {**self.settings, **values}
        return {name: both[name] for name in self.names if name in both}

    def corners(self, catalogue: Catalogue, preset: bool) -> tuple[Trial, Trial]:
        """Two trials that stand for all: every axis at its lowest value, and every axis at its highest.

        Raises ValueError naming the field for what does not exist, has the wrong type, or is searched and no float.
        """
        not_floats = self._not_floats(catalogue, preset)
        if not_floats:
            raise ValueError(
                f"{', '.join(not_floats)}: no float, so one program cannot vary it and the search cannot draw it; give "
                f"a list, each value of which gets a study and programs of its own"
            )
        low = self.with_values({name: axis.low for name, axis in self.axes.items()})
        high = self.with_values({name: axis.high for name, axis in self.axes.items()})
        return resolve(0, low, catalogue, preset), resolve(1, high, catalogue, preset)

    def _not_floats(self, catalogue: Catalogue, preset: bool) -> list[str]:
        """The axes that are no hyperparameters of a program."""
        special = [name for name in self.axes if name in SPECIAL]
        if special:
            return special
        config = resolve(0, self.settings, catalogue, preset).config
        fixed = {field.name for field in dataclasses.fields(config)} - set(float_fields(config))
        return [name for name in self.axes if name in fixed]


def branches(space: Mapping[str, Any]) -> list[Branch]:
    """Every combination of the static values of a space, with what is searched there.

    Raises ValueError for a space that is no mapping, for an axis that a search cannot use, for a condition on a field
    that is searched or missing, and where nothing is left to search.
    """
    if not isinstance(space, Mapping):
        raise ValueError(f"the space of a search must be one mapping of names to values, got {type(space).__name__}")
    searched = {name: value for name, value in space.items() if isinstance(_bare(value), Uniform)}
    static = {name: value for name, value in space.items() if name not in searched}
    for name, value in space.items():
        _check(name, value, static, searched)
    names, result = tuple(space), []
    for number, settings in enumerate(expand(static)):
        axes = {n: _bare(v) for n, v in searched.items() if not isinstance(v, When) or v.holds(settings)}
        if not axes:
            raise ValueError(
                f"there is nothing to search{f' where {_words(settings)}' if settings else ''}: give uniform(low, high)"
                f" or log_uniform(low, high) for a float field, or use purerl.sweep"
            )
        result.append(Branch(number, settings, axes, names))
    return result


def _check(name: str, value: Any, static: Mapping[str, Any], searched: Mapping[str, Any]) -> None:
    if isinstance(_bare(value), Choice):
        raise ValueError(
            f"{name}: a search cannot use choice(...): give uniform(low, high) or log_uniform(low, high) for a float, "
            f"and a list for everything else (each value gets a study of its own)"
        )
    for other, _ in value.condition if isinstance(value, When) else ():
        if other in searched:
            raise ValueError(f"{name} depends on {other!r}, which is searched: a condition needs a list or a constant")
        if other not in static:
            raise ValueError(f"{name} depends on {other!r}, which is not in the space")


def _bare(value: Any) -> Any:
    return value.axis if isinstance(value, When) else value


def _words(settings: Settings) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())
