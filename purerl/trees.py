"""Small operations on pytrees of arrays that more than one floor of the house needs."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from purerl.configuration import UsageError, a

Tree = TypeVar("Tree", bound=Any)
Leaves = tuple[jax.Array, ...]


def is_key(leaf: Any) -> bool:
    """Whether an array, or its shape, is of typed random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def one_key(key: Any, who: str) -> jax.Array:
    """`key` as a typed scalar key; a key of the older kind (`jax.random.PRNGKey`) becomes the typed one of its bits.

    Raises UsageError (a TypeError) for what is no key, ValueError for several; `who` needs it.
    """
    if getattr(key, "dtype", None) == jnp.uint32 and jnp.ndim(key) > 0:
        key = jax.random.wrap_key_data(key)
    if not (hasattr(key, "dtype") and is_key(key)):
        seed = key if isinstance(key, int) else 0
        raise UsageError(f"{who} needs a random key, but got {a(key)}; pass jax.random.key({seed})")
    if key.shape != ():
        raise ValueError(
            f"{who} takes one random key, but got keys of shape {key.shape}; for several agents jax.vmap over "
            f"jax.random.split(key, agents)"
        )
    return key


def keys(seeds: Sequence[int]) -> jax.Array:
    """`jax.random.key(seed)` of every seed, `[len(seeds)]`."""
    return jax.vmap(jax.random.key)(np.asarray(seeds, np.int64))


def strongly_typed(tree: Tree) -> Tree:
    """The same tree with every weakly typed leaf made strong, so that later calls with it are the same program.

    Typed keys pass through; Python scalars become arrays.
    """

    def strong(x):
        x = jnp.asarray(x)
        if is_key(x):
            return x
        return jax.lax.convert_element_type(x, x.dtype)

    return jax.tree.map(strong, tree)


def where(condition: jax.Array, if_true: Tree, if_false: Tree) -> Tree:
    """`jnp.where` over trees. `condition` has the leading axes of every leaf; the rest broadcasts. Keys are allowed."""

    def select(a, b):
        extra = jnp.ndim(a) - condition.ndim
        return jnp.where(condition.reshape(condition.shape + (1,) * extra), a, b)

    return jax.tree.map(select, if_true, if_false)


def without_empty(example: Tree) -> tuple[Callable[[Tree], Leaves], Callable[[Leaves], Tree]]:
    """How to carry another library's tree: `pack`, to the leaves that hold something, and `unpack`, back.

    `example` holds arrays or `jax.ShapeDtypeStruct`s. Empty leaves cannot be checkpointed and need not be: `unpack`
    makes them anew. Every leaf leaves `pack` in its type in `example`, whatever a step of the library made of it.
    """
    shapes, structure = jax.tree.flatten(example)
    blank = [None if is_key(shape) else np.zeros(shape.shape, shape.dtype) for shape in shapes]
    carried = [i for i, shape in enumerate(shapes) if shape.size]

    def pack(tree: Tree) -> Leaves:
        leaves = jax.tree.leaves(tree)
        return tuple(leaves[i] if is_key(shapes[i]) else jnp.asarray(leaves[i], shapes[i].dtype) for i in carried)

    def unpack(leaves: Leaves) -> Tree:
        whole: list[Any] = list(blank)
        for i, leaf in zip(carried, leaves, strict=True):
            whole[i] = leaf
        return jax.tree.unflatten(structure, whole)

    return pack, unpack


def keep(state: Tree, *fields: str) -> Tree:
    """A state (a flax struct) with only these fields; the others become None, which is a tree without leaves."""
    dropped = {field.name: None for field in dataclasses.fields(state) if field.name not in fields}
    return dataclasses.replace(state, **dropped)


def put_back(whole: Tree, part: Any) -> Tree:
    """`whole` with the leaves of `part` in the places they came from: `part` is `whole` with some subtrees left out.

    Raises TypeError if `part` has a leaf where `whole` has none.
    """
    leaves = dict(jax.tree_util.tree_leaves_with_path(part))
    result = jax.tree_util.tree_map_with_path(lambda path, leaf: leaves.pop(path, leaf), whole)
    if leaves:
        names = ", ".join(map(jax.tree_util.keystr, leaves))
        raise TypeError(f"a snapshot must be the state with parts left out, but it also has {names}")
    return result


def nbytes(tree) -> int:
    """Bytes of all leaves of a tree of arrays or of `jax.ShapeDtypeStruct`s."""

    def leaf(x) -> int:
        if is_key(x):
            return leaf(jax.eval_shape(jax.random.key_data, x))
        return int(x.size) * x.dtype.itemsize

    return sum(leaf(x) for x in jax.tree.leaves(tree))
