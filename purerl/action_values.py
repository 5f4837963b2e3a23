"""What is believed of the return of every action, Z(s, .): its mean, its distribution over atoms, or its quantiles.

Pytrees of their parameters, over any batch shape `[...]`, safe under `vmap`, `jit` and `grad`. All have the same
methods, so that one Q-learning (Double, dueling, n-step, prioritised) is written once for all of them:

    action = argmax(Z(s').mean())
    target = Z_target(s').of(action).bellman(reward, discount * (1 - terminated))
    loss   = Z(s).of(a).loss(target, error_loss)

`of` takes an action's distribution and drops the axis of the actions; `bellman`, `loss` and `surprise` are for such
distributions of one action. No gradient is stopped here: who learns from a target that depends on the parameters stops
it there.
"""

from collections.abc import Callable
from functools import partial
from typing import Self

import jax
import jax.numpy as jnp
from flax import struct

from purerl.operators.distributional import categorical_projection, conditional_value_at_risk, quantile_huber
from purerl.operators.selection import at_action
from purerl.types import Array

ErrorLoss = Callable[[Array], Array]  # elementwise, of TD errors


class ExpectedReturn(struct.PyTreeNode):
    """The mean of Z alone: Q(s, .)."""

    values: Array  # [..., A]

    def mean(self) -> Array:
        """Q, `[..., A]`."""
        return self.values

    def cvar(self, level: float | Array) -> Array:
        """The mean, `[..., A]`: nothing is known of the spread, so every `level` gives the same."""
        return self.values

    def of(self, action: Array) -> Self:
        """Q(s, action), values `[...]`, for actions `[...]` (integers)."""
        return self.replace(values=at_action(self.values, action))

    def bellman(self, reward: Array, discount: Array) -> Self:
        """`r + discount Q`, `[...]`; `discount` `[...]` is 0 where the episode terminated."""
        return self.replace(values=reward + discount * self.values)

    def loss(self, target: Self, error_loss: ErrorLoss) -> Array:
        """`error_loss(Q - y)`, `[...]`."""
        return error_loss(self.values - target.values)

    def surprise(self, target: Self) -> Array:
        """The absolute TD error, unclipped, `[...]`."""
        return jnp.abs(target.values - self.values)


class CategoricalReturn(struct.PyTreeNode):
    """Probabilities of fixed, equally spaced returns (C51; Bellemare et al., 2017)."""

    logits: Array  # [..., A, M], need not be normalised
    support: Array  # [..., M] (or [M] for all), ascending, the same for all actions

    def probabilities(self) -> Array:
        """`[..., A, M]`."""
        return jax.nn.softmax(self.logits)

    def mean(self) -> Array:
        """`sum_i p_i z_i`, `[..., A]`."""
        return jnp.sum(self.probabilities() * self._aligned_support(), axis=-1)

    def cvar(self, level: float | Array) -> Array:
        """Mean of the worst `level` share of the returns, `[..., A]`; `level` in (0, 1], 1 gives the mean."""
        worst = jnp.vectorize(partial(conditional_value_at_risk, level=level), signature="(m),(m)->()")
        return worst(self._aligned_support(), self.probabilities())

    def of(self, action: Array) -> Self:
        """Z(s, action), logits `[..., M]`, for actions `[...]` (integers)."""
        return self.replace(logits=at_action(self.logits, action, axis=-2))

    def bellman(self, reward: Array, discount: Array) -> Self:
        """`r + discount Z` projected on the support; `discount` `[...]` is 0 where the episode terminated.

        Returns outside the support count as its nearest end. An atom without mass has the logit -inf.
        """
        shifted = reward[..., None] + discount[..., None] * self.support
        project = jnp.vectorize(categorical_projection, signature="(m),(k),(k)->(m)")
        mass = project(self.support, self.probabilities(), shifted)
        return self.replace(logits=_log(mass))

    def loss(self, target: Self, error_loss: ErrorLoss) -> Array:
        """The cross-entropy `-sum_i m_i log p_i`, `[...]`; there is no TD error for `error_loss` to weigh."""
        return -jnp.sum(target.probabilities() * jax.nn.log_softmax(self.logits), axis=-1)

    def surprise(self, target: Self) -> Array:
        """`KL(target || self)` in nats, `[...]`: what of the cross-entropy a better prediction could take away."""
        mass = target.probabilities()
        log_ratio = jax.nn.log_softmax(target.logits) - jax.nn.log_softmax(self.logits)
        return jnp.maximum(jnp.sum(jnp.where(mass > 0.0, mass * log_ratio, 0.0), axis=-1), 0.0)

    def _aligned_support(self) -> Array:
        """The support with an axis of length 1 where the logits have that of the actions."""
        return self.support if self.support.ndim == self.logits.ndim else self.support[..., None, :]


class QuantileReturn(struct.PyTreeNode):
    """Quantiles of Z: at fixed levels (QR-DQN; Dabney et al., 2018a) or at sampled ones (IQN; Dabney et al., 2018b).

    They are taken for equally likely atoms, which need not be in order.
    """

    values: Array  # [..., A, N]
    levels: Array  # [..., N] in (0, 1), the same for all actions

    def mean(self) -> Array:
        """The mean of the quantiles, `[..., A]`."""
        return jnp.mean(self.values, axis=-1)

    def cvar(self, level: float | Array) -> Array:
        """Mean of the worst `level` share of the quantiles, `[..., A]`; `level` in (0, 1], 1 gives the mean."""
        ascending = jnp.sort(self.values, axis=-1)
        worst = jnp.vectorize(partial(conditional_value_at_risk, level=level), signature="(n),(n)->()")
        return worst(ascending, jnp.full(self.values.shape[-1:], 1.0 / self.values.shape[-1]))

    def of(self, action: Array) -> Self:
        """Z(s, action), values `[..., N]`, for actions `[...]` (integers)."""
        return self.replace(values=at_action(self.values, action, axis=-2))

    def bellman(self, reward: Array, discount: Array) -> Self:
        """Quantiles of `r + discount Z`, `[..., N]`; `discount` `[...]` is 0 where the episode terminated."""
        return self.replace(values=reward[..., None] + discount[..., None] * self.values)

    def loss(self, target: Self, error_loss: ErrorLoss, kappa: float | Array = 1.0) -> Array:
        """The quantile Huber loss, `[...]`, whatever `error_loss` is.

        Summed over the quantiles of self and averaged over those of the target, whose levels do not matter. Where
        returns lie `kappa` (> 0) or less apart, what is learned lies between their quantiles and their expectiles.
        """
        of_one = jnp.vectorize(partial(quantile_huber, kappa=kappa), signature="(n),(n),(m)->()")
        return of_one(self.values, self.levels, target.values)

    def surprise(self, target: Self) -> Array:
        """The absolute mean TD error, `[...]`."""
        return jnp.abs(jnp.mean(target.values, axis=-1) - jnp.mean(self.values, axis=-1))


ActionValues = ExpectedReturn | CategoricalReturn | QuantileReturn


def _log(mass: Array) -> Array:
    """log of what may be 0, with gradient 0 there instead of NaN."""
    positive = mass > 0.0
    return jnp.where(positive, jnp.log(jnp.where(positive, mass, 1.0)), -jnp.inf)
