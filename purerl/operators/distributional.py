"""Distributions of returns: how one is shifted, compared and valued. Unbatched: `vmap` for a batch."""

import chex
import jax.numpy as jnp

from purerl.operators.temporal_difference import huber
from purerl.types import Array


def categorical_projection(support: Array, probabilities: Array, target_support: Array) -> Array:
    """The projection of C51 (Bellemare et al., 2017): the mass of `target_support`, moved to the atoms of `support`.

        p_i = sum_j clip(1 - |clip(t_j, z_1, z_M) - z_i| / dz, 0, 1) q_j

    Every t_j shares its mass between its two neighbours in proportion to their nearness, so mass is preserved, and so
    is the mean where no t_j lies outside the support. A t_j on an atom leaves all its mass there, the case that code by
    floor and ceiling loses.

    Args:
        support: z `[M]`, M >= 2 equally spaced atoms, ascending.
        probabilities: q `[K]`, the mass at each of the `target_support`.
        target_support: t `[K]`, in any order, for example `r + discount z`.

    Returns p `[M]`.
    """
    chex.assert_rank([support, probabilities, target_support], 1)
    chex.assert_equal_shape([probabilities, target_support])
    atoms = support.shape[0]
    spacing = (support[-1] - support[0]) / (atoms - 1)
    inside = jnp.clip(target_support, support[0], support[-1])
    share = jnp.clip(1.0 - jnp.abs(inside[None, :] - support[:, None]) / spacing, 0.0, 1.0)
    return share @ probabilities


def quantile_midpoints(count: int) -> Array:
    """The levels `(i + 1/2) / N` `[N]` whose quantiles are the best N equally likely atoms (in Wasserstein-1)."""
    return (jnp.arange(count, dtype=jnp.float32) + 0.5) / count


def quantile_huber(prediction: Array, levels: Array, target: Array, kappa: float | Array = 1.0) -> Array:
    """The quantile Huber loss of QR-DQN and IQN (Dabney et al., 2018a, 2018b); a scalar.

        L = sum_i mean_j |tau_i - 1{delta_ij < 0}| Huber_kappa(delta_ij) / kappa,    delta_ij = target_j - theta_i

    As kappa goes to 0 its minimiser are the quantiles of the target; the larger kappa, the more they are expectiles.

    Args:
        prediction: theta `[N]`.
        levels: tau `[N]` in (0, 1), the share of the target that should lie below each theta.
        target: samples `[M]`, equally likely.
        kappa: where the loss turns from a square into a line, > 0.
    """
    chex.assert_rank([prediction, levels, target], 1)
    chex.assert_equal_shape([prediction, levels])
    error = target[None, :] - prediction[:, None]
    weight = jnp.abs(levels[:, None] - (error < 0.0))
    return jnp.sum(jnp.mean(weight * huber(error, kappa) / kappa, axis=1))


def conditional_value_at_risk(values: Array, probabilities: Array, level: float | Array) -> Array:
    """The mean of the worst `level` share of a distribution (Rockafellar & Uryasev, 2000); a scalar.

        CVaR = 1 / level  sum_i  min(p_i, max(level - sum_{k < i} p_k, 0))  z_i

    Args:
        values: z `[N]`, ascending.
        probabilities: p `[N]`, summing to 1.
        level: in (0, 1]; 1 gives the mean.
    """
    chex.assert_rank([values, probabilities], 1)
    chex.assert_equal_shape([values, probabilities])
    before = jnp.cumsum(probabilities) - probabilities
    return jnp.sum(jnp.clip(level - before, 0.0, probabilities) * values) / level
