"""The lambda-return of greedy values along a rollout, time first: `[T]` or `[T, B]`."""

import chex
import jax
import jax.numpy as jnp

from purerl.types import Array


def q_lambda_return(
    reward: Array,
    successor_value: Array,
    terminated: Array,
    truncated: Array,
    discount: float | Array,
    trace_decay: float | Array,
) -> Array:
    """The targets of Q(lambda) (Peng & Williams, 1994; Daley & Amato, 2019).

        G_t = r_t + discount (1 - terminated_t) [lambda G_{t+1} + (1 - lambda) max_a Q(s'_t, a)]

    where the trace is cut, at a truncation and at the last step, lambda counts as 0: nothing of the next episode
    enters, and the rest of this one is max_a Q of its true successor.

    Args:
        reward, successor_value: `[T, ...]`; `successor_value[t]` is max_a Q(s'_t, a) of the true successor of step t.
        terminated, truncated: bool `[T, ...]`.
        discount: in [0, 1].
        trace_decay: lambda in [0, 1]; 0 gives the targets of Q-learning, 1 the return of the behaviour until the cut.

    Returns the targets `[T, ...]`. Exploratory actions do not cut the trace: between the two ends the target is a
    mixture of the returns of what was done and of what is thought best.
    """
    chex.assert_equal_shape([reward, successor_value, terminated, truncated])
    chex.assert_type([terminated, truncated], bool)

    def backward(target: Array, step: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        reward, successor_value, terminated, truncated = step
        following = trace_decay * target + (1.0 - trace_decay) * successor_value
        following = jnp.where(truncated, successor_value, following)
        target = reward + discount * jnp.where(terminated, 0.0, following)
        return target, target

    steps = (reward, successor_value, terminated, truncated)
    _, targets = jax.lax.scan(backward, successor_value[-1], steps, reverse=True)
    return targets
