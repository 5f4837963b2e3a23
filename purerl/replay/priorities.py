"""Prioritised replay (Schaul et al., 2016): what surprised most is replayed most.

    P(i) = p_i^alpha / sum_j p_j^alpha,    w_i = (N P(i))^-beta / max_j w_j

with p_i = |delta_i| + epsilon (`proportional`, here) or p_i = 1 / rank(i) (`rank_based`, in `ranks.py`). A new
transition counts as the most surprising until it has been replayed once. The weights p^alpha are the leaves of a sum
tree beside the replay, at the same slots; the transitions themselves lie in the replay and do not pass through here.

    state = priorities.enter(state, written)                    # after replay.add(..., written)
    slots, probability = priorities.sample(state, key, n)       # then replay.read(..., slots)
    state = priorities.update(state, slots, surprise)           # the unclipped errors of what was read

Nothing is copied as a whole where the state is donated or carried by a loop. The place of a block depends on the clock
alone, which vmapped agents share.

Schaul, T. et al. (2016), "Prioritized experience replay", ICLR.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import struct

from purerl.replay import sum_tree
from purerl.replay.storage import blocks_of, write_along
from purerl.types import Array, Key

PriorityState = Any  # a pytree of arrays: ProportionalState, or RankState of `ranks.py`


class Priorities(NamedTuple):
    """Functions of the priorities of one replay; `written` is the number of the block, the same for every agent."""

    init: Callable[[], PriorityState]
    enter: Callable[[PriorityState, Array], PriorityState]  # enter(state, written), after the replay's `add`
    sample: Callable[[PriorityState, Key, int], tuple[Array, Array]]  # sample(state, key, n): slots, probability [n]
    update: Callable[[PriorityState, Array, Array], PriorityState]  # update(state, slots [n], surprise [n])
    sort: Callable[[PriorityState], PriorityState]  # exact ranks now; nothing where there are none


class ProportionalState(struct.PyTreeNode):
    """Arrays only."""

    weights: sum_tree.Levels  # of p^alpha, one leaf per slot; 0 where nothing may be sampled
    largest: Array  # the largest p^alpha so far: that of new rows


def proportional(
    capacity: int, block: int, exponent: float | Array, epsilon: float | Array = 1e-6, ahead_slots: int = 0
) -> Priorities:
    """Priorities proportional to the surprise: p = |delta| + epsilon.

    - `enter(state, written)`: block number `written` (from 0) was added to the replay. What it overwrote is forgotten;
      its rows get the largest priority so far (1 in the beginning), but none before the next `ahead_slots` slots have
      been written too: a window of steps that begins at a row with a priority is complete.
    - `sample(state, key, n)`: n slots drawn in proportion to p^exponent, one from each n-th part of the total, and the
      probability of each; some row must have entered.
    - `update(state, slots, surprise)`: the new priorities of slots sampled since the last `enter`. Of repeated slots
      the largest surprise counts.

    Time and memory traffic of a sample and an update are logarithmic in the capacity.

    Args:
        capacity, block: those of the replay.
        exponent: alpha in [0, 1]; 0 is uniform. May be traced.
        epsilon: > 0, what is left to a transition that holds no surprise. May be traced.
        ahead_slots: (steps of a window - 1) x environments, less than `capacity` - `block`.

    Raises ValueError for sizes that do not fit.
    """
    places = ring(capacity, block, ahead_slots)

    def init() -> ProportionalState:
        return ProportionalState(weights=sum_tree.zeros(capacity), largest=jnp.ones(()))

    def enter(state: ProportionalState, written: Array) -> ProportionalState:
        leaves = places.enter(state.weights[0], written, fresh=state.largest, empty=jnp.zeros(()))
        weights = sum_tree.refresh((leaves, *state.weights[1:]), places.rows(written))
        return state.replace(weights=weights)

    def update(state: ProportionalState, slots: Array, surprise: Array) -> ProportionalState:
        weight = (jnp.abs(surprise) + epsilon) ** exponent
        largest = jnp.maximum(state.largest, jnp.max(weight))
        return state.replace(weights=reweigh(state.weights, slots, weight), largest=largest)

    return Priorities(init, enter, sampler(capacity), update, sort=lambda state: state)


def importance_weights(probability: Array, size: int | Array, exponent: float | Array) -> Array:
    """Importance weights of prioritised draws, `[n]` in (0, 1].

        w_i = (size P(i))^-exponent / max_j (size P(j))^-exponent

    The maximum is over the batch, so updates are only ever scaled down, and `size` cancels but for rounding.

    Args:
        probability: P(i) > 0 of the rows drawn, `[n]`.
        size: rows that could have been drawn.
        exponent: beta in [0, 1]; with 1 a weighted mean estimates the mean over all rows. May be traced.
    """
    weight = (size * probability) ** -jnp.asarray(exponent)
    return weight / jnp.max(weight)


class Ring(NamedTuple):
    """Where block number `written` goes in an array with an element per slot."""

    enter: Callable[..., Array]  # enter(array, written, fresh, empty) -> array
    rows: Callable[[Array], Array]  # rows(written): rows of leaves that `enter` changes


def ring(capacity: int, block: int, ahead_slots: int) -> Ring:
    """Slots of a ring in which the newest `ahead_slots` are `empty` and those next to them become `fresh`."""
    blocks = blocks_of(capacity, block)
    if not 0 <= ahead_slots <= capacity - block:
        raise ValueError(
            f"windows that reach {ahead_slots} slots ahead leave nothing to sample in a replay of {capacity} "
            f"that takes {block} at a time; raise its capacity"
        )
    write = write_along(0)
    behind, into = divmod(ahead_slots, block)
    rows_in_all = -(-capacity // sum_tree.BRANCHES)
    # What block number `written` completes: [(blocks back, offset within that block, length), ...].
    completed = [(behind, 0, block - into)] + ([(behind + 1, block - into, into)] if into else [])
    touched = completed + ([(0, 0, block)] if ahead_slots else [])

    def start(written: Array, back: int, offset: int) -> Array:
        return (written - back) % blocks * block + offset

    def enter(array: Array, written: Array, fresh: Array, empty: Array) -> Array:
        if ahead_slots:
            array = write(array, jnp.full(block, empty), start(written, 0, 0))
        for back, offset, length in completed:
            value = jnp.where(written >= back, fresh, empty)
            array = write(array, jnp.full(length, value), start(written, back, offset))
        return array

    def rows(written: Array) -> Array:
        spans = []
        for back, offset, length in touched:
            count = (length - 1) // sum_tree.BRANCHES + 2
            spans.append(sum_tree.rows_of(start(written, back, offset)) + jnp.arange(min(count, rows_in_all)))
        return jnp.minimum(jnp.concatenate(spans), rows_in_all - 1)

    return Ring(enter, rows)


def sampler(capacity: int) -> Callable[[PriorityState, Key, int], tuple[Array, Array]]:
    """`sample` of every kind of priorities: draws from the tree `state.weights`."""

    def sample(state: PriorityState, key: Key, n: int) -> tuple[Array, Array]:
        slots, weight = sum_tree.draw(state.weights, key, n)
        return jnp.minimum(slots, capacity - 1), weight / sum_tree.total(state.weights)

    return sample


def reweigh(weights: sum_tree.Levels, slots: Array, weight: Array) -> sum_tree.Levels:
    """New weights of the leaves `slots`, the largest where a slot is repeated."""
    leaves = weights[0].at[slots].set(0.0, mode="promise_in_bounds").at[slots].max(weight, mode="promise_in_bounds")
    return sum_tree.refresh((leaves, *weights[1:]), sum_tree.rows_of(slots))
