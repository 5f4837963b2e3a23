"""The replay against a Python deque, under jit and vmap; its cost does not grow with its capacity."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from purerl.replay import uniform_replay


def block_of(number, block):
    start = number * block + jnp.arange(block)
    return {"index": start, "image": jnp.broadcast_to((start % 2 == 0)[:, None, None], (block, 2, 3))}


def example():
    return {"index": jnp.zeros((), jnp.int32), "image": jnp.zeros((2, 3), bool)}


def test_keeps_the_newest_transitions_in_native_types():
    replay = uniform_replay(capacity=12, block=3, example=example())
    state, kept = replay.init(), deque(maxlen=12)
    for written in range(9):
        state = jax.jit(replay.add)(state, block_of(written, 3), jnp.int32(written))
        kept.extend(range(3 * written, 3 * written + 3))
        batch = replay.sample(state, jax.random.key(written), jnp.int32(written + 1), 400)
        assert set(batch["index"].tolist()) == set(kept)
        assert (batch["image"][:, 0, 0] == (batch["index"] % 2 == 0)).all()
    assert {name: rows.shape for name, rows in state.items()} == {"uint32": (12, 1), "uint8": (12, 6)}


def test_every_type_comes_back_bit_for_bit():
    rng = np.random.default_rng(0)
    block = {
        "float": jnp.asarray(rng.normal(size=(6, 3)), jnp.float32).at[0, 0].set(jnp.nan).at[1, 1].set(-0.0),
        "half": jnp.asarray(rng.normal(size=(6, 2)), jnp.bfloat16),
        "flag": jnp.asarray(rng.random(6) < 0.5),
        "flags": jnp.asarray(rng.random((6, 2, 2)) < 0.5),
        "byte": jnp.asarray(rng.integers(0, 256, (6, 5)), jnp.uint8),
        "small": jnp.asarray(rng.integers(-128, 128, 6), jnp.int8),
        "number": jnp.asarray(rng.integers(-(2**31), 2**31, (6, 2)), jnp.int32),
    }
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), block)
    replay = uniform_replay(capacity=12, block=6, example=one)
    back = replay.read(replay.add(replay.init(), block, jnp.int32(1)), jnp.arange(6, 12))
    for name, expected in block.items():
        assert back[name].dtype == expected.dtype
        np.testing.assert_array_equal(back[name], expected)
    assert np.signbit(back["float"][1, 1])


def test_sampling_is_uniform():
    replay = uniform_replay(capacity=20, block=5, example=example())
    state = replay.init()
    for written in range(6):
        state = replay.add(state, block_of(written, 5), jnp.int32(written))
    batch = replay.sample(state, jax.random.key(0), jnp.int32(6), 20_000)
    counts = np.bincount(batch["index"] - 10, minlength=20)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_vmapped_agents_share_the_place_of_writing():
    replay = uniform_replay(capacity=8, block=2, example=example())
    states = jax.vmap(lambda _: replay.init())(jnp.arange(3))
    add = jax.vmap(lambda state, number, written: replay.add(state, block_of(number, 2), written), (0, 0, None))
    operations = str(jax.make_jaxpr(add)(states, jnp.arange(3), jnp.int32(1)))
    assert "dynamic_update_slice" in operations
    assert "scatter" not in operations
    stored = jax.vmap(replay.read, (0, None))(add(states, jnp.arange(3), jnp.int32(1)), jnp.arange(2, 4))
    assert stored["index"].tolist() == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match="clock must not be batched"):
        jax.vmap(lambda state, written: replay.add(state, block_of(0, 2), written))(states, jnp.arange(3))


def test_cost_does_not_depend_on_the_capacity():
    def temporary_bytes(capacity):
        replay = uniform_replay(capacity, 10, example())
        state = jax.eval_shape(replay.init)

        def use(state, key, written):
            state = replay.add(state, block_of(0, 10), written)
            return state, replay.sample(state, key, written, 32)

        compiled = jax.jit(use, donate_argnums=0).lower(state, jax.random.key(0), jnp.int32(3)).compile()
        analysis = compiled.memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    assert temporary_bytes(1_000_000) == temporary_bytes(1_000)


@pytest.mark.parametrize(("capacity", "block"), [(10, 3), (0, 1), (4, 8)])
def test_a_capacity_that_is_no_multiple_of_the_block_is_refused(capacity, block):
    with pytest.raises(ValueError, match=r"multiple of the block.*try \d+"):
        uniform_replay(capacity, block, example())
