"""Successive halving: many trials for a little while, few of them to the end (Jamieson & Talwalkar, 2016).

With factor f and R rungs, a generation of n trials is cut down after each rung r = 0, ..., R - 1 but the last:

    n_r = floor(n / f^r) trials train until f^(r - R + 1) of the whole budget; the best n_(r + 1) of them go on

so every rung costs about as much as the first. This is one bracket of Hyperband (Li et al., 2018). What is cut is the
agent axis: the states of those that go on are gathered, and a smaller program goes on with them, at the same clock.

Jamieson, K. and Talwalkar, A. (2016), "Non-stochastic best arm identification and hyperparameter optimization".
Li, L. et al. (2018), "Hyperband: a novel bandit-based approach to hyperparameter optimization".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Halving:
    """How a generation of trials is cut down while it trains."""

    factor: int = 3
    """After each rung one in so many goes on, at least 2."""
    rungs: int = 3
    """Pieces of the training, at least 1: so many minus one cuts."""


class Rung(NamedTuple):
    """A piece of the training of a generation."""

    trials: int
    groups: int  # of iterations, done at its end


def ladder(halving: Halving | None, generation: int, groups: int) -> tuple[Rung, ...]:
    """The rungs of a generation of so many trials whose whole training takes `groups` groups; None: a single rung.

    Raises ValueError if a rung would be left without a trial, or without an evaluation of its own.
    """
    if halving is None:
        return (Rung(generation, groups),)
    factor, count = halving.factor, halving.rungs
    if factor < 2 or count < 1:
        raise ValueError(f"halving needs a factor of at least 2 and at least 1 rung, got {factor} and {count}")
    rungs = tuple(Rung(generation // factor**r, -(-groups // factor ** (count - 1 - r))) for r in range(count))
    if rungs[-1].trials < 1:
        raise ValueError(
            f"halving by {factor} over {count} rungs needs generations of at least {factor ** (count - 1)} trials, got "
            f"{generation}: make the generation larger or take fewer rungs"
        )
    ends = [rung.groups for rung in rungs]
    if len(set(ends)) < count:
        raise ValueError(
            f"halving by {factor} over {count} rungs ends its rungs after {', '.join(map(str, ends))} of the {groups} "
            f"evaluations, and every rung needs one of its own: evaluate more often or take fewer rungs"
        )
    return rungs


def promoted(scores: Sequence[float | None], count: int) -> list[int]:
    """Places, in order, of the best `count` scores; None is worse than all, and of equal ones the first is better."""
    ranked = sorted(range(len(scores)), key=lambda i: (scores[i] is None, -(scores[i] or 0.0), i))
    return sorted(ranked[:count])
