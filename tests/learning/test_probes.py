"""Every learner solves the probe environments that apply to it, on every seed."""

import pytest

from purerl.algorithms import ALGORITHMS, load
from tests.learning import probes


@pytest.mark.parametrize("probe", probes.VALUES)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_values(name, probe):
    probes.check_values(load(name), name, probe)  # asserts


@pytest.mark.parametrize("probe", probes.RETURNS)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_returns(name, probe):
    probes.check_return(load(name), name, probe, probes.RETURNS[probe])  # asserts


@pytest.mark.parametrize("probe", probes.CONTINUOUS_RETURNS)
def test_continuous_actions(probe):
    probes.check_return(load("ppo"), "ppo", probe, probes.CONTINUOUS_RETURNS[probe])  # asserts


def test_truncation_with_value_clipping_and_normalisation():
    overrides = {"clip_value": True, "normalize_observations": True, "clip": 0.5}
    probes.check_values(load("ppo"), "ppo", "probe/truncation", **overrides)  # asserts


def test_polyak_averaging_and_squared_loss():
    overrides = {"target_rate": 0.1, "target_period": 8, "loss": "squared", "layer_norm": False}
    probes.check_values(load("dqn"), "dqn", "probe/truncation", **overrides)  # asserts
