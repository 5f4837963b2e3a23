"""n-step returns, Retrace and V-trace against slow oracles written from their equations, and known special cases."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.operators import returns

TOLERANCE = {"rtol": 2e-5, "atol": 2e-5}


def n_step_oracle(reward, terminated, truncated, discount):
    total, weight, steps = 0.0, 1.0, 0
    for r, end, cut in zip(reward, terminated, truncated, strict=True):
        total += weight * r
        weight *= discount
        steps += 1
        if end:
            return total, 0.0, steps
        if cut:
            return total, weight, steps
    return total, weight, steps


def retrace_oracle(reward, value, successor_value, ratio, terminated, truncated, discount, trace_decay):
    length = len(reward)
    targets = np.array(value, float)
    for t in range(length):
        weight = 1.0
        for k in range(t, length):
            if k > t:
                weight *= discount * trace_decay * min(1.0, ratio[k])
            bootstrap = 0.0 if terminated[k] else discount * successor_value[k]
            targets[t] += weight * (reward[k] + bootstrap - value[k])
            if terminated[k] or truncated[k]:
                break
    return targets


def v_trace_oracle(
    reward, value, successor_value, ratio, terminated, truncated, discount, trace_decay, rho_bar, c_bar, advantage_bar
):
    """Targets as sums over the rest of the episode, advantages from the target of the next step."""
    length = len(reward)
    targets, advantages = np.array(value, float), np.zeros(length)
    for t in range(length):
        weight = 1.0
        for k in range(t, length):
            bootstrap = 0.0 if terminated[k] else discount * successor_value[k]
            targets[t] += weight * min(rho_bar, ratio[k]) * (reward[k] + bootstrap - value[k])
            if terminated[k] or truncated[k]:
                break
            weight *= discount * trace_decay * min(c_bar, ratio[k])
    for t in range(length):
        if terminated[t]:
            following = 0.0
        elif truncated[t] or t + 1 == length:
            following = successor_value[t]
        else:
            following = successor_value[t] + trace_decay * (targets[t + 1] - value[t + 1])
        advantages[t] = min(advantage_bar, ratio[t]) * (reward[t] + discount * following - value[t])
    return targets, advantages


def recurrence_oracle(addend, factor):
    """Every x as the sum of all later terms."""
    return [sum(np.prod(factor[t:k]) * addend[k] for k in range(t, len(addend))) for t in range(len(addend))]


def window(rng, length, ends=0.2):
    reward, value, successor_value = rng.normal(size=(3, length)).astype(np.float32)
    terminated = rng.random(length) < ends
    truncated = (rng.random(length) < ends) & ~terminated
    ratio = rng.exponential(size=length).astype(np.float32)
    return reward, value, successor_value, ratio, terminated, truncated


def check_n_step_return(returns: ModuleType) -> None:
    batched = jax.jit(jax.vmap(returns.n_step_return, (0, 0, 0, None)))
    for seed in range(30):
        rng = np.random.default_rng(seed)
        length, discount = (1, 2, 5)[seed % 3], rng.uniform(0.5, 1.0)
        windows = [window(rng, length) for _ in range(8)]
        stacked = [np.stack([one[i] for one in windows]) for i in (0, 4, 5)]
        ours = batched(*stacked, discount)
        for b, one in enumerate(windows):
            total, weight, steps = n_step_oracle(one[0], one[4], one[5], discount)
            np.testing.assert_allclose(ours.reward[b], total, **TOLERANCE)
            np.testing.assert_allclose(ours.discount[b], weight, **TOLERANCE)
            assert ours.steps[b] == steps
            assert ours.steps.dtype == jnp.int32


def check_retrace(returns: ModuleType) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        discount, trace_decay = rng.uniform(0.5, 1.0), rng.uniform(0.0, 1.0)
        batch = [window(rng, 9) for _ in range(3)]
        stacked = [np.stack(column, axis=1) for column in zip(*batch, strict=True)]
        ours = returns.retrace(*stacked, discount, trace_decay)
        for b, one in enumerate(batch):
            np.testing.assert_allclose(ours[:, b], retrace_oracle(*one, discount, trace_decay), **TOLERANCE)


def check_v_trace(returns: ModuleType) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        discount, trace_decay = rng.uniform(0.5, 1.0), rng.uniform(0.0, 1.0)
        clips = rng.uniform(0.5, 2.0, size=3) if seed else [np.inf] * 3
        batch = [window(rng, 9) for _ in range(3)]
        stacked = [np.stack(column, axis=1) for column in zip(*batch, strict=True)]
        ours = returns.v_trace(*stacked, discount, trace_decay, *clips)
        for b, one in enumerate(batch):
            target, advantage = v_trace_oracle(*one, discount, trace_decay, *clips)
            np.testing.assert_allclose(ours.target[:, b], target, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(ours.advantage[:, b], advantage, rtol=1e-4, atol=1e-4)


def check_backward_recurrence(returns: ModuleType) -> None:
    for length in (1, 2, 9):
        rng = np.random.default_rng(length)
        addend, factor = rng.normal(size=(2, length, 2)).astype(np.float32)
        factor[rng.random(factor.shape) < 0.2] = 0.0
        expected = np.stack([recurrence_oracle(addend[:, b], factor[:, b]) for b in range(2)], axis=1)
        for parallel in (False, True):
            ours = returns.backward_recurrence(jnp.asarray(addend), jnp.asarray(factor), parallel)
            np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("check", [check_n_step_return, check_retrace, check_v_trace, check_backward_recurrence])
def test_operator_equals_its_oracle(check):
    check(returns)


@pytest.mark.parametrize("discount", [0.99, 0.9, 1.0])
def test_one_step_is_exact(discount):
    for reward in np.random.default_rng(0).normal(size=20).astype(np.float32):
        for end in (False, True):
            ours = returns.n_step_return(
                jnp.array([reward]), jnp.array([end]), jnp.array([False]), jnp.float32(discount)
            )
            assert ours.reward == reward
            assert ours.discount == jnp.float32(discount) * (1 - end)
            assert ours.steps == 1


def test_many_steps_are_the_monte_carlo_return():
    reward = np.random.default_rng(0).normal(size=50).astype(np.float32)
    terminated = np.arange(50) == 30
    ours = returns.n_step_return(jnp.asarray(reward), jnp.asarray(terminated), jnp.zeros(50, bool), 0.95)
    expected = sum(0.95**k * reward[k] for k in range(31))
    np.testing.assert_allclose(ours.reward, expected, **TOLERANCE)
    assert ours.discount == 0
    assert ours.steps == 31


def test_rewards_after_the_end_are_not_even_multiplied():
    reward = jnp.array([1.0, jnp.nan, jnp.inf])
    ours = returns.n_step_return(reward, jnp.array([True, False, False]), jnp.zeros(3, bool), 0.9)
    assert ours.reward == 1


def test_retrace_on_policy_without_decay_is_the_n_step_return():
    """A deterministic policy followed by itself: E_pi Q(s', .) is Q(s', a') of the next row."""
    rng = np.random.default_rng(1)
    reward, value = rng.normal(size=(2, 6)).astype(np.float32)
    successor = np.append(value[1:], np.float32(0.7))
    no = np.zeros(6, bool)
    ours = returns.retrace(reward, value, successor, np.ones(6, np.float32), no, no, 0.9, 1.0)
    for t in range(6):
        part = returns.n_step_return(jnp.asarray(reward[t:]), jnp.zeros(6 - t, bool), jnp.zeros(6 - t, bool), 0.9)
        np.testing.assert_allclose(ours[t], part.reward + part.discount * successor[-1], **TOLERANCE)


@pytest.mark.parametrize("operator", [returns.generalized_advantage, returns.retrace, returns.v_trace])
def test_the_parallel_form_is_the_same_but_for_rounding(operator):
    rng = np.random.default_rng(4)
    stacked = [
        jnp.asarray(np.stack(column, axis=1)) for column in zip(*[window(rng, 100) for _ in range(3)], strict=True)
    ]
    if operator is returns.generalized_advantage:
        del stacked[3]  # the ratio
    both = [operator(*stacked, 0.99, 0.9, parallel=parallel) for parallel in (False, True)]
    for sequential, parallel in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(sequential, parallel, rtol=1e-4, atol=1e-4)


def test_v_trace_on_policy_is_generalized_advantage_estimation():
    """With lambda its targets are lambda-returns; its advantages, with a ratio of 1, are GAE too."""
    one = [jnp.asarray(x) for x in window(np.random.default_rng(5), 40, ends=0.05)]
    one[3] = jnp.ones(40)
    ours = returns.v_trace(*one, 0.9, 0.7)
    expected = returns.generalized_advantage(*one[:3], *one[4:], 0.9, 0.7)
    np.testing.assert_allclose(ours.target - one[1], expected, **TOLERANCE)
    np.testing.assert_allclose(ours.advantage, expected, **TOLERANCE)


def test_v_trace_of_a_policy_that_never_does_this_keeps_the_value():
    one = [jnp.asarray(x) for x in window(np.random.default_rng(6), 10)]
    one[3] = jnp.zeros(10)
    ours = returns.v_trace(*one, 0.9)
    np.testing.assert_array_equal(ours.target, one[1])
    np.testing.assert_array_equal(ours.advantage, 0.0)


def test_v_trace_does_not_read_the_value_after_an_end():
    end = jnp.array([False, True, False])
    value = jnp.array([1.0, 2.0, 3.0])
    ours = returns.v_trace(value, value, jnp.array([2.0, jnp.nan, 1.0]), jnp.ones(3), end, jnp.zeros(3, bool), 0.9)
    assert np.all(np.isfinite(ours.target))
    assert np.all(np.isfinite(ours.advantage))


def test_shapes_and_types_that_do_not_fit_are_refused():
    with pytest.raises(AssertionError):
        returns.n_step_return(jnp.zeros((2, 3)), jnp.zeros((2, 3), bool), jnp.zeros((2, 3), bool), 0.9)
    with pytest.raises(AssertionError):
        returns.n_step_return(jnp.zeros(3), jnp.zeros(3), jnp.zeros(3, bool), 0.9)
    with pytest.raises(AssertionError):
        returns.retrace(*[jnp.zeros(3)] * 4, jnp.zeros((3, 1), bool), jnp.zeros(3, bool), 0.9, 1.0)
    with pytest.raises(AssertionError):
        returns.v_trace(*[jnp.zeros(3)] * 4, jnp.zeros(3), jnp.zeros(3, bool), 0.9)
