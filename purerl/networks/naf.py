"""The network of normalised advantage functions: a value, the best action and a curvature of every state."""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from purerl.networks.heads import Readout
from purerl.operators.quadratic import positive_factor, quadratic_advantage
from purerl.types import Array, Space


class QuadraticValues(NamedTuple):
    """`Q(s, a) = V(s) - (a - mu(s))^T P(s) (a - mu(s)) / 2` as a function of the action, `P = L L^T`."""

    value: Array  # [...]: V, the most that Q can be
    mean: Array  # [..., A]: mu, where it is that
    factor: Array  # [..., A, A]: L, lower triangular with a positive diagonal

    def at(self, action: Array) -> Array:
        """Q(s, a) of actions `[..., A]`."""
        return self.value + quadratic_advantage(action, self.mean, self.factor)


class QuadraticNetwork(nn.Module):
    """A torso and a linear layer for V, mu and the entries of L; without hidden layers all are linear in the input.

    `bounded` passes mu through a tanh. `initial_value`, which may be traced, is added to V.
    """

    observation_space: Space
    action_size: int
    widths: Sequence[int]
    activation: str
    layer_norm: bool
    bounded: bool
    initial_value: float | Array = 0.0

    @nn.compact
    def __call__(self, observation: Array) -> QuadraticValues:
        size = self.action_size
        outputs = 1 + size + size * (size + 1) // 2
        x = Readout(self.observation_space, outputs, (), tuple(self.widths), self.activation, self.layer_norm)(
            observation
        )
        value, mean, entries = x[..., 0], x[..., 1 : 1 + size], x[..., 1 + size :]
        return QuadraticValues(
            value=self.initial_value + value,
            mean=jnp.tanh(mean) if self.bounded else mean,
            factor=positive_factor(entries, size),
        )
