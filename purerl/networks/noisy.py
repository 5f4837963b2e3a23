"""Noisy networks: exploration by noise on the weights, whose size is learned (Fortunato et al., 2018)."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from purerl.networks.torsos import activation_named
from purerl.types import Array, Key


class NoisyDense(nn.Module):
    """A dense layer with factorised Gaussian noise on its weights, drawn from the random stream "noise".

        y = (mu_w + sigma_w * e_w) x + mu_b + sigma_b * e_b,    e_w[i, j] = f(e_in[i]) f(e_out[j]),    e_b = f(e_out)

    where f(e) = sign(e) sqrt|e|. One application has one noise, shared by its batch; for noise of every sample's own,
    `vmap` the application over samples and keys: no weight matrix is made for each, since the noise of the inputs and
    that of the outputs are factors outside of one product with sigma_w. mu starts uniform in +-1 / sqrt(p) for p
    inputs, sigma at `deviation / sqrt(p)`.

    Without the stream "noise" (`apply` without `rngs={"noise": key}`) the layer is the dense one with weights mu.
    """

    features: int
    deviation: float | Array = 0.5  # >= 0; may be traced

    @nn.compact
    def __call__(self, x: Array) -> Array:
        inputs = x.shape[-1]
        bound = inputs**-0.5

        def uniform(key: Key, shape: tuple[int, ...]) -> Array:
            return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

        start = nn.initializers.constant(self.deviation * bound)
        kernel = self.param("kernel", uniform, (inputs, self.features))
        bias = self.param("bias", uniform, (self.features,))
        kernel_deviation = self.param("kernel_deviation", start, (inputs, self.features))
        bias_deviation = self.param("bias_deviation", start, (self.features,))
        y = x @ kernel + bias
        if not self.has_rng("noise"):
            return y
        noise = jax.random.normal(self.make_rng("noise"), (inputs + self.features,))
        noise = jnp.sign(noise) * jnp.sqrt(jnp.abs(noise))
        noise_in, noise_out = noise[:inputs], noise[inputs:]
        return y + noise_out * ((x * noise_in) @ kernel_deviation + bias_deviation)


class NoisyMLP(nn.Module):
    """`MLP` of `NoisyDense` layers."""

    widths: Sequence[int]
    activation: str = "relu"
    layer_norm: bool = False
    deviation: float | Array = 0.5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for width in self.widths:
            x = NoisyDense(width, self.deviation)(x)
            x = nn.LayerNorm()(x) if self.layer_norm else x
            x = activation_named(self.activation)(x)
        return x
