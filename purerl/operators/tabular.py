"""Action values in tables: policies made from a row of values, and targets that bootstrap from one.

A row Q(s, .) is `[..., A]`. An action that does not exist in s has the value -inf (see `available_values`) and gets
probability 0. Policies are vectors of probabilities `[..., A]`: what acts and what is expected are one function.
"""

import chex
import jax.numpy as jnp

from purerl.types import Array


def available_values(action_values: Array, available: Array) -> Array:
    """Q(s, .) with -inf where `available` (bool, the same shape `[..., A]`) is False."""
    chex.assert_equal_shape([action_values, available])
    return jnp.where(available, action_values, -jnp.inf)


def uniform_probabilities(action_values: Array) -> Array:
    """Every available action with the same probability; 0 for all where none is available (`[..., A]`)."""
    exists = action_values > -jnp.inf
    return exists / jnp.maximum(jnp.sum(exists, axis=-1, keepdims=True), 1)


def greedy_probabilities(action_values: Array, tolerance: float | Array = 0.0) -> Array:
    """The actions of the largest value, each with the same probability: ties are broken at random (`[..., A]`).

    Values that miss the largest by at most `tolerance` (>= 0) count as ties.
    """
    best = action_values >= jnp.max(action_values, axis=-1, keepdims=True) - tolerance
    return best / jnp.sum(best, axis=-1, keepdims=True)


def mix_with_uniform(probabilities: Array, action_values: Array, epsilon: float | Array) -> Array:
    """Follow `probabilities` with probability 1 - epsilon, else any available action, uniformly (`[..., A]` each).

    The uniform choice includes the greedy actions: among A actions a single greedy one has probability
    `1 - epsilon + epsilon / A`.
    """
    chex.assert_equal_shape([probabilities, action_values])
    return (1.0 - epsilon) * probabilities + epsilon * uniform_probabilities(action_values)


def choose(draw: Array, probabilities: Array) -> Array:
    """An action (int32 `[...]`) with these probabilities `[..., A]`: where their running sum passes `draw` `[...]`.

    `draw` is uniform in [0, 1).
    """
    cumulated = jnp.cumsum(probabilities, axis=-1)
    passed = cumulated[..., :-1] <= draw[..., None] * cumulated[..., -1:]
    return jnp.sum(passed, axis=-1).astype(jnp.int32)


def expected_value(probabilities: Array, action_values: Array) -> Array:
    """`sum_a pi(a | s) Q(s, a)`, `[...]`, over the actions that can be taken."""
    chex.assert_equal_shape([probabilities, action_values])
    return jnp.sum(jnp.where(probabilities > 0, probabilities * action_values, 0.0), axis=-1)


def bootstrapped_target(reward: Array, terminated: Array, successor_value: Array, discount: float | Array) -> Array:
    """`r + discount (1 - terminated) V(s')`, `[...]`; a truncated step is not a terminated one and bootstraps.

    `successor_value` may be anything, -inf and NaN included, where the step terminated.
    """
    chex.assert_equal_shape([reward, terminated, successor_value])
    chex.assert_type(terminated, bool)
    return reward + discount * jnp.where(terminated, 0.0, successor_value)


def exploration_bonus(elapsed: Array, scale: float | Array) -> Array:
    """`scale sqrt(elapsed)`: what Dyna-Q+ adds to the reward of a pair not tried for `elapsed` steps (Sutton, 1990).

    Nothing where `elapsed` is negative (the clock was set back).
    """
    return scale * jnp.sqrt(jnp.maximum(jnp.asarray(elapsed, jnp.float32), 0.0))


def choose_marked(draws: Array, marked: Array) -> Array:
    """Numbers of elements of `marked` (bool `[N]`) that are True, uniformly, one per draw: int32 `[K]`.

    `draws` `[K]` are uniform in [0, 1). At least one element must be True.
    """
    chex.assert_rank([draws, marked], 1)
    cumulated = jnp.cumsum(marked)
    total = cumulated[-1]
    ranks = jnp.minimum((draws * total).astype(jnp.int32), total - 1)
    return jnp.searchsorted(cumulated, ranks, side="right").astype(jnp.int32)
