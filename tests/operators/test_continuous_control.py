"""Pessimistic values, smoothed actions and the critics' loss against NumPy."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.operators import continuous_control


def check_minimum(module: ModuleType) -> None:
    values = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    key = jax.random.key(0)
    np.testing.assert_array_equal(module.minimum_value(jnp.asarray(values), key), values.min(0))
    np.testing.assert_array_equal(module.minimum_value(jnp.asarray(values), key, 5), values.min(0))
    chosen = {frozenset(pair) for pair in ((i, j) for i in range(5) for j in range(i))}
    seen = set()
    for key in jax.random.split(jax.random.key(1), 100):
        found = np.asarray(module.minimum_value(jnp.asarray(values), key, 2))
        pairs = [pair for pair in chosen if np.array_equal(values[list(pair)].min(0), found)]
        assert len(pairs) == 1  # two different critics, the same for all of the batch
        seen |= set(pairs)
    assert seen == chosen


def check_smoothing(module: ModuleType) -> None:
    draw = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    expected = np.minimum(np.maximum(0.4 * draw, -0.5), 0.5)
    np.testing.assert_allclose(module.smoothing_noise(jnp.asarray(draw), 0.4, 0.5), expected, rtol=1e-6)


def check_loss(module: ModuleType) -> None:
    rng = np.random.default_rng(0)
    values, target, weight = rng.normal(size=(3, 8)), rng.normal(size=8), rng.random(8)
    for w in (None, weight):
        expected = sum(
            np.mean([(1.0 if w is None else w[i]) * (values[k, i] - target[i]) ** 2 / 2 for i in range(8)])
            for k in range(3)
        )
        found = module.critics_loss(jnp.asarray(values), jnp.asarray(target), None if w is None else jnp.asarray(w))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    slope = jax.grad(module.critics_loss, argnums=1)(jnp.asarray(values), jnp.asarray(target))
    np.testing.assert_array_equal(slope, np.zeros(8))


@pytest.mark.parametrize("check", [check_minimum, check_smoothing, check_loss])
def test_operator_equals_its_oracle(check):
    check(continuous_control)  # asserts


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(AssertionError):
        continuous_control.critics_loss(jnp.zeros((2, 3)), jnp.zeros((3, 1)))
    with pytest.raises(AssertionError):
        continuous_control.minimum_value(jnp.zeros((2, 3)), jax.random.key(0), 3)
