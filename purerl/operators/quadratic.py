"""Action values that are quadratic in the action, whose maximum is known: normalised advantage functions."""

import chex
import jax.numpy as jnp
import numpy as np

from purerl.types import Array


def positive_factor(entries: Array, size: int) -> Array:
    """A lower triangular L `[..., A, A]` of `size` A from `entries` `[..., A (A + 1) / 2]`, row by row.

    Its diagonal is exponentiated, so that `L L^T` is positive definite whatever the entries are; above it are zeros.
    """
    chex.assert_axis_dimension(entries, -1, size * (size + 1) // 2)
    rows, columns = np.tril_indices(size)
    lower = jnp.zeros((*entries.shape[:-1], size, size), entries.dtype).at[..., rows, columns].set(entries)
    diagonal = jnp.eye(size, dtype=bool)
    return jnp.where(diagonal, jnp.exp(jnp.where(diagonal, lower, 0.0)), lower)


def quadratic_advantage(action: Array, mean: Array, factor: Array) -> Array:
    """`A(s, a) = -(a - mu)^T P (a - mu) / 2` with `P = L L^T` (Gu et al., 2016), `[...]`.

    `action` and `mean` (mu) are `[..., A]`, `factor` (L) is `[..., A, A]`. The advantage is at most 0, and 0 at mu.
    """
    chex.assert_equal_shape([action, mean])
    chex.assert_axis_dimension(factor, -1, mean.shape[-1])
    along = jnp.einsum("...ij,...i->...j", factor, action - mean)  # L^T (a - mu)
    return -0.5 * jnp.sum(jnp.square(along), axis=-1)
