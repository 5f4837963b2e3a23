"""Spaces: what is crossed, what is drawn, what is conditional, and every way to write one."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from purerl.sweeps.space import (
    Grid,
    Uniform,
    choice,
    expand,
    from_data,
    grid,
    log_uniform,
    parse_axis,
    to_data,
    uniform,
    when,
)


def test_grids_are_crossed_in_their_order():
    settings = expand({"a": [1, 2], "b": "x", "c": grid(True, False)})
    assert [(s["a"], s["b"], s["c"]) for s in settings] == [
        (1, "x", True),
        (1, "x", False),
        (2, "x", True),
        (2, "x", False),
    ]


def test_a_tuple_is_one_value_and_a_list_of_tuples_a_grid():
    assert expand({"widths": (64, 64)}) == [{"widths": (64, 64)}]
    assert expand({"widths": [(64, 64), (8,)]}) == [{"widths": (64, 64)}, {"widths": (8,)}]


def test_every_point_of_the_grid_gets_the_same_draws():
    settings = expand({"rate": log_uniform(1e-4, 1e-2), "size": [1, 2, 3]}, samples=5)
    assert len(settings) == 15
    per_size = [[s["rate"] for s in settings if s["size"] == size] for size in (1, 2, 3)]
    assert per_size[0] == per_size[1] == per_size[2]
    assert len(set(per_size[0])) == 5


def test_draws_depend_on_seed_and_name_only():
    alone = expand({"rate": uniform(0, 1)}, samples=3)
    more = expand({"other": uniform(0, 1), "rate": uniform(0, 1)}, samples=6)
    assert [s["rate"] for s in alone] == [s["rate"] for s in more[:3]]
    assert [s["other"] for s in more] != [s["rate"] for s in more]
    assert expand({"rate": uniform(0, 1)}, samples=3, seed=1) != alone


def test_draws_have_the_distribution_they_are_named_after():
    settings = expand({"u": uniform(-2, 6), "l": log_uniform(1e-4, 1.0), "c": choice("a", "b")}, samples=4000)
    u, logs = np.array([s["u"] for s in settings]), np.log10([s["l"] for s in settings])
    assert u.min() >= -2
    assert u.max() <= 6
    assert abs(u.mean() - 2) < 0.15
    assert logs.min() >= -4
    assert logs.max() <= 0
    assert np.abs(np.quantile(logs, [0.25, 0.5, 0.75]) - [-3, -2, -1]).max() < 0.15
    assert abs(np.mean([s["c"] == "a" for s in settings]) - 0.5) < 0.04


@given(st.floats(1e-6, 1e3), st.floats(1.001, 1e3), st.floats(0, 1))
def test_log_uniform_quantiles_are_even_in_the_logarithm(low, ratio, fraction):
    axis = log_uniform(low, low * ratio)
    expected = math.log(low) + fraction * math.log(low * ratio / low)
    assert math.log(axis.at(fraction)) == pytest.approx(expected, abs=1e-9)


def test_a_condition_adds_an_axis_only_where_it_holds():
    space = {"algorithm": ["dqn", "ppo"], "clip": when(grid(0.1, 0.2), algorithm="ppo")}
    assert expand(space) == [
        {"algorithm": "dqn"},
        {"algorithm": "ppo", "clip": 0.1},
        {"algorithm": "ppo", "clip": 0.2},
    ]
    both = {"a": [1, 2, 3], "b": when([True], a=[1, 3])}
    assert expand(both) == [{"a": 1, "b": True}, {"a": 2}, {"a": 3, "b": True}]


def test_a_draw_under_a_condition_does_not_repeat_what_it_does_not_touch():
    space = {"algorithm": ["dqn", "ppo"], "clip": when(uniform(0.1, 0.3), algorithm="ppo")}
    settings = expand(space, samples=4)
    assert [s["algorithm"] for s in settings].count("dqn") == 1
    assert len({s["clip"] for s in settings if s["algorithm"] == "ppo"}) == 4


def test_a_list_of_spaces_is_their_union_without_repetitions():
    assert expand([{"a": 1}, {"a": [1, 2]}, {"a": 3, "b": 4}]) == [{"a": 1}, {"a": 2}, {"a": 3, "b": 4}]


def test_what_cannot_be_meant_is_refused():
    for make, message in [
        (lambda: grid(), "different values"),
        (lambda: grid(1, 1), "different values"),
        (lambda: uniform(1, 1), "low < high"),
        (lambda: uniform(0, math.inf), "low < high"),
        (lambda: log_uniform(0, 1), "0 < low < high"),
        (lambda: when([1]), "needs a condition"),
        (lambda: expand({"a": [1, 1]}), "a: a grid needs different values"),
        (lambda: expand({"a": 1}, samples=2), "no field of the space is drawn"),
        (lambda: expand({"a": uniform(0, 1)}, samples=0), "samples must be at least 1"),
        (lambda: expand([]), "is empty"),
        (lambda: expand({"b": when([1], a=2), "a": [1, 2]}), "'a', which must stand before"),
        (lambda: parse_axis("log_unifrm(1, 2)"), "did you mean log_uniform"),
        (lambda: parse_axis("uniform(1)"), "missing 1 required"),
        (lambda: parse_axis(""), "expected a value"),
        (lambda: parse_axis("0.1,,0.2"), "expected a value"),
        (lambda: parse_axis("0.1,[0.2"), "expected a value"),
        (lambda: parse_axis("uniform(1, 2"), "expected a value"),
        (lambda: from_data({"a": {"grid": "abc"}}), "with a list"),
        (lambda: from_data({"a": {"grid": [1], "grd": 2}}), "a: expected one of"),
        (lambda: from_data({"a": {"log_uniform": [2, 1]}}), "a: log_uniform needs"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()


def test_axes_from_flags():
    assert parse_axis("3e-4") == 3e-4
    assert parse_axis("CartPole-v1") == "CartPole-v1"
    assert parse_axis("0.9, 0.95") == Grid((0.9, 0.95))
    assert parse_axis('"a,b",c') == Grid(("a,b", "c"))
    assert parse_axis("[64,64],[256,256]") == Grid(((64, 64), (256, 256)))
    assert parse_axis("log_uniform(1e-4, 1e-2)") == Uniform(1e-4, 1e-2, log=True)
    assert parse_axis("choice(tanh, relu)") == choice("tanh", "relu")
    assert parse_axis("0.1,0.2 when algorithm=ppo and env.size=3,4") == when(
        grid(0.1, 0.2), algorithm="ppo", **{"env.size": [3, 4]}
    )


def test_a_space_survives_json():
    space = {
        "algorithm": ["dqn", "ppo"],
        "widths": (64, 64),
        "shapes": [(1, 2), (3,)],
        "rate": log_uniform(1e-4, 1e-2),
        "clip": when(choice(0.1, 0.2), algorithm=["ppo", "a2c"]),
        "env": "CartPole-v1",
    }
    read = from_data(json.loads(json.dumps(to_data(space))))
    assert expand(read, samples=3) == expand(space, samples=3)
