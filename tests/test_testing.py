"""The contracts of `purerl.testing` are broken by what breaks them."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import q_learning, testing
from purerl.testing import Case

ENVIRONMENT = "finite/cliff_walking"


def broken(**replacements) -> Case:
    """Q-learning with some functions of its Algorithm replaced by what `replacements` make of them."""

    def make(environment, config):
        whole = q_learning.make(environment, config)
        return whole._replace(**{name: change(getattr(whole, name)) for name, change in replacements.items()})

    return Case(SimpleNamespace(Config=q_learning.Config, make=make), ENVIRONMENT, {"num_envs": 2})


def test_a_state_that_changes_its_types_is_told_by_its_place():
    def with_weak_key(init):
        return lambda key: {"state": init(key), "count": jnp.asarray(0)}

    def counting(step):
        def counted(state, time):
            after, metrics = step(state["state"], time)
            return {"state": after, "count": state["count"] + 0.5}, metrics

        return counted

    case = broken(init=with_weak_key, step=counting, snapshot=lambda snapshot: lambda state: state)
    with pytest.raises(AssertionError, match=r"\['count'\] is int32\(\) and becomes float32\(\)"):
        testing.the_state_is_strongly_typed_arrays_and_stays_so(case)


def test_a_metric_over_steps_is_refused():
    def longer(step):
        return lambda state, time: (step(state, time)[0], {"loss": jnp.zeros(3)})

    with pytest.raises(AssertionError, match=r"the metric loss must be a scalar, its shape is \(3,\)"):
        testing.the_state_is_strongly_typed_arrays_and_stays_so(broken(step=longer))


def test_a_seed_that_does_nothing_is_noticed():
    case = broken(init=lambda init: lambda key: init(jax.random.key(0)))
    with pytest.raises(AssertionError, match="seeds 0 and 1 end with the same policy"):
        testing.seeds_differ_and_a_seed_repeats_bitwise(case)


def test_a_snapshot_of_everything_is_refused():
    with pytest.raises(AssertionError, match="as many as the state"):
        testing.the_snapshot_is_enough_to_act(broken(snapshot=lambda snapshot: lambda state: state))


def test_an_algorithm_that_takes_everything_is_refused():
    anything = SimpleNamespace(Config=q_learning.Config, make=lambda environment, config: None)
    case = Case(anything, ENVIRONMENT, wrong_environment="Pendulum-v1")
    with pytest.raises(AssertionError, match="nothing was raised where an error about Pendulum-v1"):
        testing.a_wrong_environment_is_refused(case)
    with pytest.raises(AssertionError, match="nothing was raised"):
        testing.bad_values_are_refused_before_anything_is_compiled(case)


def test_check_says_what_is_kept_until_something_is_broken():
    said = []
    with pytest.raises(AssertionError, match="end with the same policy"):
        testing.check(broken(init=lambda init: lambda key: init(jax.random.key(0))), said.append)
    assert said == ["kept: the state is strongly typed arrays and stays so"]


def test_chance_while_tracing_is_noticed():
    """NumPy's numbers are drawn when a program is traced: the same each time that it is called, others in the next."""
    chance = np.random.default_rng(0)

    def perturbed(step):
        def at_random(state, time):
            state, metrics = step(state, time)
            return state, metrics | {"noise": jnp.float32(chance.normal())}

        return at_random

    for contract in (testing.a_vmapped_agent_is_the_agent_run_alone, testing.seeds_differ_and_a_seed_repeats_bitwise):
        with pytest.raises(AssertionError):
            contract(broken(step=perturbed))
