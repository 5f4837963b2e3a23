"""Policies and state values: a torso and what an algorithm reads from it."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from purerl.distributions import Categorical, DiagonalGaussian
from purerl.networks.initializers import orthogonal
from purerl.networks.torsos import as_features, torso
from purerl.types import Array, Discrete, Space


class Actor(nn.Module):
    """The head of a policy: pi(. | s) from features, categorical or Gaussian with a state-independent deviation."""

    action_space: Space
    initial_log_deviation: float = 0.0

    @nn.compact
    def __call__(self, features: Array) -> Categorical | DiagonalGaussian:
        if isinstance(self.action_space, Discrete):
            return Categorical(nn.Dense(self.action_space.n, kernel_init=orthogonal(0.01))(features))
        (size,) = self.action_space.shape
        mean = nn.Dense(size, kernel_init=orthogonal(0.01))(features)
        start = nn.initializers.constant(self.initial_log_deviation)
        return DiagonalGaussian(mean, self.param("log_deviation", start, (size,)))


class ActorCritic(nn.Module):
    """A policy and a state value, on one torso (`shared`) or on two.

    `policy(observation)` and `value(observation)` compute only what they need; calling the module gives both.
    """

    observation_space: Space
    action_space: Space
    widths: Sequence[int]
    activation: str = "tanh"
    layer_norm: bool = False
    shared: bool = False

    def setup(self):
        def make_torso():
            return torso(self.observation_space, self.widths, self.activation, self.layer_norm)

        self.actor_torso = make_torso()
        self.critic_torso = self.actor_torso if self.shared else make_torso()
        self.actor = Actor(self.action_space)
        self.critic = nn.Dense(1, kernel_init=orthogonal(1.0))

    def __call__(self, observation: Array) -> tuple[Categorical | DiagonalGaussian, Array]:
        x = as_features(observation, self.observation_space)
        features = self.actor_torso(x)
        value_features = features if self.shared else self.critic_torso(x)
        return self.actor(features), jnp.squeeze(self.critic(value_features), -1)

    def policy(self, observation: Array) -> Categorical | DiagonalGaussian:
        """pi(. | s)."""
        return self.actor(self.actor_torso(as_features(observation, self.observation_space)))

    def value(self, observation: Array) -> Array:
        """V(s), `[...]`."""
        x = as_features(observation, self.observation_space)
        return jnp.squeeze(self.critic(self.critic_torso(x)), -1)
