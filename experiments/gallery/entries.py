"""What an entry of the gallery is: an experiment, its figures, the numbers it found and the bounds of its claim."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

NO_BOUND = (-math.inf, math.inf)


class Number(float):
    """A number in a sentence: infinitely many steps to a threshold are written as "never"."""

    def __format__(self, specification: str) -> str:
        return "never" if math.isinf(self) else super().__format__(specification)


class Measure(NamedTuple):
    """One number of an experiment: how it is read from `numbers.json`, and where it must lie for the claim to hold.

    Attributes:
        read: from what the experiment wrote to the number.
        bounds: lowest and highest value of a run in full.
        quick: the same of a run with `--quick`; None where such a run is too short to say.
    """

    read: Callable[[Any], float]
    bounds: tuple[float, float] = NO_BOUND
    quick: tuple[float, float] | None = None


class Entry(NamedTuple):
    """An experiment of the gallery.

    Attributes:
        name: of its file in `experiments/`, of its results in `experiments/results/`, and of its figure.
        claim: what the experiment is there to show.
        found: what came out, a format string over the measures: no number of a result is written by hand.
        measures: by the names that `found` uses.
        algorithms: those of the table that it is about.
    """

    name: str
    claim: str
    found: str
    measures: dict[str, Measure]
    algorithms: tuple[str, ...] = ()

    def values(self, numbers: Any) -> dict[str, float]:
        """Every measure of the numbers of a run in full."""
        return {name: float(measure.read(numbers)) for name, measure in self.measures.items()}

    def sentence(self, numbers: Any) -> str:
        """What came out, in words."""
        return self.found.format_map({name: Number(value) for name, value in self.values(numbers).items()})

    def broken(self, numbers: Any, quick: bool) -> list[str]:
        """The measures outside of their bounds, in words; those that a quick run cannot show are left out of one."""
        found = []
        for name, measure in self.measures.items():
            bounds = measure.quick if quick else measure.bounds
            if bounds is None or bounds == NO_BOUND:
                continue
            value = float(measure.read(numbers))
            if not bounds[0] <= value <= bounds[1]:
                found.append(f"{self.name}: {name} is {value:.4g}, not within [{bounds[0]:g}, {bounds[1]:g}]")
        return found


def at(*path: Any) -> Callable[[Any], float]:
    """Read the number at a path of keys and positions."""

    def read(numbers: Any) -> float:
        for key in path:
            numbers = numbers[key]
        return numbers

    return read


def over(summary: Callable[..., Any], *path: Any) -> Callable[[Any], float]:
    """Read what is at a path and summarise it, as `over(np.median, "DQN", "returns")`."""
    find = at(*path)
    return lambda numbers: float(summary(np.asarray(find(numbers))))


def ratio(over: Callable[[Any], float], under: Callable[[Any], float]) -> Callable[[Any], float]:
    """How many times the one is the other."""
    return lambda numbers: over(numbers) / under(numbers)


def difference(first: Callable[[Any], float], second: Callable[[Any], float]) -> Callable[[Any], float]:
    """The first less the second."""
    return lambda numbers: first(numbers) - second(numbers)


def at_least(bound: float) -> tuple[float, float]:
    """Bounds with no upper one."""
    return bound, math.inf


def at_most(bound: float) -> tuple[float, float]:
    """Bounds with no lower one."""
    return -math.inf, bound


def median_of_steps(*path: Any) -> Callable[[Any], float]:
    """The median of steps to a threshold, where None (never) counts as infinity."""
    find = at(*path)
    return lambda numbers: float(np.median([math.inf if steps is None else steps for steps in find(numbers)]))


def solved(*path: Any) -> Callable[[Any], float]:
    """How many seeds reached a threshold at all."""
    find = at(*path)
    return lambda numbers: sum(steps is not None for steps in find(numbers))
