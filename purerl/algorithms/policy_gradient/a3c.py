"""A3C (Mnih et al., 2016) as a deterministic simulation: sixteen workers whose gradients are fifteen updates old.

Asynchronous workers take turns in the long run, so that between a worker's reading of the parameters and its writing
every other one has written once. The algorithm is `purerl.algorithms.policy_gradient.a2c` with `workers` and
`staleness`; with `staleness` 0 it differs from A2C only in that its updates come from one environment at a time.

Mnih, V. et al. (2016), "Asynchronous methods for deep reinforcement learning".
"""

from dataclasses import dataclass

from purerl.algorithms.policy_gradient import a2c
from purerl.algorithms.policy_gradient.a2c import check, make

__all__ = ["Config", "check", "make"]


@dataclass(frozen=True)
class Config(a2c.Config):
    """That of `a2c` with sixteen workers."""

    workers: int = 16
    """Who take turns at updating, each with num_envs / workers environments; 1 is synchronous."""
    max_staleness: int = 15
    """How many old versions of the parameters are kept."""
    staleness: float = 15.0
    """Age of the parameters a worker acts with, in updates, in [0, max_staleness]; between integers, by chance."""
