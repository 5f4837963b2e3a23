"""An invertible rescaling of values, in place of clipped rewards (Pohlen et al., 2018; Kapturowski et al., 2019).

A network that learns h(Q) instead of Q sees targets of one size whatever the rewards are: h grows like a square root,
and `scale` times a straight line keeps its inverse Lipschitz. Both functions are elementwise, odd and increasing; no
digits are lost where values are small (the forms in the papers subtract nearly equal numbers there), their derivatives
hold at 0 too, and `scale` = 0 is the plain square root.

Pohlen, T. et al. (2018), "Observe and look further: achieving consistent performance on Atari", arXiv:1805.11593.
"""

import jax.numpy as jnp

from purerl.types import Array


def rescale_value(value: Array, scale: float | Array = 1e-3) -> Array:
    """`h(x) = sign(x) (sqrt(|x| + 1) - 1) + scale x`, elementwise, for a `scale` >= 0."""
    return value / (jnp.sqrt(jnp.abs(value) + 1.0) + 1.0) + scale * value


def unscale_value(rescaled: Array, scale: float | Array = 1e-3) -> Array:
    """The inverse of `rescale_value`, elementwise:

    `h^-1(y) = sign(y) (((sqrt(1 + 4 scale (|y| + 1 + scale)) - 1) / (2 scale))^2 - 1)`.

    With w = sign(x) (sqrt(|x| + 1) - 1), y = h(x) is scale w |w| + (1 + 2 scale) w: the quadratic equation gives w from
    y, and x = w (|w| + 2).
    """
    root = jnp.sqrt(1.0 + 4.0 * scale * (jnp.abs(rescaled) + 1.0 + scale))
    w = 2.0 * rescaled / (1.0 + 2.0 * scale + root)
    return w * (jnp.abs(w) + 2.0)
