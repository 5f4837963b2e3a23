"""Configs survive JSON, and what does not fit is named."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from purerl.configuration import from_json, nearest, to_json


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    names: tuple[str, ...] = ("a",)


@dataclass(frozen=True)
class Outer:
    count: int
    pair: tuple[int, float] = (1, 2.0)
    kind: Literal["x", "y"] = "x"
    limit: float | None = None
    flag: bool = False
    inner: Inner = field(default_factory=Inner)
    table: dict[str, int] = field(default_factory=dict)


@given(
    st.builds(
        Outer,
        count=st.integers(),
        pair=st.tuples(st.integers(), st.floats(allow_nan=False)),
        kind=st.sampled_from(["x", "y"]),
        limit=st.none() | st.floats(allow_nan=False),
        flag=st.booleans(),
        inner=st.builds(Inner, rate=st.floats(allow_nan=False), names=st.lists(st.text()).map(tuple)),
        table=st.dictionaries(st.text(), st.integers()),
    )
)
def test_a_config_survives_strict_json(config):
    text = json.dumps(to_json(config), allow_nan=False)
    assert from_json(Outer, json.loads(text)) == config


def test_scalars_of_numpy_and_jax_become_numbers():
    assert to_json(Inner(rate=jnp.float32(0.25))) == {"rate": 0.25, "names": ["a"]}
    assert to_json(np.int64(3)) == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"count": 1.5}, "config.count: expected an integer, got 1.5"),
        ({"count": True}, "config.count: expected an integer, got True"),
        ({"count": 1, "pair": [1]}, "config.pair: expected a list of 2"),
        ({"count": 1, "pair": [1, "2"]}, r"config.pair\[1\]: expected a number"),
        ({"count": 1, "kind": "z"}, "config.kind: expected one of 'x', 'y', got 'z'"),
        ({"count": 1, "limit": "low"}, "config.limit: expected float"),
        ({"count": 1, "inner": {"names": "a"}}, "config.inner.names: expected a list"),
        ({"count": 1, "flagg": True}, "config has no field 'flagg': did you mean flag"),
        ({}, "count"),
        ([], "expected an object"),
    ],
)
def test_what_does_not_fit_is_named(data, message):
    with pytest.raises(ValueError, match=message):
        from_json(Outer, data)


def test_what_json_cannot_carry_is_named():
    with pytest.raises(TypeError, match=r"config\.inner"):
        to_json(Outer(1, inner=lambda: None))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="cannot be read"):
        from_json(bytes, "x")
    assert from_json(Any, [1, {"a": None}]) == [1, {"a": None}]


def test_nearest_names():
    assert nearest("learning_rat", ["learning_rate", "clip"]) == "did you mean learning_rate?"
    assert nearest("?", ["b", "a"]) == "it must be one of: a, b"
