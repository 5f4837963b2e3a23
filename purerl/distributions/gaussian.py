"""Independent normals."""

import jax
import jax.numpy as jnp
from flax import struct

from purerl.types import Array, Key


class DiagonalGaussian(struct.PyTreeNode):
    """Independent normals. `mean` is `[..., D]`; `log_deviation` broadcasts against it."""

    mean: Array
    log_deviation: Array

    def sample(self, key: Key) -> Array:
        """float32 `[..., D]`."""
        return self.mean + jnp.exp(self.log_deviation) * jax.random.normal(key, self.mean.shape)

    def mode(self) -> Array:
        """The mean, `[..., D]`."""
        return self.mean

    def log_probability(self, action: Array) -> Array:
        """The log-density of an action `[..., D]`, summed over its dimensions: `[...]`."""
        z = (action - self.mean) * jnp.exp(-self.log_deviation)
        return -jnp.sum(0.5 * jnp.square(z) + self.log_deviation + 0.5 * jnp.log(2 * jnp.pi), axis=-1)

    def entropy(self) -> Array:
        """`sum_d log deviation_d + log(2 pi e) / 2` in nats, `[...]`."""
        log_deviation = jnp.broadcast_to(self.log_deviation, self.mean.shape)
        return jnp.sum(log_deviation + 0.5 * jnp.log(2 * jnp.pi * jnp.e), axis=-1)

    def kl(self, other: "DiagonalGaussian") -> Array:
        """`sum_d log(sigma'_d / sigma_d) + (sigma_d^2 + (mu_d - mu'_d)^2) / (2 sigma'_d^2) - 1/2`, `[...]`.

        In a form that is exact to rounding where the two are almost the same.
        """
        log_ratio = self.log_deviation - other.log_deviation
        shift = (self.mean - other.mean) * jnp.exp(-other.log_deviation)
        return jnp.sum(0.5 * jnp.expm1(2.0 * log_ratio) - log_ratio + 0.5 * jnp.square(shift), axis=-1)

    def action(self, x: Array) -> Array:
        """x itself."""
        return x
