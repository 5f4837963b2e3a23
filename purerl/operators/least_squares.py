"""Least-squares value functions: linear in features, found by one solve instead of by steps.

Features are rows, `[N, F]`. Every function averages over the transitions with weights that sum to one, so `ridge` means
the same for any number of them; the sampled transitions may as well be the states of a known model, weighted by how
often they are visited. The systems are not symmetric, hence solved by LU factorisation.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from purerl.types import Array


class LinearModel(NamedTuple):
    """What follows a vector of features, in features."""

    reward: Array  # [F]: the expected reward is phi . reward
    transition: Array  # [F, F]: the expected features of the successor are phi @ transition, 0 after the end


def ridge_regression(features: Array, target: Array, weight: Array | None = None, ridge: float | Array = 0.0) -> Array:
    """The linear map of least squared error (Hoerl & Kennard, 1970).

        W = (Phi^T D Phi + ridge I)^{-1} Phi^T D y,    D = diag(weight) / sum(weight)

    `features` is `[N, F]`, `target` `[N]` or `[N, K]`, `weight` `[N]` (>= 0; default: all the same); the result is
    `[F]` or `[F, K]`. Only a positive `ridge` makes sense of features that depend on one another.
    """
    chex.assert_rank(features, 2)
    chex.assert_equal_shape_prefix([features, target], 1)
    weighted = _normalized(weight, features)[:, None] * features
    return jnp.linalg.solve(_add_ridge(_product(weighted.T, features), ridge), _product(weighted.T, target))


def lstd(
    features: Array,
    reward: Array,
    terminated: Array,
    successor_features: Array,
    discount: float | Array,
    weight: Array | None = None,
    ridge: float | Array = 0.0,
) -> Array:
    """Least-squares temporal differences (Bradtke & Barto, 1996): the fixed point of linear TD(0), w `[F]`.

        w = (A + ridge I)^{-1} b,    A = Phi^T D (Phi - discount (1 - terminated) Phi'),    b = Phi^T D r

    The value is `phi . w`: V of the policy that acted, for features of states, and Q of the policy that chooses a', for
    features of (s, a) and (s', a'). `ridge` (1e-6 to 1e-3) is added to A itself, which may be singular and is not
    symmetric.

    Args:
        features, successor_features: `[N, F]`.
        reward: `[N]`.
        terminated: bool `[N]`; a truncated transition is not terminated.
        discount: in [0, 1].
        weight: `[N]`, >= 0: D = diag(weight) / sum(weight). Default: all the same.
    """
    _check(features, reward, terminated, successor_features)
    weighted = _normalized(weight, features)[:, None] * features
    difference = features - discount * jnp.where(terminated[:, None], 0.0, successor_features)
    return jnp.linalg.solve(_add_ridge(_product(weighted.T, difference), ridge), _product(weighted.T, reward))


def lstdq(
    features: Array,
    action: Array,
    reward: Array,
    terminated: Array,
    successor_features: Array,
    successor_policy: Array,
    discount: float | Array,
    weight: Array | None = None,
    ridge: float | Array = 0.0,
) -> Array:
    """LSTD for action values (Lagoudakis & Parr, 2003), with one block of features per action: W `[F, A]`.

        Q(s, a) = phi(s) . W[:, a],    Phi'_i = sum_a' pi(a' | s'_i) phi(s'_i, a')

    The policy is the one to be evaluated, not the one that acted: the action of the data at s' does not occur.

    Args:
        features, successor_features: of the states, `[N, F]`.
        action: int `[N]`, what was done in s.
        reward: `[N]`.
        terminated: bool `[N]`.
        successor_policy: pi(. | s') `[N, A]`, probabilities (one-hot for a deterministic policy).
        discount, weight, ridge: as for `lstd`.
    """
    _check(features, reward, terminated, successor_features)
    chex.assert_rank([action, successor_policy], [1, 2])
    chosen = jax.nn.one_hot(action, successor_policy.shape[-1], dtype=features.dtype)
    solution = lstd(
        block_features(features, chosen),
        reward,
        terminated,
        block_features(successor_features, successor_policy),
        discount,
        weight,
        ridge,
    )
    return solution.reshape(successor_policy.shape[-1], features.shape[-1]).T


def block_features(features: Array, policy: Array) -> Array:
    """`[..., A F]`: the features `[..., F]` in the block of every action, times the action's probability `[..., A]`."""
    blocks = policy[..., :, None] * features[..., None, :]
    return blocks.reshape(*blocks.shape[:-2], -1)


def linear_model(
    features: Array,
    reward: Array,
    terminated: Array,
    successor_features: Array,
    weight: Array | None = None,
    ridge: float | Array = 0.0,
) -> LinearModel:
    """The model in features that LSTD solves without saying so (Parr et al., 2008); arguments as for `lstd`.

    w_r = (Phi^T D Phi)^{-1} Phi^T D r,    P_Phi = (Phi^T D Phi)^{-1} Phi^T D (1 - terminated) Phi'
    """
    _check(features, reward, terminated, successor_features)
    successor = jnp.where(terminated[:, None], 0.0, successor_features)
    both = ridge_regression(features, jnp.column_stack([reward, successor]), weight, ridge)
    return LinearModel(reward=both[:, 0], transition=both[:, 1:])


def model_value(model: LinearModel, discount: float | Array) -> Array:
    """The value in a linear model, `w = (I - discount P_Phi)^{-1} w_r` `[F]`: equal to LSTD's without ridge."""
    identity = jnp.eye(model.reward.shape[0], dtype=model.reward.dtype)
    return jnp.linalg.solve(identity - discount * model.transition, model.reward)


def linear_td_step(
    weights: Array,
    features: Array,
    reward: Array,
    terminated: Array,
    successor_features: Array,
    importance: Array,
    discount: float | Array,
) -> Array:
    """The direction of semi-gradient TD(0) (Sutton, 1988), unbatched: add it to w `[F]` times a step size.

        rho (r + discount (1 - terminated) phi' . w - phi . w) phi

    `importance` is rho = pi(a | s) / behaviour(a | s), 1 on the policy's own data. With rho the error is weighted right
    but the states are still visited as the behaviour does, and w may diverge (Baird, 1995).
    """
    chex.assert_rank([weights, features, successor_features], 1)
    chex.assert_rank([reward, terminated, importance], 0)
    bootstrap = jnp.where(terminated, 0.0, _product(successor_features, weights))
    return importance * (reward + discount * bootstrap - _product(features, weights)) * features


def radial_basis(x: Array, centres: Array, width: float | Array) -> Array:
    """A constant and Gaussian bumps `exp(-|x - c|^2 / (2 width^2))`, `[..., 1 + C]`.

    `x` is `[..., D]`, `centres` `[C, D]`, `width` > 0 in units of x.
    """
    chex.assert_rank(centres, 2)
    distance = jnp.sum(jnp.square(x[..., None, :] - centres), axis=-1)
    bumps = jnp.exp(-distance / (2 * jnp.square(width)))
    return jnp.concatenate([jnp.ones_like(bumps[..., :1]), bumps], axis=-1)


def _normalized(weight: Array | None, features: Array) -> Array:
    """Weights `[N]` that sum to 1, or to 0 if all of them are."""
    if weight is None:
        return jnp.full(features.shape[0], 1 / features.shape[0], features.dtype)
    chex.assert_shape(weight, features.shape[:1])
    return weight / jnp.maximum(jnp.sum(weight), jnp.finfo(features.dtype).tiny)


def _add_ridge(matrix: Array, ridge: float | Array) -> Array:
    return matrix + ridge * jnp.eye(matrix.shape[0], dtype=matrix.dtype)


def _product(a: Array, b: Array) -> Array:
    """A matrix product at full precision also where an accelerator would round: the solves amplify errors."""
    return jnp.matmul(a, b, precision="highest")


def _check(features: Array, reward: Array, terminated: Array, successor_features: Array) -> None:
    chex.assert_rank([features, reward, terminated, successor_features], [2, 1, 1, 2])
    chex.assert_equal_shape([features, successor_features])
    chex.assert_equal_shape_prefix([features, reward, terminated], 1)
    chex.assert_type(terminated, bool)
