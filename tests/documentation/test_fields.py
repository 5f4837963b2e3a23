"""What is said of the fields of a class is read from its source."""

from dataclasses import dataclass
from typing import Literal

import pytest

from docs.machinery.fields import annotation_text, documented, fields_of, value_text
from purerl import dqn, load
from purerl.types import Timestep


def test_strings_below_the_fields_of_a_config():
    by_name = {field.name: field for field in fields_of(dqn.Config)}
    assert by_name["discount"].documentation == "Weight of the next step's reward, in [0, 1]."
    assert by_name["discount"].is_traced
    assert by_name["discount"].default == dqn.Config().discount
    assert not by_name["batch_size"].is_traced


def test_inherited_fields_keep_their_words_and_have_the_defaults_of_the_heir():
    by_name = {field.name: field for field in fields_of(load("td3").Config)}
    parent = {field.name: field for field in fields_of(load("ddpg").Config)}
    assert by_name["discount"].documentation == parent["discount"].documentation != ""
    assert (by_name["critics"].default, parent["critics"].default) == (2, 1)


def test_comments_behind_the_fields_of_a_named_tuple():
    assert documented(Timestep)["terminated"] == "bool: the MDP ended, bootstrap with 0"


def test_classes_of_others_say_nothing():
    @dataclass
    class Foreign:
        x: int = 1
        """Said elsewhere."""

    assert documented(Foreign) == {}


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (float, "`float`"),
        (Literal["a", "b", "c"], '`"a"`, `"b"` or `"c"`'),
        (tuple[int, ...], "`tuple` of `int`"),
        (int | None, "`int` or `None`"),
    ],
)
def test_types_for_people(annotation, expected):
    assert annotation_text(annotation) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(100_000, "100_000"), (True, "True"), (1 / 3, "0.3333"), ("relu", '"relu"'), (float("inf"), "inf"), (500, "500")],
)
def test_defaults_as_they_are_written(value, expected):
    assert value_text(value) == expected
