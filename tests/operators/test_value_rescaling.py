"""The rescaling of values against the formulas of the paper in float64, and its inverse against bisection."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.operators import value_rescaling
from purerl.operators.value_rescaling import rescale_value, unscale_value

VALUES = np.concatenate([-np.geomspace(1e-6, 1e5, 60)[::-1], [0.0], np.geomspace(1e-6, 1e5, 60)]).astype(np.float32)


def rescaled_by_the_paper(x: float, scale: float) -> float:
    """h, written from the paper, in float64."""
    return np.sign(x) * (np.sqrt(abs(x) + 1) - 1) + scale * x


def preimage(y: float, scale: float) -> float:
    """The x with h(x) = y, by bisection: h is increasing."""
    low, high = -1e9, 1e9
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if rescaled_by_the_paper(middle, scale) < y else (low, middle)
    return (low + high) / 2


def check_against_the_paper(module: ModuleType) -> None:
    for scale in (1e-3, 1e-2, 1.0):
        exact = [rescaled_by_the_paper(float(x), scale) for x in VALUES]
        np.testing.assert_allclose(module.rescale_value(VALUES, scale), exact, rtol=1e-5, atol=1e-6)
        inverse = [preimage(float(y), scale) for y in VALUES[::5]]
        np.testing.assert_allclose(module.unscale_value(VALUES[::5], scale), inverse, rtol=1e-5, atol=1e-6)


def test_it_is_what_the_paper_says():
    check_against_the_paper(value_rescaling)


def test_there_and_back_is_the_identity():
    """To 1e-4, as the paper's formulas give in float32 for values around 1; ours hold to rounding for every size."""
    x = jnp.linspace(-100, 100, 2001)
    np.testing.assert_allclose(unscale_value(rescale_value(x)), x, atol=1e-4)
    np.testing.assert_allclose(rescale_value(unscale_value(x)), x, atol=1e-4)
    np.testing.assert_allclose(unscale_value(rescale_value(VALUES)), VALUES, rtol=2e-6)
    np.testing.assert_allclose(rescale_value(unscale_value(VALUES)), VALUES, rtol=2e-6)


@pytest.mark.parametrize("scale", [0.0, 1e-3])
def test_derivatives_are_inverse_to_one_another_everywhere(scale):
    """At 0, where the signs of the paper's formulas have none, too."""
    for x in (-7.0, -1e-3, 0.0, 0.5, 40.0):
        slope = jax.grad(rescale_value)(x, scale)
        back = jax.grad(unscale_value)(rescale_value(jnp.float32(x), scale), scale)
        np.testing.assert_allclose(slope, 0.5 / np.sqrt(abs(x) + 1) + scale, rtol=1e-5)
        np.testing.assert_allclose(slope * back, 1.0, rtol=1e-5)


def test_without_the_linear_term_it_is_the_square_root():
    np.testing.assert_allclose(rescale_value(jnp.array([-8.0, 0.0, 3.0]), 0.0), [-2.0, 0.0, 1.0])
    np.testing.assert_allclose(unscale_value(jnp.array([-2.0, 0.0, 1.0]), 0.0), [-8.0, 0.0, 3.0])
