"""What deep Q-learning asks of its Config: the range of every field, and which components and sizes go together."""

from typing import TYPE_CHECKING

from purerl.algorithms.config import check_config, is_concrete, name_of, require_real_observations
from purerl.models.fiction import check_imagination
from purerl.models.imagination import Imagination
from purerl.types import Environment

if TYPE_CHECKING:
    from purerl.algorithms.value_based.dqn import Config


def check(config: "Config", environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    name = name_of(config)
    check_config(
        config,
        positive=(
            "learning_rate",
            "adam_epsilon",
            "max_gradient_norm",
            "num_envs",
            "steps_per_iteration",
            "updates_per_iteration",
            "batch_size",
            "exploration_fraction",
            "target_period",
            "n_step",
            "atoms",
            "risk",
            "temperature_start",
            "temperature_end",
            "members",
            "priority_epsilon",
        ),
        non_negative=("warm_up_steps", "noise_deviation", "prior_scale"),
        fraction=(
            "discount",
            "epsilon_start",
            "epsilon_end",
            "exploration_fraction",
            "target_rate",
            "priority_exponent",
            "importance_start",
            "risk",
            "mask_probability",
        ),
        infinite=("max_gradient_norm",),
    )
    if config.normalize_observations:
        require_real_observations(name, environment)
    check_combination(name, config)
    check_replay(name, config)


def check_combination(name: str, config: "Config") -> None:
    """Raise ValueError for components that exclude one another."""
    if config.soft and (config.exploration != "boltzmann" or config.head != "expected" or config.double):
        raise ValueError(
            f'{name}: soft backs up the value of acting by softmax(Q / temperature): it needs exploration="boltzmann", '
            f'head="expected" and double=False'
        )
    if config.members > 1 and (config.head != "expected" or config.exploration == "noisy"):
        raise ValueError(
            f'{name}: an ensemble (members={config.members}) needs head="expected" and no noisy layers; its members '
            f"explore by disagreeing"
        )
    for field, off in (("prior_scale", 0.0), ("mask_probability", 1.0)):
        value = getattr(config, field)
        if config.members == 1 and is_concrete(value) and value != off:
            raise ValueError(
                f"{name}: {field}={value} is for an ensemble and does nothing with members=1; raise members"
            )
    if config.risk_averse and config.head == "expected":
        raise ValueError(f'{name}: risk_averse needs a head that learns a distribution, not head="expected"')
    low, high = config.support_low, config.support_high
    if config.head == "categorical" and is_concrete(low) and is_concrete(high) and not low < high:
        raise ValueError(f"{name}: support_low ({low}) must be below support_high ({high})")
    if config.head == "categorical" and config.atoms < 2:
        raise ValueError(f"{name}: a categorical head needs at least 2 atoms, got {config.atoms}")


def check_dreams(name: str, config: "Config", imagination: Imagination | None) -> None:
    """Raise ValueError for an imagination together with what it cannot be combined with."""
    check_imagination(config, False, imagination)
    if imagination is None:
        return
    if imagination.expansion:
        raise ValueError(f"{name} learns from fiction (rollouts), not from expanded targets; set expansion to 0")
    if config.members > 1:
        raise ValueError(f"{name}: imagination and an ensemble (members={config.members}) cannot be combined")
    if config.share_observations:
        raise ValueError(f"{name}: models are fitted to true successors; set share_observations to False")


def check_replay(name: str, config: "Config") -> None:
    """Raise ValueError for sizes of replay, batch and warm-up that do not go together."""
    steps = config.num_envs * config.steps_per_iteration
    if config.target_period * steps >= 2**31:
        raise ValueError(f"{name}: target_period x steps per iteration ({config.target_period} x {steps}) exceeds 2^31")
    if config.batch_size > config.replay_capacity:
        raise ValueError(
            f"{name}: batch_size ({config.batch_size}) is larger than replay_capacity ({config.replay_capacity}); "
            f"raise replay_capacity or lower batch_size"
        )
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
    longest = (config.n_step + config.share_observations) * config.num_envs
    if config.warm_up_steps < longest + config.batch_size - 1 and config.n_step > 1:
        raise ValueError(
            f"{name}: warm_up_steps ({config.warm_up_steps}) must leave batch_size ({config.batch_size}) complete "
            f"transitions of n_step ({config.n_step}) steps in {config.num_envs} environments; raise warm_up_steps"
        )
