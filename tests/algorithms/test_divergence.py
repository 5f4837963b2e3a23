"""Baird's star through the functions of the experiment: what diverges, how fast, and what stays bounded."""

import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "divergence.py"


@pytest.fixture(scope="module")
def curves():
    return runpy.run_path(str(EXPERIMENT), run_name="experiment")["measure"](16, 1_000, 3_000)


def test_off_policy_weights_grow_from_ten_to_hundreds_and_on_policy_ones_do_not(curves):
    """The reference measures about 385 after 1000 steps, which is within the spread of sampled streams."""
    sampled, expected = curves["linear, off-policy"], curves["linear, off-policy, expected updates"][0]
    assert np.all(sampled[:, 0] < 12)
    low, high = np.percentile(sampled[:, -1], [0, 100])
    assert low < 385 < high
    assert 250 < sampled[:, -1].mean() < 450
    assert expected[-1] == pytest.approx(335, rel=0.01)
    assert np.all(np.diff(expected[200:]) > 0)  # and no end in sight
    assert curves["linear, on-policy"].max() <= 10


def test_a_network_stays_bounded_with_layer_norm_only(curves):
    for name in ("network", "network, L2"):
        assert not np.any(np.isfinite(curves[name][:, -1]))
    for name in ("network, LayerNorm", "network, LayerNorm, L2"):
        assert curves[name].max() < 50
    assert curves["network, LayerNorm, L2"][:, -1].mean() < curves["network, LayerNorm"][:, -1].mean()


def test_the_features_can_represent_the_true_values():
    module = runpy.run_path(str(EXPERIMENT), run_name="experiment")
    assert np.linalg.matrix_rank(module["FEATURES"]) == 7
    stream = module["off_policy"](jax.random.key(0), 50_000)
    assert np.bincount(stream.state, minlength=7).min() > 50_000 / 7 * 0.95  # all states equally often
    assert float(stream.importance.mean()) == pytest.approx(1, abs=0.05)
