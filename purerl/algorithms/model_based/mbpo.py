"""MBPO, model-based policy optimisation (Janner et al., 2019): SAC on short futures that an ensemble imagines.

Every `model_period` steps an ensemble of probabilistic networks is fitted to everything seen. In every iteration the
policy is followed in it for a few steps from remembered states, each step predicted by another of the members that do
best on what was held out,

    s ~ replay,   a_h ~ pi(. | s_h),   (s_{h+1}, r_h) ~ p_m(. | s_h, a_h),  m ~ elites,   h < k

and SAC makes many updates on batches of which a small share, `real_ratio`, really happened. Errors of the model grow
with k; k = 1 bounds them best while the model is poor, and k may grow over the run (`first_rollout_length`). To tell
what the model is worth from what many updates are worth, compare with `sac` at the same `update_to_data`.

A known reward and a known termination are better than learned ones: `make(environment, config, reward, termination)`.

Janner, M. et al. (2019), "When to trust your model: model-based policy optimization".
"""

from dataclasses import dataclass

from purerl.algorithms.config import check_config, is_concrete, name_of
from purerl.algorithms.continuous_control import sac
from purerl.models.dynamics import DynamicsModel, ensemble_dynamics
from purerl.models.ensemble import EnsembleConfig
from purerl.models.imagination import Imagination
from purerl.models.learned_environment import Reward, Termination, in_scaled_actions
from purerl.types import Algorithm, Environment


@dataclass(frozen=True)
class Config(sac.Config):
    """That of `sac` with other defaults, and the model."""

    steps_per_iteration: int = 25
    """Steps of every environment per iteration, after which new futures are imagined."""
    update_to_data: tuple[int, int] = (20, 1)
    """Updates of the critics, and the environment steps they are for: (20, 1) is twenty per step."""
    replay_capacity: int = 20_000
    """Steps remembered; a multiple of num_envs x steps_per_iteration. The model is fitted to all of them."""
    real_ratio: float = 0.05
    """Share of what really happened in the learner's batches, in [0, 1]."""
    rollouts: int = 1000
    """Imagined futures per iteration."""
    rollout_length: int = 1
    """k, their steps, at most."""
    first_rollout_length: int = 0
    """k at the beginning of the run; 0 means `rollout_length`."""
    lengthen_from: float = 0.1
    """Share of the run after which k grows, in [0, 1)."""
    lengthen_until: float = 0.7
    """Share of the run at which k is `rollout_length`, in (0, 1], after `lengthen_from`."""
    remembered_iterations: int = 10
    """Iterations whose imagined futures are kept."""
    model_period: int = 250
    """Environment steps between two fits of the model."""
    members: int = 7
    """Networks of the ensemble."""
    elites: int = 5
    """How many of them predict, those with the least held-out error; 0 means all."""
    model_widths: tuple[int, ...] = (200, 200)
    """Units of the hidden layers of every member."""
    model_learning_rate: float = 1e-3
    """Step size of Adam for the model, > 0."""
    model_weight_decay: float = 5e-5
    """Of the model's weights, >= 0."""
    model_batch_size: int = 256
    """Transitions per update and member."""
    updates_per_round: int = 50
    """Updates between two looks at the held-out error."""
    max_rounds: int = 20
    """At most so many in one fit."""
    learn_termination: bool = True
    """Predict whether a step terminates, where that is not known."""


def make(
    environment: Environment, config: Config, reward: Reward | None = None, termination: Termination | None = None
) -> Algorithm:
    """MBPO on `environment`, whose observations must be vectors, its actions vectors or discrete.

    Args:
        environment: what to learn.
        config: how.
        reward: r(o, a, o') if it is known; otherwise it is learned.
        termination: of (o, a, o') to bool, if it is known; otherwise it is learned or, without `learn_termination`,
            imagined futures never end.

    Raises TypeError for other spaces or a traced static field, ValueError for a value out of range or sizes that do not
    go together.
    """
    check(config, environment)
    known = in_scaled_actions(environment, reward), in_scaled_actions(environment, termination)

    def model(environment: Environment) -> DynamicsModel:
        network = EnsembleConfig(
            members=config.members,
            widths=config.model_widths,
            learn_reward=reward is None,
            learn_termination=termination is None and config.learn_termination,
            learning_rate=config.model_learning_rate,
            weight_decay=config.model_weight_decay,
            batch_size=config.model_batch_size,
            updates_per_round=config.updates_per_round,
            max_rounds=config.max_rounds,
        )
        return ensemble_dynamics(environment, network, config.elites, "ts1", *known)

    imagination = Imagination(
        model,
        fit_period=config.model_period,
        rollouts=config.rollouts,
        length=config.rollout_length,
        first_length=config.first_rollout_length,
        lengthen_from=config.lengthen_from,
        lengthen_until=config.lengthen_until,
        remembered=config.remembered_iterations,
        real_ratio=config.real_ratio,
    )
    return sac.make(environment, config, imagination)


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    sac.check(config, environment)
    check_config(
        config,
        positive=(
            "rollouts", "rollout_length", "remembered_iterations", "model_period", "members", "model_learning_rate",
            "model_batch_size", "updates_per_round", "max_rounds",
        ),
        non_negative=("first_rollout_length", "elites", "model_weight_decay"),
        fraction=("real_ratio", "lengthen_from", "lengthen_until"),
        infinite=("max_gradient_norm",),
    )  # fmt: skip
    begin, end = config.lengthen_from, config.lengthen_until
    if is_concrete(begin) and is_concrete(end) and not begin < end:
        raise ValueError(
            f"{name_of(config)}: lengthen_from ({begin}) must be less than lengthen_until ({end}), shares of the run"
        )
    if config.first_rollout_length > config.rollout_length or config.elites > config.members:
        raise ValueError(
            f"{name_of(config)}: first_rollout_length ({config.first_rollout_length}) must be at most rollout_length "
            f"({config.rollout_length}), and elites ({config.elites}) at most members ({config.members})"
        )
