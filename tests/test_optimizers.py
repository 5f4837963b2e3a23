"""Optimisers on one vector of all parameters, and leaf by leaf where there are many of them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from purerl.optimizers import FEW, clipped_adam, descend

SHAPES = {"few": (FEW - 5, 5), "many": (FEW - 4, 5)}  # sizes of two leaves: as many as fit on a vector, and one more


@pytest.mark.parametrize("count", SHAPES)
def test_clipped_adam_equals_adam_on_gradients_of_limited_norm(count):
    """Against NumPy, three steps: g min(1, c / |g|), then Adam."""
    rng, (first, second) = np.random.default_rng(0), SHAPES[count]
    params = {
        "a": jnp.asarray(rng.normal(size=first), jnp.float32),
        "b": jnp.asarray(rng.normal(size=second), jnp.float32),
    }
    optimizer = clipped_adam(1e-2, 1e-5, 0.5)
    state = optimizer.init(params)
    oracle = np.concatenate([params["a"], params["b"]]).astype(np.float64)
    mean, square = np.zeros_like(oracle), np.zeros_like(oracle)
    for step in range(1, 4):
        flat = rng.normal(size=first + second)
        gradients = {"a": jnp.asarray(flat[:first], jnp.float32), "b": jnp.asarray(flat[first:], jnp.float32)}
        params, state = jax.jit(descend, static_argnums=0)(optimizer, params, state, gradients)
        flat = flat * min(1.0, 0.5 / np.linalg.norm(flat))
        mean, square = 0.9 * mean + 0.1 * flat, 0.999 * square + 0.001 * flat**2
        corrected = mean / (1 - 0.9**step), np.sqrt(square / (1 - 0.999**step))
        oracle -= 1e-2 * corrected[0] / (corrected[1] + 1e-5)
    np.testing.assert_allclose(np.concatenate([params["a"], params["b"]]), oracle, rtol=1e-4, atol=1e-5)


def test_few_parameters_are_one_vector_and_many_are_not():
    """What joins many gradients XLA may compile into a slow loop (`optimizers`)."""

    def largest_moment(count: str) -> list[int]:
        first, second = SHAPES[count]
        state = clipped_adam(1e-3, 1e-5, 0.5).init({"a": jnp.zeros(first), "b": jnp.zeros(second)})
        return sorted(leaf.size for leaf in jax.tree.leaves(optax.tree.get(state, "mu")))

    assert largest_moment("few") == [FEW]
    assert largest_moment("many") == [5, FEW - 4]
