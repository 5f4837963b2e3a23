"""QR-DQN (Dabney et al., 2018): DQN that learns the distribution of the return by its quantiles.

The loss is quantile regression (Huber, kappa = 1) of the quantiles at the levels (i + 1/2) / N on those of the target.
The algorithm is `purerl.algorithms.value_based.dqn` with `head="quantile"`.

Dabney, W. et al. (2018), "Distributional reinforcement learning with quantile regression".
"""

from dataclasses import dataclass

from purerl.algorithms.value_based import dqn
from purerl.algorithms.value_based.dqn import check, make
from purerl.networks.q_network import Head

__all__ = ["Config", "check", "make"]


@dataclass(frozen=True)
class Config(dqn.Config):
    """That of `dqn` with another head."""

    head: Head = "quantile"
    """What is learned of the return: its expectation, or its distribution over fixed atoms or by its quantiles."""
