"""Torsos: from an observation to a vector of features. Leading axes of the observation are a batch."""

from collections.abc import Callable, Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from purerl.networks.initializers import Initializer, orthogonal
from purerl.types import Array, Box, Discrete, MultiDiscrete, Space

Activation = Literal["relu", "tanh", "swish", "elu", "gelu", "leaky_relu"]
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "tanh": nn.tanh,
    "swish": nn.swish,
    "elu": nn.elu,
    "gelu": nn.gelu,
    "leaky_relu": nn.leaky_relu,
}


def activation_named(name: str) -> Callable[[Array], Array]:
    """The activation function of that name; ValueError with the list of names otherwise."""
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def as_features(observation: Array, space: Space) -> Array:
    """An observation `[..., *space.shape]` as float32 input.

    Discrete ones become one-hot, bytes are divided by 255, images keep their shape and everything else is flattened.
    Result: `[..., height, width, channels]` for an image (rank 3), `[..., features]` for everything else.
    """
    if isinstance(space, Discrete):
        return jax.nn.one_hot(observation, space.n)
    if isinstance(space, MultiDiscrete):
        return space.one_hot(observation)
    batch = observation.shape[: observation.ndim - len(space.shape)]
    scale = 1 / 255 if observation.dtype == jnp.uint8 else 1.0
    x = observation.astype(jnp.float32) * scale
    return x if is_image(space) else x.reshape(*batch, -1)


def is_image(space: Space) -> bool:
    """Whether observations are `[height, width, channels]`."""
    return isinstance(space, Box) and len(space.shape) == 3


class MLP(nn.Module):
    """Dense layers, each followed by LayerNorm (if asked for) and the activation.

    Leading axes are made one on the way: with two of them XLA's gradients on a CPU copy what they multiply.
    """

    widths: Sequence[int]
    activation: str = "relu"
    layer_norm: bool = False
    kernel_init: Initializer = orthogonal(2**0.5)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        batch, x = x.shape[:-1], x.reshape(-1, x.shape[-1])
        for width in self.widths:
            x = nn.Dense(width, kernel_init=self.kernel_init)(x)
            x = nn.LayerNorm()(x) if self.layer_norm else x
            x = activation_named(self.activation)(x)
        return x.reshape(*batch, x.shape[-1])


class PatchConvolution(nn.Module):
    """A convolution without padding, stride 1, written as a matrix product over image patches.

    The same function as `nn.Conv(features, (size, size), padding="VALID")`. With a different kernel for every vmapped
    agent a convolution becomes a grouped one, which CPUs run slowly; a matrix product becomes a batched product.
    """

    features: int
    size: int = 3
    kernel_init: Initializer = orthogonal(2**0.5)

    @nn.compact
    def __call__(self, image: Array) -> Array:
        height, width, channels = image.shape[-3:]
        kernel = self.param("kernel", self.kernel_init, (self.size, self.size, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        rows, columns = height - self.size + 1, width - self.size + 1
        shifts = [(i, j) for i in range(self.size) for j in range(self.size)]
        patches = [image[..., i : i + rows, j : j + columns, :] for i, j in shifts]
        return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, self.features) + bias


class ImageTorso(nn.Module):
    """The network of MinAtar (Young & Tian, 2019): 3x3 convolution to 16 channels, then the dense layers of `MLP`."""

    widths: Sequence[int]
    activation: str = "relu"
    layer_norm: bool = False
    kernel_init: Initializer = orthogonal(2**0.5)
    channels: int = 16

    @nn.compact
    def __call__(self, image: Array) -> Array:
        x = PatchConvolution(self.channels, kernel_init=self.kernel_init)(image)
        x = nn.LayerNorm()(x) if self.layer_norm else x
        x = activation_named(self.activation)(x)
        x = x.reshape(*x.shape[:-3], -1)
        return MLP(self.widths, self.activation, self.layer_norm, self.kernel_init)(x)


def torso(
    space: Space, widths: Sequence[int], activation: str, layer_norm: bool, kernel_init: Initializer | None = None
) -> nn.Module:
    """The torso that suits the observations: `ImageTorso` for images, `MLP` for everything else.

    Kernels are orthogonal with gain sqrt(2) unless told otherwise.
    """
    module = ImageTorso if is_image(space) else MLP
    return module(tuple(widths), activation, layer_norm, orthogonal(2**0.5) if kernel_init is None else kernel_init)
