"""Small operations on pytrees of arrays that more than one floor of the house needs."""

import dataclasses
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

Tree = TypeVar("Tree", bound=Any)


def strongly_typed(tree: Tree) -> Tree:
    """The same tree with every weakly typed leaf made strong, so that later calls with it are the same program.

    Typed keys pass through; Python scalars become arrays.
    """

    def strong(x):
        x = jnp.asarray(x)
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return x
        return jax.lax.convert_element_type(x, x.dtype)

    return jax.tree.map(strong, tree)


def where(condition: jax.Array, if_true: Tree, if_false: Tree) -> Tree:
    """`jnp.where` over trees. `condition` has the leading axes of every leaf; the rest broadcasts. Keys are allowed."""

    def select(a, b):
        extra = jnp.ndim(a) - condition.ndim
        return jnp.where(condition.reshape(condition.shape + (1,) * extra), a, b)

    return jax.tree.map(select, if_true, if_false)


def keep(state: Tree, *fields: str) -> Tree:
    """A state (a flax struct) with only these fields; the others become None, which is a tree without leaves."""
    dropped = {field.name: None for field in dataclasses.fields(state) if field.name not in fields}
    return dataclasses.replace(state, **dropped)


def nbytes(tree) -> int:
    """Bytes of all leaves of a tree of arrays or of `jax.ShapeDtypeStruct`s."""

    def leaf(x) -> int:
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return leaf(jax.eval_shape(jax.random.key_data, x))
        return int(x.size) * x.dtype.itemsize

    return sum(leaf(x) for x in jax.tree.leaves(tree))
