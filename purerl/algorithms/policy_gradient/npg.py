"""Natural policy gradient (Kakade, 2001): steepest ascent where distance is the divergence of policies.

    theta <- theta + sqrt(2 max_kl / g^T F^-1 g) F^-1 g

The algorithm is `purerl.algorithms.policy_gradient.trpo` without its line search: the step is taken whatever the
divergence turns out to be, unless it is not a number.

Kakade, S. (2001), "A natural policy gradient".
"""

from dataclasses import dataclass

from purerl.algorithms.policy_gradient import trpo
from purerl.algorithms.policy_gradient.trpo import check, make

__all__ = ["Config", "check", "make"]


@dataclass(frozen=True)
class Config(trpo.Config):
    """That of `trpo` without the line search."""

    line_search: bool = False
    """Shorten the step until it keeps its promises; without, it is the natural policy gradient."""
