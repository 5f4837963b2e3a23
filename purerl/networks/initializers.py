"""Initialisers of weights that may run under `vmap`."""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from purerl.types import Array, Key

Initializer = Callable[..., Array]


def orthogonal(scale: float = 1.0) -> Initializer:
    """A kernel `[..., inputs, outputs]` with orthonormal rows or columns (whichever are fewer), times `scale`.

    Saxe et al. (2014). The matrix is the polar factor U of a Gaussian matrix G = U P, which is Haar distributed like
    the usual QR construction with its signs fixed, found by Newton-Schulz iterations `X <- X (3 I - X^T X) / 2`: matrix
    products only. LAPACK's QR inside a vmapped, jitted program can hang on a CPU with few cores.
    """

    def init(key: Key, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
        return (scale * _orthonormal(key, math.prod(shape[:-1]), shape[-1])).reshape(shape).astype(dtype)

    return init


@partial(jax.jit, static_argnums=(1, 2))  # traced once per shape: Flax asks for it at every application of a network
def _orthonormal(key: Key, inputs: int, outputs: int) -> Array:
    """A matrix `[inputs, outputs]` with orthonormal rows or columns."""
    gaussian = jax.random.normal(key, (max(inputs, outputs), min(inputs, outputs)), jnp.float32)
    matrix = _polar_factor(gaussian)
    return matrix if inputs >= outputs else matrix.T


def _polar_factor(matrix: Array) -> Array:
    """U of `matrix = U P` for a tall matrix `[m, n]` of full rank.

    Each step maps a singular value s in (0, sqrt 3) to s (3 - s^2) / 2, so all of them go to 1: small ones grow by half
    at every step, then converge quadratically. Divided by the Frobenius norm they start in (0, 1]; the loop ends when
    `X^T X` is the identity to 1e-5, or after 100 steps (enough for singular values of 1e-15 of the norm).
    """
    identity = jnp.eye(matrix.shape[1], dtype=matrix.dtype)
    product = partial(jnp.matmul, precision="highest")  # also where an accelerator would round to fewer bits

    def going_on(carry):
        _, step, orthonormal = carry
        return (step < 100) & ~orthonormal

    def newton_schulz(carry):
        x, step, _ = carry
        gram = product(x.T, x)
        orthonormal = jnp.max(jnp.abs(gram - identity)) <= 1e-5
        return jnp.where(orthonormal, x, 1.5 * x - 0.5 * product(x, gram)), step + 1, orthonormal

    x = matrix / jnp.linalg.norm(matrix)
    x, _, _ = jax.lax.while_loop(going_on, newton_schulz, (x, 0, jnp.zeros((), bool)))
    return x
