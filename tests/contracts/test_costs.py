"""What an iteration costs, read from its program: nothing is timed, so nothing is noisy.

A replay of many agents must neither be selected over (`lax.cond` on a batched value becomes that) nor scattered into,
and the number of operations of a program may not creep up: it is what tracing and compiling take.
"""

import dataclasses
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax.extend import core

from purerl.testing import Case
from purerl.train import start
from purerl.types import Time
from tests.contracts.cases import CASES, DIFFERENT_LOOPS

LARGE = 1000  # times the capacity of a case: its replay is larger than anything else
REMEMBER = [case for case in DIFFERENT_LOOPS if "replay_capacity" in CASES[case.values[0]].config]
FITS = ("mba", "mbpo", "model_policy_gradient", "mve", "pets")  # a model, now and then, to all that is remembered
OPERATIONS = {  # of one iteration of the case; new numbers belong here with a reason
    "ppo": 1040,
    "dqn": 720,
    "pqn": 566,
    "sac": 1448,
    "td3": 793,
}


def program(case: Case) -> tuple[core.Jaxpr, int]:
    """The iteration of three agents, and the numbers in the largest array of a state."""
    one = case.made()
    keys = jax.ShapeDtypeStruct((3,), jax.random.key(0).dtype)
    state = jax.eval_shape(jax.vmap(partial(start, one)), keys).state
    now = Time(jnp.int32(0), jnp.float32(0))
    largest = max(leaf.size for leaf in jax.tree.leaves(state))
    return jax.make_jaxpr(jax.vmap(one.step, in_axes=(0, None)))(state, now).jaxpr, largest


def operations(jaxpr: core.Jaxpr) -> Iterator[core.JaxprEqn]:
    """All equations, those inside of others too."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program):
            if _is_program(inner):
                yield from operations(inner.jaxpr if isinstance(inner, core.ClosedJaxpr) else inner)


def _is_program(x: object) -> bool:
    return isinstance(x, core.ClosedJaxpr | core.Jaxpr)


@pytest.mark.parametrize("name", REMEMBER)
def test_a_replay_is_written_by_blocks_and_never_selected_over(name):
    case = CASES[name]
    config = case.config | {"replay_capacity": LARGE * case.config["replay_capacity"]}
    jaxpr, largest = program(dataclasses.replace(case, config=config))
    touched = {
        equation.primitive.name
        for equation in operations(jaxpr)
        if any(getattr(result.aval, "size", 0) >= largest for result in equation.outvars)
    }
    assert "dynamic_update_slice" in touched
    dear = ("select", "scatter", "concatenate", "transpose") + (() if case.algorithm in FITS else ("gather",))
    assert [primitive for primitive in touched if primitive.startswith(dear)] == []


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_number_of_operations_does_not_creep_up(name):
    jaxpr, _ = program(CASES[name])
    count = sum(1 for _ in operations(jaxpr))
    assert 0.8 * OPERATIONS[name] <= count <= 1.1 * OPERATIONS[name], f"{count} operations: if that is right, note it"


def test_a_select_over_a_replay_is_found():
    """The check itself: what a counter of one's own, batched under vmap, does to a buffer."""

    def step(buffer, count):
        return jax.lax.cond(count > 2, lambda x: x.at[0].set(1.0), lambda x: x, buffer)

    jaxpr = jax.make_jaxpr(jax.vmap(step))(jnp.zeros((3, 1000)), jnp.arange(3)).jaxpr
    assert "select_n" in {equation.primitive.name for equation in operations(jaxpr)}
