"""Critics, action values that learn side by side: one network with batched parameters."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from purerl.networks.heads import Readout
from purerl.networks.initializers import orthogonal
from purerl.networks.torsos import MLP, ImageTorso, as_features, is_image
from purerl.types import Array, Environment, Space


class JointReadout(nn.Module):
    """f(s, x) `[..., *size]` of observations and vectors x `[..., D]`, which the hidden layers see side by side.

    With no `size` it is a number, such as Q(s, a). An image is summed up by a torso first.
    """

    observation_space: Space
    widths: Sequence[int]
    activation: str
    layer_norm: bool
    size: tuple[int, ...] = ()
    scale: float = 0.01

    @nn.compact
    def __call__(self, observation: Array, vector: Array) -> Array:
        x = as_features(observation, self.observation_space)
        if is_image(self.observation_space):
            x = ImageTorso(self.widths[:1], self.activation, self.layer_norm)(x)
        x = jnp.concatenate([x, vector], axis=-1)
        x = MLP(self.widths, self.activation, self.layer_norm)(x)
        x = nn.Dense(math.prod(self.size), kernel_init=orthogonal(self.scale))(x)
        return x.reshape(*x.shape[:-1], *self.size)


class Critics(nn.Module):
    """`members` critics with parameters of their own, along a leading axis `[K, ...]`: one batched application.

    Observations `[..., *shape]` and actions `[..., A]` give `Q_k(s, a)`, `[K, ...]`.
    """

    observation_space: Space
    members: int
    widths: Sequence[int]
    activation: str
    layer_norm: bool

    @nn.compact
    def __call__(self, observation: Array, action: Array) -> Array:
        critic = _batched(JointReadout, self.members)(
            self.observation_space, tuple(self.widths), self.activation, self.layer_norm
        )
        return critic(observation, action)


class DiscreteCritics(nn.Module):
    """The same for discrete actions: observations `[..., *shape]` give the values of all actions, `[K, ..., A]`."""

    observation_space: Space
    num_actions: int
    members: int
    widths: Sequence[int]
    activation: str
    layer_norm: bool

    @nn.compact
    def __call__(self, observation: Array) -> Array:
        return _batched(Readout, self.members)(
            self.observation_space, self.num_actions, (), tuple(self.widths), self.activation, self.layer_norm
        )(observation)


def critics(environment: Environment, config: Any) -> Critics:
    """The critics for the continuous actions of `environment` that the fields of a learner's `config` describe."""
    return Critics(
        environment.observation_space,
        config.critics,
        config.critic_widths,
        config.activation,
        config.critic_layer_norm,
    )


def discrete_critics(environment: Environment, num_actions: int, config: Any) -> DiscreteCritics:
    """The same for `num_actions` discrete actions."""
    return DiscreteCritics(
        environment.observation_space,
        num_actions,
        config.critics,
        config.critic_widths,
        config.activation,
        config.critic_layer_norm,
    )


def _batched(module: type[nn.Module], members: int) -> Any:
    """`module` with `members` sets of parameters, applied to the same inputs."""
    return nn.vmap(
        module,
        axis_size=members,
        in_axes=None,  # pyright: ignore[reportArgumentType]
        variable_axes={"params": 0},
        split_rngs={"params": True},
    )
