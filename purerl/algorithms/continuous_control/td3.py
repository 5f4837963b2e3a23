"""TD3, twin delayed deep deterministic policy gradient (Fujimoto et al., 2018): DDPG with three tricks against bias.

Two critics learn from the lesser of their values, `y = r + discount min_k Q_target,k(s', a~)`; the target's action is
smoothed, `a~ = clip(mu_target(s') + clip(noise, -c, c), -1, 1)`; and actor and targets move once in two updates of the
critics. Each is a field of `ddpg.Config`; the algorithm itself is `purerl.algorithms.continuous_control.ddpg`.

Fujimoto, S. et al. (2018), "Addressing function approximation error in actor-critic methods".
"""

from dataclasses import dataclass

from purerl.algorithms.continuous_control import ddpg
from purerl.algorithms.continuous_control.ddpg import check, make

__all__ = ["Config", "check", "make"]


@dataclass(frozen=True)
class Config(ddpg.Config):
    """That of `ddpg` with other defaults."""

    critics: int = 2
    """Action values that learn side by side from the same targets."""
    policy_delay: int = 2
    """Updates of the critics per update of the actor and of the targets; divides the updates of an iteration."""
    target_noise: float = 0.2
    """Deviation of the noise on the target's action, in [-1, 1] units of the action, >= 0."""
