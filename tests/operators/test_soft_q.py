"""Soft values from samples, and particles that spread over a density."""

import math
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from purerl.operators import soft_q


def check_soft_value(module: ModuleType) -> None:
    """The sum of its definition, one state at a time."""
    rng = np.random.default_rng(0)
    values, log_density = rng.normal(size=(2, 7, 3)).astype(np.float32)
    for temperature in (0.2, 3.0):
        found = np.asarray(module.sampled_soft_value(jnp.asarray(values), temperature, jnp.asarray(log_density)))
        for b in range(3):
            terms = [
                math.exp(q / temperature) / math.exp(p) for q, p in zip(values[:, b], log_density[:, b], strict=True)
            ]
            np.testing.assert_allclose(found[b], temperature * math.log(sum(terms) / 7), rtol=1e-5)


def check_stein(module: ModuleType) -> None:
    """The mean of its definition, one pair of particles at a time."""
    rng = np.random.default_rng(1)
    particles = rng.normal(size=(4, 2)).astype(np.float32)
    fixed, score = rng.normal(size=(2, 5, 2)).astype(np.float32)
    found = np.asarray(module.stein_direction(*map(jnp.asarray, (particles, fixed, score))))
    squares = [np.sum((x - y) ** 2) for x in particles for y in fixed]
    bandwidth = np.median(squares) / math.log(6)

    def kernel(y: np.ndarray, x: np.ndarray) -> float:
        return math.exp(-np.sum((y - x) ** 2) / bandwidth)

    for i, x in enumerate(particles):
        expected = np.zeros(2)
        for y, s in zip(fixed, score, strict=True):
            slope = -2 * (y - x) / bandwidth * kernel(y, x)  # of the kernel, by y
            expected += (kernel(y, x) * s + slope) / 5
        np.testing.assert_allclose(found[i], expected, rtol=1e-4, atol=1e-6)


def test_the_soft_value_is_its_equation():
    check_soft_value(soft_q)  # asserts


def test_the_direction_is_its_equation():
    check_stein(soft_q)  # asserts


def test_the_soft_value_of_a_quadratic():
    """alpha log of the integral of exp(-c a^2 / (2 alpha)) is alpha / 2 log(2 pi alpha / c)."""
    temperature, curvature = 0.1, 2.0
    actions = jax.random.uniform(jax.random.key(0), (100_000,), minval=-2.0, maxval=2.0)
    value = soft_q.sampled_soft_value(-curvature * actions**2 / 2, temperature, -math.log(4.0))
    expected = temperature / 2 * math.log(2 * math.pi * temperature / curvature)
    np.testing.assert_allclose(value, expected, atol=2e-3)


def test_particles_spread_over_both_peaks_of_a_density():
    """Half N(-2, 0.5^2) and half N(2, 0.5^2): where they end has its mean and its deviation."""

    def log_density(x):
        return jnp.sum(jax.nn.logsumexp(-0.5 * ((x[..., 0] - jnp.array([[-2.0], [2.0]])) / 0.5) ** 2, axis=0))

    def move(x, _):
        return x + 0.1 * soft_q.stein_direction(x, x, jax.grad(log_density)(x)), None

    start = jnp.linspace(-1.0, 1.0, 50)[:, None]
    particles = jax.jit(lambda x: jax.lax.scan(move, x, length=1000)[0])(start)
    np.testing.assert_allclose(np.mean(particles > 0), 0.5, atol=0.1)
    np.testing.assert_allclose(np.std(particles), math.sqrt(4 + 0.25), rtol=0.05)


def test_no_derivative_passes_through_the_direction():
    x = jnp.ones((3, 2)) * jnp.arange(3.0)[:, None]
    slope = jax.grad(lambda x: jnp.sum(soft_q.stein_direction(x, x, x)))(x)
    np.testing.assert_array_equal(slope, 0.0)
