"""Rank-based priorities (Schaul et al., 2016, section 3.3): P(i) in proportion to rank(i)^-alpha."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from purerl.replay import sum_tree
from purerl.replay.priorities import Priorities, reweigh, ring, sampler
from purerl.replay.storage import blocks_of
from purerl.types import Array


class RankState(struct.PyTreeNode):
    """Arrays only."""

    weights: sum_tree.Levels  # of rank^-alpha, one leaf per slot; 0 where nothing may be sampled
    order: Array  # [capacity], -|delta| of the last replay of each slot; +inf before the first
    ranking: Array  # [capacity], `order` sorted, as it was at the last sort


def rank_based(
    capacity: int,
    block: int,
    exponent: float | Array,
    epsilon: float | Array = 1e-6,
    ahead_slots: int = 0,
    sorts: int = 8,
) -> Priorities:
    """Priorities by rank: p = 1 / rank, where rank 1 is the largest |delta|; insensitive to outliers and to scale.

    The functions are those of `proportional`. A row that was never replayed counts as rank 1. Right after a sort,
    which `enter` does `sorts` times per turn of the ring, all others are weighed by their exact ranks (among rows
    replayed; ties in the order of slots). What is approximate is what happens between sorts, as in the paper, whose
    heap is sorted even less: an updated row gets the rank that its new |delta| would have had at the last sort (among
    equals, a place by its slot), the rest keep theirs, and before the first sort all ranks are 1. While the ring
    fills for the first time, growing parts of it are sorted.

    A sort costs capacity x log(capacity), hence log(capacity) x `sorts` per transition written, and working memory of
    the size of the priorities. The clock decides when, so that vmapped agents do it together or not at all. An update
    searches the last ranking: log2(capacity) reads per slot. `sort(state)` sorts at any other time, such as between
    passes over transitions that are only replayed.

    Args:
        capacity, block, exponent, ahead_slots: as for `proportional`.
        epsilon: has no effect (no rank is 0); here so that both kinds are made alike.
        sorts: per turn of the ring, at least 1.
    """
    del epsilon
    if sorts < 1:
        raise ValueError(f"sorts must be at least 1, got {sorts}")
    places, blocks = ring(capacity, block, ahead_slots), blocks_of(capacity, block)
    period = -(-blocks // sorts)
    early = [count for count in (period // 8**k for k in range(1, 12)) if count * block >= 64]

    def init() -> RankState:
        never = jnp.full(capacity, jnp.inf, jnp.float32)
        return RankState(weights=sum_tree.zeros(capacity), order=never, ranking=jnp.copy(never))

    def sort_slots(state: RankState, exponent: Array, rows: int) -> RankState:
        """Exact ranks for the first `rows` slots."""
        leaves = state.weights[0]
        ranking, slots = jax.lax.sort((state.order[:rows], jnp.arange(rows, dtype=jnp.int32)), num_keys=1)
        by_rank = (1.0 + jnp.arange(rows)) ** -exponent
        weight = jnp.where(ranking < jnp.inf, by_rank, leaves[slots])
        leaves = leaves.at[slots].set(weight, mode="promise_in_bounds", unique_indices=True)
        return state.replace(
            weights=sum_tree.rebuild((leaves, *state.weights[1:])),
            ranking=jax.lax.dynamic_update_slice(state.ranking, ranking, (0,)),
        )

    def enter(state: RankState, written: Array) -> RankState:
        never = jnp.full((), jnp.inf)
        leaves = places.enter(state.weights[0], written, fresh=jnp.ones(()), empty=jnp.zeros(()))
        state = state.replace(
            weights=sum_tree.refresh((leaves, *state.weights[1:]), places.rows(written)),
            order=places.enter(state.order, written, fresh=never, empty=never),
        )
        alpha = jnp.asarray(exponent)
        for count in early:
            state = _once_if(written + 1 == count, partial(sort_slots, rows=count * block), state, alpha)
        return _once_if((written + 1) % period == 0, partial(sort_slots, rows=capacity), state, alpha)

    def update(state: RankState, slots: Array, surprise: Array) -> RankState:
        order = -jnp.abs(surprise)
        above = jnp.searchsorted(state.ranking, order, side="left")
        equals = jnp.searchsorted(state.ranking, order, side="right") - above
        rank = 1.0 + above + jnp.floor(_spread(slots) * equals)
        replayed = state.order.at[slots].set(jnp.inf, mode="promise_in_bounds")
        return state.replace(
            weights=reweigh(state.weights, slots, rank ** -jnp.asarray(exponent)),
            order=replayed.at[slots].min(order, mode="promise_in_bounds"),
        )

    return Priorities(
        init, enter, sampler(capacity), update, sort=lambda state: sort_slots(state, jnp.asarray(exponent), capacity)
    )


def _spread(slots: Array) -> Array:
    """A number in [0, 1) for every slot, spread evenly over slots (multiples of the golden ratio)."""
    return (slots.astype(jnp.uint32) * jnp.uint32(2654435769) >> 8).astype(jnp.float32) * 2.0**-24


def _once_if(due: Array, change: Callable[..., Any], state: Any, *constants: Any) -> Any:
    """`change(state, *constants)` if `due`: a loop of one turn or none, for `lax.cond` copies what it passes on.

    The barrier ties all of it to the turn: what does not change in a loop is otherwise computed before it, due or not.
    """

    def turn(i: Array, state: Any) -> Any:
        _, state, tied = jax.lax.optimization_barrier((i, state, constants))
        return change(state, *tied)

    return jax.lax.fori_loop(0, due.astype(jnp.int32), turn, state)
