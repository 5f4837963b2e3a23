"""Choices among finitely many actions: one, or several at once."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.operators.selection import at_action
from purerl.types import Array, Key


class Categorical(struct.PyTreeNode):
    """A choice among `A` actions. `logits` `[..., A]` need not be normalised; -inf forbids an action."""

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
        return -jnp.sum(jnp.exp(log_p) * jnp.where(jnp.isneginf(log_p), 0.0, log_p), axis=-1)

    def kl(self, other: "Categorical") -> Array:
        """`sum_a p(a) (log p(a) - log q(a))`, `[...]`; actions with p = 0 count 0, one with only q = 0 makes it inf."""
        log_p, log_q = jax.nn.log_softmax(self.logits), jax.nn.log_softmax(other.logits)
        impossible = jnp.isneginf(log_p)
        log_ratio = jnp.where(impossible, 0.0, log_p) - jnp.where(impossible, 0.0, log_q)
        return jnp.sum(jnp.exp(log_p) * log_ratio, axis=-1)

    def action(self, x: Array) -> Array:
        """x itself."""
        return x


def _cross_entropy(logits: Array, action: Array) -> Array:
    """`logsumexp(logits) - logits[action]`."""
    return jax.nn.logsumexp(logits, axis=-1) - at_action(logits, action)


class MultiCategorical(struct.PyTreeNode):
    """Independent choices at once, of `sizes[i]` actions each: an action is int32 `[..., len(sizes)]`.

    `logits` is `[..., sum(sizes)]`, those of one choice after those of another.
    """

    logits: Array
    sizes: tuple[int, ...] = struct.field(pytree_node=False)

    def sample(self, key: Key) -> Array:
        """int32 `[..., len(sizes)]`."""
        keys = jax.random.split(key, len(self.sizes))
        return jnp.stack([one.sample(k) for one, k in zip(self._choices(), keys, strict=True)], axis=-1)

    def mode(self) -> Array:
        """The likeliest action, int32 `[..., len(sizes)]`."""
        return jnp.stack([one.mode() for one in self._choices()], axis=-1)

    def log_probability(self, action: Array) -> Array:
        """`sum_i log pi_i(action_i)`, `[...]`, for actions `[..., len(sizes)]` (integers)."""
        chex.assert_axis_dimension(action, -1, len(self.sizes))
        return _total([one.log_probability(action[..., i]) for i, one in enumerate(self._choices())])

    def entropy(self) -> Array:
        """The sum of the entropies, in nats, `[...]`."""
        return _total([one.entropy() for one in self._choices()])

    def kl(self, other: "MultiCategorical") -> Array:
        """The sum of the divergences, `[...]`."""
        return _total([one.kl(another) for one, another in zip(self._choices(), other._choices(), strict=True)])

    def action(self, x: Array) -> Array:
        """x itself."""
        return x

    def _choices(self) -> list[Categorical]:
        chex.assert_axis_dimension(self.logits, -1, sum(self.sizes))
        ends = np.cumsum(self.sizes)[:-1].tolist()
        return [Categorical(logits) for logits in jnp.split(self.logits, ends, axis=-1)]


def _total(parts: list[Array]) -> Array:
    return jnp.sum(jnp.stack(parts), axis=0)
