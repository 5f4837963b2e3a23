"""Temporal-difference targets and the losses on their errors. Unbatched: `vmap` for a batch."""

import chex
import jax
import jax.numpy as jnp

from purerl.types import Array


def q_learning_target(reward: Array, terminated: Array, successor_values: Array, discount: float | Array) -> Array:
    """The target of Q-learning (Watkins, 1989): `r + discount (1 - terminated) max_a Q(s', a)`.

    `reward` and `terminated` are scalars, `successor_values` is Q(s', .) `[A]` of the true successor; a truncated
    transition is not a terminated one and bootstraps.
    """
    chex.assert_rank([reward, terminated, successor_values], [0, 0, 1])
    return reward + discount * jnp.where(terminated, 0.0, jnp.max(successor_values))


def soft_value(action_values: Array, temperature: float | Array) -> Array:
    """The value of acting by `softmax(Q / temperature)`, entropy included (Haarnoja et al., 2017).

        V = temperature log sum_a exp(Q(a) / temperature)

    `action_values` is `[..., A]`, the result `[...]`; it tends to `max_a Q(a)` as `temperature` (> 0) goes to 0.
    """
    return temperature * jax.nn.logsumexp(action_values / temperature, axis=-1)


def huber(error: Array, delta: float | Array = 1.0) -> Array:
    """Half the square up to `delta`, linear beyond (Huber, 1964); elementwise.

    Its derivative is the error clipped to `[-delta, delta]`: the "error clipping" of DQN clips the gradient, not the
    error before it is squared.
    """
    clipped = jnp.clip(error, -delta, delta)
    return clipped * (error - 0.5 * clipped)


def half_square(error: Array) -> Array:
    """`error^2 / 2`, elementwise; its derivative is the error."""
    return 0.5 * jnp.square(error)
