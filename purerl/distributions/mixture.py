"""Mixtures of Gaussians, whose density is exact and whose entropy and divergence are bounds."""

import jax
import jax.numpy as jnp
from flax import struct

from purerl.distributions.discrete import Categorical
from purerl.distributions.gaussian import DiagonalGaussian
from purerl.types import Array, Key


class GaussianMixture(struct.PyTreeNode):
    """One of K Gaussians, chosen with probabilities softmax(logits).

    `logits` is `[..., K]`; `mean` and `log_deviation` are `[..., K, D]`.
    """

    logits: Array
    mean: Array
    log_deviation: Array

    def sample(self, key: Key) -> Array:
        """float32 `[..., D]`."""
        which_key, normal_key = jax.random.split(key)
        which = self._choice().sample(which_key)
        return DiagonalGaussian(_component(self.mean, which), _component(self.log_deviation, which)).sample(normal_key)

    def mode(self) -> Array:
        """The mean of the likeliest component, `[..., D]` (the density itself can be higher elsewhere)."""
        return _component(self.mean, self._choice().mode())

    def log_probability(self, action: Array) -> Array:
        """`log sum_k p_k N(action; mu_k, sigma_k)`, `[...]`, for actions `[..., D]`."""
        densities = self._components().log_probability(action[..., None, :])
        return jax.nn.logsumexp(jax.nn.log_softmax(self.logits) + densities, axis=-1)

    def entropy(self) -> Array:
        """A lower bound of the entropy in nats, `[...]` (Kolchinsky & Tracey, 2017, with the Bhattacharyya distance).

            sum_k p_k (H_k - log sum_j p_j exp(-B_kj)),    B_kj = -log integral sqrt(N_k N_j)

        It errs below, by nothing where components coincide or are far apart, and never by more than log K. So a bonus
        for this bound is one for the entropy itself.
        """
        spread = self.log_deviation[..., :, None, :], self.log_deviation[..., None, :, :]
        log_variances = jnp.logaddexp(2.0 * spread[0], 2.0 * spread[1])  # log(sigma_k^2 + sigma_j^2), [..., K, K, D]
        z = (self.mean[..., :, None, :] - self.mean[..., None, :, :]) * jnp.exp(-0.5 * log_variances)
        distance = 0.25 * jnp.square(z) + 0.5 * (log_variances - spread[0] - spread[1] - jnp.log(2.0))
        near = jax.nn.log_softmax(self.logits)[..., None, :] - jnp.sum(distance, axis=-1)
        terms = self._components().entropy() - jax.nn.logsumexp(near, axis=-1)
        return jnp.sum(jax.nn.softmax(self.logits) * terms, axis=-1)

    def kl(self, other: "GaussianMixture") -> Array:
        """An upper bound of the divergence, `[...]`: that of component and action together (Hershey & Olsen, 2007).

            KL(p || p') + sum_k p_k KL(N_k || N'_k)

        Component k of one is compared with component k of the other, so that it is meant for two states of one network,
        not for mixtures of different origin. It errs above (a limit on it is one on the divergence), is 0 only for
        equal parameters and has a gradient of 0 there, which the sharper variational approximation of the same paper,
        no bound at all, has not: a trust region needs both.
        """
        apart = self._components().kl(other._components())
        return self._choice().kl(other._choice()) + jnp.sum(jax.nn.softmax(self.logits) * apart, axis=-1)

    def action(self, x: Array) -> Array:
        """x itself."""
        return x

    def _choice(self) -> Categorical:
        return Categorical(self.logits)

    def _components(self) -> DiagonalGaussian:
        """A batch `[..., K]` of Gaussians."""
        return DiagonalGaussian(self.mean, self.log_deviation)


def _component(x: Array, which: Array) -> Array:
    """`x[..., which, :]`, for x `[..., K, D]` and `which` `[...]`."""
    return jnp.squeeze(jnp.take_along_axis(x, which[..., None, None], axis=-2), axis=-2)
