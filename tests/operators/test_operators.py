"""The operators against their oracles, known special cases, and shapes that must be refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.operators import policy_gradient, returns, temporal_difference
from tests.operators import checks, oracles

CHECKS = [
    (checks.generalized_advantage, returns),
    (checks.running_discounted_return, returns),
    (checks.q_learning_target, temporal_difference),
    (checks.losses, temporal_difference),
    (checks.clipped_surrogate, policy_gradient),
    (checks.clipped_value_loss, policy_gradient),
    (checks.approximate_kl, policy_gradient),
    (checks.standardize, policy_gradient),
    (checks.adaptive_coefficient, policy_gradient),
    (checks.dual_ascent, policy_gradient),
]


@pytest.mark.parametrize(("check", "module"), CHECKS, ids=lambda x: getattr(x, "__name__", ""))
def test_operator_equals_its_oracle(check, module):
    check(module)  # asserts


def test_advantage_without_trace_is_the_td_error():
    one = oracles.trajectory(np.random.default_rng(0), 20)
    ours = returns.generalized_advantage(**one, discount=0.9, trace_decay=0.0)
    expected = one["reward"] + 0.9 * np.where(one["terminated"], 0, one["successor_value"]) - one["value"]
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_advantage_with_full_trace_is_the_return_minus_the_value():
    rng = np.random.default_rng(0)
    reward, value = rng.normal(size=(2, 10)).astype(np.float32)
    terminated = np.zeros(10, bool)
    terminated[-1] = True
    successor = np.append(value[1:], 0).astype(np.float32)
    ours = returns.generalized_advantage(reward, value, successor, terminated, np.zeros(10, bool), 0.9, 1.0)
    discounted = [sum(0.9**k * r for k, r in enumerate(reward[t:])) for t in range(10)]
    np.testing.assert_allclose(ours, discounted - value, rtol=1e-5, atol=1e-5)


def test_gradient_of_the_surrogate_at_the_old_policy_is_the_policy_gradient():
    log_probability, advantage = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)
    gradient = jax.grad(policy_gradient.clipped_surrogate)(log_probability, log_probability, advantage, 0.2)
    np.testing.assert_allclose(gradient, advantage / 16, rtol=1e-5)


def test_clipping_stops_the_gradient_only_where_it_would_go_further():
    advantage = jnp.array([1.0, -1.0, 1.0, -1.0])
    log_ratio = jnp.array([0.5, 0.5, -0.5, -0.5])
    gradient = jax.grad(policy_gradient.clipped_surrogate)(log_ratio, jnp.zeros(4), advantage, 0.2)
    assert (gradient == 0).tolist() == [True, False, False, True]


def test_a_column_against_a_row_is_refused():
    with pytest.raises(AssertionError):
        policy_gradient.value_loss(jnp.zeros((4, 1)), jnp.zeros(4))
    with pytest.raises(AssertionError):
        temporal_difference.q_learning_target(jnp.zeros(3), jnp.zeros(3, bool), jnp.zeros((3, 2)), 0.9)
    one = oracles.trajectory(np.random.default_rng(0), 5)
    with pytest.raises(AssertionError):
        returns.generalized_advantage(**one | {"value": one["value"][:, None]}, discount=0.9, trace_decay=0.9)
    with pytest.raises(AssertionError):
        returns.generalized_advantage(
            **one | {"terminated": one["terminated"].astype(np.float32)}, discount=0.9, trace_decay=0.9
        )
