"""Dynamic programming on finite problems: evaluating a policy, finding the best one.

Everything is a pure function of a `FiniteMDP` that `jax.jit` compiles and `jax.vmap` runs over many problems, discounts
or tolerances at once (a batch goes on until its slowest member is done). Numbers are of the float type of the problem:
with float32 a tolerance below about 1e-6 of the values means "until rounding"; build the problem under
`jax.enable_x64(True)` for more.

Howard, R. (1960), "Dynamic programming and Markov processes". Puterman, M. (1994), "Markov decision processes".
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from purerl.environments.finite.mdp import FiniteMDP, expected_reward
from purerl.planning.backups import (
    action_values,
    expectation,
    fixed_point,
    greedy_policy,
    largest_change,
    optimal_backup,
    policy_backup,
    q_backup,
    threshold,
    uniform_policy,
)
from purerl.types import Array


class Solution(NamedTuple):
    """What a solver found."""

    values: Array  # [S]
    action_values: Array  # [S, A], -inf for actions that are not available
    policy: Array  # [S, A] probabilities: the one evaluated, or the one found
    iterations: Array  # int32: sweeps, or improvements of the policy
    residual: Array  # scalar: largest change of a value in the last backup


class FiniteHorizon(NamedTuple):
    """Values and decisions by the time; t = 0 is the first step, with `horizon` steps to go."""

    values: Array  # [T + 1, S]: what is still to be earned at t; the last is what was given for the end
    action_values: Array  # [T, S, A]
    policy: Array  # [T, S, A]


def policy_evaluation(
    mdp: FiniteMDP,
    policy: Array,
    tolerance: float | Array = 1e-6,
    max_sweeps: int | Array = 100_000,
    values: Array | None = None,
) -> Solution:
    """The value of `policy` `[S, A]` by repeated backups, from `values` `[S]` (0 by default).

    Without discounting (1) the policy must reach a terminal state from everywhere, else the values need not converge.
    """
    point = fixed_point(
        lambda v: policy_backup(mdp, policy, v), _start(mdp, values), mdp.discount, tolerance, max_sweeps
    )
    return Solution(point.value, action_values(mdp, point.value), policy, point.sweeps, point.residual)


def exact_policy_evaluation(mdp: FiniteMDP, policy: Array) -> Array:
    """The value of `policy`, `[S]`, from `(I - discount P_pi) V = r_pi` over the states that are not terminal.

    Without discounting (1) the policy must reach a terminal state from everywhere. Where it does not, there is no such
    value, and the result means nothing: large numbers, infinities or NaN, depending on the rounding.
    """
    moves = jnp.where(mdp.terminal[:, None], 0.0, policy)  # nothing is earned or left at terminal states
    transition = jnp.einsum("sa,sat->st", moves, mdp.transition, precision="highest")
    reward = jnp.sum(moves * expected_reward(mdp), axis=-1)
    matrix = jnp.eye(mdp.num_states, dtype=transition.dtype) - mdp.discount * transition
    factors = jax.scipy.linalg.lu_factor(matrix)
    values = jax.scipy.linalg.lu_solve(factors, reward)
    missing = reward - jnp.matmul(matrix, values, precision="highest")  # one step of iterative refinement
    return values + jax.scipy.linalg.lu_solve(factors, missing)


def policy_iteration(
    mdp: FiniteMDP, policy: Array | None = None, tolerance: float | Array = 1e-5, max_improvements: int | Array = 100
) -> Solution:
    """Evaluate the policy exactly, change it where another action is better, until none is (Howard, 1960).

    An action is only given up for one that is better by more than `tolerance`, a share of the largest value (if that is
    more than 1): with ties decided anew each time, or by rounding, the iteration need not end. So `policy` `[S, A]`,
    uniform by default, remains as it is where nothing beats it; without discounting it must reach a terminal state from
    everywhere, which every improvement then preserves. `iterations` counts the improvements.
    """

    def evaluate(policy: Array, improvements: Array) -> Solution:
        values = exact_policy_evaluation(mdp, policy)
        q_values = action_values(mdp, values)
        return Solution(values, q_values, policy, improvements, largest_change(optimal_backup(mdp, values), values))

    def beaten(found: Solution) -> Array:
        best = jnp.max(found.action_values, axis=-1)
        gain = best - expectation(found.policy, found.action_values)
        return ~mdp.terminal & (gain > tolerance * jnp.maximum(1.0, jnp.max(jnp.abs(found.values))))

    def improvable(found: Solution) -> Array:
        return jnp.any(beaten(found)) & (found.iterations < max_improvements)

    def improve(found: Solution) -> Solution:
        policy = jnp.where(beaten(found)[:, None], greedy_policy(found.action_values), found.policy)
        return evaluate(policy, found.iterations + 1)

    first = uniform_policy(mdp) if policy is None else policy
    return jax.lax.while_loop(improvable, improve, evaluate(first, jnp.int32(0)))


def modified_policy_iteration(
    mdp: FiniteMDP,
    evaluation_sweeps: int = 10,
    tolerance: float | Array = 1e-6,
    max_improvements: int | Array = 10_000,
    values: Array | None = None,
) -> Solution:
    """Improve the policy, evaluate it by `evaluation_sweeps` backups, repeat (Puterman & Shin, 1978).

    The first of these backups is the improvement itself, so that 1 is value iteration; ever more of them approach
    policy iteration. Stops like `value_iteration`. `iterations` counts the improvements.

    Raises ValueError if `evaluation_sweeps` is not positive.
    """
    if evaluation_sweeps < 1:
        raise ValueError(f"evaluation_sweeps must be at least 1, got {evaluation_sweeps}")

    def improve(values: Array, improvements: Array) -> Solution:
        q_values = action_values(mdp, values)
        improved = optimal_backup(mdp, values)
        return Solution(improved, q_values, greedy_policy(q_values), improvements, largest_change(improved, values))

    def unfinished(found: Solution) -> Array:
        limit = threshold(found.values, mdp.discount, tolerance)
        return (found.residual > limit) & (found.iterations < max_improvements)

    def evaluate_and_improve(found: Solution) -> Solution:
        def sweep(_: int, values: Array) -> Array:
            return policy_backup(mdp, found.policy, values)

        return improve(jax.lax.fori_loop(1, evaluation_sweeps, sweep, found.values), found.iterations + 1)

    found = jax.lax.while_loop(unfinished, evaluate_and_improve, improve(_start(mdp, values), jnp.int32(1)))
    return _greedy_solution(mdp, found.values, found.iterations, found.residual)


def value_iteration(
    mdp: FiniteMDP, tolerance: float | Array = 1e-6, max_sweeps: int | Array = 100_000, values: Array | None = None
) -> Solution:
    """Repeat `V <- max_a Q(s, a)` from `values` `[S]` (0 by default) (Bellman, 1957).

    Stops when no value changes by more than `tolerance (1 - discount) / (2 discount)`: the policy, greedy in the
    values, is then worth at most `tolerance` less than the best one. Without discounting it stops at changes of
    `tolerance`, which bound nothing: the values may be right and the policy, which takes the first of tied actions,
    still never arrive (two states that lead to each other tie with the way out). `policy_iteration` keeps to policies
    that arrive.
    """
    point = fixed_point(lambda v: optimal_backup(mdp, v), _start(mdp, values), mdp.discount, tolerance, max_sweeps)
    return _greedy_solution(mdp, point.value, point.sweeps, point.residual)


def q_value_iteration(
    mdp: FiniteMDP, tolerance: float | Array = 1e-6, max_sweeps: int | Array = 100_000, values: Array | None = None
) -> Solution:
    """Repeat `Q <- r + discount E max_a' Q(s', a')` from Q `[S, A]` (0 by default); stops like `value_iteration`."""
    start = jnp.where(mdp.available, 0.0, -jnp.inf) + jnp.zeros_like(mdp.reward[..., 0]) if values is None else values
    point = fixed_point(lambda q: q_backup(mdp, q), start, mdp.discount, tolerance, max_sweeps)
    best = jnp.where(mdp.terminal, 0.0, jnp.max(point.value, axis=-1))
    return Solution(best, point.value, greedy_policy(point.value), point.sweeps, point.residual)


def finite_horizon(
    mdp: FiniteMDP, horizon: int, values: Array | None = None, policy: Array | None = None
) -> FiniteHorizon:
    """Backward induction over `horizon` steps: `V_t(s) = max_a [r + discount E V_{t+1}(s')]`.

    Args:
        mdp: the same at every time.
        horizon: T, steps to go at t = 0.
        values: V_T `[S]`, what the end is worth; 0 by default, and always at terminal states.
        policy: `[S, A]` or `[T, S, A]`; if given, it is evaluated and nothing is maximised.

    Raises ValueError if `horizon` is not positive.
    """
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1, got {horizon}")
    policies = None if policy is None else jnp.broadcast_to(policy, (horizon, mdp.num_states, mdp.num_actions))

    def earlier(values: Array, given: Array | None) -> tuple[Array, tuple[Array, Array, Array]]:
        q_values = action_values(mdp, values)
        decision = greedy_policy(q_values) if given is None else given
        values = jnp.where(mdp.terminal, 0.0, expectation(decision, q_values))
        return values, (values, q_values, decision)

    last = jnp.where(mdp.terminal, 0.0, _start(mdp, values))
    _, (before, q_values, decisions) = jax.lax.scan(earlier, last, policies, length=horizon, reverse=True)
    return FiniteHorizon(jnp.concatenate([before, last[None]]), q_values, decisions)


def _start(mdp: FiniteMDP, values: Array | None) -> Array:
    """`values`, or zeros."""
    return jnp.zeros_like(mdp.initial) if values is None else jnp.asarray(values, mdp.initial.dtype)


def _greedy_solution(mdp: FiniteMDP, values: Array, iterations: Array, residual: Array) -> Solution:
    """The values with the policy that is greedy in them."""
    q_values = action_values(mdp, values)
    return Solution(values, q_values, greedy_policy(q_values), iterations, residual)
