"""Running mean and variance, for observations and for the scale of rewards.

A learner updates the statistics from *raw* data, once per rollout and after it, so that acting and the loss of one
rollout see the same statistics; evaluation reads them and never changes them.
"""

import jax.numpy as jnp
from flax import struct

from purerl.types import Array


class RunningStatistics(struct.PyTreeNode):
    """Mean and (population) variance of everything seen so far, and how much that was."""

    mean: Array  # [*shape]
    variance: Array  # [*shape]; 1 before the first update
    count: Array  # float32 scalar


def init_statistics(shape: tuple[int, ...]) -> RunningStatistics:
    """Statistics of nothing: `normalize` with them only clips."""
    return RunningStatistics(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()))


def update_statistics(statistics: RunningStatistics, batch: Array) -> RunningStatistics:
    """Merge a batch `[..., *shape]` (any number of leading axes, at least one) into the statistics.

    The pairwise update of Chan, Golub & LeVeque (1979), exact up to rounding: with batch mean m, variance v, size n,

        delta = m - mean;  mean <- mean + delta n / (count + n)
        variance <- (variance count + v n + delta^2 count n / (count + n)) / (count + n)
    """
    axes = tuple(range(batch.ndim - statistics.mean.ndim))
    batch = batch.astype(jnp.float32)
    size = batch.size // max(statistics.mean.size, 1)
    total = statistics.count + size
    delta = jnp.mean(batch, axes) - statistics.mean
    squares = statistics.variance * statistics.count + jnp.var(batch, axes) * size
    squares = squares + delta**2 * statistics.count * size / total
    return RunningStatistics(statistics.mean + delta * size / total, squares / total, total)


def normalize(statistics: RunningStatistics, x: Array, clip: float = 10.0) -> Array:
    """`(x - mean) / sqrt(variance + 1e-8)`, clipped to `[-clip, clip]`; float32, same shape as `x`."""
    x = (x.astype(jnp.float32) - statistics.mean) / jnp.sqrt(statistics.variance + 1e-8)
    return jnp.clip(x, -clip, clip)
