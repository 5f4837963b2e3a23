"""`at_action` against NumPy's indexing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.operators.selection import at_action


@pytest.mark.parametrize(
    ("shape", "axis"), [((4,), -1), ((5, 4), -1), ((2, 5, 4), -1), ((5, 4, 3), -2), ((5, 4, 3, 2), -3)]
)
def test_it_is_what_indexing_gives(shape, axis):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    action = rng.integers(shape[axis], size=shape[:axis])
    expected = np.empty(shape[:axis] + shape[len(shape) + axis + 1 :], np.float32)
    for i in np.ndindex(*action.shape):
        expected[i] = x[(*i, action[i])]
    np.testing.assert_array_equal(at_action(jnp.asarray(x), jnp.asarray(action), axis), expected)


def test_members_share_the_actions():
    x = jnp.arange(12.0).reshape(2, 3, 2)
    np.testing.assert_array_equal(at_action(x, jnp.array([0, 1, 0])), [[0.0, 3.0, 4.0], [6.0, 9.0, 10.0]])


def test_other_actions_may_be_infinite():
    x = jnp.array([-jnp.inf, 2.0])
    value, gradient = jax.value_and_grad(at_action)(x, jnp.int32(1))
    assert value == 2.0
    np.testing.assert_array_equal(gradient, [0.0, 1.0])
