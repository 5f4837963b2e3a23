"""Soft Q-learning over continuous actions: a soft value from samples, and the direction in which particles spread."""

import math

import chex
import jax
import jax.numpy as jnp

from purerl.types import Array


def sampled_soft_value(values: Array, temperature: float | Array, log_density: float | Array) -> Array:
    """`V = temperature log E_q[exp(Q(a) / temperature) / q(a)]` by importance sampling (Haarnoja et al., 2017).

    `values` is Q at actions drawn from q, `[M, ...]`, `log_density` the logarithm of q there, broadcast to it. The
    expectation is over axis 0; its estimate is biased downwards, the less the more actions.
    """
    chex.assert_axis_dimension_gteq(values, 0, 1)
    terms = values / temperature - log_density
    return temperature * (jax.nn.logsumexp(terms, axis=0) - math.log(values.shape[0]))


def stein_direction(particles: Array, fixed: Array, score: Array) -> Array:
    """Where particles move to look more like draws from p (Stein variational gradient descent, Liu & Wang, 2016).

        phi(x) = mean_j [k(x_j, x) score_j + grad_{x_j} k(x_j, x)],    k(x, y) = exp(-|x - y|^2 / h)

    The first term climbs log p, the second pushes particles apart. `particles` x is `[M, D]`, `fixed` x_j `[N, D]` with
    `score` grad log p(x_j) `[N, D]`; the result is `[M, D]`. The bandwidth h is the median of the squared distances
    over log(N + 1), and no derivative passes through any of it.
    """
    chex.assert_rank([particles, fixed, score], 2)
    chex.assert_equal_shape([fixed, score])
    difference = fixed[None] - particles[:, None]  # [M, N, D]
    squares = jnp.sum(jnp.square(difference), axis=-1)
    bandwidth = jnp.maximum(jnp.median(squares) / math.log(fixed.shape[0] + 1.0), 1e-3)
    kernel = jnp.exp(-squares / bandwidth)[..., None]
    repulsion = -2.0 * difference / bandwidth * kernel
    return jax.lax.stop_gradient(jnp.mean(kernel * score + repulsion, axis=1))
