"""The gallery: every experiment is in it, its claims hold in the stored results, and a broken one is noticed."""

import json
import shlex
from pathlib import Path

import pytest
from gallery import ENTRIES
from gallery.__main__ import check
from gallery.entries import NO_BOUND, Entry, Measure, at, at_least, median_of_steps
from gallery.page import page
from gallery.results import FIGURES, RESULTS, stored

ROOT = Path(__file__).parent.parent
NAMES = [entry.name for entry in ENTRIES]
WITHOUT_CLAIMS = {  # files to copy and makers of pictures, and what has not been measured in full
    "custom_environment",
    "dqn_cartpole",
    "environment_pictures",
    "ppo_brax",
    "ppo_minatar",
    "ppo_mjx",
    "readme_animation",
}


def test_every_experiment_and_every_result_has_its_entry():
    assert len(set(NAMES)) == len(NAMES)
    assert {path.stem for path in (ROOT / "experiments").glob("*.py")} - WITHOUT_CLAIMS == set(NAMES)
    assert {path.stem for path in RESULTS.glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_the_stored_numbers_bear_the_claim(entry):
    assert check(entry) == []
    record = stored(entry)
    assert shlex.split(record["command"])[:2] == ["python", f"experiments/{entry.name}.py"]
    assert {"date", "machine", "numbers"} < record.keys()
    assert "nan" not in entry.sentence(record["numbers"])
    assert any(measure.bounds != NO_BOUND for measure in entry.measures.values())
    assert (FIGURES / f"{entry.name}.png").stat().st_size < 300_000


def test_the_page_is_that_of_the_stored_numbers():
    written = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    assert written == page(ENTRIES, stored), "run: python -m experiments.gallery"
    assert f"has {len(ENTRIES)} experiments," in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_number_outside_of_its_bounds_is_a_fault():
    measures = {
        "mean": Measure(at("mean", 0), at_least(1.0), quick=(0.0, 5.0)),
        "steps": Measure(median_of_steps("steps")),
    }
    entry = Entry("one", "a claim", "{mean:.1f} after {steps:.0f} steps", measures)
    good, bad = {"mean": [2.0, 0.1], "steps": [10, 30, 20]}, {"mean": [0.5], "steps": [None, None, 3]}
    assert entry.sentence(good) == "2.0 after 20 steps"
    assert entry.sentence(bad) == "0.5 after never steps"
    assert entry.broken(good, quick=False) == []
    assert entry.broken(bad, quick=False) == ["one: mean is 0.5, not within [1, inf]"]
    assert entry.broken(bad, quick=True) == []
    assert entry.broken(json.loads(json.dumps({"mean": [float("nan")]})), quick=True) != []
