"""Plain docstrings become reStructuredText that shows what they say."""

import importlib
import io

import pytest

from docs.machinery.algorithms import MODULES
from docs.machinery.docstrings import inline, to_rst, two_columns

docutils = pytest.importorskip("docutils.core")  # the extra `docs`


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the `rule` says", "the ``rule`` says"),
        ("2 * 3 and *args", r"2 \* 3 and \*args"),
        ("pi(a | s)", r"pi(a \| s)"),
        ("a_ and b_i", r"a\_ and b_i"),
        ("`Environment`s", r"``Environment``\ s"),
        ("broken\n    over lines", "broken over lines"),
    ],
)
def test_what_would_be_markup_is_escaped(text, expected):
    assert inline(text) == expected


def test_names_with_meanings_become_definitions():
    block = [
        "critics, minimum    y takes",
        "                    the least",
        "n_step",
        "hindsight           later goals",
    ]
    assert two_columns(block) == [
        ("critics, minimum", "y takes the least"),
        ("n_step", ""),
        ("hindsight", "later goals"),
    ]


@pytest.mark.parametrize(
    "block",
    [
        ["y = r + discount V(s'),    minimise (Q - y)^2"],
        ["maximise  mean min(rho A, clip(rho) A)", "or        mean rho A - KL"],
        ["critics: minimise Q,  y = r", "actor:   maximise V"],
        ["algorithm = make(environment, Config())"],
    ],
)
def test_equations_stay_equations(block):
    assert not two_columns(block)


def test_an_indented_block_keeps_its_lines_and_python_is_told_from_equations():
    text = to_rst("Do:\n\n    x = make(1)\n\n    y = x.step(2)\n\nThat is\n\n    Q <- Q + rate (r - Q)\n")
    assert ".. code-block:: python\n\n    x = make(1)\n\n    y = x.step(2)\n" in text
    assert ".. code-block:: none\n\n    Q <- Q + rate (r - Q)\n" in text


def test_sections_list_their_entries():
    text = to_rst("Do.\n\n    Args:\n        key: a key.\n        x, y: numbers\n            and more.\n")
    assert "**Args**" in text
    assert "``key``\n    a key." in text
    assert "``x``, ``y``\n    numbers and more." in text


@pytest.mark.parametrize("name", MODULES)
def test_the_docstring_of_every_algorithm_is_sound(name):
    """No warning of docutils, and not a word of a paragraph lost."""
    docstring = importlib.import_module(MODULES[name]).__doc__ or ""
    complaints = io.StringIO()
    settings = {"warning_stream": complaints, "report_level": 2, "syntax_highlight": "none"}
    document = docutils.publish_doctree(to_rst(docstring), settings_overrides=settings)
    assert not complaints.getvalue()
    shown = "".join(document.astext().split())
    paragraphs = [part for part in docstring.split("\n\n") if not part.startswith("    ")]
    for paragraph in paragraphs:
        assert "".join(paragraph.replace("`", "").split()) in shown
