"""Replay of overlapping sequences of steps, each with the recurrent memory that was there when it began.

Blocks of `period` steps of all environments follow one another in a ring. A sequence begins with a block and goes on
through as many as it needs, so that every step is stored once however many sequences share it. A second ring holds one
memory per block and environment: what an agent remembered before the first step of the block (the "stored state" of
Kapturowski et al., 2019, "Recurrent experience replay in distributed reinforcement learning", ICLR).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from purerl.replay.storage import ReplayState, Transitions, uniform_replay
from purerl.types import Array, Key, Memory


class SequenceState(struct.PyTreeNode):
    """What is stored: arrays, sequence i beginning in block i // num_envs with environment i % num_envs."""

    steps: ReplayState
    memories: ReplayState


class SequenceReplay(NamedTuple):
    """Functions of one replay of sequences; `written` counts blocks and is the same for every agent."""

    init: Callable[[], SequenceState]
    add: Callable[[SequenceState, Transitions, Memory, Array], SequenceState]  # add(state, steps, memory, written)
    complete: Callable[[Array], Array]  # complete(written): how many sequences can be read
    draw: Callable[[Key, Array, int], Array]  # draw(key, written, n): n complete sequences, uniformly, int32 [n]
    read: Callable[
        [SequenceState, Array], tuple[Memory, Transitions]
    ]  # read(state, sequences [n]): [n, ..], [T, n, ..]
    sequences: int  # places for sequences
    incomplete: int  # sequences, the newest, whose last steps are still to come


def sequence_replay(
    capacity: int, period: int, num_envs: int, length: int, example: Transitions, memory: Memory
) -> SequenceReplay:
    """A ring of `capacity` steps, read as sequences of `length` steps that begin `period` steps apart.

    `add(state, steps, memory, written)` stores block number `written` (from 0), `[period, num_envs, ...]`, and the
    memory `[num_envs, ...]` before its first step, over the oldest ones. Complete are the sequences whose last step has
    been written; as no block is written over before all newer ones, none of them crosses the head of the ring.
    `read` returns memories `[n, ...]` and steps time first, `[length, n, ...]`.

    Args:
        capacity: steps kept, a multiple of `period` x `num_envs`.
        period: steps of each environment in one block, and between the beginnings of two sequences.
        num_envs: environments that take steps side by side.
        length: steps of a sequence; it may be longer or shorter than `period`.
        example: one step (arrays or `jax.ShapeDtypeStruct`s, unbatched).
        memory: the memory of one environment, likewise.

    Raises ValueError if a sequence does not fit, or if `capacity` is not a positive multiple of the block.
    """
    steps = uniform_replay(capacity, period * num_envs, example, num_envs)
    blocks = capacity // (period * num_envs)
    memories = uniform_replay(blocks * num_envs, num_envs, memory, num_envs)
    ahead = -(-length // period) - 1  # blocks beyond its first that a sequence reaches into
    if not 0 <= ahead < blocks:
        raise ValueError(
            f"sequences of {length} steps of {num_envs} environments need {(ahead + 1) * period * num_envs} steps of "
            f"replay, of which there are {capacity}; raise the capacity or shorten the sequences"
        )

    def init() -> SequenceState:
        return SequenceState(steps.init(), memories.init())

    def add(state: SequenceState, block: Transitions, memory: Memory, written: Array) -> SequenceState:
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), block)
        return SequenceState(steps.add(state.steps, rows, written), memories.add(state.memories, memory, written))

    def complete(written: Array) -> Array:
        return jnp.maximum(jnp.minimum(written, blocks) - ahead, 0) * num_envs

    def draw(key: Key, written: Array, n: int) -> Array:
        return memories.slots(key, written, n, ahead)

    def read(state: SequenceState, sequences: Array) -> tuple[Memory, Transitions]:
        first = sequences // num_envs * (period * num_envs) + sequences % num_envs
        window = steps.after(first, jnp.arange(length)[:, None])
        return memories.read(state.memories, sequences), steps.read(state.steps, window)

    return SequenceReplay(init, add, complete, draw, read, blocks * num_envs, ahead * num_envs)
