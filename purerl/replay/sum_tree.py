"""A wide sum tree: draws in proportion to the weights of leaves, at a cost logarithmic in their number.

Every node is the sum of its `BRANCHES` children, level upon level, up to one row of nodes. A draw descends from the
top, one row of children per level; a change of leaves recomputes the sums above them *from the children*, so rounding
errors never add up, however often leaves change. Plain arrays and gathers: under vmap, many trees are one program.
"""

import jax
import jax.numpy as jnp

from purerl.types import Array, Key

BRANCHES = 16  # children per node: a cache line; half of it is as fast on a CPU, but takes more steps elsewhere
Levels = tuple[Array, ...]  # leaves first; flat arrays whose sizes are multiples of BRANCHES, the last of them a row


def zeros(leaves: int) -> Levels:
    """A tree of `leaves` weights of 0; the arrays are padded with leaves that stay 0."""
    sizes = [-(-leaves // BRANCHES)]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // BRANCHES))
    return tuple(jnp.zeros(size * BRANCHES) for size in sizes)


def rows_of(leaves: Array) -> Array:
    """The numbers of the rows of children that `leaves` (their numbers) lie in."""
    return leaves // BRANCHES


def refresh(levels: Levels, rows: Array) -> Levels:
    """The tree after leaves in `rows` `[m]` (numbers of rows of leaves; repetitions do no harm) have changed."""
    changed = [levels[0]]
    for upper in levels[1:]:
        children = changed[-1].reshape(-1, BRANCHES).at[rows].get(mode="promise_in_bounds")
        changed.append(upper.at[rows].set(jnp.sum(children, axis=-1), mode="promise_in_bounds"))
        rows = rows_of(rows)
    return tuple(changed)


def rebuild(levels: Levels) -> Levels:
    """The tree after any leaves have changed: every sum anew."""
    changed = [levels[0]]
    for upper in levels[1:]:
        sums = jnp.sum(changed[-1].reshape(-1, BRANCHES), axis=-1)
        changed.append(jnp.pad(sums, (0, upper.size - sums.size)))
    return tuple(changed)


def total(levels: Levels) -> Array:
    """The sum of all weights."""
    return jnp.sum(levels[-1])


def draw(levels: Levels, key: Key, n: int) -> tuple[Array, Array]:
    """`n` leaves in proportion to their weights, stratified, and their weights (int32 `[n]`, float32 `[n]`).

    Draw i falls on the leaf that covers `(i + u_i) / n` of the total, `u_i` uniform. On the way down its place is known
    only to the precision of the level above, so at every level it is moved at random within that precision: a leaf of
    a millionth of the total is drawn as often as its weight says. A leaf of weight 0 is never drawn, whatever the
    rounding; the total must be positive.
    """
    uniform = jax.random.uniform(key, (len(levels), n))
    whole = total(levels) * jnp.ones(n)
    place = (jnp.arange(n) + uniform[0]) / n * whole
    node = jnp.zeros(n, jnp.int32)
    child = jnp.arange(BRANCHES)
    for depth, level in enumerate(reversed(levels)):
        weights = level.reshape(-1, BRANCHES).at[node].get(mode="promise_in_bounds")  # [n, BRANCHES]
        cumulative = jnp.cumsum(weights, axis=-1)
        covers = (weights > 0) & (cumulative > place[:, None])
        last = jnp.max(jnp.where(weights > 0, child, 0), axis=-1)  # for a place that rounding put beyond the end
        chosen = jnp.where(jnp.any(covers, axis=-1), jnp.argmax(covers, axis=-1), last).astype(jnp.int32)
        before = jnp.sum(jnp.where(child < chosen[:, None], weights, 0.0), axis=-1)
        weight = jnp.sum(jnp.where(child == chosen[:, None], weights, 0.0), axis=-1)
        if depth + 1 < len(levels):
            precision = (uniform[depth + 1] - 0.5) * 2.0**-23 * whole
            place = jnp.clip(place - before + precision, 0.0, weight)
        node, whole = node * BRANCHES + chosen, weight
    return node, whole
