"""Planning with a known model: dynamic programming, hard and soft, on finite problems."""

from purerl.planning.backups import (
    action_values,
    fixed_point,
    greedy_policy,
    iterates,
    optimal_backup,
    policy_backup,
    q_backup,
    uniform_policy,
)
from purerl.planning.dynamic_programming import (
    FiniteHorizon,
    Solution,
    exact_policy_evaluation,
    finite_horizon,
    modified_policy_iteration,
    policy_evaluation,
    policy_iteration,
    q_value_iteration,
    value_iteration,
)
from purerl.planning.soft_dynamic_programming import (
    Inference,
    control_as_inference,
    soft_action_values,
    soft_backup,
    soft_policy,
    soft_value_iteration,
    with_entropy_bonus,
)

__all__ = [
    "FiniteHorizon",
    "Inference",
    "Solution",
    "action_values",
    "control_as_inference",
    "exact_policy_evaluation",
    "finite_horizon",
    "fixed_point",
    "greedy_policy",
    "iterates",
    "modified_policy_iteration",
    "optimal_backup",
    "policy_backup",
    "policy_evaluation",
    "policy_iteration",
    "q_backup",
    "q_value_iteration",
    "soft_action_values",
    "soft_backup",
    "soft_policy",
    "soft_value_iteration",
    "uniform_policy",
    "value_iteration",
    "with_entropy_bonus",
]
