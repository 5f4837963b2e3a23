"""Runs made into objects again: what can be rebuilt by name, and the refusal of what cannot."""

import jax
import pytest

from purerl import environments, saved
from purerl.algorithms import ALGORITHMS
from purerl.checkpoint import CheckpointError
from purerl.environments import frozen_normalization, robo_parking, sticky_actions, time_limit
from purerl.normalization import init_statistics
from purerl.run import run
from tests import toy_learner


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """The toy learner in the table of algorithms."""
    monkeypatch.setitem(ALGORITHMS, "toy", "tests.toy_learner")


def trained(directory, environment, checkpoint_every=1, **changes):
    """A short run on `environment`; returns the algorithm."""
    algorithm = toy_learner.make(environment, toy_learner.Config())._replace(**changes)
    every = {"evaluations": 1, "checkpoint_every": checkpoint_every}
    run(algorithm, iterations=2, episodes=2, directory=directory, sinks=(), **every)
    return algorithm


def test_the_rhythm_of_checkpoints_is_kept_but_may_be_changed(tmp_path):
    algorithm = trained(tmp_path, robo_parking.make(), checkpoint_every=3)
    assert saved.load(tmp_path).checkpoint_every == 3
    run(algorithm, iterations=2, evaluations=1, episodes=2, directory=tmp_path, sinks=(), resume=True)


def test_an_environment_made_directly_is_rebuilt_as_it_was(tmp_path):
    trained(tmp_path, robo_parking.make(push=2.0))
    environment = saved.load(tmp_path).algorithm.environment
    assert environment is not None
    assert environment.parameters["push"] == 2.0


@pytest.mark.parametrize("name", ["probe/constant", "probe/truncation", "probe/memory", "RoboParking"])
def test_parameters_recorded_by_the_maker_make_the_same_again(name):
    maker = robo_parking.make if name == "RoboParking" else environments.probes.PROBES[name.removeprefix("probe/")]
    direct = maker()
    assert environments.make(direct.name, **direct.parameters).parameters == direct.parameters


def test_a_wrapped_environment_is_not_rebuilt_without_its_wrapper(tmp_path):
    algorithm = trained(tmp_path, time_limit(robo_parking.make(), 7))
    with pytest.raises(CheckpointError, match=r"wrapped in time_limit\(7\). Evaluate it from Python"):
        saved.load(tmp_path)
    run_ = saved.load(tmp_path, algorithm)
    assert run_.evaluated_on is algorithm.environment
    assert saved.load_policies(run_).iteration == 2
    other = toy_learner.make(time_limit(robo_parking.make(), 8), toy_learner.Config())
    with pytest.raises(
        CheckpointError, match=r"cannot be rebuilt as this one \(use its settings.*:\n.*max_steps: saved 7, now 8"
    ):
        saved.load(tmp_path, other)
    with pytest.raises(CheckpointError, match="cannot be resumed as this one"):
        run(other, iterations=2, evaluations=1, episodes=2, directory=tmp_path, sinks=(), resume=True)


def test_parameters_that_json_cannot_carry_are_not_rebuilt(tmp_path):
    trained(tmp_path, robo_parking.make()._replace(parameters={"push": jax.numpy.ones(2)}))
    with pytest.raises(CheckpointError, match=r"JSON cannot carry: \['push'\]"):
        saved.load(tmp_path)


def test_an_algorithm_that_is_not_the_tables_is_not_rebuilt(tmp_path):
    trained(tmp_path / "mine", robo_parking.make(), name="mine")
    with pytest.raises(CheckpointError, match=r"'mine' \(tests.toy_learner.Config\) is not in purerl's table"):
        saved.load(tmp_path / "mine")
    trained(tmp_path / "dqn", robo_parking.make(), name="dqn")
    with pytest.raises(CheckpointError, match=r"made with tests.toy_learner.Config, which is not purerl's dqn"):
        saved.load(tmp_path / "dqn")


def test_wrappers_are_recorded_with_their_arguments_by_value():
    environment = robo_parking.make()
    sticky = sticky_actions(time_limit(environment, 200), jax.numpy.float32(0.25))
    assert sticky.wrappers == ("time_limit(200)", "sticky_actions(0.25)")
    zeros, ones = init_statistics((4,)), jax.tree.map(lambda x: x + 1.0, init_statistics((4,)))
    assert frozen_normalization(environment, zeros).wrappers == frozen_normalization(environment, zeros).wrappers
    assert frozen_normalization(environment, zeros).wrappers != frozen_normalization(environment, ones).wrappers
