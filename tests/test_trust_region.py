"""A step within the trust region keeps its two promises, and where it cannot there is none."""

from types import ModuleType

import jax.numpy as jnp
import numpy as np
import pytest

from purerl import trust_region
from purerl.algorithms.policy_gradient.trpo import Config

START = {"x": jnp.zeros(2)}
SLOPE = jnp.array([3.0, -4.0])
CONFIG = Config(max_kl=0.02, damping=0.0)


def step(module: ModuleType, *, curvature: float = 0.0, stiffness: float = 0.0, config: Config = CONFIG):
    """From 0, for SLOPE x - curvature |x|^2 and a divergence of |x|^2 / 2 + stiffness |x|^4, whose Fisher matrix is 1.

    The full step is sqrt(2 max_kl) = 0.2 long, in the direction of SLOPE.
    """

    def size(params):
        return jnp.sum(jnp.square(params["x"]))

    params, metrics = module.trust_region_step(
        START,
        lambda params: params["x"] @ SLOPE - curvature * size(params),
        lambda params: 0.5 * size(params) + stiffness * size(params) ** 2,
        config,
    )
    return np.asarray(params["x"]), metrics


def check_bound(module: ModuleType) -> None:
    """The divergence is stiffer than its Fisher matrix says: only 0.8^3 of the step are within the bound."""
    x, metrics = step(module, stiffness=100.0)
    assert metrics["accepted"] == 1
    assert metrics["kl"] <= 0.02
    np.testing.assert_allclose(x, 0.2 * 0.8**3 * SLOPE / 5.0, rtol=1e-5)


def check_gain(module: ModuleType) -> None:
    """The objective, 5 d - 50 d^2 along the direction, is larger than at 0 for steps shorter than 0.1: 0.8^4 of 0.2."""
    x, metrics = step(module, curvature=50.0)
    assert metrics["accepted"] == 1
    assert metrics["surrogate_gain"] > 0
    np.testing.assert_allclose(x, 0.2 * 0.8**4 * SLOPE / 5.0, rtol=1e-5)


def test_the_divergence_stays_within_its_bound():
    check_bound(trust_region)  # asserts


def test_the_objective_grows():
    check_gain(trust_region)  # asserts


def test_the_whole_step_where_it_is_good():
    x, metrics = step(trust_region)
    np.testing.assert_allclose(x, 0.2 * SLOPE / 5.0, rtol=1e-5)
    np.testing.assert_allclose(metrics["kl"], 0.02, rtol=1e-5)


@pytest.mark.parametrize("fields", [{"curvature": 1e4}, {"stiffness": 1e9}])
def test_where_no_length_will_do_there_is_no_step(fields):
    x, metrics = step(trust_region, **fields)
    np.testing.assert_array_equal(x, 0.0)
    assert (metrics["accepted"], metrics["kl"], metrics["surrogate_gain"]) == (0, 0, 0)


def test_without_a_search_the_step_is_taken_whatever_comes_of_it():
    x, metrics = step(trust_region, curvature=1e4, config=Config(max_kl=0.02, damping=0.0, line_search=False))
    np.testing.assert_allclose(x, 0.2 * SLOPE / 5.0, rtol=1e-5)
    assert metrics["surrogate_gain"] < 0
