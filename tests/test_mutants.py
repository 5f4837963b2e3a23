"""Mutation: a flipped mask or sign in an operator or a loss makes the test that guards it fail.

A mutant is the source of a module with one piece of text replaced, executed under the module's name. Each must survive
import and then fail its guard; the unchanged source must pass it.
"""

import inspect
from functools import partial
from types import ModuleType

import pytest

from purerl.algorithms.policy_gradient import ppo
from purerl.algorithms.value_based import dqn
from purerl.operators import policy_gradient, returns, temporal_difference
from tests.learning import probes
from tests.operators import checks

dqn_truncation = partial(probes.check_values, algorithm="dqn", probe="probe/truncation")
dqn_successor = partial(probes.check_values, algorithm="dqn", probe="probe/successor")
dqn_constant = partial(probes.check_values, algorithm="dqn", probe="probe/constant")
ppo_truncation = partial(probes.check_values, algorithm="ppo", probe="probe/truncation")
ppo_successor = partial(probes.check_values, algorithm="ppo", probe="probe/successor")
ppo_action = partial(probes.check_return, algorithm="ppo", probe="probe/action", expected=1.0)

MUTANTS = [
    (returns, "jnp.where(terminated, 0.0, successor_value)", "successor_value", checks.generalized_advantage),
    (returns, "jnp.where(terminated,", "jnp.where(terminated | truncated,", checks.generalized_advantage),
    (returns, "(1.0 - (terminated | truncated))", "(1.0 - terminated)", checks.generalized_advantage),
    (returns, "(1.0 - (terminated | truncated))", "(1.0 - truncated)", checks.generalized_advantage),
    (returns, "successor_value) - value", "successor_value) + value", checks.generalized_advantage),
    (returns, "discount * trace_decay *", "trace_decay *", checks.generalized_advantage),
    (returns, "jnp.where(done, 0.0, running), running", "running, running", checks.running_discounted_return),
    (returns, "discount * running + reward", "running + reward", checks.running_discounted_return),
    (temporal_difference, "jnp.where(terminated, 0.0, jnp.max(", "(jnp.max(", checks.q_learning_target),
    (temporal_difference, "jnp.max(successor", "jnp.min(successor", checks.q_learning_target),
    (temporal_difference, "(error - 0.5 * clipped)", "(error + 0.5 * clipped)", checks.losses),
    (policy_gradient, "jnp.minimum(ratio", "jnp.maximum(ratio", checks.clipped_surrogate),
    (
        policy_gradient,
        "log_probability - old_log_probability)",
        "old_log_probability - log_probability)",
        checks.clipped_surrogate,
    ),
    (policy_gradient, "jnp.maximum(jnp.square", "jnp.minimum(jnp.square", checks.clipped_value_loss),
    (policy_gradient, "jnp.expm1(log_ratio) - log_ratio", "jnp.expm1(log_ratio) + log_ratio", checks.approximate_kl),
    (policy_gradient, "jnp.std(advantage)", "jnp.var(advantage)", checks.standardize),
    (
        dqn,
        "timestep.terminated, successor=timestep.observation",
        "timestep.terminated | timestep.truncated, successor=timestep.observation",
        dqn_truncation,
    ),
    (
        dqn,
        "timestep.terminated, successor=timestep.observation",
        "timestep.terminated, successor=environments_state.observation",
        dqn_successor,
    ),
    (dqn, "chosen - target", "chosen + target", dqn_constant),
    (ppo, "successor=timestep.observation", "successor=environments_state.observation", ppo_successor),
    (ppo, "terminated=timestep.terminated", "terminated=timestep.terminated | timestep.truncated", ppo_truncation),
    (ppo, "total = -objective", "total = objective", ppo_action),
    (ppo, "advantage, advantage + value)", "advantage, advantage - value)", ppo_truncation),
]


def mutant(module: ModuleType, old: str, new: str) -> ModuleType:
    """The module with the first `old` in its source replaced by `new`; the installed module is untouched."""
    source = inspect.getsource(module)
    assert old in source, f"{module.__name__} no longer contains {old!r}: update the mutant"
    changed = ModuleType(module.__name__)
    changed.__file__ = module.__file__
    exec(compile(source.replace(old, new, 1), f"<mutant of {module.__name__}>", "exec"), changed.__dict__)
    return changed


@pytest.mark.parametrize(("module", "old", "new", "guard"), MUTANTS, ids=range(len(MUTANTS)))
def test_the_guard_catches_the_mutant(module, old, new, guard):
    with pytest.raises(AssertionError):
        guard(mutant(module, old, new))


@pytest.mark.parametrize("module", [returns, temporal_difference, policy_gradient, dqn, ppo], ids=lambda m: m.__name__)
def test_the_source_itself_passes_its_guards(module):
    unchanged = mutant(module, "import", "import")
    for guard in {guard for guarded, _, _, guard in MUTANTS if guarded is module}:
        guard(unchanged)
