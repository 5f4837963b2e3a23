"""Planning with a model: dynamic programming on finite problems, optimal control, shooting, and tree search.

A `Planner` searches in an `Environment`, which is its model, and `mpc` makes a policy of it that plans anew at every
step:

    environment = make("Pendulum-v1")
    policy = mpc(cem(environment, horizon=20))
    evaluate(policy, reveal_state(environment), key)

`reveal_state` shows the planner where the environment is. Linear-quadratic problems have exact controllers
(`finite_horizon_lqr`, `infinite_horizon_lqr`), and `ilqr` and `collocation` plan with any differentiable functions.
"""

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
from purerl.planning.linear_quadratic import (
    Controller,
    Linear,
    Quadratic,
    Value,
    finite_horizon_lqr,
    follow,
    infinite_horizon_lqr,
    linear,
    quadratic,
    tracking,
)
from purerl.planning.mpc import Revealed, mpc, open_loop, reveal_state, state_of
from purerl.planning.policy_guided_search import GuidedSearch, guided_search
from purerl.planning.prediction import as_functions, mean_return, sequence_return
from purerl.planning.shooting import cem, gradient_shooting, mppi, random_shooting
from purerl.planning.soft_dynamic_programming import (
    Inference,
    control_as_inference,
    soft_action_values,
    soft_backup,
    soft_policy,
    soft_value_iteration,
    with_entropy_bonus,
)
from purerl.planning.trajectory_optimization import Trajectory, collocation, ilqr
from purerl.planning.trajectory_planners import collocation_planner, ilqr_planner
from purerl.planning.tree_search import Search, best_action, uct, uct_search

__all__ = [
    "Controller",
    "FiniteHorizon",
    "GuidedSearch",
    "Inference",
    "Linear",
    "Quadratic",
    "Revealed",
    "Search",
    "Solution",
    "Trajectory",
    "Value",
    "action_values",
    "as_functions",
    "best_action",
    "cem",
    "collocation",
    "collocation_planner",
    "control_as_inference",
    "exact_policy_evaluation",
    "finite_horizon",
    "finite_horizon_lqr",
    "fixed_point",
    "follow",
    "gradient_shooting",
    "greedy_policy",
    "guided_search",
    "ilqr",
    "ilqr_planner",
    "infinite_horizon_lqr",
    "iterates",
    "linear",
    "mean_return",
    "modified_policy_iteration",
    "mpc",
    "mppi",
    "open_loop",
    "optimal_backup",
    "policy_backup",
    "policy_evaluation",
    "policy_iteration",
    "q_backup",
    "q_value_iteration",
    "quadratic",
    "random_shooting",
    "reveal_state",
    "sequence_return",
    "soft_action_values",
    "soft_backup",
    "soft_policy",
    "soft_value_iteration",
    "state_of",
    "tracking",
    "uct",
    "uct_search",
    "uniform_policy",
    "value_iteration",
    "with_entropy_bonus",
]
