"""Checks that the off-policy learners of continuous actions share, made before anything is compiled."""

from typing import Any

import numpy as np

from purerl.algorithms.config import is_concrete, name_of, require_continuous, require_real_observations
from purerl.types import Environment

POSITIVE = (
    "learning_rate",
    "critic_learning_rate",
    "adam_epsilon",
    "max_gradient_norm",
    "num_envs",
    "steps_per_iteration",
    "batch_size",
    "n_step",
    "critics",
    "policy_delay",
    "priority_epsilon",
)
FRACTION = ("discount", "target_rate", "priority_exponent", "importance_start")


def check_interaction(config: Any, environment: Environment) -> None:
    """ValueError for sizes of replay, batch, warm-up and updates that do not go together."""
    name = name_of(config)
    if config.normalize_observations:
        require_real_observations(name, environment)
    if config.batch_size > config.warm_up_steps:
        raise ValueError(
            f"{name}: batch_size ({config.batch_size}) exceeds warm_up_steps ({config.warm_up_steps}): the first "
            f"batches would repeat the same transitions; raise warm_up_steps"
        )
    if config.warm_up_steps > config.replay_capacity:
        raise ValueError(
            f"{name}: warm_up_steps ({config.warm_up_steps}) exceed replay_capacity ({config.replay_capacity}); "
            f"what does not fit would be overwritten before it is used"
        )
    if config.warm_up_steps < config.n_step * config.num_envs + config.batch_size - 1 and config.n_step > 1:
        raise ValueError(
            f"{name}: warm_up_steps ({config.warm_up_steps}) must leave batch_size ({config.batch_size}) complete "
            f"transitions of n_step ({config.n_step}) steps in {config.num_envs} environments; raise warm_up_steps"
        )
    check_updates(config)


def check_updates(config: Any) -> None:
    """ValueError unless `update_to_data` allots whole updates to an iteration, whole groups of `policy_delay`."""
    name = name_of(config)
    steps = config.num_envs * config.steps_per_iteration
    updates, data = config.update_to_data if len(config.update_to_data) == 2 else (0, 0)
    if updates < 1 or data < 1 or steps * updates % data:
        raise ValueError(
            f"{name}: update_to_data={config.update_to_data} must be two positive numbers, updates and the environment "
            f"steps they are for, and give a whole number of updates for the {config.num_envs} x "
            f"{config.steps_per_iteration} steps of an iteration"
        )
    if steps * updates // data % config.policy_delay:
        raise ValueError(
            f"{name}: policy_delay ({config.policy_delay}) must divide the {steps * updates // data} updates of an "
            f"iteration; raise steps_per_iteration or update_to_data"
        )


def check_hindsight(config: Any, environment: Environment) -> None:
    """ValueError if hindsight is on where there is no goal to replace, or over more than one step."""
    if not config.hindsight:
        return
    name = name_of(config)
    if environment.goals is None:
        raise ValueError(
            f"{name}: hindsight needs an environment with goals, but {environment.name} has none; use one whose "
            f"observation holds the goal of the episode, for example goal/point_robot, and set its `goals` (wrappers "
            f"that change observations drop them)"
        )
    if config.n_step != 1:
        raise ValueError(
            f"{name}: hindsight needs n_step 1 (the rewards of one goal are not added up), got {config.n_step}"
        )


def require_bounded(config: Any, environment: Environment) -> None:
    """Raise unless actions are a vector between finite bounds, which a policy in [-1, 1] can be scaled to.

    Raises TypeError for actions that are not a vector of reals, ValueError for bounds that are not finite.
    """
    space = require_continuous(name_of(config), environment)
    concrete = is_concrete(space.low) and is_concrete(space.high)
    if concrete and not np.all(np.isfinite(space.low) & np.isfinite(space.high)):
        raise ValueError(
            f"{name_of(config)}: the actions of {environment.name} need finite bounds (the policy acts between them); "
            f"give its action space bounds"
        )


def check_critics(config: Any) -> None:
    """ValueError if the minimum is to be over more critics than there are."""
    if not 0 <= config.subset <= config.critics:
        raise ValueError(
            f"{name_of(config)}: subset ({config.subset}) must be between 0 (all) and critics ({config.critics})"
        )
