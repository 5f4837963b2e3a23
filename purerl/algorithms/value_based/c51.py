"""C51 (Bellemare et al., 2017): DQN that learns the distribution of the return as probabilities of fixed atoms.

The target r + discount Z_target(s', a*) is projected on the atoms, and the loss is the cross-entropy. The algorithm is
`purerl.algorithms.value_based.dqn` with `head="categorical"`; `support_low` and `support_high` must span the returns.

Bellemare, M. G., Dabney, W. & Munos, R. (2017), "A distributional perspective on reinforcement learning".
"""

from dataclasses import dataclass

from purerl.algorithms.value_based import dqn
from purerl.algorithms.value_based.dqn import check, make
from purerl.networks.q_network import Head

__all__ = ["Config", "check", "make"]


@dataclass(frozen=True)
class Config(dqn.Config):
    """That of `dqn` with another head."""

    head: Head = "categorical"
    """What is learned of the return: its expectation, or its distribution over fixed atoms or by its quantiles."""
