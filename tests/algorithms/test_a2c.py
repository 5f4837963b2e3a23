"""What is particular to A2C: its workers, whose gradients may be old, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import Time, make
from purerl.algorithms.policy_gradient import a2c

SMALL = {"num_envs": 2, "rollout_length": 4, "widths": (8,)}


def after(fields, iterations, module=a2c):
    """The states before the first iteration and after each."""
    algorithm = module.make(make("CartPole-v1"), module.Config(**SMALL | fields))
    states, step = [jax.jit(algorithm.init)(jax.random.key(0))], jax.jit(algorithm.step)
    for i in range(iterations):
        states.append(step(states[-1], Time(jnp.int32(i), jnp.float32(0.0)))[0])
    return step, states


def difference(a, b):
    return jax.tree.map(lambda x, y: np.asarray(x - y), a.params, b.params)


def check_stale_gradients(module) -> None:
    """The second update of a worker one update behind is the first parameters' again, added to the new ones."""
    synchronous, states = after({"max_staleness": 1, "staleness": 0.0}, 1, module)
    _, stale = after({"max_staleness": 1, "staleness": 1.0}, 2, module)
    for one, other in zip(jax.tree.leaves(states[1].params), jax.tree.leaves(stale[1].params), strict=True):
        np.testing.assert_array_equal(one, other)
    as_if_new = states[1].replace(params=states[0].params)
    updated, _ = synchronous(as_if_new, Time(jnp.int32(1), jnp.float32(0.0)))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6),
        difference(updated, as_if_new),
        difference(stale[2], stale[1]),
    )


def test_a_stale_gradient_is_that_of_the_old_parameters_added_to_the_new_ones():
    check_stale_gradients(a2c)  # asserts


def test_workers_take_turns():
    """Two workers make two updates of an iteration: the older parameters are those after the first."""
    _, (before, one) = after({"workers": 2, "max_staleness": 2}, 1)
    newest, oldest = (jax.tree.map(lambda x, i=i: x[i], one.old_params) for i in (0, 1))
    for first, second, third in zip(*map(jax.tree.leaves, (oldest, newest, before.params)), strict=True):
        np.testing.assert_array_equal(first, third)
        assert not np.array_equal(first, second)


@pytest.mark.parametrize(("staleness", "expected"), [(0.0, {0}), (1.25, {1, 2}), (3.0, {3}), (9.5, {3})])
def test_a_staleness_between_integers_is_met_on_average(staleness, expected):
    drawn = a2c.ages(jax.random.key(0), 4000, staleness, max_staleness=3)
    assert set(np.unique(drawn).tolist()) == expected
    assert abs(float(drawn.mean()) - min(staleness, 3.0)) < 0.03


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workers": 3}, r"workers \(3\) must divide num_envs \(2\)"),
        ({"staleness": 2.0, "max_staleness": 1}, r"staleness \(2.0\) must not exceed max_staleness \(1\)"),
        ({"workers": 2, "normalize_observations": True}, "normalize_observations needs workers=1"),
        ({"workers": 2, "scale_rewards": True}, "scale_rewards needs workers=1"),
        ({"num_envs": 1, "rollout_length": 1, "standardize_advantage": True}, "one advantage at a time"),
        ({"optimizer": "sgd"}, "optimizer must be one of 'rmsprop', 'adam', got 'sgd'"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        a2c.make(make("CartPole-v1"), a2c.Config(**SMALL | fields))
