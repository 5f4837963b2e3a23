"""Targets of every step of a sequence that may hold the ends of several episodes. Unbatched: `vmap` for a batch."""

import chex
import jax
import jax.numpy as jnp

from purerl.operators.returns import n_step_return
from purerl.types import Array


def sequence_returns(
    reward: Array, terminated: Array, truncated: Array, successor_value: Array, n_step: int, discount: float | Array
) -> Array:
    """The n-step return of every step that has `n_step` steps from it on (Watkins, 1989).

        G_t = sum_{k<m} discount^k r_{t+k} + discount^m (1 - terminated_{t+m-1}) V(s'_{t+m-1})

    where m is `n_step`, or less if the episode ends before that.

    Args:
        reward: `[T]`.
        terminated, truncated: bool `[T]`; a window stops at either.
        successor_value: V(s') of the true successor of every step, `[T]`.
        n_step: steps of a window, 1 to T.
        discount: in [0, 1].

    Returns G `[T - n_step + 1]`.
    """
    chex.assert_rank([reward, terminated, truncated, successor_value], 1)
    chex.assert_equal_shape([reward, terminated, truncated, successor_value])
    first = jnp.arange(reward.shape[0] - n_step + 1)
    window = first[:, None] + jnp.arange(n_step)
    over_windows = jax.vmap(n_step_return, in_axes=(0, 0, 0, None))
    summed = over_windows(reward[window], terminated[window], truncated[window], discount)
    return summed.reward + summed.discount * successor_value[first + summed.steps - 1]


def without_truncated_successors(terminated: Array, truncated: Array) -> tuple[Array, Array]:
    """Where windows must stop, and which steps have a target at all, if the successor of a truncated step is not known.

    Elsewhere the successor is the observation of the next step, which a truncation replaces by that of a reset. So a
    window stops *before* a truncated step and bootstraps from its observation, and the truncated step has no target.

    Both arguments are bool `[T + 1]`; returns what to take for `truncated`, `[T]`, and which steps are valid, `[T]`.
    """
    lost = truncated & ~terminated
    return truncated[:-1] | lost[1:], ~lost[:-1]
