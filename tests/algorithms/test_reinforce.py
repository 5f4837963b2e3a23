"""What is particular to REINFORCE: whole episodes and nothing behind them, baselines, corrections."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import Time, make
from purerl.algorithms.policy_gradient import reinforce
from purerl.environments import time_limit
from tests.learning import probes

SMALL = {"num_envs": 6, "value_updates": 2, "widths": (8,)}
START = Time(jnp.int32(0), jnp.float32(0))


def first_step(environment, module=reinforce, **fields):
    algorithm = module.make(environment, module.Config(**SMALL | fields))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    return jax.jit(algorithm.step)(state, START)


def assert_close(a, b, tolerance=1e-6):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, atol=tolerance)


def check_padding(module) -> None:
    """Episodes of 5 steps, with and without 15 more steps behind them, teach the same."""
    environment = time_limit(make("CartPole-v1"), 5)._replace(max_steps=20)  # which it does not make use of
    short, short_metrics = first_step(environment, module, episode_length=5)
    long, long_metrics = first_step(environment, module, episode_length=20)
    assert_close(short.params, long.params)
    for metrics in (short_metrics, long_metrics):
        assert metrics["episode_return_sum"] == metrics["episode_length_sum"] == 5 * metrics["episodes"] == 30


def test_what_is_played_after_an_episode_is_not_learned_from():
    check_padding(reinforce)  # asserts


@pytest.mark.parametrize("correction", ["trajectory", "per_decision", "first_order"])
def test_corrections_do_nothing_on_policy_and_something_off_policy(correction):
    fields = {"episode_length": 10, "learning_rate": 0.05, "baseline": "none"}
    environment = make("CartPole-v1")
    plain, _ = first_step(environment, **fields)
    assert_close(plain.params, first_step(environment, **fields, correction=correction)[0].params, 1e-5)
    plain, _ = first_step(environment, **fields, updates=4)
    corrected, _ = first_step(environment, **fields, updates=4, correction=correction)
    with pytest.raises(AssertionError):
        assert_close(plain.params, corrected.params, 1e-5)


def test_the_optimal_baseline_of_each_parameter_is_subtracted_from_each():
    """With an equal return of all episodes the optimal baseline is that return: no gradient is left."""
    environment = time_limit(make("CartPole-v1"), 5)
    fields = {"baseline": "optimal_per_parameter", "standardize": False, "weight": "total_return"}
    algorithm = reinforce.make(environment, reinforce.Config(**SMALL | fields, learning_rate=1e-2, adam_epsilon=1.0))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    after, _ = jax.jit(algorithm.step)(state, START)
    assert_close(state.params, after.params, 1e-6)
    moved, _ = first_step(environment, baseline="none", standardize=False, learning_rate=1e-2, adam_epsilon=1.0)
    with pytest.raises(AssertionError):
        assert_close(state.params, moved.params, 1e-6)


@pytest.mark.parametrize(
    "fields",
    [
        {"baseline": "none", "weight": "total_return"},
        {"baseline": "average"},
        {"baseline": "optimal", "weight": "total_return"},
        {"baseline": "optimal_per_parameter", "weight": "total_return", "standardize": False},
    ],
    ids=lambda fields: fields["baseline"],
)
def test_every_baseline_learns(fields):
    probes.check_return(reinforce, "reinforce", "probe/observation_action", 1.0, **fields)  # asserts


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight": "total_return", "correction": "per_decision"}, "ratios per decision weigh what is earned"),
        ({"weight": "total_return", "discount_states": True}, "exact without discount_states"),
        ({"baseline": "optimal"}, "least variance for weight='total_return'"),
        (
            {"baseline": "optimal_per_parameter", "weight": "total_return"},
            "set standardize=False and correction='none'",
        ),
        ({"baseline": "constant"}, "a constant baseline does nothing"),
        ({"episode_length": 501}, r"episode_length \(501\) must not exceed the 500 steps"),
        ({"baseline": "average", "num_envs": 1}, "num_envs must be > 1"),
        ({"baseline": "best"}, "baseline must be one of"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        reinforce.make(make("CartPole-v1"), reinforce.Config(**SMALL | fields))
