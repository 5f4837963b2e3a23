"""The searches for the best action on functions whose maximum is known, and against slow NumPy on the same draws."""

from functools import partial
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.operators import maximization

MATRIX = np.array([[2.0, 0.5], [0.5, 1.0]])
PEAK = np.array([0.4, -0.3])


def quadratic(actions):
    """Largest at `PEAK`."""
    away = actions - jnp.asarray(PEAK, jnp.float32)
    return 100.0 - jnp.einsum("mi,ij,mj->m", away, jnp.asarray(MATRIX, jnp.float32), away)


def outwards(actions):
    """Largest in the corner (1, -1), and the steeper in the first coordinate."""
    return 10.0 * actions[:, 0] - actions[:, 1]


SEARCHES = {
    "uniform": lambda module: partial(module.uniform_search, samples=40_000),
    "gaussian": lambda module: partial(module.gaussian_search, samples=40_000, deviation=0.5),
    "cross_entropy": lambda module: partial(
        module.cross_entropy_search, samples=64, elites=6, iterations=12, floor=0.005
    ),
    "gradient": lambda module: partial(module.gradient_search, samples=4, iterations=40),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_the_maximum_of_a_quadratic(name):
    find = SEARCHES[name](maximization)
    keys = jax.random.split(jax.random.key(0), 8)
    found = jax.vmap(lambda key: find(key, quadratic, 2))(keys)  # under vmap, as for a batch of states
    np.testing.assert_allclose(found, np.broadcast_to(PEAK, found.shape), atol=2e-2 if name in BLIND else 1e-2)
    np.testing.assert_allclose(found[3], find(keys[3], quadratic, 2), atol=1e-6)


BLIND = ("uniform", "gaussian")  # these do not come closer with time, only with samples


def check_the_box(module: ModuleType) -> None:
    """What grows outwards is best on the bounds, and no search leaves them: clipping, not rejection."""
    for name in ("gaussian", "cross_entropy", "gradient"):
        found = SEARCHES[name](module)(jax.random.key(1), outwards, 2)
        np.testing.assert_array_equal(found, [1.0, -1.0])
    seen = SEARCHES["uniform"](module)(jax.random.key(1), outwards, 2)
    assert np.all(np.abs(seen) <= 1.0)
    assert np.all(seen * np.array([1.0, -1.0]) > 0.8)


def test_no_search_leaves_the_box():
    check_the_box(maximization)  # asserts


def slow_cross_entropy(key, q, size, samples, elites, iterations, deviation, floor):
    """The same draws, in a loop over everything."""
    mean, spread, best = np.zeros(size), np.full(size, deviation), (-np.inf, np.zeros(size))
    for one in jax.random.split(key, iterations):
        draws = np.asarray(jax.random.normal(one, (samples, size)), np.float64)
        actions = [np.minimum(np.maximum(mean + spread * draw, -1.0), 1.0) for draw in draws]
        values = [float(q(jnp.asarray(a, jnp.float32)[None])[0]) for a in actions]
        ranked = sorted(range(samples), key=lambda i: -values[i])[:elites]
        best = max(best, (values[ranked[0]], actions[ranked[0]]), key=lambda pair: pair[0])
        elite = np.array([actions[i] for i in ranked])
        mean = elite.sum(0) / elites
        spread = np.maximum(np.sqrt(((elite - mean) ** 2).sum(0) / elites), floor)
    return best[1]


def check_cross_entropy(module: ModuleType) -> None:
    for seed in range(5):
        arguments = {"samples": 12, "elites": 3, "iterations": 4, "deviation": 0.6, "floor": 0.1}
        key = jax.random.key(seed)
        found = module.cross_entropy_search(key, quadratic, 2, **arguments)
        np.testing.assert_allclose(found, slow_cross_entropy(key, quadratic, 2, **arguments), atol=1e-5)


def test_cross_entropy_is_its_definition():
    check_cross_entropy(maximization)  # asserts


def check_gradient(module: ModuleType) -> None:
    """One start, its path in NumPy: a step of that length along the gradient, coordinates on a bound left out."""
    key = jax.random.key(2)
    path = [np.asarray(jax.random.uniform(key, (1, 2), minval=-1.0, maxval=1.0))[0].astype(np.float64)]
    for i in range(6):
        a, gradient = path[-1], np.array([10.0, -1.0])
        free = [
            g if abs(min(max(x + np.sign(g), -1.0), 1.0) - x) > 0 else 0.0 for x, g in zip(a, gradient, strict=True)
        ]
        length = np.sqrt(sum(g * g for g in free))
        step = 0.5 * (1 - i / 6)
        path.append(np.clip(a + step * np.array(free) / max(length, 1e-12), -1.0, 1.0))
    found = module.gradient_search(key, outwards, 2, samples=1, iterations=6, step_size=0.5)
    best = max(path, key=lambda a: 10 * a[0] - a[1])
    np.testing.assert_allclose(found, best, atol=1e-5)
    assert best[1] < path[0][1] - 0.3  # once the first coordinate is at its bound, the second one moves


def test_gradient_ascent_is_its_definition():
    check_gradient(maximization)  # asserts


def test_the_floor_keeps_a_search_alive():
    """All samples alike at first: without a floor nothing could ever be learned from them."""
    find = partial(maximization.cross_entropy_search, samples=32, elites=4, iterations=40, deviation=1e-6)
    stuck, free = (find(jax.random.key(0), quadratic, 2, floor=floor) for floor in (0.0, 0.05))
    assert np.linalg.norm(stuck - PEAK) > 0.4
    assert np.linalg.norm(free - PEAK) < 0.05


def test_the_scale_of_the_values_does_not_matter():
    for name in SEARCHES:
        find = SEARCHES[name](maximization)
        small, large = (find(jax.random.key(5), lambda a, c=c: c * quadratic(a), 2) for c in (1.0, 64.0))
        np.testing.assert_allclose(small, large, atol=2e-3)
