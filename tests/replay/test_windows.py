"""Windows of steps never cross the head of the ring, and follow one environment: against a Python deque."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from purerl.replay import uniform_replay

ENVS, STEPS, BLOCKS = 3, 2, 4
BLOCK = ENVS * STEPS


def replay_of(capacity=BLOCK * BLOCKS):
    example = {
        "time": jnp.zeros((), jnp.int32),
        "environment": jnp.zeros((), jnp.int32),
        "image": jnp.zeros((2,), bool),
    }
    return uniform_replay(capacity, BLOCK, example, num_envs=ENVS)


def block_of(number):
    time, environment = jnp.divmod(number * BLOCK + jnp.arange(BLOCK), ENVS)
    return {"time": time, "environment": environment, "image": (time[:, None] + jnp.arange(2)) % 2 == 0}


def filled(replay, written):
    state, kept = replay.init(), deque(maxlen=STEPS * BLOCKS)
    for number in range(written):
        state = jax.jit(replay.add)(state, block_of(number), jnp.int32(number))
        kept.extend(range(STEPS * number, STEPS * (number + 1)))
    return state, list(kept)


@pytest.mark.parametrize("written", [2, 3, 4, 5, 7, 8, 13])
@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_windows_are_consecutive_steps_of_one_environment(written, ahead):
    replay = replay_of()
    state, kept = filled(replay, written)
    slots = replay.slots(jax.random.key(written), jnp.int32(written), 500, ahead)
    assert slots.dtype == jnp.int32
    rows = replay.read(state, replay.after(slots[:, None], jnp.arange(ahead + 1)))
    assert rows["time"].shape == (500, ahead + 1)
    assert rows["image"].shape == (500, ahead + 1, 2)
    assert (np.diff(rows["time"], axis=1) == 1).all()
    assert (rows["environment"] == rows["environment"][:, :1]).all()
    assert set(rows["time"][:, 0].tolist()) == set(kept[: len(kept) - ahead])
    assert (rows["image"][..., 0] == (rows["time"] % 2 == 0)).all()


@pytest.mark.parametrize("written", [3, 9])
def test_beginnings_of_windows_are_uniform(written):
    replay = replay_of()
    slots = replay.slots(jax.random.key(0), jnp.int32(written), 20_000, 1)
    counts = np.bincount(slots, minlength=BLOCK * BLOCKS)
    assert (counts > 0).sum() == min(written, BLOCKS) * BLOCK - ENVS
    assert scipy.stats.chisquare(counts[counts > 0]).pvalue > 1e-3


def test_slots_without_a_window_are_those_of_sample():
    replay = replay_of()
    for written in (1, 3, 4, 6):
        key = jax.random.key(written)
        size = min(written, BLOCKS) * BLOCK
        slots = replay.slots(key, jnp.int32(written), 40)
        np.testing.assert_array_equal(slots, jax.random.bits(key, (40,)) % np.uint32(size))
        state, _ = filled(replay, written)
        batch = replay.sample(state, key, jnp.int32(written), 40)
        np.testing.assert_array_equal(batch["time"], replay.read(state, slots)["time"])


def test_after_goes_round_the_ring_both_ways():
    replay = replay_of()
    assert replay.after(jnp.array([0, 22]), jnp.array([[1], [-1]])).tolist() == [[3, 1], [21, 19]]
    assert replay.after(jnp.int32(5), 8) == 5


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="whole steps of all 4 environments"):
        uniform_replay(12, 6, {"x": jnp.zeros(())}, num_envs=4)
    with pytest.raises(ValueError, match="no window of 1 \\+ 8 steps"):
        replay_of().slots(jax.random.key(0), jnp.int32(4), 10, STEPS * BLOCKS)
