"""Checks that the on-policy learners share, made before anything is compiled."""

from typing import Any

import numpy as np

from purerl.algorithms.config import is_concrete, name_of, require_real_observations, require_vector_actions
from purerl.networks.heads import BOUNDED
from purerl.types import Box, Environment


def check_actor(config: Any, environment: Environment) -> None:
    """Raise unless the policy can act in the environment and its observations can be normalised if they shall be.

    Raises TypeError for actions that are neither discrete nor a vector of reals, ValueError for a distribution of
    continuous actions where actions are discrete, for one that stays within [-1, 1] where they are unbounded, and for
    discrete observations that were to be normalised.
    """
    name = name_of(config)
    space = require_vector_actions(name, environment)
    if config.normalize_observations:
        require_real_observations(name, environment)
    if config.policy == "gaussian":
        return
    if not isinstance(space, Box):
        raise ValueError(
            f"{name}: policy={config.policy!r} is for continuous actions, but those of {environment.name} are "
            f"discrete; leave it at its default (they get a categorical policy)"
        )
    concrete = is_concrete(space.low) and is_concrete(space.high)
    if config.policy in BOUNDED and concrete and not np.all(np.isfinite(space.low) & np.isfinite(space.high)):
        raise ValueError(
            f"{name}: policy={config.policy!r} acts between finite bounds, which the actions of {environment.name} do "
            f"not have; use 'gaussian', 'state_gaussian' or 'mixture'"
        )


def check_minibatches(config: Any) -> None:
    """ValueError unless the minibatches divide the rollout; whole environments where there is a memory."""
    if config.core == "none":
        what, count = "num_envs x rollout_length", config.num_envs * config.rollout_length
        detail = f"{config.num_envs} x {config.rollout_length} = {count}"
    else:
        what, count = "num_envs", config.num_envs
        detail = f"{count}: with a recurrent core a minibatch consists of whole environments"
    if count % config.minibatches:
        raise ValueError(f"{name_of(config)}: minibatches ({config.minibatches}) must divide {what} ({detail})")


def check_standardization(config: Any, samples: int) -> None:
    """ValueError if advantages of a batch of so many samples are to be standardised and there is but one."""
    if config.standardize_advantage and samples == 1:
        raise ValueError(
            f"{name_of(config)}: one advantage at a time cannot be standardised: it would always be 0; set "
            f"standardize_advantage=False or use larger batches"
        )
