"""Operations on trees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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


def test_a_part_is_put_back_where_it_came_from_and_nowhere_else():
    whole = {"a": jnp.zeros(2), "b": {"c": jnp.ones(()), "d": jnp.ones(())}}
    result = trees.put_back(whole, {"a": None, "b": {"c": jnp.full((), 5.0), "d": None}})
    assert (result["a"].tolist(), float(result["b"]["c"]), float(result["b"]["d"])) == ([0.0, 0.0], 5.0, 1.0)
    with pytest.raises(TypeError, match=r"also has \['e'\]"):
        trees.put_back(whole, {"e": jnp.zeros(())})
