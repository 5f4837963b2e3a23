"""What an iteration costs, read from its program: nothing is timed, so nothing is noisy.

A replay of many agents must neither be selected over (`lax.cond` on a batched value becomes that) nor scattered into.
The number of operations of a program may not creep up: it is what tracing and compiling take. Matrices are multiplied
as often as the algorithm's pseudo-code says; XLA's own count takes the body of a loop once, so it is made here. And the
compiler keeps no more of an iteration than it did when the speeds of `experiments/benchmarks` were measured.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.extend import core

from purerl import load, make
from purerl.testing import Case
from purerl.train import start
from purerl.types import Algorithm, Time
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
TEMPORARIES = {  # bytes that eight agents of the default Config need beside their state; new ones need a reason, too
    "ppo": 6_610_776,
    "dqn": 2_229_032,
    "pqn": 5_799_216,
    "sac": 34_018_104,
    "td3": 31_904_024,
}
NOW = Time(jnp.int32(0), jnp.float32(0))


def states(one: Algorithm, agents: int) -> Any:
    """The shapes of the state of so many agents."""
    keys = jax.ShapeDtypeStruct((agents,), jax.random.key(0).dtype)
    return jax.eval_shape(jax.vmap(partial(start, one)), keys).state


def program(case: Case) -> tuple[core.Jaxpr, int]:
    """The iteration of three agents, and the numbers in the largest array of a state."""
    one = case.made()
    state = states(one, 3)
    largest = max(leaf.size for leaf in jax.tree.leaves(state))
    return jax.make_jaxpr(jax.vmap(one.step, in_axes=(0, None)))(state, NOW).jaxpr, largest


def default(name: str) -> Algorithm:
    """The algorithm with its default Config, where its benchmark measures it."""
    module = load(name)
    return module.make(make("Pendulum-v1" if name in ("sac", "td3") else "CartPole-v1"), module.Config())


def operations(jaxpr: core.Jaxpr) -> Iterator[core.JaxprEqn]:
    """All equations, those inside of others too."""
    return (equation for equation, _ in repeated(jaxpr))


def repeated(jaxpr: core.Jaxpr, times: int = 1) -> Iterator[tuple[core.JaxprEqn, int]]:
    """All equations, those inside of others too, each with how many times scans around it repeat it."""
    for equation in jaxpr.eqns:
        yield equation, times
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program):
            if _is_program(inner):
                body = inner.jaxpr if isinstance(inner, core.ClosedJaxpr) else inner
                yield from repeated(body, times * equation.params.get("length", 1))


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


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


def multiplied(jaxpr: core.Jaxpr) -> int:
    """Multiplications in matrix products, all repetitions counted."""
    count = 0
    for equation, times in repeated(jaxpr):
        if equation.primitive.name == "dot_general":
            contracted = equation.params["dimension_numbers"][0][0]
            left, result = (_shape(variable) for variable in (equation.invars[0], equation.outvars[0]))
            count += times * math.prod(left[axis] for axis in contracted) * math.prod(result)
    return count


def apply(*widths: int) -> int:
    """Multiplications of a network with layers of these widths, per row."""
    return sum(a * b for a, b in pairwise(widths))


def learn(*widths: int) -> int:
    """As `apply`, with the gradients of all weights: of every layer but the first, that of its inputs, too."""
    return 3 * apply(*widths) - widths[0] * widths[1]


def ppo_multiplies(config: Any) -> int:
    """It acts; values of observations and successors; then epochs."""
    actor, critic = (4, *config.widths, 2), (4, *config.widths, 1)
    passes = apply(*actor) + 2 * apply(*critic) + config.epochs * (learn(*actor) + learn(*critic))
    return config.num_envs * config.rollout_length * passes


def dqn_multiplies(config: Any) -> int:
    """It acts; one update on a batch with the values of the target network."""
    network = (4, *config.widths, 2)
    return config.num_envs * apply(*network) + config.batch_size * (apply(*network) + learn(*network))


def pqn_multiplies(config: Any) -> int:
    """It acts; values of successors; then epochs."""
    network = (4, *config.widths, 2)
    return config.num_envs * config.rollout_length * (2 * apply(*network) + config.epochs * learn(*network))


def sac_multiplies(config: Any) -> int:
    """It acts; targets of the next action; both critics learn; the actor climbs through both of them."""
    actor, critic = (3, *config.widths, 2), (4, *config.critic_widths, 1)
    critics = 2 * (apply(*critic) + learn(*critic) + 2 * apply(*critic))
    update = config.batch_size * (apply(*actor) + learn(*actor) + critics)
    return config.steps_per_iteration * (apply(*actor) + update)


def td3_multiplies(config: Any) -> int:
    """As SAC, but the actor climbs at every second update, and through one critic."""
    actor, critic = (3, *config.widths, 1), (4, *config.critic_widths, 1)
    update = config.batch_size * (apply(*actor) + 2 * (apply(*critic) + learn(*critic)))
    climb = config.batch_size * (learn(*actor) + 2 * apply(*critic))
    return config.steps_per_iteration * (apply(*actor) + update) + climb


MULTIPLIES: dict[str, Callable[[Any], int]] = {
    "ppo": ppo_multiplies,
    "dqn": dqn_multiplies,
    "pqn": pqn_multiplies,
    "sac": sac_multiplies,
    "td3": td3_multiplies,
}


@pytest.mark.parametrize("name", MULTIPLIES)
def test_matrices_are_multiplied_as_often_as_the_pseudo_code_says(name):
    one = default(name)
    state = jax.eval_shape(partial(start, one), jax.random.key(0)).state
    assert multiplied(jax.make_jaxpr(one.step)(state, NOW).jaxpr) == MULTIPLIES[name](one.config)


@pytest.mark.parametrize("name", TEMPORARIES)
def test_the_memory_that_an_iteration_needs_does_not_creep_up(name):
    one = default(name)
    many = jax.jit(jax.vmap(one.step, in_axes=(0, None)), donate_argnums=0)
    memory = many.lower(states(one, 8), NOW).compile().memory_analysis()
    assert memory is not None
    needed = memory.temp_size_in_bytes
    assert 0.8 * TEMPORARIES[name] <= needed <= 1.1 * TEMPORARIES[name], f"{needed:,} bytes: if that is right, note it"


def test_repetitions_are_counted():
    """The count itself: a product in a scan inside of a scan."""

    def product(x, _):
        return x @ jnp.ones((3, 3)), None

    def several(x, _):
        return jax.lax.scan(product, x, length=5)

    jaxpr = jax.make_jaxpr(lambda x: jax.lax.scan(several, x, length=7))(jnp.ones((2, 3))).jaxpr
    assert multiplied(jaxpr) == 7 * 5 * 2 * 3 * 3


def test_a_select_over_a_replay_is_found():
    """The check itself: what a counter of one's own, batched under vmap, does to a buffer."""

    def step(buffer, count):
        return jax.lax.cond(count > 2, lambda x: x.at[0].set(1.0), lambda x: x, buffer)

    jaxpr = jax.make_jaxpr(jax.vmap(step))(jnp.zeros((3, 1000)), jnp.arange(3)).jaxpr
    assert "select_n" in {equation.primitive.name for equation in operations(jaxpr)}
