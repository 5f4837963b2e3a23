"""Operations on trees."""

import jax
import jax.numpy as jnp
import numpy as np

from purerl import trees


def test_a_tree_without_its_empty_leaves_comes_back_whole_and_in_its_types():
    tree = {"key": jax.random.key(3), "empty": jnp.zeros((0, 2)), "x": jnp.ones((2,)), "count": jnp.int32(4)}
    pack, unpack = trees.without_empty(jax.eval_shape(lambda: tree))
    leaves = pack(tree | {"x": jnp.ones((2,), jnp.int32)})  # drifted
    assert len(leaves) == 3
    back = unpack(leaves)
    assert back["x"].dtype == jnp.float32
    assert back["empty"].shape == (0, 2)
    assert back["count"] == 4
    np.testing.assert_array_equal(jax.random.key_data(back["key"]), jax.random.key_data(tree["key"]))


def test_strong_types_and_bytes():
    tree = trees.strongly_typed({"weak": jnp.asarray(1.0), "python": 2, "key": jax.random.key(0)})
    assert not any(leaf.aval.weak_type for leaf in (tree["weak"], tree["python"]))
    assert trees.nbytes(tree) == 4 + 4 + 8
