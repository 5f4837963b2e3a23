"""Distributions whose actions never leave [-1, 1]."""

import math

import jax
import jax.numpy as jnp
from flax import struct
from jax.scipy.special import betaln, digamma, erf

from purerl.distributions.gaussian import DiagonalGaussian
from purerl.types import Array, Key

LOGISTIC_WEIGHTS = (0.14622409, 0.50047809, 0.31610224, 0.03719558)  # of the normals that mix to sech(e)^2 / 2,
LOGISTIC_DEVIATIONS = (0.50917513, 0.75689263, 1.12051565, 1.6474066)  # fitted to log(2 cosh u): no error above 4e-6
MARGIN = 1e-6  # samples of Beta keep this distance from 0 and 1


class TanhGaussian(struct.PyTreeNode):
    """tanh of independent normals (Haarnoja et al., 2018). `mean` is `[..., D]`; `log_deviation` broadcasts against it.

    Samples, `mode` and the argument of `log_probability` are the value u *before* the squashing, which a rollout must
    store: from an action that tanh has rounded to 1 it cannot be found again. Densities are those of `action(u)`.
    """

    mean: Array
    log_deviation: Array

    def sample(self, key: Key) -> Array:
        """u, float32 `[..., D]`."""
        return self._before().sample(key)

    def mode(self) -> Array:
        """The u of the median action, `[..., D]`: the mean of u (the density of the action can peak elsewhere)."""
        return self.mean

    def log_probability(self, u: Array) -> Array:
        """The log-density of the action tanh(u), `[...]`, for u `[..., D]`.

        log N(u) - sum_d log(1 - tanh(u_d)^2) = log N(u) - sum_d 2 (log 2 - u_d - softplus(-2 u_d))
        """
        return self._before().log_probability(u) - jnp.sum(
            2.0 * (jnp.log(2.0) - u - jax.nn.softplus(-2.0 * u)), axis=-1
        )

    def entropy(self) -> Array:
        """The entropy of the action in nats, `[...]`: `H(u) + sum_d E log(1 - tanh(u_d)^2)`, to 2e-5 per dimension.

        log(1 - tanh(u)^2) = 2 log 2 - 2 log(2 cosh u), and log(2 cosh u) is `E |u + e|` for e of the logistic density
        sech(e)^2 / 2. A mixture of four normals is close to that density (Monahan & Stefanski, 1992), and for a normal
        e the expectation over u, too, has a closed form (`_folded_mean`), whatever the mean and the deviation.
        """
        variance = jnp.square(jnp.exp(self.log_deviation))
        expected = sum(
            weight * _folded_mean(self.mean, jnp.sqrt(variance + deviation**2))
            for weight, deviation in zip(LOGISTIC_WEIGHTS, LOGISTIC_DEVIATIONS, strict=True)
        )
        return self._before().entropy() + jnp.sum(2.0 * jnp.log(2.0) - 2.0 * expected, axis=-1)

    def kl(self, other: "TanhGaussian") -> Array:
        """That of the normals before the squashing, `[...]`: a bijection changes no divergence."""
        return self._before().kl(other._before())

    def action(self, u: Array) -> Array:
        """tanh(u), in [-1, 1]."""
        return jnp.tanh(u)

    def _before(self) -> DiagonalGaussian:
        return DiagonalGaussian(self.mean, self.log_deviation)


def _folded_mean(mean: Array, deviation: Array | float) -> Array:
    """E |x| for x of that normal distribution."""
    z = mean / deviation
    return deviation * math.sqrt(2.0 / math.pi) * jnp.exp(-0.5 * jnp.square(z)) + mean * erf(z / math.sqrt(2.0))


class Beta(struct.PyTreeNode):
    """Independent Beta distributions on (0, 1) (Chou et al., 2017). `alpha` and `beta` are `[..., D]`, > 0.

    Samples, `mode` and the argument of `log_probability` are x in [1e-6, 1 - 1e-6], and densities those of x; the
    environment gets `action(x) = 2 x - 1`.
    """

    alpha: Array
    beta: Array

    def sample(self, key: Key) -> Array:
        """x, float32 `[..., D]`."""
        return _inside(jax.random.beta(key, self.alpha, self.beta))

    def mode(self) -> Array:
        """x of the highest density where alpha > 1 and beta > 1, and the mean elsewhere; `[..., D]`."""
        interior = (self.alpha > 1.0) & (self.beta > 1.0)
        alpha = jnp.where(interior, self.alpha - 1.0, self.alpha)
        beta = jnp.where(interior, self.beta - 1.0, self.beta)
        return _inside(alpha / (alpha + beta))

    def log_probability(self, x: Array) -> Array:
        """The log-density of x `[..., D]`, `[...]`.

            sum_d (alpha_d - 1) log x_d + (beta_d - 1) log(1 - x_d) - log B(alpha_d, beta_d)

        An x nearer to 0 or 1 than a sample can be counts as the nearest sample.
        """
        x = _inside(x)
        density = (self.alpha - 1.0) * jnp.log(x) + (self.beta - 1.0) * jnp.log1p(-x) - betaln(self.alpha, self.beta)
        return jnp.sum(density, axis=-1)

    def entropy(self) -> Array:
        """The entropy of x in nats, `[...]` (psi is the digamma function).

        sum_d log B(a, b) - (a - 1) psi(a) - (b - 1) psi(b) + (a + b - 2) psi(a + b)
        """
        a, b = self.alpha, self.beta
        at_both = (a + b - 2.0) * digamma(a + b)
        return jnp.sum(betaln(a, b) - (a - 1.0) * digamma(a) - (b - 1.0) * digamma(b) + at_both, axis=-1)

    def kl(self, other: "Beta") -> Array:
        """`sum_d log B(a', b') - log B(a, b) + (a - a') psi(a) + (b - b') psi(b) - (a - a' + b - b') psi(a + b)`.

        A difference of large numbers: in float32 it is good to 3e-5 for parameters up to 30, to 5e-4 up to 300
        (and can be that far below 0).
        """
        a, b = self.alpha, self.beta
        more_a, more_b = a - other.alpha, b - other.beta
        moments = more_a * digamma(a) + more_b * digamma(b) - (more_a + more_b) * digamma(a + b)
        return jnp.sum(betaln(other.alpha, other.beta) - betaln(a, b) + moments, axis=-1)

    def action(self, x: Array) -> Array:
        """`2 x - 1`, in (-1, 1)."""
        return 2.0 * x - 1.0


def _inside(x: Array) -> Array:
    return jnp.clip(x, MARGIN, 1.0 - MARGIN)
