"""Returns and advantages along a trajectory, time first: `[T]` or `[T, B]`.

The masks, here and everywhere: a bootstrap value is multiplied by `1 - terminated`; the recursion is cut at
`terminated | truncated`; at a truncation the bootstrap is the value of the *true* successor.
"""

import chex
import jax
import jax.numpy as jnp

from purerl.types import Array


def generalized_advantage(
    reward: Array,
    value: Array,
    successor_value: Array,
    terminated: Array,
    truncated: Array,
    discount: float | Array,
    trace_decay: float | Array,
) -> Array:
    """Generalised advantage estimation, GAE(lambda) (Schulman et al., 2016).

        delta_t = r_t + discount (1 - terminated_t) V(s'_t) - V(s_t)
        A_t     = delta_t + discount lambda (1 - done_t) A_{t+1},    done = terminated | truncated

    Args:
        reward, value, successor_value: `[T, ...]`; `successor_value[t]` is V of the true successor of step t, also
            where an episode was cut (after a reset it is not `value[t + 1]`).
        terminated, truncated: bool `[T, ...]`.
        discount: in [0, 1].
        trace_decay: lambda in [0, 1]; 0 gives the TD error, 1 the discounted return minus the value.

    Returns the advantages `[T, ...]`; `advantage + value` is the lambda-return.
    """
    chex.assert_equal_shape([reward, value, successor_value, terminated, truncated])
    chex.assert_type([terminated, truncated], bool)
    td_error = reward + discount * jnp.where(terminated, 0.0, successor_value) - value
    decay = discount * trace_decay * (1.0 - (terminated | truncated))

    def backward(advantage, step):
        td_error, decay = step
        advantage = td_error + decay * advantage
        return advantage, advantage

    _, advantage = jax.lax.scan(backward, jnp.zeros_like(td_error[0]), (td_error, decay), reverse=True)
    return advantage


def running_discounted_return(
    initial: Array, reward: Array, done: Array, discount: float | Array
) -> tuple[Array, Array]:
    """The discounted sum of *past* rewards at every step, whose deviation is the usual scale of rewards.

        G_t = discount (1 - done_{t-1}) G_{t-1} + r_t

    (Engstrom et al., 2020). `initial` is G_{-1}, `[...]`, already 0 where the last step ended an
    episode. `reward` and `done` (bool) are `[T, ...]`.

    Returns the G to go on with, `[...]` (0 where the last step ended an episode), and all G, `[T, ...]`.
    """
    chex.assert_equal_shape([reward, done])
    chex.assert_equal_shape([initial, reward[0]])

    def forward(running, step):
        reward, done = step
        running = discount * running + reward
        return jnp.where(done, 0.0, running), running

    return jax.lax.scan(forward, initial, (reward, done))
