"""Critics, action values that learn side by side: one network with batched parameters."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from purerl.networks.heads import Readout
from purerl.networks.initializers import orthogonal
from purerl.networks.torsos import MLP, ImageTorso, as_features, is_image
from purerl.types import Array, Environment, Space


class Critic(nn.Module):
    """Q(s, a): the hidden layers see observation and action side by side (an image is summed up by a torso first)."""

    observation_space: Space
    widths: Sequence[int]
    activation: str
    layer_norm: bool

    @nn.compact
    def __call__(self, observation: Array, action: Array) -> Array:
        x = as_features(observation, self.observation_space)
        if is_image(self.observation_space):
            x = ImageTorso(self.widths[:1], self.activation, self.layer_norm)(x)
        x = jnp.concatenate([x, action], axis=-1)
        x = MLP(self.widths, self.activation, self.layer_norm)(x)
        return jnp.squeeze(nn.Dense(1, kernel_init=orthogonal(0.01))(x), -1)


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
        return _batched(Critic, self.members)(
            self.observation_space, tuple(self.widths), self.activation, self.layer_norm
        )(observation, action)


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
