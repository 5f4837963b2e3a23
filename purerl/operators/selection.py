"""What belongs to one action, out of what is there for all of them."""

import jax
import jax.numpy as jnp

from purerl.types import Array


def at_action(x: Array, action: Array, axis: int = -1) -> Array:
    """`x` at `action` along `axis`, which the result has not: `Q(s, .)` `[..., A]` and `[...]` to `Q(s, a)` `[...]`.

    `axis` is negative; the axes before it broadcast against those of `action` (integers), the axes behind it (atoms,
    quantiles, features) are kept. A sum over a one-hot mask, which is cheaper than a gather, and its gradient cheaper
    than a scatter; values of other actions may be infinite.
    """
    chosen = jax.nn.one_hot(action, x.shape[axis], dtype=bool)
    chosen = chosen.reshape(*chosen.shape, *(1,) * (-1 - axis))
    return jnp.sum(jnp.where(chosen, x, 0), axis=axis)
