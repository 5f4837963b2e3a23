"""IQN (Dabney et al., 2018): DQN that learns the return's quantile function, at levels drawn anew for every sample.

Levels enter the network through cosine features; those of the prediction, of the target and of the choice of its action
are drawn apart. `risk_averse` acts by the mean of the worst `risk` share of the returns. The algorithm is
`purerl.algorithms.value_based.dqn` with `head="implicit_quantile"`.

Dabney, W. et al. (2018), "Implicit quantile networks for distributional reinforcement learning".
"""

from dataclasses import dataclass

from purerl.algorithms.value_based import dqn
from purerl.algorithms.value_based.dqn import check, make
from purerl.networks.q_network import Head

__all__ = ["Config", "check", "make"]


@dataclass(frozen=True)
class Config(dqn.Config):
    """That of `dqn` with another head."""

    head: Head = "implicit_quantile"
    """What is learned of the return: its expectation, or its distribution over fixed atoms or by its quantiles."""
    atoms: int = 32
    """Levels drawn per sample, for acting and for learning alike."""
