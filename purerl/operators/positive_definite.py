"""Small positive definite systems, solved column by column.

Controllers and fitted models solve systems of a few unknowns inside compiled training, vmapped over agents. The steps
of a factorisation are unrolled here: a dozen products of scalars and columns, which fuse with what is around them and
call no LAPACK, whose batched forms have hung in jitted programs and cannot run on every device.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from purerl.types import Array, Key


class Factor(NamedTuple):
    """`M = L diag(d) L^T`, L unit lower triangular `[..., n, n]`, d `[..., n]` the pivots."""

    lower: Array
    pivots: Array

    @property
    def positive(self) -> Array:
        """Whether M is positive definite: all pivots above zero (`[...]`, bool)."""
        return jnp.all(self.pivots > 0, axis=-1)


def factorize(matrix: Array) -> Factor:
    """The factors of symmetric matrices `[..., n, n]`, of which the lower triangles are read.

    Without pivoting, which positive definite matrices do not need. Of others the pivots tell (`Factor.positive`), and
    neither L nor what `solve` makes of it means anything. n steps are unrolled: meant for n up to a few dozen.
    """
    chex.assert_axis_dimension(matrix, -1, matrix.shape[-2])
    rest, columns, pivots = matrix, [], []
    for i in range(matrix.shape[-1]):
        pivot = rest[..., i, i]
        below = jnp.arange(matrix.shape[-1]) > i
        divisor = jnp.where(pivot != 0, pivot, 1.0)[..., None]
        column = jnp.where(below, rest[..., :, i] / divisor, 0.0)
        rest = rest - pivot[..., None, None] * column[..., :, None] * column[..., None, :]
        columns.append(column)
        pivots.append(pivot)
    lower = jnp.stack(columns, axis=-1) + jnp.eye(matrix.shape[-1], dtype=matrix.dtype)
    return Factor(lower, jnp.stack(pivots, axis=-1))


def solve(factor: Factor, right: Array) -> Array:
    """The X `[..., n, k]` of `M X = right`, by substitution forwards and backwards."""
    chex.assert_axis_dimension(right, -2, factor.pivots.shape[-1])
    size, x = right.shape[-2], right
    for i in range(size):
        x = x - factor.lower[..., :, i, None] * x[..., i, None, :] * (jnp.arange(size) > i)[:, None]
    return _substitute_backwards(factor.lower, x / jnp.where(factor.pivots != 0, factor.pivots, 1.0)[..., None])


def inverse(factor: Factor) -> Array:
    """`M^-1`, `[..., n, n]`."""
    identity = jnp.eye(factor.pivots.shape[-1], dtype=factor.pivots.dtype)
    return solve(factor, jnp.broadcast_to(identity, factor.lower.shape))


def draw_with_precision(key: Key, factor: Factor) -> Array:
    """A draw from `N(0, M^-1)`, `[..., n]`: `L^-T d^(-1/2) e`, e standard normal."""
    noise = jax.random.normal(key, factor.pivots.shape, factor.pivots.dtype) / jnp.sqrt(factor.pivots)
    return _substitute_backwards(factor.lower, noise[..., None])[..., 0]


def _substitute_backwards(lower: Array, right: Array) -> Array:
    """The X `[..., n, k]` of `L^T X = right`."""
    size, x = right.shape[-2], right
    for i in reversed(range(size)):
        x = x - lower[..., i, :, None] * x[..., i, None, :] * (jnp.arange(size) < i)[:, None]
    return x
