"""Bellman's backups on a `FiniteMDP`, and the two ways to repeat one: to its fixed point, or a number of times.

All sweeps are synchronous: every state is backed up from the values of the sweep before. All backups are contractions
in the largest difference: `||B V - B V'|| <= discount ||V - V'||`. Policies are probabilities `[S, A]`; a deterministic
one has a single 1 per row. Terminal states are worth 0. Actions that are not available have the value -inf.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from purerl.environments.finite.mdp import FiniteMDP, expected_reward
from purerl.types import Array

Backup = Callable[[Array], Array]


class FixedPoint(NamedTuple):
    """Where the repetition of a backup ended."""

    value: Array  # of the shape that was begun with
    sweeps: Array  # int32, backups made
    residual: Array  # scalar, the largest change in the last of them


def action_values(mdp: FiniteMDP, values: Array) -> Array:
    """`Q(s, a) = r(s, a) + discount sum_s' P(s' | s, a) V(s')`, `[S, A]`, of V `[S]`, which is 0 where terminal."""
    chex.assert_shape(values, (mdp.num_states,))
    continuation = jnp.matmul(mdp.transition, jnp.where(mdp.terminal, 0.0, values), precision="highest")
    return jnp.where(mdp.available, expected_reward(mdp) + mdp.discount * continuation, -jnp.inf)


def greedy_policy(action_values: Array) -> Array:
    """All on the best action, the first of those that tie: `[S, A]` -> `[S, A]`."""
    actions = action_values.shape[-1]
    return jax.nn.one_hot(jnp.argmax(action_values, axis=-1), actions, dtype=action_values.dtype)


def uniform_policy(mdp: FiniteMDP) -> Array:
    """Every available action with the same probability, `[S, A]`."""
    available = mdp.available.astype(mdp.transition.dtype)
    return available / jnp.maximum(jnp.sum(available, axis=-1, keepdims=True), 1.0)


def expectation(policy: Array, action_values: Array) -> Array:
    """`sum_a pi(a | s) Q(s, a)`, `[S]`; values of actions that are never taken may be infinite."""
    chex.assert_equal_shape([policy, action_values])
    return jnp.sum(jnp.where(policy > 0, policy * action_values, 0.0), axis=-1)


def policy_backup(mdp: FiniteMDP, policy: Array, values: Array) -> Array:
    """`(B_pi V)(s) = sum_a pi(a | s) Q(s, a)`, `[S]`, whose fixed point is the value of the policy."""
    return jnp.where(mdp.terminal, 0.0, expectation(policy, action_values(mdp, values)))


def optimal_backup(mdp: FiniteMDP, values: Array) -> Array:
    """`(B V)(s) = max_a Q(s, a)`, `[S]`, whose fixed point is the value of the best policy (Bellman, 1957)."""
    return jnp.where(mdp.terminal, 0.0, jnp.max(action_values(mdp, values), axis=-1))


def q_backup(mdp: FiniteMDP, values: Array) -> Array:
    """`(B Q)(s, a) = r(s, a) + discount sum_s' P(s' | s, a) max_a' Q(s', a')`, `[S, A]` -> `[S, A]`."""
    chex.assert_shape(values, (mdp.num_states, mdp.num_actions))
    return action_values(mdp, jnp.max(jnp.where(mdp.available, values, -jnp.inf), axis=-1, initial=-jnp.inf))


def iterates(backup: Backup, initial: Array, sweeps: int) -> Array:
    """`initial` and what each of `sweeps` backups makes of it, `[sweeps + 1, ...]`."""

    def sweep(value: Array, _: None) -> tuple[Array, Array]:
        value = backup(value)
        return value, value

    _, later = jax.lax.scan(sweep, initial, length=sweeps)
    return jnp.concatenate([initial[None], later])


def fixed_point(
    backup: Backup, initial: Array, discount: Array, tolerance: float | Array, max_sweeps: int | Array
) -> FixedPoint:
    """Repeat `backup` until no value changes by more than `threshold(...)`, or `max_sweeps` times.

    If the backup contracts by `discount` < 1, all values are then within `tolerance / 2` of the fixed point and the
    policy that is greedy in them is worth at most `tolerance` less than the best one (Puterman, 1994, section 6.3).
    """

    def unfinished(carry: tuple[FixedPoint, Array]) -> Array:
        point, limit = carry
        return (point.residual > limit) & (point.sweeps < max_sweeps)

    def sweep(carry: tuple[FixedPoint, Array]) -> tuple[FixedPoint, Array]:
        point, _ = carry
        value = backup(point.value)
        limit = threshold(value, discount, tolerance)
        return FixedPoint(value, point.sweeps + 1, largest_change(value, point.value)), limit

    infinite = jnp.full((), jnp.inf, initial.dtype)
    begun = FixedPoint(initial, jnp.int32(0), infinite), jnp.zeros((), initial.dtype)
    point, _ = jax.lax.while_loop(unfinished, sweep, begun)
    return point


def largest_change(new: Array, old: Array) -> Array:
    """`max |new - old|` (scalar), where infinities of the same sign are equal."""
    return jnp.max(jnp.where(new == old, 0.0, jnp.abs(new - old)))


def threshold(value: Array, discount: Array, tolerance: float | Array) -> Array:
    """The change at which to stop: `tolerance (1 - discount) / (2 discount)`, or `tolerance` if nothing is discounted.

    Without discounting there is no bound on what remains. It is never less than one unit in the last place of the
    largest value: below that, change is rounding.
    """
    discount = jnp.asarray(discount)
    bound = tolerance * (1.0 - discount) / (2.0 * discount)
    finite = jnp.where(jnp.isfinite(value), jnp.abs(value), 0.0)
    return jnp.maximum(jnp.where(discount < 1.0, bound, tolerance), jnp.finfo(value.dtype).eps * jnp.max(finite))
