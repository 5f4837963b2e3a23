"""Model-based value expansion: DDPG whose targets look some imagined steps ahead before they bootstrap.

An ensemble is fitted to everything seen every `model_period` steps. From the successor of every replayed step the
target policy is followed in it for H steps, and Q learns at all of these states (MVE; Feinberg et al., 2018),

    y_t = sum_{i = t}^{H} discount^{i - t} r_i + discount^{H + 1 - t} Q_target(s_{H+1}, mu_target(s_{H+1})),  t = 0..H

H must be as small as the model is poor, and values within the reach of the critics: on Pendulum it helps with
`multiply_rewards(environment, 0.03)`; with rewards as they are and fast targets it does harm. `weighting =
"inverse_variance"` is STEVE (Buckman et al., 2018): the real state's target is a mixture of those with 0 ... H imagined
steps, each weighted by the inverse of its variance over models and critics. Only the first state learns then.

`horizon = 0` is `ddpg` with a model that nobody asks. The fields of `ddpg` and `td3` (twin critics, smoothed targets)
are all there.

Feinberg, V. et al. (2018), "Model-based value expansion for efficient model-free reinforcement learning". Buckman, J.
et al. (2018), "Sample-efficient reinforcement learning with stochastic ensemble value expansion".
"""

from dataclasses import dataclass
from typing import Literal

from purerl.algorithms.config import check_config, name_of
from purerl.algorithms.continuous_control import ddpg
from purerl.models.dynamics import DynamicsModel, ensemble_dynamics, true_dynamics
from purerl.models.ensemble import EnsembleConfig
from purerl.models.imagination import Imagination
from purerl.models.learned_environment import Reward, Termination, in_scaled_actions
from purerl.types import Algorithm, Environment


@dataclass(frozen=True)
class Config(ddpg.Config):
    """That of `ddpg` with other defaults, and the model."""

    critics: int = 2
    """Action values that learn side by side from the same targets."""
    steps_per_iteration: int = 10
    """Steps of every environment per iteration."""
    batch_size: int = 64
    """Transitions per update; with the imagined states Q learns at H + 1 times as many."""
    replay_capacity: int = 20_000
    """Steps remembered; a multiple of num_envs x steps_per_iteration. The model is fitted to all of them."""
    horizon: int = 3
    """H, imagined steps before the bootstrap."""
    weighting: Literal["last", "inverse_variance"] = "last"
    """Bootstrap after all H steps (MVE), or after each, weighted by agreement (STEVE)."""
    learn_imagined: bool = True
    """Whether Q learns at imagined states too (TD-k); harmful on Pendulum without `target_noise`. Not for STEVE."""
    model: Literal["ensemble", "true"] = "ensemble"
    """What is asked: what was learned, or the environment itself."""
    model_period: int = 250
    """Environment steps between two fits of the model."""
    members: int = 4
    """Networks of the ensemble."""
    model_widths: tuple[int, ...] = (64, 64)
    """Units of the hidden layers of every member."""
    max_rounds: int = 20
    """Of a hundred updates, at most so many in one fit."""
    learn_termination: bool = True
    """Predict whether a step terminates, where that is not known."""


def make(
    environment: Environment, config: Config, reward: Reward | None = None, termination: Termination | None = None
) -> Algorithm:
    """DDPG with value expansion on `environment`, whose observations and actions must be vectors, the latter bounded.

    Args:
        environment: what to learn.
        config: how.
        reward: r(o, a, o') if it is known; otherwise it is learned.
        termination: of (o, a, o') to bool, if it is known; otherwise it is learned or, without `learn_termination`,
            nothing ends.

    Raises TypeError for other spaces or a traced static field, ValueError for unbounded actions, a value out of range
    or sizes that do not go together.
    """
    check(config, environment)
    known = in_scaled_actions(environment, reward), in_scaled_actions(environment, termination)

    def model(environment: Environment) -> DynamicsModel:
        if config.model == "true":
            return true_dynamics(environment)
        network = EnsembleConfig(
            members=config.members,
            widths=config.model_widths,
            learn_reward=reward is None,
            learn_termination=termination is None and config.learn_termination,
            max_rounds=config.max_rounds,
        )
        return ensemble_dynamics(environment, network, 0, "ts1", *known)

    imagination = Imagination(
        model,
        fit_period=config.model_period,
        expansion=config.horizon,
        weighting=config.weighting,
        learn_imagined=config.learn_imagined,
    )
    return ddpg.make(environment, config, imagination)


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    ddpg.check(config, environment)
    check_config(
        config,
        positive=("model_period", "members", "max_rounds"),
        non_negative=("horizon",),
        infinite=("max_gradient_norm",),
    )
    if config.weighting == "inverse_variance" and (config.members < 2 or config.model == "true"):
        raise ValueError(
            f"{name_of(config)}: weighting 'inverse_variance' compares the members of an ensemble, so it needs model "
            f"'ensemble' with at least 2 members, got {config.model!r} with {config.members}"
        )
