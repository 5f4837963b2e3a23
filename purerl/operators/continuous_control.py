"""What the off-policy learners of continuous actions have in common: pessimistic values and critics' losses."""

import chex
import jax
import jax.numpy as jnp

from purerl.operators.temporal_difference import half_square
from purerl.types import Array, Key


def minimum_value(values: Array, key: Key, subset: int = 0) -> Array:
    """The least of several critics' values (clipped double Q-learning, Fujimoto et al., 2018): `[K, ...]` -> `[...]`.

    With 0 < `subset` < K it is the least of so many of them, drawn with `key`, the same for the whole batch (REDQ, Chen
    et al., 2021); 0 means all of them.
    """
    chex.assert_axis_dimension_gteq(values, 0, max(subset, 1))
    if 0 < subset < values.shape[0]:
        values = values[jax.random.permutation(key, values.shape[0])[:subset]]
    return jnp.min(values, axis=0)


def smoothing_noise(draw: Array, deviation: float | Array, clip: float | Array) -> Array:
    """`clip(deviation draw, -clip, clip)`: what TD3 adds to the target's action (Fujimoto et al., 2018); elementwise.

    `draw` is standard normal; all are in units of the largest action.
    """
    return jnp.clip(deviation * draw, -clip, clip)


def critics_loss(values: Array, target: Array, weight: Array | None = None) -> Array:
    """`sum_k mean_i weight_i (Q_k,i - y_i)^2 / 2`, a scalar.

    `values` is `[K, N]`, `target` `[N]`, the same for all critics; derivatives do not pass through it. `weight` `[N]`
    (None: all 1) is not normalised.
    """
    chex.assert_rank([values, target], [2, 1])
    chex.assert_equal_shape([values[0], target])
    losses = half_square(values - jax.lax.stop_gradient(target))
    return jnp.sum(jnp.mean(losses if weight is None else losses * weight, axis=1))
