"""Replay of transitions, written in blocks and sampled with replacement.

Every iteration of a learner writes one block of the same size at a place that the clock alone decides, so all vmapped
agents write to the same place with one `dynamic_update_slice`, the write never wraps, and the state is nothing but the
stored arrays: neither position nor size are part of it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from purerl.types import Array, Key

ReplayState = Any  # the tree of one transition, every leaf with a leading axis [capacity]
Transitions = Any  # any tree of arrays, [block, ...] or [batch, ...]


class Replay(NamedTuple):
    """Functions of one replay; `written` counts blocks from the beginning and is the same for every agent."""

    init: Callable[[Any], ReplayState]  # from an example transition (arrays or ShapeDtypeStructs), unbatched
    add: Callable[[ReplayState, Transitions, Array], ReplayState]  # add(state, block, written)
    sample: Callable[[ReplayState, Key, Array, int], Transitions]  # sample(state, key, written, batch_size)


def uniform_replay(capacity: int, block: int) -> Replay:
    """A ring of `capacity` transitions (Lin, 1992) that takes `block` of them at a time.

    `add(state, block, written)` stores block number `written` (from 0) over the oldest one.
    `sample(state, key, written, batch_size)` draws uniformly, with replacement, from what `written` blocks have left
    there; `written` must be at least 1. The cost of both does not depend on the capacity.

    Raises ValueError if `capacity` is not a positive multiple of `block`.
    """
    if block < 1 or capacity < block or capacity % block:
        raise ValueError(
            f"replay capacity {capacity} must be a positive multiple of the block of {block} transitions written per "
            f"iteration; try {max(1, round(capacity / max(block, 1))) * block}"
        )
    blocks = capacity // block

    def init(example: Any) -> ReplayState:
        return jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), example)

    def add(state: ReplayState, transitions: Transitions, written: Array) -> ReplayState:
        write, start = _write_along(0), (written % blocks) * block
        return jax.tree.map(lambda stored, new: write(stored, new.astype(stored.dtype), start), state, transitions)

    def sample(state: ReplayState, key: Key, written: Array, batch_size: int) -> Transitions:
        size = jnp.minimum(written, blocks) * block
        index = jax.random.bits(key, (batch_size,)) % size.astype(jnp.uint32)  # off uniform by less than size / 2^32
        return jax.tree.map(lambda x: x.at[index].get(mode="promise_in_bounds"), state)

    return Replay(init, add, sample)


def _write_along(axis: int) -> Callable[[Array, Array, Array], Array]:
    """`write(stored, new, start)`: `new` at `start` along `axis`, one `dynamic_update_slice` under any number of vmaps.

    JAX batches a `dynamic_update_slice` to a scatter even where all agents share `start`, which costs several times as
    much; this says what is true instead: the same slice, one axis further on.
    """

    @custom_vmap
    def write(stored: Array, new: Array, start: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(stored, new, start, axis)

    @write.def_vmap
    def batched(size: int, is_batched: list[bool], stored: Array, new: Array, start: Array) -> tuple[Array, bool]:
        if is_batched[2]:
            raise ValueError("the replay is written at a place that all agents share: the clock must not be batched")
        stored, new = (
            x if batched else jnp.broadcast_to(x, (size, *x.shape))
            for x, batched in zip((stored, new), is_batched, strict=False)
        )
        return _write_along(axis + 1)(stored, new, start), True

    return write
