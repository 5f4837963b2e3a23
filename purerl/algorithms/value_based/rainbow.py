"""Rainbow (Hessel et al., 2018): DQN with six improvements at once, all of them fields of `dqn.Config`.

C51's distribution of returns with double and dueling (on the logits of each atom), prioritised replay by the
Kullback-Leibler divergence to the target, n-step returns and noisy layers instead of epsilon. Each is switched off by
its field, which gives the ablations of the paper; the algorithm itself is `purerl.algorithms.value_based.dqn`.

Two things to know: `support_low` and `support_high` must span the *discounted* returns, and not much more, or the atoms
lie too far apart to tell actions from one another. And noise that is learned can be unlearned: where the environment is
deterministic, greedy play may settle on one course for good, which `exploration="epsilon"` prevents.

Hessel, M. et al. (2018), "Rainbow: combining improvements in deep reinforcement learning".
"""

from dataclasses import dataclass
from typing import Literal

from purerl.algorithms.value_based import dqn
from purerl.algorithms.value_based.dqn import check, make
from purerl.experience import Sampling
from purerl.networks.q_network import Head

__all__ = ["Config", "check", "make"]


@dataclass(frozen=True)
class Config(dqn.Config):
    """That of `dqn` with other defaults."""

    double: bool = True
    """Double Q-learning: the parameters choose the action whose value the target network gives."""
    dueling: bool = True
    """Separate streams for the state's value and the actions' advantages, each as wide as the last of widths."""
    n_step: int = 3
    """Steps of reward before the bootstrap."""
    sampling: Sampling = "proportional"
    """How transitions are drawn: uniformly, by priority, or by the rank of their priority."""
    priority_exponent: float = 0.5
    """Alpha of prioritised sampling, in [0, 1]: 0 is uniform."""
    head: Head = "categorical"
    """What is learned of the return: its expectation, or its distribution over fixed atoms or by its quantiles."""
    exploration: Literal["epsilon", "boltzmann", "noisy"] = "noisy"
    """Epsilon-greedy, softmax(Q / temperature), or greedy with noisy layers instead of epsilon."""
