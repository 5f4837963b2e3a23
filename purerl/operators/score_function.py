"""Weights of score-function (REINFORCE) gradients over a batch of episodes, `[T, B]`: time first, one episode a column.

Every estimator here is a mean over episodes of a sum over steps,

    gradient = 1/B sum_b sum_t mask[t, b] weight[t, b] grad log pi(a[t, b] | s[t, b]),

the gradient of `surrogate(log_probability, weight, mask)`. They differ in the weight, which is put together from the
functions of this file:

    total_return(reward, mask, discount)                               exact, the most variance
    state_weight(mask, discount) * (reward_to_go(...) - baseline)      exact
    reward_to_go(reward, mask, discount) - baseline                    what practice uses; biased if discount < 1

"Exact" is: without bias for the gradient of J = E sum_t discount^t r_t, the discounted return from the start. The form
of practice drops the weight discount^t of the state at time t, so that late states count as much as early ones; it is
the gradient of no function (Nota & Thomas, 2020). A baseline leaves the expectation as it is if, given what happened
before a_t, it does not depend on a_t: E[grad log pi(a_t | s_t) b] = b grad sum_a pi(a | s_t) = 0. A number is one, a
learned V(s_t) is one unless it was fitted to the same episodes, and what is computed from *other* episodes is one
(`average_of_others`, `optimal_baseline`). The mean of the same episodes is not: it shrinks the gradient by 1/B.

Off policy, rewards or weights are multiplied by `importance_ratios`, for actions drawn from the behaviour pi_b:

    ratio = importance_ratios(log_probability, behaviour_log_probability, mask)
    ratio.trajectory * total_return(reward, mask, discount)                           exact
    state_weight * reward_to_go(ratio.per_decision * reward, mask, discount)          exact, the less variance
    state_weight * ratio.per_decision * reward_to_go(reward, mask, discount)          biased: values are pi_b's
    state_weight * ratio.first_order * reward_to_go(reward, mask, discount)           biased: states are pi_b's, too

A baseline is then multiplied by `ratio.per_decision` (by `first_order` in the last one) before it is subtracted from
the reward to go. Weights are constants to the gradient: they must not depend on the parameters, or be
`stop_gradient`; `surrogate` sees to it.

An episode begins in row 0 of its column; `mask` (bool) marks its steps, and rows below them are padding, whatever
they hold. Where a time limit cut an episode, its end is the end of the objective: J is then of that horizon.

Williams, R. (1992), "Simple statistical gradient-following algorithms". Peters, J., Schaal, S. (2008), "Reinforcement
learning of motor skills with policy gradients". Precup, D., Sutton, R., Singh, S. (2000), "Eligibility traces for
off-policy policy evaluation".
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from purerl.operators.returns import backward_recurrence
from purerl.types import Array


def surrogate(log_probability: Array, weight: Array, mask: Array) -> Array:
    """The scalar, to be maximised, whose gradient is the estimate: `1/B sum_b sum_t mask weight log pi(a | s)`.

    The sum is over steps and the mean over episodes, however long they are: a mean over steps would weigh the steps of
    a batch of short episodes more. All arguments are `[T, B]`; no gradient flows through `weight`.
    """
    _check(mask, log_probability, weight)
    terms = jnp.where(mask, log_probability, 0.0) * jnp.where(mask, jax.lax.stop_gradient(weight), 0.0)
    return jnp.sum(terms) / mask.shape[1]


def state_weight(mask: Array, discount: float | Array) -> Array:
    """`discount^t`, `[T, B]`, 0 in the padding: how much the state at time t counts in J. `discount` is in [0, 1]."""
    _check(mask)
    factors = jnp.full(mask.shape[0], discount, jnp.result_type(float)).at[0].set(1.0)
    return jnp.where(mask, jnp.cumprod(factors)[:, None], 0.0)


def total_return(reward: Array, mask: Array, discount: float | Array) -> Array:
    """The return of the whole episode at each of its steps, `sum_k discount^k r_k`, `[T, B]`; 0 in the padding.

    Exact as it is, without `state_weight`: rewards of the past are a baseline, of mean 0 and much variance.
    `reward` is `[T, B]`, `discount` in [0, 1].
    """
    _check(mask, reward)
    whole = jnp.sum(state_weight(mask, discount) * jnp.where(mask, reward, 0.0), axis=0)
    return jnp.where(mask, whole, 0.0)


def reward_to_go(reward: Array, mask: Array, discount: float | Array) -> Array:
    """What is earned from each step on, `G_t = sum_{k >= t} discount^(k - t) r_k`, `[T, B]`; 0 in the padding.

    Exact times `state_weight`; alone it is what practice uses, biased for `discount < 1`. `reward` is `[T, B]`,
    `discount` in [0, 1].
    """
    _check(mask, reward)
    earned = jnp.where(mask, reward, 0.0)
    return backward_recurrence(earned, jnp.full_like(earned, discount))


def average_of_others(weight: Array, mask: Array) -> Array:
    """The average baseline without its bias: for episode b at time t the mean of the *other* episodes' weights there.

        b[t, i] = sum_{j != i} mask[t, j] weight[t, j] / sum_{j != i} mask[t, j]

    Other episodes that are over by t are not counted; where none is left the baseline is 0. With B episodes of one
    length it is the mean over all of them but for the factor B / (B - 1): `weight - average_of_others` equals
    `(weight - mean) B / (B - 1)`. `weight` is `[T, B]`, mostly the total return or the reward to go; so is the result.
    """
    _check(mask, weight)
    counted = mask.astype(weight.dtype)
    total = _sum_of_others(jnp.where(mask, weight, 0.0), axis=1)
    return jnp.where(mask, total / jnp.maximum(_sum_of_others(counted, axis=1), 1.0), 0.0)


def optimal_baseline(score: Array, episode_return: Array) -> Array:
    """The baseline of least total variance, one number for all parameters, from the other episodes: `[B]`.

        b* = E[|g|^2 R] / E[|g|^2],    g = sum_t grad log pi(a_t | s_t)

    for the estimate `g (R - b)`, whose variance it minimises among constants b. The expectations for episode i are
    means over all others, so that the estimate is without bias for any B; with fewer than two episodes, or where all
    other scores are 0, the baseline is 0.

    Args:
        score: g, the gradient of the log-probability of the whole episode, `[B, P]`.
        episode_return: R, `[B]`.
    """
    chex.assert_rank([score, episode_return], [2, 1])
    squares = jnp.sum(jnp.square(score), axis=-1)
    return optimal_baseline_per_parameter(jnp.sqrt(squares)[:, None], episode_return)[:, 0]


def optimal_baseline_per_parameter(score: Array, episode_return: Array) -> Array:
    """The baseline of least variance for each parameter j (Peters & Schaal, 2008), from the other episodes: `[B, P]`.

        b_j = E[g_j^2 R] / E[g_j^2]

    for the estimates `g_j (R - b_j)`. Arguments and the treatment of few episodes as in `optimal_baseline`. Each b_j is
    estimated from its own squares: with tens of episodes that noise can cost more than the best b_j gain.
    """
    chex.assert_rank([score, episode_return], [2, 1])
    chex.assert_equal_shape_prefix([score, episode_return], 1)
    squares = jnp.square(score)
    weighted, total = (_sum_of_others(x, axis=0) for x in (squares * episode_return[:, None], squares))
    return jnp.where(total > 0, weighted / jnp.where(total > 0, total, 1.0), 0.0)


class ImportanceRatios(NamedTuple):
    """How much likelier the target policy is to act so than the behaviour; the head of the file says how each is used.

    The mean of `trajectory` and of `per_decision[t]` over the behaviour's episodes is 1; their variance grows
    exponentially with the number of steps in the product.
    """

    trajectory: Array  # [B], prod_t rho_t over the whole episode
    per_decision: Array  # [T, B], prod_{t' <= t} rho_t'; 0 in the padding
    first_order: Array  # [T, B], rho_t alone; 0 in the padding


def importance_ratios(log_probability: Array, behaviour_log_probability: Array, mask: Array) -> ImportanceRatios:
    """Products of `rho_t = pi(a_t | s_t) / pi_b(a_t | s_t)` along each episode.

    Both are log-probabilities `[T, B]` of the actions taken, which the behaviour drew. Products are sums of logarithms;
    beyond e^88 float32 is infinite.
    """
    _check(mask, log_probability, behaviour_log_probability)
    log_ratio = jnp.where(mask, log_probability - behaviour_log_probability, 0.0)
    so_far = jnp.cumsum(log_ratio, axis=0)
    return ImportanceRatios(
        trajectory=jnp.exp(so_far[-1]),
        per_decision=jnp.where(mask, jnp.exp(so_far), 0.0),
        first_order=jnp.where(mask, jnp.exp(log_ratio), 0.0),
    )


def _sum_of_others(x: Array, axis: int) -> Array:
    """At each index the sum over all other indices of `axis`: what is before plus what is behind.

    Not the sum minus its own term, which loses the rest where one term is by far the largest.
    """
    before = jnp.cumsum(x, axis=axis)
    behind = jnp.flip(jnp.cumsum(jnp.flip(x, axis), axis=axis), axis)
    size = x.shape[axis]
    zero = jnp.zeros_like(jax.lax.slice_in_dim(x, 0, 1, axis=axis))
    before = jnp.concatenate([zero, jax.lax.slice_in_dim(before, 0, size - 1, axis=axis)], axis=axis)
    behind = jnp.concatenate([jax.lax.slice_in_dim(behind, 1, size, axis=axis), zero], axis=axis)
    return before + behind


def _check(mask: Array, *others: Array) -> None:
    """All are `[T, B]`, and the mask is of booleans."""
    chex.assert_rank([mask, *others], 2)
    chex.assert_equal_shape([mask, *others])
    chex.assert_type(mask, bool)
