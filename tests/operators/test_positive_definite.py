"""Small systems against NumPy, and draws against the covariance they should have."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from purerl.operators import positive_definite


def check_systems(module: ModuleType) -> None:
    """Solutions and inverses are NumPy's; a batch of each of four sizes up to 8."""
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 8):
        half = rng.normal(size=(3, size, size))
        matrix = half @ half.swapaxes(1, 2) + 0.5 * np.eye(size)
        right = rng.normal(size=(3, size, 4))
        factor = module.factorize(jnp.asarray(matrix, jnp.float32))
        assert np.all(factor.positive)
        close = {"rtol": 2e-3, "atol": 2e-4}
        np.testing.assert_allclose(
            module.solve(factor, jnp.asarray(right, jnp.float32)), np.linalg.solve(matrix, right), **close
        )
        np.testing.assert_allclose(module.inverse(factor), np.linalg.inv(matrix), **close)


def test_systems_are_solved_as_numpy_solves_them():
    check_systems(positive_definite)  # asserts


def test_what_is_not_positive_definite_is_found():
    matrices = jnp.stack([jnp.diag(jnp.array([1.0, -1.0])), jnp.zeros((2, 2)), jnp.array([[1.0, 2.0], [2.0, 1.0]])])
    np.testing.assert_array_equal(positive_definite.factorize(matrices).positive, [False, False, False])
    assert np.all(np.isfinite(positive_definite.solve(positive_definite.factorize(matrices), jnp.ones((3, 2, 1)))))


def test_draws_have_the_inverse_as_covariance():
    precision = jnp.array([[4.0, 1.0, 0.5], [1.0, 2.0, -0.3], [0.5, -0.3, 1.0]])
    factor = positive_definite.factorize(precision)
    keys = jax.random.split(jax.random.key(0), 200_000)
    draws = np.asarray(jax.vmap(positive_definite.draw_with_precision, (0, None))(keys, factor))
    np.testing.assert_allclose(np.cov(draws.T), np.linalg.inv(precision), atol=0.02)
    np.testing.assert_allclose(draws.mean(0), 0.0, atol=0.01)


def test_no_lapack_is_called_when_it_is_batched():
    """A batched call of LAPACK in a compiled program has hung on two cores; the factors are plain arithmetic."""
    program = jax.jit(jax.vmap(lambda m, r: positive_definite.solve(positive_definite.factorize(m), r)))
    text = program.lower(jnp.zeros((2, 3, 3)), jnp.zeros((2, 3, 1))).as_text()
    assert "lapack" not in text
    assert "cholesky" not in text
