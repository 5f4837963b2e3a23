"""Replay of transitions, written in blocks and sampled with replacement.

Every iteration of a learner writes one block of the same size at a place that the clock alone decides, so all vmapped
agents write to the same place with one `dynamic_update_slice`, the write never wraps, and the state is nothing but the
stored arrays: neither position nor size are part of it. A transition lies in one row, so that reading one at random
costs one trip to memory rather than one per field.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from purerl.types import Array, Key

ReplayState = dict[str, Array]  # type of storage -> [capacity, elements of one transition of that type]
Transitions = Any  # any tree of arrays, [block, ...] or [batch, ...]


class Replay(NamedTuple):
    """Functions of one replay; `written` counts blocks from the beginning and is the same for every agent."""

    init: Callable[[], ReplayState]
    add: Callable[[ReplayState, Transitions, Array], ReplayState]  # add(state, block, written)
    sample: Callable[[ReplayState, Key, Array, int], Transitions]  # sample(state, key, written, batch_size)
    read: Callable[[ReplayState, Array], Transitions]  # read(state, slots [...]): what lies there, [..., ...]
    slots: Callable[..., Array]  # slots(key, written, n, ahead=0): n places to read, int32 [n]
    after: Callable[[Array, Any], Array]  # after(slots, steps): the place of the same environment `steps` steps later
    newer: Callable[[Array, Array], Array]  # newer(slots, written): steps of the same environment written after it


def uniform_replay(capacity: int, block: int, example: Transitions, num_envs: int = 1) -> Replay:
    """A ring of `capacity` transitions (Lin, 1992) that takes `block` of them at a time.

    - `add(state, block, written)` stores block number `written` (from 0) over the oldest one.
    - `sample(state, key, written, batch_size)` draws uniformly, with replacement, from what `written` blocks have left
      there; `written` must be at least 1. It is `read(state, slots(key, written, batch_size))`.
    - `slots(key, written, n, ahead=0)` draws the places alone. With `ahead` (a Python int) it leaves out those whose
      next `ahead` steps have not been written yet, so that no window of `1 + ahead` steps crosses the head of the ring;
      the `written` blocks must hold more than `ahead` steps.
    - `after(slots, steps)` is where the same environment's transition of `steps` steps later lies (negative: earlier);
      `steps` broadcasts against `slots`. A window is `read(state, after(slots[:, None], jnp.arange(n)))`, `[batch, n]`.
    - `newer(slots, written)` is how many steps of the same environment have been written after those: 0 for the newest.

    The rows of a block are ordered by time, then by environment, so the next step of an environment lies `num_envs`
    slots further. The cost of everything does not depend on the capacity.

    Args:
        capacity: transitions kept.
        block: transitions written at a time, `[steps, num_envs]` flattened.
        example: one transition (arrays or `jax.ShapeDtypeStruct`s, unbatched). Every leaf keeps its type: images of
            bools or bytes take a byte a pixel.
        num_envs: environments that step side by side.

    Raises ValueError if `capacity` is not a positive multiple of `block`, or `block` of `num_envs`.
    """
    blocks = blocks_of(capacity, block)
    if num_envs < 1 or block % num_envs:
        raise ValueError(f"a block of {block} transitions must hold whole steps of all {num_envs} environments")
    write = write_along(0)

    def init() -> ReplayState:
        one = jax.tree.map(lambda x: jnp.zeros((1, *x.shape), x.dtype), example)
        return jax.tree.map(lambda row: jnp.zeros((capacity, *row.shape[1:]), row.dtype), _pack(one))

    def add(state: ReplayState, transitions: Transitions, written: Array) -> ReplayState:
        start = (written % blocks) * block
        return jax.tree.map(lambda stored, rows: write(stored, rows, start), state, _pack(transitions))

    def sample(state: ReplayState, key: Key, written: Array, batch_size: int) -> Transitions:
        return read(state, slots(key, written, batch_size))

    def slots(key: Key, written: Array, n: int, ahead: int = 0) -> Array:
        if not 0 <= ahead * num_envs < capacity:
            raise ValueError(f"no window of 1 + {ahead} steps of {num_envs} environments fits {capacity} transitions")
        size = jnp.minimum(written, blocks) * block - ahead * num_envs
        drawn = jax.random.bits(key, (n,)) % size.astype(jnp.uint32)  # uniform to size / 2^32
        if ahead == 0:
            return drawn.astype(jnp.int32)
        oldest = jnp.where(written > blocks, written % blocks, 0) * block
        return (oldest + drawn.astype(jnp.int32)) % capacity

    def after(slots: Array, steps: int | Array) -> Array:
        return (slots + steps * num_envs) % capacity

    def newer(slots: Array, written: Array) -> Array:
        newest = (written % blocks) * (block // num_envs) - 1  # in steps since the beginning of the ring
        return (newest - slots // num_envs) % (capacity // num_envs)

    def read(state: ReplayState, slots: Array) -> Transitions:
        rows = jax.tree.map(lambda stored: stored.at[slots].get(mode="promise_in_bounds"), state)
        return _unpack(rows, example)

    return Replay(init, add, sample, read, slots, after, newer)


def blocks_of(capacity: int, block: int) -> int:
    """How many blocks fill the ring; ValueError unless that is a positive whole number."""
    if block < 1 or capacity < block or capacity % block:
        raise ValueError(
            f"replay capacity {capacity} must be a positive multiple of the block of {block} transitions written per "
            f"iteration; try {max(1, round(capacity / max(block, 1))) * block}"
        )
    return capacity // block


def _is_bool(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.bool_)


def _storage(leaf: Any) -> Any:
    """The type of the elements that a leaf is stored as: 32-bit words share one array, and so do small integers.

    Scalars that fit a word become one, so that a transition of vectors and scalars is a single row.
    """
    dtype = jnp.dtype(leaf.dtype)
    small_scalar = leaf.size == 1 and (_is_bool(dtype) or jnp.issubdtype(dtype, jnp.integer)) and dtype.itemsize <= 4
    if small_scalar or dtype.itemsize == 4:
        return jnp.dtype(jnp.uint32)
    return jnp.dtype(jnp.uint8) if _is_bool(dtype) else dtype


def _pack(transitions: Transitions) -> ReplayState:
    """`[n, ...]` leaves as one array `[n, elements]` per type of storage."""
    columns: dict[str, list[Array]] = {}
    for leaf in jax.tree.leaves(transitions):
        storage = _storage(jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype))
        flat = leaf.reshape(leaf.shape[0], -1)
        same_width = flat.dtype.itemsize == storage.itemsize and not _is_bool(flat.dtype)
        flat = jax.lax.bitcast_convert_type(flat, storage) if same_width else flat.astype(storage)
        columns.setdefault(storage.name, []).append(flat)
    return {name: jnp.concatenate(parts, axis=1) for name, parts in columns.items()}


def _unpack(rows: ReplayState, example: Transitions) -> Transitions:
    """The inverse of `_pack`: rows `[..., elements]` as leaves `[..., *shape]` of the types of `example`."""
    used = dict.fromkeys(rows, 0)

    def leaf(one: Any) -> Array:
        storage, dtype = _storage(one), jnp.dtype(one.dtype)
        begin = used[storage.name]
        used[storage.name] = begin + one.size
        flat = rows[storage.name][..., begin : begin + one.size]
        same_width = dtype.itemsize == storage.itemsize and not _is_bool(dtype)
        flat = jax.lax.bitcast_convert_type(flat, dtype) if same_width else flat.astype(dtype)
        return flat.reshape(*flat.shape[:-1], *one.shape)

    return jax.tree.map(leaf, example)


def write_along(axis: int) -> Callable[[Array, Array, Array], Array]:
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
        return write_along(axis + 1)(stored, new, start), True

    return write
