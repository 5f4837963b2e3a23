"""Q networks: from an observation to what is believed of the return of every action (`purerl.action_values`)."""

from collections.abc import Sequence
from typing import Literal, cast, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from purerl.action_values import ActionValues, CategoricalReturn, ExpectedReturn, QuantileReturn
from purerl.networks.initializers import orthogonal
from purerl.networks.noisy import NoisyDense, NoisyMLP
from purerl.networks.torsos import MLP, as_features, torso
from purerl.operators.distributional import quantile_midpoints
from purerl.types import Array, Space

Head = Literal["expected", "categorical", "quantile", "implicit_quantile"]


class LevelEmbedding(nn.Module):
    """What an implicit quantile network makes of a level: `psi(tau) = relu(W cos(pi k tau) + b)`, k = 0 .. K - 1.

    Levels `[...]` to features `[..., F]` (Dabney et al., 2018b).
    """

    features: int
    cosines: int = 64

    @nn.compact
    def __call__(self, levels: Array) -> Array:
        waves = jnp.cos(jnp.pi * jnp.arange(self.cosines) * levels[..., None])
        return nn.relu(nn.Dense(self.features, kernel_init=orthogonal(2**0.5))(waves))


class QNetwork(nn.Module):
    """Z(s, .) of all actions, by one of four heads. Unless it is noisy the last layer starts small.

    - "expected": Q(s, .) alone, an `ExpectedReturn` (DQN).
    - "categorical": logits of `atoms` equally spaced returns from `support[0]` to `support[1]` (C51).
    - "quantile": quantiles at `atoms` fixed levels (QR-DQN).
    - "implicit_quantile": the features of the torso times an embedding of a level give its quantile (IQN), at `atoms`
      levels per sample of the batch, uniform from the random stream "levels"; without it at the midpoints.

    `dueling` (Wang et al., 2016) splits the last hidden layer into a stream for V and one for A, both for every atom or
    quantile: Q = V + A - mean_a A. What they send back into the shared layers is scaled by 1 / sqrt 2. `noisy`
    (Fortunato et al., 2018) makes every dense layer but the embedding of the levels a `NoisyDense`, with one noise per
    application, from the random stream "noise"; without it the weights are the means.

        network.apply(params, observation, rngs={"noise": noise_key, "levels": levels_key})
    """

    observation_space: Space
    num_actions: int
    widths: Sequence[int]
    activation: str = "relu"
    layer_norm: bool = False
    dueling: bool = False
    noisy: bool = False
    noise_deviation: float | Array = 0.5  # sigma_0, >= 0; may be traced
    head: Head = "expected"
    atoms: int = 51  # M or N, unless the head is "expected"
    support: tuple[float | Array, float | Array] = (-10.0, 10.0)  # low < high; may be traced
    cosines: int = 64

    @nn.compact
    def __call__(self, observation: Array, risk_level: float | Array | None = None) -> ActionValues:
        """Z of observations `[..., *space.shape]`.

        `risk_level` in (0, 1], for the implicit head only, squeezes the levels into the worst `risk_level` share of the
        returns: the mean of what comes out is their conditional value at risk. ValueError for other heads (whose
        `cvar` gives it), and for an unknown head.
        """
        if self.head not in get_args(Head):
            raise ValueError(f"unknown head {self.head!r}; choose one of {', '.join(get_args(Head))}")
        if risk_level is not None and self.head != "implicit_quantile":
            raise ValueError(
                f"risk_level is for the implicit_quantile head; ask the {self.head} one for its cvar(level)"
            )
        shared, stream = (self.widths[:-1], self.widths[-1:]) if self.dueling else (self.widths, ())
        x = self._torso(as_features(observation, self.observation_space), shared)
        if self.head != "implicit_quantile":
            return self._returns(self._outputs(x, stream, 1 if self.head == "expected" else self.atoms))
        levels = self._levels(x.shape[:-1]) * (1.0 if risk_level is None else risk_level)
        x = x[..., None, :] * LevelEmbedding(x.shape[-1], self.cosines)(levels)
        return QuantileReturn(jnp.moveaxis(self._outputs(x, stream, 1)[..., 0], -1, -2), levels)

    def _torso(self, x: Array, widths: Sequence[int]) -> Array:
        if not self.noisy:
            return torso(self.observation_space, widths, self.activation, self.layer_norm)(x)
        x = torso(self.observation_space, (), self.activation, self.layer_norm)(x)  # the convolution, if there is one
        return self._hidden(widths)(x)

    def _hidden(self, widths: Sequence[int]) -> nn.Module:
        if self.noisy:
            return NoisyMLP(widths, self.activation, self.layer_norm, self.noise_deviation)
        return MLP(widths, self.activation, self.layer_norm)

    def _linear(self, features: int) -> nn.Module:
        if self.noisy:
            return NoisyDense(features, self.noise_deviation)
        return nn.Dense(features, kernel_init=orthogonal(0.01))

    def _outputs(self, x: Array, stream: Sequence[int], outputs: int) -> Array:
        """From features `[..., F]` to `[..., A, outputs]`."""

        def layers(x: Array, actions: int) -> Array:
            x = self._hidden(stream)(x) if stream else x
            x = self._linear(actions * outputs)(x)
            return x.reshape(*x.shape[:-1], actions, outputs)

        if not self.dueling:
            return layers(x, self.num_actions)
        x = cast(Array, optax.scale_gradient(x, 2**-0.5))
        value, advantage = layers(x, 1), layers(x, self.num_actions)
        return value + advantage - jnp.mean(advantage, axis=-2, keepdims=True)

    def _levels(self, batch: tuple[int, ...]) -> Array:
        """Levels `[..., N]`: drawn for every sample of the batch, or the midpoints."""
        shape = (*batch, self.atoms)
        if self.has_rng("levels"):
            return jax.random.uniform(self.make_rng("levels"), shape)
        return jnp.broadcast_to(quantile_midpoints(self.atoms), shape)

    def _returns(self, outputs: Array) -> ActionValues:
        """What `[..., A, outputs]` say."""
        if self.head == "expected":
            return ExpectedReturn(outputs[..., 0])
        of_each_sample = (*outputs.shape[:-2], self.atoms)
        if self.head == "categorical":
            return CategoricalReturn(outputs, jnp.broadcast_to(jnp.linspace(*self.support, self.atoms), of_each_sample))
        return QuantileReturn(outputs, jnp.broadcast_to(quantile_midpoints(self.atoms), of_each_sample))
