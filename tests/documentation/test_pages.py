"""Pages that are made from the package say what the package says."""

import dataclasses

import pytest

from docs.machinery import algorithms, measured
from docs.machinery.fields import documented
from purerl import ALGORITHMS, load, presets
from purerl.environments import names


def test_the_page_of_ppo_has_all_there_is_to_know():
    page = algorithms.page("ppo")
    assert page.startswith("ppo\n===\n")
    for field in dataclasses.fields(load("ppo").Config):
        assert f"``{field.name}``" in page
    assert "``float`` *traced*" in page
    assert "``int`` *static*" in page
    assert "``purerl train ppo --env brax/hopper``" in page
    assert f"``learning_rate={presets.load('ppo', 'CartPole-v1')['learning_rate']}``" in page
    assert "``purerl train ppo --env Acrobot-v1 --seeds 8 --seed 100``" in page
    assert ".. image:: /../experiments/figures/ppo_tricks_ablation.png" in page
    assert "GRU or LSTM" in page


@pytest.mark.parametrize(
    ("name", "actions"),
    [
        ("ppo", ["discrete", "several discrete", "continuous"]),
        ("dqn", ["discrete"]),
        ("sac", ["discrete", "continuous"]),
        ("ddpg", ["continuous"]),
        ("q_learning", [algorithms.NUMBERED]),
    ],
)
def test_kinds_of_actions_are_found_by_trying(name, actions):
    assert algorithms.actions_of(name) == actions


@pytest.mark.parametrize("name", algorithms.MODULES)
def test_every_field_of_every_config_is_documented(name):
    config = algorithms.module_of(name).Config
    words = documented(config)
    assert [field.name for field in dataclasses.fields(config) if not words.get(field.name)] == []


def test_measured_results_are_of_what_there_is():
    for result in measured.results():
        assert result.algorithm in ALGORITHMS
        assert result.environment in names()
        assert result.median is not None or result.worst is not None
        assert result.worst is None or result.worst <= (result.best if result.median is None else result.median)
        if result.command.startswith("purerl train"):
            assert result.command.startswith(f"purerl train {result.algorithm} --env {result.environment}")


def test_every_experiment_and_every_figure_has_its_place():
    experiments = measured.experiments()
    assert {e.name for e in experiments if e.script} == {p.stem for p in (measured.ROOT / "experiments").glob("*.py")}
    assert {name for e in experiments for name in e.algorithms} <= set(algorithms.MODULES)
    figures = [figure for e in experiments for figure in e.figures]
    assert sorted(figures) == sorted(p.name for p in (measured.ROOT / "experiments/figures").glob("*.png"))
