"""NAF with model-based acceleration (Gu et al., 2016): Q-learning that also learns from what a model imagines.

After every step the policy is followed, with its noise, in a model of the dynamics for `rollout_length` steps, from
states of the last episodes. What is imagined goes to a replay of its own, and for every update on real steps there are
`imagined_updates` on imagined ones: Dyna (Sutton, 1990) for continuous actions. `model` says in what:

    "linear"      time-varying linear models, fitted again and again to the last episodes, with a mixture of Gaussians
                  over some more as their prior: wrong everywhere else, but right where they are asked, after a
                  handful of episodes
    "ensemble"    bootstrap ensembles of networks, fitted to everything; the paper's network did worse than "linear",
                  ours do not (`experiments/naf_model_based_acceleration.py`)
    "true"        the environment itself: what a perfect model would be worth

Imagination helps while Q is poor and hurts when the model's errors are what is left, so it ends after
`imagination_steps`. With `control_iterations` iLQR finds a controller in the linear models at every fit, and acts
instead of the learner in a share `control_probability` of the episodes; the paper found no great benefit in it. The
baseline to compare with is `naf` with as many updates per step, `update_to_data = (5, 1)`.

Gu, S. et al. (2016), "Continuous deep Q-learning with model-based acceleration".
"""

from dataclasses import dataclass
from typing import Literal

from purerl.algorithms.config import check_config, name_of
from purerl.algorithms.continuous_control import naf
from purerl.models.dynamics import DynamicsModel, ensemble_dynamics, true_dynamics
from purerl.models.ensemble import EnsembleConfig
from purerl.models.imagination import Imagination
from purerl.models.learned_environment import Reward, Termination, in_scaled_actions
from purerl.models.time_varying import linear_dynamics
from purerl.types import Algorithm, Environment


@dataclass(frozen=True)
class Config(naf.Config):
    """That of `naf` with other defaults, and the model."""

    steps_per_iteration: int = 10
    """Steps of every environment per iteration, after which new futures are imagined."""
    update_to_data: tuple[int, int] = (5, 1)
    """I, updates on real steps, and the environment steps they are for: (5, 1) is five per step."""
    replay_capacity: int = 100_000
    """Steps remembered; a multiple of num_envs x steps_per_iteration."""
    model: Literal["linear", "ensemble", "true"] = "linear"
    """In what the futures are imagined."""
    imagined_updates: int = 1
    """l, updates on imagined steps for each one on real steps."""
    rollouts_per_step: int = 5
    """Imagined futures per environment step."""
    rollout_length: int = 5
    """Their steps."""
    imagination_steps: int = 0
    """Environment steps, without warm-up, after which nothing is imagined any more; 0 is never."""
    model_period: int = 200
    """Environment steps between two fits of the model."""
    model_episodes: int = 5
    """n: "linear" is fitted to so many of the last episodes, and futures of any model begin in these."""
    remembered_iterations: int = 20
    """Iterations whose imagined futures are kept."""
    neighbours: int = 3
    """"linear": steps away at which data of other steps still count."""
    neighbour_weight: float = 0.5
    """"linear": of such data, in [0, 1]."""
    components: int = 20
    """"linear": Gaussians of the mixture that is the prior of every step's model; 0 for no such prior."""
    background_episodes: int = 20
    """"linear": the mixture is fitted to so many of the last episodes, at least `model_episodes`."""
    prior_strength: float = 10.0
    """"linear": observations that the mixture counts as, >= 0."""
    ridge: float = 1e-3
    """"linear": added to the second moments of inputs, in units of their deviation, > 0."""
    control_iterations: int = 0
    """"linear": recursions of iLQR after every fit, for a controller that explores; 0 for none."""
    control_probability: float = 0.5
    """Of an episode to be acted in by that controller, in [0, 1]."""
    control_temperature: float = 1.0
    """Scales the covariance of that controller, > 0."""
    members: int = 5
    """"ensemble": its networks."""
    model_widths: tuple[int, ...] = (64, 64)
    """Units of the hidden layers of every network, and of the one that learns the reward of "linear"."""
    max_rounds: int = 20
    """Of a hundred updates, at most so many in one fit of networks."""


def make(
    environment: Environment, config: Config, reward: Reward | None = None, termination: Termination | None = None
) -> Algorithm:
    """NAF with imagination on `environment`, whose observations and actions must be vectors, the latter bounded.

    Args:
        environment: what to learn.
        config: how.
        reward: r(o, a, o') if it is known; otherwise a network learns it.
        termination: of (o, a, o') to bool, if episodes end early and it is known. "ensemble" learns it otherwise;
            "linear" imagines that nothing ends.

    Raises TypeError for other spaces or a traced static field, ValueError for unbounded actions, a value out of range
    or sizes that do not go together.
    """
    check(config, environment)
    known = in_scaled_actions(environment, reward), in_scaled_actions(environment, termination)

    def model(environment: Environment) -> DynamicsModel:
        if config.model == "true":
            return true_dynamics(environment)
        if config.model == "ensemble":
            network = EnsembleConfig(
                members=config.members,
                widths=config.model_widths,
                learn_reward=reward is None,
                learn_termination=termination is None,
                max_rounds=config.max_rounds,
            )
            return ensemble_dynamics(environment, network, 0, "ts1", *known)
        network = EnsembleConfig(
            members=1, widths=config.model_widths, probabilistic=False, max_rounds=config.max_rounds
        )
        return linear_dynamics(
            environment, config.model_episodes, config.neighbours, config.neighbour_weight, config.ridge, *known,
            network, config.control_iterations, config.control_temperature, config.components,
            config.background_episodes, config.prior_strength,
        )  # fmt: skip

    block = config.num_envs * config.steps_per_iteration
    imagination = Imagination(
        model,
        fit_period=config.model_period,
        until=config.imagination_steps,
        rollouts=block * config.rollouts_per_step,
        length=config.rollout_length,
        recent=config.model_episodes * environment.max_steps,
        remembered=config.remembered_iterations,
        updates=config.imagined_updates,
        control_probability=config.control_probability,
    )
    return naf.make(environment, config, imagination)


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    naf.check(config, environment)
    check_config(
        config,
        positive=(
            "rollouts_per_step", "rollout_length", "model_period", "model_episodes", "remembered_iterations", "ridge",
            "control_temperature", "members", "max_rounds", "background_episodes",
        ),
        non_negative=(
            "imagined_updates", "imagination_steps", "neighbours", "control_iterations", "components", "prior_strength",
        ),
        fraction=("neighbour_weight", "control_probability"),
        infinite=("max_gradient_norm",),
    )  # fmt: skip
    if config.control_iterations and config.model != "linear":
        raise ValueError(
            f"{name_of(config)}: control_iterations ({config.control_iterations}) finds a controller in linear models, "
            f"but model is {config.model!r}; set it to 0"
        )
    if config.model == "linear" and config.components:
        if config.background_episodes < config.model_episodes:
            raise ValueError(
                f"{name_of(config)}: background_episodes ({config.background_episodes}) must be at least "
                f"model_episodes ({config.model_episodes})"
            )
        steps = min(config.background_episodes * environment.max_steps, config.replay_capacity)
        if config.components > steps:
            raise ValueError(
                f"{name_of(config)}: components ({config.components}) must not exceed the {steps} steps they are "
                f"fitted to: raise replay_capacity or background_episodes, or lower components"
            )
