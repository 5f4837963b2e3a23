"""Action-dependent control variates of policy gradients, from a critic (Gu et al., 2017).

To first order around the policy's mean mu(s) a critic Q_w has the advantage

    A_bar(s, a) = grad_a Q_w(s, a)|_{a = mu(s)} . (a - mu(s)),

whose mean over a ~ pi(. | s) is 0 and whose part in the gradient is known without sampling. So it can be subtracted
from an estimated advantage A_hat and added back in closed form:

    grad J = E[grad log pi(a | s) (A_hat - eta A_bar)] + E[eta grad_a Q_w(s, a)|_{a = mu(s)} grad mu(s)]

Without the second term the gradient is biased. With it, it is unbiased for any critic and any eta(s) that does not
depend on the action; how much variance is left is a question of both.

Gu, S. et al. (2017), "Q-Prop: sample-efficient policy gradient with an off-policy critic".
"""

from typing import Literal, NamedTuple

import chex
import jax.numpy as jnp

from purerl.types import Array

Kind = Literal["none", "full", "conservative", "aggressive", "adaptive"]
Covariance = Literal["sample", "batch"]


class ControlVariate(NamedTuple):
    """A_bar of N samples, and what it is made of."""

    slope: Array  # [N, A]
    mean: Array  # [N, A], mu(s) of the policy that acted
    advantage: Array  # [N], A_bar
    eta: Array  # [N]


def linear_advantage(slope: Array, action: Array, mean: Array) -> Array:
    """`A_bar = slope . (action - mean)`, `[N]`; all are `[N, A]`, slope is `grad_a Q_w(s, a)` at a = mean.

    With the mean of another policy for the action, it is the expectation of A_bar under that policy.
    """
    chex.assert_rank([slope, action, mean], 2)
    chex.assert_equal_shape([slope, action, mean])
    return jnp.sum(slope * (action - mean), axis=-1)


def control_weight(advantage: Array, control: Array, kind: Kind, covariance: Covariance = "sample") -> Array:
    """eta, how much of the control variate is subtracted, `[N]`, by the covariance Cov(A_hat, A_bar):

        none            0
        full            1
        conservative    1 where Cov > 0, else 0
        aggressive      the sign of Cov
        adaptive        Cov / Var(A_bar), of least variance

    A_bar has mean 0 in every state, so that Cov = E[A_hat A_bar] and Var = E[A_bar^2]. The covariance of the batch is
    the mean of the products. That of the `sample` is each product itself, an estimate from one action per state. It
    depends on the action, and that brings a bias: by chance the product is negative more often for actions near the
    mean. `adaptive` is always of the batch: the quotient of one sample is A_hat / A_bar and leaves nothing.

    Args:
        advantage: A_hat, `[N]`.
        control: A_bar in the same unit, `[N]`.
        kind: which of the above.
        covariance: estimated from the one sample of each state, or from the batch.
    """
    chex.assert_rank([advantage, control], 1)
    chex.assert_equal_shape([advantage, control])
    product = advantage * control
    if kind == "none":
        return jnp.zeros_like(product)
    if kind == "full":
        return jnp.ones_like(product)
    average = jnp.broadcast_to(jnp.mean(product), product.shape)
    if kind == "adaptive":
        variance = jnp.mean(jnp.square(control))
        return jnp.where(variance > 0.0, average / jnp.where(variance > 0.0, variance, 1.0), 0.0)
    sign = jnp.sign(product if covariance == "sample" else average)
    return jnp.maximum(sign, 0.0) if kind == "conservative" else sign


def control_variate(
    slope: Array, action: Array, mean: Array, advantage: Array, kind: Kind, covariance: Covariance = "sample"
) -> ControlVariate:
    """The control variate of N samples.

    Args:
        slope: `grad_a Q_w(s, a)` at a = mean, per unit of the action, in the unit of `advantage`, `[N, A]`.
        action: what was drawn, `[N, A]`.
        mean: mu(s) of the policy that drew it, `[N, A]`.
        advantage: A_hat, `[N]`.
        kind, covariance: of `control_weight`.
    """
    control = linear_advantage(slope, action, mean)
    return ControlVariate(slope, mean, control, control_weight(advantage, control, kind, covariance))


def controlled_surrogate(
    log_probability: Array, old_log_probability: Array, advantage: Array, control: ControlVariate, mean: Array
) -> Array:
    """The objective, to be maximised, whose gradient at the old policy is that of the head of this file; a scalar.

        L = mean rho (A_hat - eta A_bar(s, a)) + mean eta A_bar(s, mu(s)),    rho = pi(a | s) / pi_old(a | s)

    The second term is the expectation of A_bar, whose slope and centre stay those of the old policy, under the new one.

    Args:
        log_probability, old_log_probability: of the actions drawn, by the new and the old policy, `[N]`.
        advantage: A_hat, `[N]`.
        control: the control variate, a constant to the gradient.
        mean: mu(s) of the new policy, `[N, A]`.
    """
    chex.assert_rank([log_probability, old_log_probability, advantage], 1)
    chex.assert_equal_shape([log_probability, old_log_probability, advantage, control.advantage])
    ratio = jnp.exp(log_probability - old_log_probability)
    expected = linear_advantage(control.slope, mean, control.mean)
    return jnp.mean(ratio * (advantage - control.eta * control.advantage) + control.eta * expected)
