"""Every learner solves the probe environments that apply to it, on every seed."""

import pytest

from purerl.algorithms import load
from tests.learning import probes

ELSEWHERE = (*probes.SAME_BUT_FOR_THE_HEAD, "reinforce", "soft_q", *probes.OFF_POLICY_CONTINUOUS)
WHOLE = [name for name in probes.CONFIGS if name not in ELSEWHERE]


@pytest.mark.parametrize("probe", probes.VALUES)
@pytest.mark.parametrize("name", WHOLE)
def test_values(name, probe):
    probes.check_values(load(name), name, probe)  # asserts


@pytest.mark.parametrize("probe", ["probe/discount", "probe/observation"])
def test_values_of_whole_episodes(probe):
    """Those without a truncation: to REINFORCE the end of an episode is the end, whatever ended it."""
    probes.check_values(load("reinforce"), "reinforce", probe)  # asserts


@pytest.mark.parametrize("probe", ["probe/discount", "probe/successor"])
@pytest.mark.parametrize("name", probes.SAME_BUT_FOR_THE_HEAD)
def test_values_of_other_heads(name, probe):
    probes.check_values(load(name), name, probe)  # asserts


@pytest.mark.parametrize("probe", ["probe/discount", "probe/observation", "probe/truncation", "probe/successor"])
@pytest.mark.parametrize("name", probes.OFF_POLICY_CONTINUOUS)
def test_values_of_continuous_actions(name, probe):
    probes.check_values(load(name), name, probe)  # asserts


@pytest.mark.parametrize("probe", probes.RETURNS)
@pytest.mark.parametrize("name", [*WHOLE, "reinforce"])
def test_returns(name, probe):
    probes.check_return(load(name), name, probe, probes.RETURNS[probe])  # asserts


@pytest.mark.parametrize("probe", probes.CONTINUOUS_RETURNS)
@pytest.mark.parametrize("name", ["ppo", "trpo", "soft_q", *probes.OFF_POLICY_CONTINUOUS])
def test_continuous_actions(name, probe):
    probes.check_return(load(name), name, probe, probes.CONTINUOUS_RETURNS[probe])  # asserts


@pytest.mark.parametrize("policy", ["state_gaussian", "tanh_gaussian", "beta", "mixture"])
def test_every_policy_of_continuous_actions(policy):
    probes.check_return(load("ppo"), "ppo", "probe/continuous_observation_action", 0.0, policy=policy)  # asserts


def test_discrete_actions_of_sac():
    probes.check_return(load("sac"), "sac", "probe/observation_action", 1.0)  # asserts


def test_several_discrete_actions_at_once():
    probes.check_return(load("ppo"), "ppo", "probe/multi_discrete", 1.0)  # asserts


@pytest.mark.parametrize("penalty", ["fixed", "adaptive", "dual"])
def test_a_penalty_instead_of_clipping(penalty):
    probes.check_return(load("ppo"), "ppo", "probe/observation_action", 1.0, penalty=penalty)  # asserts


def test_truncation_with_value_clipping_and_normalisation():
    overrides = {"clip_value": True, "normalize_observations": True, "clip": 0.5}
    probes.check_values(load("ppo"), "ppo", "probe/truncation", **overrides)  # asserts


@pytest.mark.parametrize("name", probes.SAME_BUT_FOR_THE_HEAD)
def test_returns_of_other_heads(name):
    probe = "probe/observation_action"
    probes.check_return(load(name), name, probe, probes.RETURNS[probe])  # asserts


@pytest.mark.parametrize("name", ["pqn", "ppo", "a2c", "trpo", "reinforce"])
def test_a_recurrent_core_remembers(name):
    probes.check_return(load(name), name, "probe/memory", 1.0, core="gru", core_width=16)  # asserts


COMPONENTS = {
    "by rank, double, dueling, three steps": {"sampling": "rank", "double": True, "dueling": True, "n_step": 3},
    "bootstrapped with priors": {"members": 4, "prior_scale": 0.5, "mask_probability": 0.5},
    "noisy": {"exploration": "noisy"},
    "successors read from the next step": {"share_observations": True, "n_step": 2},
}


@pytest.mark.parametrize("fields", COMPONENTS.values(), ids=COMPONENTS)
def test_truncation_with_components(fields):
    """With n-step returns an episode of 5 steps is cut inside of windows; what is lost there is not learned wrongly."""
    probes.check_values(load("dqn"), "dqn", "probe/truncation", **fields)  # asserts


def test_polyak_averaging_and_squared_loss():
    overrides = {"target_rate": 0.1, "target_period": 8, "loss": "squared", "layer_norm": False}
    probes.check_values(load("dqn"), "dqn", "probe/truncation", **overrides)  # asserts
