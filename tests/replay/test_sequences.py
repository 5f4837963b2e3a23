"""The replay of sequences against lists of everything that happened, under jit and vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from purerl.replay.sequences import sequence_replay

PERIOD, NUM_ENVS, LENGTH, BLOCKS = 3, 2, 7, 5
CAPACITY = BLOCKS * PERIOD * NUM_ENVS


def replay_of(length: int = LENGTH):
    step = {"time": jnp.zeros((), jnp.int32), "environment": jnp.zeros((), jnp.int32), "seen": jnp.zeros(2, bool)}
    return sequence_replay(CAPACITY, PERIOD, NUM_ENVS, length, step, memory=(jnp.zeros(4), jnp.zeros(1)))


def block_of(number):
    """Block `number`: its steps know when and where they were, and so does its memory."""
    time = number * PERIOD + jnp.arange(PERIOD)
    environment = jnp.arange(NUM_ENVS)
    shape = (PERIOD, NUM_ENVS)
    steps = {
        "time": jnp.broadcast_to(time[:, None], shape),
        "environment": jnp.broadcast_to(environment, shape),
        "seen": jnp.broadcast_to((time % 2 == 0)[:, None, None], (*shape, 2)),
    }
    begin = jnp.broadcast_to(number * PERIOD, (NUM_ENVS, 1)).astype(jnp.float32)
    return steps, (jnp.broadcast_to(environment[:, None], (NUM_ENVS, 4)).astype(jnp.float32), begin)


def filled(replay, blocks):
    state = replay.init()
    for written in range(blocks):
        state = jax.jit(replay.add)(state, *block_of(jnp.int32(written)), jnp.int32(written))
    return state


@pytest.mark.parametrize("blocks", [3, 4, 5, 6, 9, 13])
def test_a_sequence_is_what_happened_after_its_memory(blocks):
    replay, rng = replay_of(), np.random.default_rng(blocks)
    state, written = filled(replay, blocks), jnp.int32(blocks)
    sequences = replay.draw(jax.random.key(int(rng.integers(1000))), written, 300)
    (environment, begin), steps = jax.jit(replay.read)(state, sequences)
    assert steps["seen"].shape == (LENGTH, 300, 2)
    np.testing.assert_array_equal(steps["time"], begin[:, 0].astype(int) + np.arange(LENGTH)[:, None])
    np.testing.assert_array_equal(steps["environment"], np.broadcast_to(environment[:, 0], (LENGTH, 300)))
    np.testing.assert_array_equal(steps["seen"], np.broadcast_to((steps["time"] % 2 == 0)[..., None], (LENGTH, 300, 2)))

    last = blocks * PERIOD - 1  # the newest step of all
    oldest = max(0, blocks - BLOCKS) * PERIOD
    complete = {(t, e) for t in range(oldest, last, PERIOD) for e in range(NUM_ENVS) if t + LENGTH - 1 <= last}
    assert set(zip(begin[:, 0].tolist(), environment[:, 0].tolist(), strict=True)) == complete
    assert int(replay.complete(written)) == len(complete)


def test_all_complete_sequences_are_equally_likely():
    replay = replay_of()
    drawn = replay.draw(jax.random.key(0), jnp.int32(8), 12_000)
    counts = np.bincount(drawn, minlength=replay.sequences)
    assert (counts > 0).sum() == int(replay.complete(jnp.int32(8))) == replay.sequences - replay.incomplete
    assert scipy.stats.chisquare(counts[counts > 0]).pvalue > 1e-3


@pytest.mark.parametrize(("length", "incomplete"), [(1, 0), (3, 0), (4, 1), (6, 1), (7, 2), (15, 4)])
def test_the_newest_sequences_lack_their_end(length, incomplete):
    replay = replay_of(length)
    assert (replay.sequences, replay.incomplete) == (BLOCKS * NUM_ENVS, incomplete * NUM_ENVS)
    assert int(replay.complete(jnp.int32(incomplete))) == 0
    assert int(replay.complete(jnp.int32(incomplete + 1))) == NUM_ENVS


def test_vmapped_agents_share_the_place_of_writing():
    replay = replay_of()
    states = jax.vmap(lambda _: replay.init())(jnp.arange(3))
    blocks = jax.vmap(block_of)(jnp.arange(3))
    add = jax.vmap(lambda state, block, written: replay.add(state, *block, written), (0, 0, None))
    operations = str(jax.make_jaxpr(add)(states, blocks, jnp.int32(1)))
    assert "dynamic_update_slice" in operations
    assert "scatter" not in operations
    (_, begin), steps = jax.vmap(replay.read, (0, None))(add(states, blocks, jnp.int32(1)), jnp.array([NUM_ENVS]))
    assert begin[:, 0, 0].tolist() == steps["time"][:, 0, 0].tolist() == [0, PERIOD, 2 * PERIOD]


@pytest.mark.parametrize(("length", "capacity", "message"), [(16, CAPACITY, "need 36 steps"), (3, 10, "try 12")])
def test_what_does_not_fit_is_refused(length, capacity, message):
    with pytest.raises(ValueError, match=message):
        sequence_replay(capacity, PERIOD, NUM_ENVS, length, jnp.zeros(()), jnp.zeros(1))
