"""Regression on fixed targets: what a fitted method does once per iteration, by gradient descent or exactly.

A network predicts an array per action, of which only the one of the action at hand is fitted. Its inputs are
observations, or features computed from them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl.networks.heads import Readout
from purerl.networks.torsos import as_features
from purerl.operators.least_squares import ridge_regression
from purerl.operators.selection import at_action
from purerl.optimizers import clipped_adam, descend
from purerl.types import Array, Discrete, Key, Observation, Space

Params = Any


class Fit(struct.PyTreeNode):
    """What is being fitted."""

    params: Params
    optimizer: optax.OptState


class Regression(NamedTuple):
    """Functions of one regression.

    `fit(fit, key, observation [N, ...], index [N], target [N, *size], weight)` returns what fits and the mean squared
    error (weighted, before the last step of a descent). `index` says which of the outputs a row is about; rows count
    by `weight` `[N]` (None: all the same).
    """

    init: Callable[[Key], Fit]
    predict: Callable[[Params, Observation], Array]  # observations [..., *shape] -> [..., outputs, *size]
    fit: Callable[..., tuple[Fit, Array]]


def by_gradient(
    space: Space,
    outputs: int,
    *,
    size: tuple[int, ...] = (),
    widths: Sequence[int],
    activation: str,
    layer_norm: bool,
    learning_rate: float | Array,
    l2: float | Array,
    updates: int,
    batch_size: int,
    restart: bool,
) -> Regression:
    """`updates` steps of Adam on `|f(x)[index] - y|^2 / 2 + l2 |params|^2 / 2`, starting where the last fit ended.

    Args:
        space: of the observations.
        outputs: how many arrays the network predicts.
        size: the shape of each of them.
        widths, activation, layer_norm: of the hidden layers.
        learning_rate: of Adam.
        l2: weight of the squared parameters.
        updates: steps per fit.
        batch_size: rows per step, drawn with replacement; 0 takes all rows at every step.
        restart: forget the last fit and begin with fresh parameters and a fresh optimiser.
    """
    network = Readout(space, outputs, size, tuple(widths), activation, layer_norm)
    optimizer = clipped_adam(learning_rate, 1e-8, jnp.inf)
    predict: Callable[..., Any] = network.apply

    def init(key: Key) -> Fit:
        params = network.init(key, jnp.zeros((1, *space.shape), space.dtype))
        return Fit(params, optimizer.init(params))

    def loss(
        params: Params, observation: Observation, index: Array, target: Array, weight: Array
    ) -> tuple[Array, Array]:
        difference = _at(predict(params, observation), index) - target
        error = _mean_square(difference, weight)
        penalty = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))
        return 0.5 * (error + l2 * penalty), error

    def fit(
        fit: Fit, key: Key, observation: Observation, index: Array, target: Array, weight: Array | None = None
    ) -> tuple[Fit, Array]:
        init_key, batch_key = jax.random.split(key)
        weight = jnp.ones(index.shape) if weight is None else weight / jnp.mean(weight)
        rows = (observation, index, target, weight)

        def update(fit: Fit, key: Key) -> tuple[Fit, Array]:
            batch = rows
            if batch_size:
                chosen = jax.random.randint(key, (batch_size,), 0, index.shape[0])
                batch = jax.tree.map(lambda x: x[chosen], rows)
            gradients, error = jax.grad(loss, has_aux=True)(fit.params, *batch)
            params, state = descend(optimizer, fit.params, fit.optimizer, gradients, jnp.ones(()))
            return Fit(params, state), error

        fit, errors = jax.lax.scan(update, init(init_key) if restart else fit, jax.random.split(batch_key, updates))
        return fit, errors[-1]

    return Regression(init, predict, fit)


def exactly(
    space: Space,
    outputs: int,
    *,
    size: tuple[int, ...] = (),
    features: Callable[[Observation], Array],
    ridge: float | Array,
) -> Regression:
    """Linear least squares, one solve per output: the prediction is `features(x) @ W`, W `[F, outputs, *size]` from 0.

    Args:
        space: of the observations.
        outputs: how many arrays are predicted.
        size: the shape of each of them, of rank 0 or 1.
        features: observations `[..., *shape]` -> `[..., F]`, for example `linear_features(space)`.
        ridge: weight of the squared W against the mean squared error over the output's own rows; with a positive one
            an output without rows becomes 0.
    """

    def init(key: Key) -> Fit:
        one = jax.ShapeDtypeStruct((1, *space.shape), space.dtype)
        return Fit(jnp.zeros((jax.eval_shape(features, one).shape[-1], outputs, *size)), ())

    def predict(params: Params, observation: Observation) -> Array:
        return jnp.tensordot(features(observation), params, axes=1, precision="highest")

    def fit(
        fit: Fit, key: Key, observation: Observation, index: Array, target: Array, weight: Array | None = None
    ) -> tuple[Fit, Array]:
        weight = jnp.ones(index.shape) if weight is None else weight / jnp.mean(weight)
        inputs, owner = features(observation), weight[:, None] * jax.nn.one_hot(index, outputs)
        solution = jax.vmap(lambda own: ridge_regression(inputs, target, own, ridge), in_axes=1, out_axes=1)(owner)
        difference = _at(predict(solution, observation), index) - target
        return Fit(solution, ()), _mean_square(difference, weight)

    return Regression(init, predict, fit)


def linear_features(space: Space) -> Callable[[Observation], Array]:
    """What a linear function sees unless it is told otherwise: one-hot states, or the observation and a constant."""

    def features(observation: Observation) -> Array:
        x = as_features(observation, space)
        x = x.reshape(*observation.shape[: observation.ndim - len(space.shape)], -1)
        return x if isinstance(space, Discrete) else jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)

    return features


def _mean_square(difference: Array, weight: Array) -> Array:
    """The weighted mean over rows of the squared length of `difference` `[N, ...]`."""
    return jnp.mean(weight * jnp.sum(jnp.square(difference), axis=range(1, difference.ndim)))


def _at(prediction: Array, index: Array) -> Array:
    """`prediction[i, index[i]]` for every row i: `[N, outputs, ...]` -> `[N, ...]`."""
    return at_action(prediction, index, axis=1 - prediction.ndim)
