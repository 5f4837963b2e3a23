"""Policies and state values: a torso, perhaps a recurrent core, and what an algorithm reads from it."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from purerl.distributions import (
    Beta,
    Categorical,
    DiagonalGaussian,
    Distribution,
    GaussianMixture,
    MultiCategorical,
    TanhGaussian,
)
from purerl.networks.initializers import Initializer, orthogonal
from purerl.networks.recurrent import Core, RecurrentCore, initial_memory
from purerl.networks.torsos import as_features, torso
from purerl.types import Array, Discrete, Environment, Memory, MultiDiscrete, Space

PolicyKind = Literal["gaussian", "state_gaussian", "tanh_gaussian", "beta", "mixture"]
BOUNDED: tuple[PolicyKind, ...] = ("tanh_gaussian", "beta")  # these never leave [-1, 1]
COMPONENTS = 4  # of a mixture
LOG_DEVIATION = (-5.0, 2.0)  # bounds of those that depend on the state


class Readout(nn.Module):
    """A torso and a linear layer: an array of shape `size` for each of so many outputs, `[..., outputs, *size]`.

    Without hidden layers it is linear in the input.
    """

    observation_space: Space
    outputs: int
    size: tuple[int, ...]
    widths: Sequence[int]
    activation: str
    layer_norm: bool
    scale: float = 0.01

    @nn.compact
    def __call__(self, observation: Array) -> Array:
        x = as_features(observation, self.observation_space)
        x = torso(self.observation_space, self.widths, self.activation, self.layer_norm)(x)
        shape = (self.outputs, *self.size)
        x = nn.Dense(math.prod(shape), kernel_init=orthogonal(self.scale))(x)
        return x.reshape(*x.shape[:-1], *shape)


class Actor(nn.Module):
    """The head of a policy: pi(. | s) from features.

    Discrete actions are categorical, several at once independently so. Continuous ones are, by `kind`,

        gaussian        N(mu(s), sigma) with a deviation that does not depend on the state
        state_gaussian  N(mu(s), sigma(s))
        tanh_gaussian   tanh of N(mu(s), sigma(s)) (Haarnoja et al., 2018)
        beta            Beta(1 + c m, 1 + c (1 - m)) on [-1, 1]: one peak (Chou et al., 2017), at m(s) between the
                        bounds, the narrower the larger c(s) > 0
        mixture         four of N(mu_k(s), sigma_k(s)), chosen with probabilities p_k(s)
    """

    action_space: Space
    kind: PolicyKind = "gaussian"
    kernel_init: Initializer = orthogonal(0.01)

    @nn.compact
    def __call__(self, features: Array) -> Distribution:
        if isinstance(self.action_space, Discrete):
            return Categorical(nn.Dense(self.action_space.n, kernel_init=self.kernel_init)(features))
        if isinstance(self.action_space, MultiDiscrete):
            sizes = self.action_space.sizes
            return MultiCategorical(nn.Dense(sum(sizes), kernel_init=self.kernel_init)(features), sizes)
        (size,) = self.action_space.shape
        if self.kind == "gaussian":
            mean = nn.Dense(size, kernel_init=self.kernel_init)(features)
            log_deviation = self.param("log_deviation", nn.initializers.zeros, (size,))
            return DiagonalGaussian(mean, jnp.broadcast_to(log_deviation, mean.shape))
        if self.kind == "mixture":
            return self._mixture(features, size)
        first, second = jnp.split(nn.Dense(2 * size, kernel_init=self.kernel_init)(features), 2, axis=-1)
        if self.kind == "beta":
            peak, concentration = nn.sigmoid(first), nn.softplus(second)
            return Beta(1.0 + concentration * peak, 1.0 + concentration * (1.0 - peak))
        family = TanhGaussian if self.kind == "tanh_gaussian" else DiagonalGaussian
        return family(first, jnp.clip(second, *LOG_DEVIATION))

    def _mixture(self, features: Array, size: int) -> GaussianMixture:
        """Four components, whose means begin apart: alike they would never differ."""
        logits = nn.Dense(COMPONENTS, kernel_init=self.kernel_init)(features)
        spread = nn.initializers.uniform(1.0)

        def bias_init(key, shape, dtype=jnp.float32):
            return 2.0 * spread(key, shape, dtype) - 1.0

        shape = (*features.shape[:-1], COMPONENTS, size)
        mean = nn.Dense(COMPONENTS * size, kernel_init=self.kernel_init, bias_init=bias_init)(features)
        deviation = nn.Dense(COMPONENTS * size, kernel_init=self.kernel_init)(features)
        return GaussianMixture(logits, mean.reshape(shape), jnp.clip(deviation.reshape(shape), *LOG_DEVIATION))


class PolicyNetwork(nn.Module):
    """A torso and the head of a policy: pi(. | s)."""

    observation_space: Space
    action_space: Space
    widths: Sequence[int]
    activation: str
    layer_norm: bool
    kind: PolicyKind

    @nn.compact
    def __call__(self, observation: Array) -> Distribution:
        x = as_features(observation, self.observation_space)
        x = torso(self.observation_space, self.widths, self.activation, self.layer_norm)(x)
        return Actor(self.action_space, self.kind)(x)


class ActorCritic(nn.Module):
    """A policy and a state value, on one torso (`shared`) or on two, perhaps with recurrent cores.

    `policy` and `value` compute only what they need; calling the module gives both. Without a core any leading axes
    are a batch, the memory is `()` and `resets` is not looked at. With one, observations are `[T, B, ...]`, `resets`
    (bool `[T, B]`) marks the steps that begin an episode, and the memory is that before the first step: of the actor
    and of the critic, or of the one core they share.

    `orthogonal_init` is that of Huang et al. (2022): gains sqrt(2) in the torso, 0.01 for the policy, 1 for the value;
    without it every kernel is LeCun's normal one.
    """

    observation_space: Space
    action_space: Space
    widths: Sequence[int]
    activation: str = "tanh"
    layer_norm: bool = False
    shared: bool = False
    core: Core = "none"
    core_width: int = 64
    kind: PolicyKind = "gaussian"
    orthogonal_init: bool = True

    @nn.nowrap
    def initial_memory(self, batch_shape: Sequence[int]) -> Memory:
        """The memory at the beginning of an episode."""
        one = initial_memory(self.core, self.core_width, batch_shape)
        return one if self.shared or self.core == "none" else (one, one)

    def setup(self):
        plain = nn.initializers.lecun_normal()

        def make_torso():
            kernel_init = None if self.orthogonal_init else plain
            return torso(self.observation_space, self.widths, self.activation, self.layer_norm, kernel_init)

        self.actor_torso = make_torso()
        self.critic_torso = self.actor_torso if self.shared else make_torso()
        if self.core != "none":
            self.actor_core = RecurrentCore(self.core, self.core_width)
            self.critic_core = self.actor_core if self.shared else RecurrentCore(self.core, self.core_width)
        self.actor = Actor(
            self.action_space, self.kind, kernel_init=orthogonal(0.01) if self.orthogonal_init else plain
        )
        self.critic = nn.Dense(1, kernel_init=orthogonal(1.0) if self.orthogonal_init else plain)

    def __call__(
        self, observation: Array, memory: Memory = (), resets: Array | None = None
    ) -> tuple[Memory, Distribution, Array]:
        """The memory after the last observation, pi(. | s) and V(s)."""
        x = as_features(observation, self.observation_space)
        actor_memory, features = self._actor_features(x, memory, resets)
        if self.shared:
            return actor_memory, self.actor(features), jnp.squeeze(self.critic(features), -1)
        critic_memory, value_features = self._critic_features(x, memory, resets)
        memory = () if self.core == "none" else (actor_memory, critic_memory)
        return memory, self.actor(features), jnp.squeeze(self.critic(value_features), -1)

    def policy(
        self, observation: Array, memory: Memory = (), resets: Array | None = None
    ) -> tuple[Memory, Distribution]:
        """pi(. | s), and the memory with the actor's part moved on."""
        x = as_features(observation, self.observation_space)
        actor_memory, features = self._actor_features(x, memory, resets)
        if self.core != "none" and not self.shared:
            actor_memory = (actor_memory, memory[1])
        return actor_memory, self.actor(features)

    def value(self, observation: Array, memory: Memory = (), resets: Array | None = None) -> Array:
        """V(s), `[...]`."""
        x = as_features(observation, self.observation_space)
        _, features = self._critic_features(x, memory, resets)
        return jnp.squeeze(self.critic(features), -1)

    def _actor_features(self, x: Array, memory: Memory, resets: Any) -> tuple[Memory, Array]:
        features = self.actor_torso(x)
        if self.core == "none":
            return (), features
        return self.actor_core(memory if self.shared else memory[0], features, resets)

    def _critic_features(self, x: Array, memory: Memory, resets: Any) -> tuple[Memory, Array]:
        features = self.critic_torso(x)
        if self.core == "none":
            return (), features
        return self.critic_core(memory if self.shared else memory[1], features, resets)


def actor_critic(environment: Environment, config: Any, shared: bool = False) -> ActorCritic:
    """The network for `environment` that the fields of a learner's `config` describe."""
    return ActorCritic(
        environment.observation_space,
        environment.action_space,
        widths=config.widths,
        activation=config.activation,
        layer_norm=config.layer_norm,
        shared=shared,
        core=config.core,
        core_width=config.core_width,
        kind=config.policy,
        orthogonal_init=config.orthogonal_init,
    )


def split_parameters(params: Any) -> tuple[Any, Any]:
    """The parameters of an `ActorCritic` without a shared torso: the actor's and the critic's."""
    modules = params["params"]
    actor = {name: part for name, part in modules.items() if name.startswith("actor")}
    critic = {name: part for name, part in modules.items() if name.startswith("critic")}
    return actor, critic


def join_parameters(actor: Any, critic: Any) -> Any:
    """What `split_parameters` took apart."""
    return {"params": actor | critic}
