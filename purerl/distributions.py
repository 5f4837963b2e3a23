"""Probability distributions over actions: pytrees of their parameters, safe under `vmap`, `jit` and `grad`.

Every one has `sample(key)`, `mode()`, `log_probability(x)` and `entropy()`, over any batch shape `[...]`.
"""

import jax
import jax.numpy as jnp
from flax import struct

from purerl.operators.selection import at_action
from purerl.types import Array, Key


class Categorical(struct.PyTreeNode):
    """A choice among `A` actions. `logits` `[..., A]` need not be normalised."""

    logits: Array

    def sample(self, key: Key) -> Array:
        """int32 `[...]`."""
        return jax.random.categorical(key, self.logits)

    def mode(self) -> Array:
        """The likeliest action, int32 `[...]`."""
        return jnp.argmax(self.logits, axis=-1)

    def log_probability(self, action: Array) -> Array:
        """log pi(action), `[...]`, for actions `[...]` (integers)."""
        return -_cross_entropy(self.logits, action)

    def entropy(self) -> Array:
        """`-sum_a p(a) log p(a)` in nats, `[...]`; actions of probability 0 (logit -inf) count 0."""
        log_p = jax.nn.log_softmax(self.logits)
        return -jnp.sum(jnp.where(jnp.isneginf(log_p), 0.0, jnp.exp(log_p) * log_p), axis=-1)


def _cross_entropy(logits: Array, action: Array) -> Array:
    """`logsumexp(logits) - logits[action]`."""
    return jax.nn.logsumexp(logits, axis=-1) - at_action(logits, action)


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
