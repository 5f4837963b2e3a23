"""Quadratic action values against their definition, one action and one matrix at a time."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from purerl.operators import quadratic


def check_quadratic(module: ModuleType) -> None:
    """L is what its entries say, P = L L^T is positive definite, and A is the quadratic form."""
    rng = np.random.default_rng(0)
    for size in (1, 2, 3):
        entries = rng.normal(size=(4, size * (size + 1) // 2)).astype(np.float32)
        action, mean = rng.normal(size=(2, 4, size)).astype(np.float32)
        factor = np.asarray(module.positive_factor(jnp.asarray(entries), size))
        advantage = np.asarray(module.quadratic_advantage(jnp.asarray(action), jnp.asarray(mean), jnp.asarray(factor)))
        for b in range(4):
            expected, read = np.zeros((size, size)), iter(entries[b])
            for i in range(size):
                for j in range(i + 1):
                    expected[i, j] = next(read)
                expected[i, i] = np.exp(expected[i, i])
            np.testing.assert_allclose(factor[b], expected, rtol=1e-5)
            matrix = expected @ expected.T
            assert np.all(np.linalg.eigvalsh(matrix) > 0)
            away = action[b] - mean[b]
            np.testing.assert_allclose(advantage[b], -sum(away * (matrix @ away)) / 2, rtol=1e-4)


def test_the_advantage_is_its_equation():
    check_quadratic(quadratic)  # asserts


def test_its_curvature_and_its_maximum():
    factor = quadratic.positive_factor(jnp.array([0.3, -0.5, -0.2]), 2)
    mean = jnp.array([0.2, -0.4])
    curvature = jax.hessian(lambda a: quadratic.quadratic_advantage(a, mean, factor))(jnp.array([0.7, 0.1]))
    np.testing.assert_allclose(curvature, -factor @ factor.T, rtol=1e-5)
    grid = jnp.stack(jnp.meshgrid(*[jnp.linspace(-1, 1, 201)] * 2, indexing="ij"), -1).reshape(-1, 2)
    advantages = quadratic.quadratic_advantage(grid, jnp.broadcast_to(mean, grid.shape), factor[None])
    np.testing.assert_allclose(grid[jnp.argmax(advantages)], mean, atol=1e-5)
    assert float(advantages.max()) <= 0.0
    assert float(quadratic.quadratic_advantage(mean, mean, factor)) == 0.0


def test_no_gradient_overflows_off_the_diagonal():
    """Only what is exponentiated is: a large entry below the diagonal is a plain number, with a finite gradient."""
    entries = jnp.array([0.0, 200.0, 0.0])
    gradient = jax.grad(lambda x: jnp.sum(quadratic.positive_factor(x, 2)))(entries)
    np.testing.assert_allclose(gradient, [1.0, 1.0, 1.0])
