"""Datasets: true successors, true ends, the policy that was asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import Policy, make
from purerl.data import collect
from purerl.data.transitions import check_transitions
from tests.toy_learner import corridor


def test_successors_are_true_and_only_ends_are_terminated():
    for probe, ends in (("probe/successor", False), ("probe/constant", True)):
        data = jax.jit(lambda key, name=probe: collect(make(name), None, key, 40))(jax.random.key(0))
        assert data.size == 40
        assert data.terminated.tolist() == [ends] * 40
        assert data.truncated.tolist() == [not ends] * 40
        if probe == "probe/successor":
            np.testing.assert_array_equal(data.successor, -data.observation)
            np.testing.assert_array_equal(data.reward, data.observation[:, 0])


def test_an_episode_goes_on_where_it_was_and_random_actions_are_uniform():
    data = collect(corridor(), None, jax.random.key(1), 600, num_envs=3)
    by_time = jax.tree.map(lambda x: np.asarray(x).reshape(200, 3, *x.shape[1:]), data)
    goes_on = ~(by_time.terminated | by_time.truncated)[:-1]
    np.testing.assert_array_equal(by_time.observation[1:][goes_on], by_time.successor[:-1][goes_on])
    np.testing.assert_array_equal(data.successor - data.observation, 2.0 * data.action[:, None] - 1)
    assert 250 < int(data.action.sum()) < 350
    assert not np.any(by_time.terminated & by_time.truncated)


def test_a_policy_acts_and_its_memory_begins_anew_with_every_episode():
    def act(key, memory, observation):
        return memory + 1, jnp.int32(memory >= 3)  # three times to the left, then to the right

    counting = Policy(init=lambda key: jnp.int32(0), act=act)
    data = collect(corridor(length=2, limit=5), counting, jax.random.key(0), 60, num_envs=1)
    expected, since = [], 0
    for terminated, truncated in zip(data.terminated, data.truncated, strict=True):
        expected.append(int(since >= 3))
        since = 0 if terminated or truncated else since + 1
    assert data.action.tolist() == expected


def test_datasets_vmap_over_keys():
    keys = jax.random.split(jax.random.key(0), 3)
    many = jax.vmap(lambda key: collect(corridor(), None, key, 20))(keys)
    alone = collect(corridor(), None, keys[1], 20)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b), many, alone)


@pytest.mark.parametrize(("num", "num_envs"), [(0, None), (10, 3), (10, 0)])
def test_a_number_that_does_not_divide_is_refused(num, num_envs):
    with pytest.raises(ValueError, match=f"num.*{num}"):
        collect(corridor(), None, jax.random.key(0), num, num_envs)


def test_a_dataset_is_checked_inside_of_programs_that_close_over_it_or_take_it():
    environment = make("Catch-bsuite")
    data = collect(environment, None, jax.random.key(0), 10)

    def size(dataset):
        check_transitions("learner", environment, dataset)
        return jnp.int32(dataset.size)

    assert jax.jit(lambda: size(data))() == jax.jit(size)(data) == 10
    wrong = data._replace(action=data.action + 9)
    with pytest.raises(ValueError, match=r"learner: actions of the dataset lie in \[\d+, \d+\]"):
        jax.jit(lambda: size(wrong))()
