"""Initialisers, torsos and heads."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.networks.heads import ActorCritic
from purerl.networks.initializers import orthogonal
from purerl.networks.q_network import QNetwork
from purerl.networks.torsos import MLP, PatchConvolution, as_features
from purerl.types import Box, Discrete

IMAGE, VECTOR = Box(0, 1, (10, 10, 4), jnp.bool_), Box(-1.0, 1.0, (3,))


@pytest.mark.parametrize("shape", [(64, 64), (120, 84), (3, 200), (3, 3, 4, 16), (300, 1)])
def test_orthogonal_kernels_are_orthogonal_alone_and_vmapped(shape):
    kernels = jax.vmap(lambda key: orthogonal(2.0)(key, shape))(jax.random.split(jax.random.key(0), 3))
    for kernel in kernels:
        matrix = np.asarray(kernel).reshape(-1, shape[-1]) / 2.0
        gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=2e-5)
    assert not np.allclose(kernels[0], kernels[1])
    alone = orthogonal(2.0)(jax.random.split(jax.random.key(0), 3)[1], shape)
    np.testing.assert_allclose(alone, kernels[1], atol=2e-5)


def test_orthogonal_is_haar():
    """First and second moments of Haar-distributed 3x3 matrices: E Q = 0, E Q_ij^2 = 1/3, E Q_ij^4 = 3 / (3 * 5)."""
    q = np.asarray(jax.vmap(lambda key: orthogonal()(key, (3, 3)))(jax.random.split(jax.random.key(1), 20_000)))
    np.testing.assert_allclose(q.mean(0), 0, atol=0.02)
    np.testing.assert_allclose((q**2).mean(0), 1 / 3, atol=0.01)
    np.testing.assert_allclose((q**4).mean(0), 1 / 5, atol=0.01)


def test_patch_convolution_is_a_convolution():
    image = jax.random.normal(jax.random.key(0), (5, 10, 8, 4))
    ours = PatchConvolution(16)
    params = ours.init(jax.random.key(1), image)
    expected = nn.Conv(16, (3, 3), padding="VALID").apply(params, image)
    np.testing.assert_allclose(ours.apply(params, image), expected, rtol=1e-4, atol=1e-5)


def test_features_of_every_kind_of_observation():
    assert as_features(jnp.array([2, 0]), Discrete(3)).tolist() == [[0, 0, 1], [1, 0, 0]]
    pixels = as_features(jnp.full((10, 10, 4), 255, jnp.uint8), Box(0, 255, (10, 10, 4), jnp.uint8))
    assert pixels.shape == (10, 10, 4)
    assert pixels.max() == 1.0
    assert as_features(jnp.ones((7, 2, 3)), Box(0, 1, (2, 3))).shape == (7, 6)
    assert as_features(jnp.ones((7,)), Box(0, 1, ())).shape == (7, 1)


@pytest.mark.parametrize("space", [IMAGE, VECTOR, Discrete(5)])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_q_network_starts_small_and_batches_any_leading_axes(space, layer_norm):
    network = QNetwork(space, 4, (32, 16), layer_norm=layer_norm)
    observation = jax.vmap(space.sample)(jax.random.split(jax.random.key(0), 6))
    params = network.init(jax.random.key(1), observation)
    values = network.apply(params, observation).values
    assert values.shape == (6, 4)
    assert jnp.abs(values).max() < 0.2
    assert ("LayerNorm" in str(params)) == layer_norm
    batched = network.apply(params, observation.reshape(2, 3, *space.shape)).values
    np.testing.assert_allclose(batched.reshape(6, 4), values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shared", [False, True])
def test_actor_critic_parts_agree_with_the_whole(shared):
    network = ActorCritic(VECTOR, Box(-1, 1, (2,)), (16,), shared=shared)
    observation = jnp.ones((4, 3))
    params = network.init(jax.random.key(0), observation)
    memory, distribution, value = network.apply(params, observation)
    assert memory == ()
    np.testing.assert_array_equal(network.apply(params, observation, method=network.value), value)
    _, alone = network.apply(params, observation, method=network.policy)
    np.testing.assert_array_equal(alone.mean, distribution.mean)
    assert value.shape == (4,)
    assert ("critic_torso" in params["params"]) != shared


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="choose one of relu"):
        MLP((4,), activation="rleu").init(jax.random.key(0), jnp.ones(3))
