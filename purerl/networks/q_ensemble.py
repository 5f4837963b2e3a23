"""Several Q functions as one network with batched parameters, each on top of a random prior of its own."""

from collections.abc import Callable

import flax.linen as nn
import jax

from purerl.action_values import ExpectedReturn
from purerl.networks.initializers import orthogonal
from purerl.networks.q_network import QNetwork
from purerl.networks.torsos import as_features, torso
from purerl.types import Array, Space


class Prior(nn.Module):
    """A Q function that is never trained; unlike a trainable one it starts with values of the order of its features."""

    observation_space: Space
    num_actions: int
    widths: tuple[int, ...]
    activation: str

    @nn.compact
    def __call__(self, observation: Array) -> Array:
        x = as_features(observation, self.observation_space)
        x = torso(self.observation_space, self.widths, self.activation, layer_norm=False)(x)
        return nn.Dense(self.num_actions, kernel_init=orthogonal(1.0))(x)


class QEnsemble(nn.Module):
    """`members` Q functions `Q_k = f_k + prior_scale p_k` with p_k random and fixed (Osband et al., 2018).

    `make_network()` builds the trainable part. Every member, and every prior, has parameters of its own, along a
    leading axis `[K, ...]`: one batched application, not a loop. The values are `[K, ..., A]`.
    """

    make_network: Callable[[], QNetwork]
    members: int
    prior_scale: float | Array = 0.0

    @nn.compact
    def __call__(self, observation: Array) -> ExpectedReturn:
        over_members = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}, "in_axes": None}
        network = self.make_network()
        values = nn.vmap(lambda module, x: module(x), axis_size=self.members, **over_members)(network, observation)
        prior = nn.vmap(Prior, axis_size=self.members, **over_members)(
            network.observation_space, network.num_actions, tuple(network.widths), network.activation
        )
        return ExpectedReturn(values.values + self.prior_scale * jax.lax.stop_gradient(prior(observation)))
