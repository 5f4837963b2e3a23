"""Surrogate objectives of policy-gradient methods, on batches `[B]`."""

import chex
import jax.numpy as jnp

from purerl.types import Array


def clipped_surrogate(
    log_probability: Array, old_log_probability: Array, advantage: Array, clip: float | Array
) -> Array:
    """PPO's clipped objective, to be maximised (Schulman et al., 2017); `[B]` in, scalar (the mean) out.

    L = mean min(rho A, clip(rho, 1 - clip, 1 + clip) A),    rho = pi(a | s) / pi_old(a | s)
    """
    chex.assert_rank([log_probability, old_log_probability, advantage], 1)
    chex.assert_equal_shape([log_probability, old_log_probability, advantage])
    ratio = jnp.exp(log_probability - old_log_probability)
    return jnp.mean(jnp.minimum(ratio * advantage, jnp.clip(ratio, 1.0 - clip, 1.0 + clip) * advantage))


def value_loss(value: Array, target: Array) -> Array:
    """Half the mean squared error of a value `[B]` against its target `[B]`."""
    chex.assert_rank([value, target], 1)
    chex.assert_equal_shape([value, target])
    return 0.5 * jnp.mean(jnp.square(value - target))


def clipped_value_loss(value: Array, old_value: Array, target: Array, clip: float | Array) -> Array:
    """PPO's value loss that does not let the value move further than `clip` from the one that acted (`[B]` each).

    mean max((V - R)^2, (V_old + clip(V - V_old, -clip, clip) - R)^2) / 2
    """
    chex.assert_rank([value, old_value, target], 1)
    chex.assert_equal_shape([value, old_value, target])
    near = old_value + jnp.clip(value - old_value, -clip, clip)
    return 0.5 * jnp.mean(jnp.maximum(jnp.square(value - target), jnp.square(near - target)))


def standardize(advantage: Array, mask: Array | None = None) -> Array:
    """Zero mean and unit deviation over the batch `[B]`, or over its entries where `mask` is true.

    PPO does this per minibatch. A constant batch becomes 0: 1e-8 is added to the deviation, and the mean is subtracted
    twice, since the rounding error of the first time would be divided by itself.
    """
    chex.assert_rank(advantage, 1)
    for _ in range(2):
        advantage = advantage - jnp.mean(advantage, where=mask)
    return advantage / (jnp.sqrt(jnp.mean(jnp.square(advantage), where=mask)) + 1e-8)


def approximate_kl(log_probability: Array, old_log_probability: Array) -> Array:
    """The k3 estimate of KL(pi_old || pi), `mean(rho - 1 - log rho)` over actions of pi_old; never negative."""
    chex.assert_equal_shape([log_probability, old_log_probability])
    log_ratio = log_probability - old_log_probability
    return jnp.mean(jnp.expm1(log_ratio) - log_ratio)


def adaptive_coefficient(coefficient: Array, kl: Array, target: float | Array) -> Array:
    """The weight of PPO's KL penalty after an update that moved the policy by `kl` (Schulman et al., 2017).

        coefficient / 2    if kl < target / 1.5
        2 coefficient      if kl > 1.5 target
        coefficient        otherwise

    All `[...]`; the coefficient and the target are > 0.
    """
    scale = jnp.where(kl < target / 1.5, 0.5, jnp.where(kl > 1.5 * target, 2.0, 1.0))
    return coefficient * scale


def dual_ascent(multiplier: Array, kl: Array, target: float | Array, step_size: float | Array) -> Array:
    """`max(0, multiplier + step_size (kl - target))`: a Lagrange multiplier of the constraint kl <= target, `[...]`.

    It rises while the constraint is violated and falls to 0 where it does not bind.
    """
    return jnp.maximum(0.0, multiplier + step_size * (kl - target))
