"""The pictures of sweeps: what is drawn in them, against computations of our own."""

import json
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import imageio.v3 as imageio
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text

from purerl.cli import main
from purerl.report import run_directory, sensitivity
from purerl.report.pictures.comparison_plots import improvements, learning_curves, performance_profiles, score_intervals
from purerl.report.pictures.field_pair_plots import heat_map, return_over, scatter
from purerl.report.pictures.field_plots import importance, slices
from purerl.report.pictures.sweep_plots import Tables, compare, draw, draw_sweep, figures, read_tables
from purerl.report.pictures.sweep_scores import (
    aligned_curves,
    best_of_each,
    best_settings,
    by_value,
    is_log_spaced,
    prepared,
    ranking,
    score_matrix,
    value_in_words,
)
from tests.report.test_pictures import fake_run

PPO = {"algorithm": "ppo", "env": "CartPole-v1"}
RATES = (1e-4, 1e-3, 1e-2)
GRID = [{**PPO, "learning_rate": rate, "discount": discount} for rate in RATES for discount in (0.9, 0.99)]
TWO = [{**PPO, "learning_rate": rate} for rate in RATES] + [
    {**PPO, "algorithm": "dqn", "learning_rate": rate} for rate in RATES[:2]
]


def fake_tables(
    settings: Sequence[dict[str, Any]], seeds: int = 5, points: int = 4, diverged: Sequence[int] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What a sweep's `table()` and `agents()` would be; agents differ at random, dqn is evaluated at other steps."""
    rng, rows, agents = np.random.default_rng(0), [], []
    for number in range(len(settings) * seeds):
        trial, seed = divmod(number, seeds)
        keys = {"agent": number, "trial": trial, "seed": seed, **settings[trial]}
        level = 300 - 50 * abs(np.log10(settings[trial].get("learning_rate", 1e-3)) + 3) + 10 * trial
        returns = level * np.linspace(1 / points, 1, points) + rng.normal(0, 20, points)
        steps = np.arange(1, points + 1) * 1000 + (90 if settings[trial]["algorithm"] == "dqn" else 0)
        lost = number in diverged
        rows += [{**keys, "env_steps": x, "diverged": lost, "return": y} for x, y in zip(steps, returns, strict=True)]
        outcome = {"env_steps": steps[-1], "final_return": returns[-1], "best_return": returns.max()}
        agents.append({**keys, **outcome, "best_iteration": 1, "diverged": lost, "diverged_at": np.nan})
    return pd.DataFrame(rows), pd.DataFrame(agents)


def middle_mean(scores: Any) -> float:
    """The interquartile mean, from its definition."""
    scores = sorted(np.ravel(scores))
    cut = len(scores) // 4
    return float(np.mean(scores[cut : len(scores) - cut]))


def words(figure: Figure) -> str:
    """The caption and the legend below the panels."""
    (legend,) = figure.legends
    lines = [legend.get_title().get_text().replace("\n", " "), *(text.get_text() for text in legend.get_texts())]
    return "\n".join(lines)


def crosses(axes: Any) -> list[PathCollection]:
    """Those scatters whose marker is a cross (two open lines)."""
    scatters = [one for one in axes.collections if isinstance(one, PathCollection)]
    return [one for one in scatters if len(one.get_paths()[0].vertices) == 4]


# ---------------------------------------------------------------------------------------------------- groups and scores


@pytest.mark.parametrize(
    ("values", "log"),
    [
        (RATES, True),
        ([1e-3, 1e-2], True),
        ([4, 8, 16, 64], True),
        (10 ** np.random.default_rng(0).uniform(-5, -1, 30), True),
        ([0.9, 0.99, 0.999], False),
        ([0.1, 0.2], False),
        ([0.0, 1e-3, 1e-2], False),
        ([-10.0, 1.0, 100.0], False),
        (np.linspace(0.1, 10, 9), False),
        (np.random.default_rng(0).uniform(0, 1, 30), False),
        ([5.0], False),
    ],
)
def test_axes_are_logarithmic_where_the_values_are(values, log):
    assert is_log_spaced(values) is log


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[(3e-4, "3e-4"), (0.00012345, "1.23e-4"), (0.01, "0.01"), (0.125, "0.125"), (64, "64"), (8.0, "8"), (0, "0")],
        *[(1e6, "1e6"), (True, "on"), (np.bool_(False), "off"), ("(64, 64)", "(64, 64)"), (-2.5e-3, "-2.5e-3")],
    ],
)
def test_values_in_words(value, text):
    assert value_in_words(value) == text


def test_small_values_are_written_alike_on_a_logarithmic_axis():
    assert [value_in_words(rate, RATES) for rate in RATES] == ["1e-4", "1e-3", "1e-2"]


def test_settings_are_ranked_and_labelled_by_what_differs():
    _, agents = fake_tables(GRID, diverged=[29])
    agents = prepared(agents)
    means = agents.groupby("trial")["final_return"].agg(middle_mean)
    expected = [*means.drop(5).sort_values(ascending=False).index, 5]  # a diverged seed comes last
    assert [int(one["trial"].iloc[0]) for one in ranking(agents)] == expected
    groups = best_settings(agents, 2)
    assert list(groups.members) == ["discount 0.99", "discount 0.9"]  # both at a learning rate of 1e-3
    assert groups.left_out == 4
    everything = best_settings(agents)
    assert "learning rate 1e-4, discount 0.9" in everything.members
    assert (everything.how, everything.left_out) == ("", 0)


def test_the_best_setting_of_each_algorithm():
    _, agents = fake_tables(TWO)
    groups = best_of_each(prepared(agents))
    assert list(groups.members) == ["ppo, learning rate 1e-3", "dqn, learning rate 1e-3"]
    assert "the best of 2 to 3 settings" in groups.how


def test_scores_of_several_environments_are_between_0_and_1():
    settings = [{**PPO, "env": env, "learning_rate": rate} for env in ("a", "b") for rate in RATES]
    _, agents = fake_tables(settings)
    agents.loc[agents["env"] == "b", "final_return"] *= 100
    scored = prepared(agents)
    for name in "ab":
        raw = agents.loc[agents["env"] == name, "final_return"].to_numpy()
        np.testing.assert_allclose(scored.loc[agents["env"] == name, "_final"], (raw - raw.min()) / np.ptp(raw))
    assert score_matrix(ranking(scored)[0]).shape == (5, 2)  # a setting is a learning rate in both environments
    assert len(ranking(scored)) == 3


def test_curves_are_interpolated_where_all_agents_have_been():
    fast = pd.DataFrame({"agent": 0, "env_steps": [0, 10, 20, 30, 40], "return": [0.0, 1, 2, 3, 4]})
    slow = pd.DataFrame({"agent": 1, "env_steps": [15, 35], "return": [5.0, 7]})
    lost = pd.DataFrame({"agent": 2, "env_steps": [10, 20, 40], "return": [1.0, 2, np.nan]})
    never = pd.DataFrame({"agent": 3, "env_steps": [10, 20, 40], "return": np.nan})
    steps, returns = aligned_curves(pd.concat([fast, slow, lost, never]), "return")
    np.testing.assert_array_equal(steps, [15, 35])
    np.testing.assert_allclose(returns, [[1.5, 3.5], [5, 7], [1.5, 2]])
    assert aligned_curves(never, "return")[1].shape == (0, 0)


# -------------------------------------------------------------------------------------------------------------- figures


def test_learning_curves_are_interquartile_means_with_bands():
    table, agents = fake_tables(TWO)
    figure = learning_curves(table, best_of_each(prepared(agents)))
    (axes,) = figure.axes
    assert len(axes.lines) == 2
    assert sum(isinstance(one, PolyCollection) for one in axes.collections) == 2
    for line, trial in zip(axes.lines, (1, 4), strict=True):
        wide = table[table["trial"] == trial].pivot(index="env_steps", columns="seed", values="return")
        np.testing.assert_array_equal(line.get_xdata(), wide.index)
        np.testing.assert_allclose(line.get_ydata(), [middle_mean(row) for row in wide.to_numpy()])
    looks = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axes.lines]
    assert all(a != b for a, b in zip(*looks, strict=True))  # they differ also without colour
    assert axes.get_xlabel() == "environment steps per agent"
    assert axes.get_ylabel() == "return of evaluation episodes\n(undiscounted)"
    assert figure.get_suptitle() == "ppo, dqn on CartPole-v1"
    assert words(figure).startswith("Interquartile mean over 5 seeds, bands: 95 % bootstrap intervals, pointwise.")
    assert "ppo, learning rate 1e-3\ndqn, learning rate 1e-3" in words(figure)


def test_learning_curves_say_how_many_agents_and_what_is_left_out():
    settings = [
        {**PPO, "learning_rate": rate, "clip": clip} for rate in np.geomspace(1e-5, 1, 9) for clip in (0.1, 0.2)
    ]
    table, agents = fake_tables(settings, seeds=2, diverged=[0])
    figure = learning_curves(table, by_value(prepared(agents), "learning_rate"))
    assert len(figure.axes[0].lines) == 7
    assert "over 4 agents" in words(figure)
    assert "2 more are not shown" in words(figure)
    assert "learning rate 1e-5 (1 diverged)" in words(figure)


def test_one_seed_has_no_band_and_says_so():
    table, agents = fake_tables(GRID[:2], seeds=1)
    figure = learning_curves(table, best_settings(prepared(agents)))
    assert not figure.axes[0].collections
    assert words(figure).startswith("One seed: no interval.")


def test_every_environment_has_its_panel():
    settings = [{**PPO, "env": env, "learning_rate": rate} for env in "abcd" for rate in RATES]
    table, agents = fake_tables(settings)
    figure = learning_curves(table, best_settings(prepared(agents), 2))
    assert [axes.get_title() for axes in figure.axes] == list("abcd")
    assert [len(axes.lines) for axes in figure.axes] == [2, 2, 2, 2]
    assert "5 seeds in each of 4 environments" in words(figure)


def test_a_training_return_is_called_that():
    table, agents = fake_tables(GRID)
    table = table.rename(columns={"return": "episode_return"})
    drawn = dict(figures(Tables("x", table, agents, len(agents))))
    assert drawn["learning_curves"].axes[0].get_ylabel().startswith("return of training episodes")
    assert drawn["scores"].axes[0].get_xlabel() == "final return of training episodes\n(undiscounted)"


def test_a_heat_map_shows_every_cell_and_where_agents_diverged():
    _, agents = fake_tables(GRID, diverged=[0, 1, 12])
    figure = heat_map(agents, "learning_rate", "discount")
    axes = figure.axes[0]
    (mesh,) = (one for one in axes.collections if isinstance(one, QuadMesh))
    expected = agents.groupby(["discount", "learning_rate"])["final_return"].agg(middle_mean).to_numpy()
    np.testing.assert_allclose(np.ravel(mesh.get_array()), expected)
    numbers = [f"{value:.0f}" for value in expected]
    assert [text.get_text() for text in axes.texts] == [numbers[0], "2", numbers[1], "1", *numbers[2:]]
    assert len(crosses(axes)) == 2
    assert "3 of 30 agents in all" in words(figure)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1e-4", "1e-3", "1e-2"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["0.9", "0.99"]
    assert axes.get_xlabel() == "learning rate (log scale)"
    assert axes.get_ylabel() == "discount"
    assert figure.axes[1].get_ylabel() == "final return\n(undiscounted)"
    assert words(figure).startswith("Each cell: interquartile mean over 5 seeds.")


@pytest.mark.parametrize("over", ["best", "mean"])
def test_a_heat_map_takes_the_best_or_the_mean_over_other_fields(over):
    settings = [{**one, "clip": clip} for one in GRID for clip in (0.1, 0.2, 0.3)]
    _, agents = fake_tables(settings, seeds=4, diverged=[8])  # in the best setting of the first cell
    agents.loc[8:11, "final_return"] = 400.0
    figure = heat_map(agents, "learning_rate", "discount", over)
    per_setting = agents.groupby(["discount", "learning_rate", "clip"])["final_return"].agg(middle_mean)
    if over == "best":
        per_setting.loc[(0.9, 1e-4, 0.3)] = -np.inf  # one that diverged is not the best
    expected = per_setting.groupby(["discount", "learning_rate"]).agg("max" if over == "best" else "mean")
    np.testing.assert_allclose(np.ravel(figure.axes[0].collections[0].get_array()), expected)
    assert ("the best over clip" if over == "best" else "the mean over all values of clip") in words(figure)


def test_many_cells_have_no_numbers_but_crosses():
    settings = [
        {**PPO, "learning_rate": rate, "clip": clip} for rate in np.geomspace(1e-5, 1, 12) for clip in (0.1, 0.2)
    ]
    _, agents = fake_tables(settings, seeds=2, diverged=[3])
    axes = return_over(agents, "learning_rate", "clip").axes[0]
    assert (len(axes.texts), len(crosses(axes))) == (0, 1)


def test_a_random_design_is_drawn_as_points():
    rng = np.random.default_rng(0)
    settings = [{**PPO, "learning_rate": 10 ** rng.uniform(-5, -1), "clip": rng.uniform(0.1, 0.4)} for _ in range(20)]
    _, agents = fake_tables(settings, seeds=3, diverged=[7])
    figure = return_over(agents, "learning_rate", "clip")
    axes = figure.axes[0]
    points = axes.collections[0]
    expected = sorted(
        (one["learning_rate"].iloc[0], one["clip"].iloc[0], middle_mean(one["final_return"]))
        for _, one in agents.groupby("trial")
    )
    drawn = sorted(zip(*points.get_offsets().T, points.get_array(), strict=True))
    np.testing.assert_allclose(drawn, expected)
    (cross,) = crosses(axes)
    np.testing.assert_allclose(cross.get_offsets(), agents.loc[[7], ["learning_rate", "clip"]])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert figure.axes[1].get_ylabel() == "final return\n(undiscounted)"
    assert "interquartile mean over 3 seeds" in words(figure)


def test_slices_show_every_agent_and_an_interval_per_value():
    settings = [{**one, "normalize": on} for one in GRID for on in (True, False)]
    _, agents = fake_tables(settings, diverged=[4])
    figure = slices(agents)
    rate, discount, normalize = figure.axes
    assert (rate.get_xscale(), discount.get_xscale()) == ("log", "linear")
    assert [axes.get_xlabel() for axes in figure.axes] == ["learning rate (log scale)", "discount", "normalize"]
    assert rate.get_ylabel() == "final return (undiscounted)"
    for axes, name in ((rate, "learning_rate"), (discount, "discount")):
        alive, lost = (one for one in axes.collections if isinstance(one, PathCollection))
        drawn = np.concatenate([alive.get_offsets(), lost.get_offsets()])
        expected = agents[[name, "final_return"]].to_numpy()
        np.testing.assert_allclose(sorted(drawn.tolist()), sorted(expected.tolist()))
        assert (len(lost.get_offsets()), crosses(axes)) == (1, [lost])
        middle = agents.groupby(name)["final_return"].agg(middle_mean)
        np.testing.assert_allclose(axes.lines[0].get_xydata(), middle.reset_index().to_numpy())
    assert len(normalize.patches) + len([line for line in normalize.lines if len(line.get_xdata()) == 5]) == 2  # boxes
    assert [tick.get_text() for tick in normalize.get_xticklabels()] == ["off", "on"]
    strips = [one.get_offsets() for one in normalize.collections if isinstance(one, PathCollection)]
    assert sum(map(len, strips)) == len(agents)
    assert "diverged (1 of 60 agents)" in words(figure)
    assert "95 % bootstrap interval" in words(figure)


def test_slices_tell_algorithms_apart():
    _, agents = fake_tables(TWO)
    figure = slices(agents, ["learning_rate"])
    scatters = figure.axes[0].collections[:1] + figure.axes[0].collections[2:3]
    assert len({tuple(one.get_facecolor()[0]) for one in scatters}) == 2
    assert len({len(one.get_paths()[0].vertices) for one in scatters}) == 2
    assert words(figure).endswith("ppo\ndqn")


def test_importance_shares_are_bars():
    _, agents = fake_tables(GRID)
    figure = importance(agents)
    found = sensitivity.importance({n: agents[n] for n in ("learning_rate", "discount")}, agents["final_return"])
    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert names == ["learning rate", "discount", "interactions", "noise of seeds"]
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    expected = [found.main["learning_rate"], found.main["discount"], found.interactions, found.noise]
    np.testing.assert_allclose(widths, expected)
    assert sum(widths) == pytest.approx(1)
    assert "30 agents (5 seeds per setting)" in words(figure)


def test_a_profile_is_the_fraction_of_runs_above():
    _, agents = fake_tables(TWO)
    axes = performance_profiles(best_of_each(prepared(agents))).axes[0]
    for line, trial in zip(axes.lines, (1, 4), strict=True):
        scores = agents.loc[agents["trial"] == trial, "final_return"].to_numpy()
        thresholds = np.asarray(line.get_xdata())
        np.testing.assert_allclose(line.get_ydata(), [(scores > x).mean() for x in thresholds])
        assert set(scores) <= set(thresholds)
        assert line.get_drawstyle() == "steps-post"
    assert axes.get_xlabel() == "threshold: final return (undiscounted)"


def test_a_profile_over_environments_is_of_normalised_scores():
    settings = [{**one, "env": env} for env in "ab" for one in TWO]
    _, agents = fake_tables(settings)
    axes = performance_profiles(best_of_each(prepared(agents))).axes[0]
    assert "normalised final return (0, 1: lowest, highest agent of each environment)" in axes.get_xlabel()
    assert all(0 <= x <= 1 for x in axes.lines[0].get_xdata()[1:-1])
    assert axes.lines[0].get_ydata()[0] == 1


def test_the_probability_of_improvement_counts_pairs_of_runs():
    _, agents = fake_tables(TWO)
    figure = improvements(best_of_each(prepared(agents)))
    (axes,) = figure.axes
    ppo, dqn = (agents.loc[agents["trial"] == trial, "final_return"].to_numpy() for trial in (1, 4))
    wins = np.mean([[float(x > y) + 0.5 * float(x == y) for y in dqn] for x in ppo])
    assert float(axes.lines[0].get_xdata()[0]) == pytest.approx(wins)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["ppo over dqn"]


def test_more_than_four_groups_are_compared_with_the_best():
    _, agents = fake_tables(GRID)
    groups = best_settings(prepared(agents), 5)
    axes = improvements(groups).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [f"A over {x}" for x in "BCDE"]
    assert "A: " + next(iter(groups.members)) in words(improvements(groups))


def test_scores_are_points_with_intervals():
    _, agents = fake_tables(GRID)
    figure = score_intervals(best_settings(prepared(agents), 4))
    expected = agents.groupby("trial")[["final_return", "best_return"]].agg(middle_mean)
    expected = expected.sort_values("final_return", ascending=False)[:4]
    for axes, name in zip(figure.axes, ("final_return", "best_return"), strict=True):
        points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(points, expected[name])
        assert len(axes.containers) == 4
    assert [axes.get_xlabel() for axes in figure.axes] == ["final return (undiscounted)", "best return (undiscounted)"]
    assert "2 more are not shown" in words(figure)


def test_wide_intervals_of_two_seeds_do_not_dwarf_the_scores():
    _, agents = fake_tables(GRID, seeds=2)
    agents.loc[0, "final_return"] -= 200
    figure = score_intervals(best_settings(prepared(agents)))
    low, high = figure.axes[0].get_xlim()
    assert high - low <= 2.01 * np.ptp(agents["final_return"])
    assert "Some intervals reach beyond the axis." in words(figure)


def test_agents_without_a_return_are_left_out_and_counted():
    table, agents = fake_tables(GRID)
    agents.loc[[0, 1], ["final_return", "best_return"]] = np.nan
    agents.loc[agents["trial"] == 3, ["final_return", "best_return"]] = np.nan
    drawn = dict(figures(Tables("x", table, agents, len(agents))))
    assert len(drawn["scores"].axes[0].containers) == 5
    assert "2 agents without a return are left out" in words(drawn["scores"])
    assert "Grey: no return." in words(drawn["return_over_learning_rate_and_discount"])
    shown = drawn["slices"].axes[0].collections[0].get_offsets()
    assert len(shown) == len(agents) - 7


def assert_legible(figure: Any, name: str) -> None:
    """No label covers another or leaves the figure, the legend covers no panel, no type is tiny."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    legend, page = figure.legends[0].get_window_extent(renderer), figure.bbox
    boxes = [legend, *(axes.get_tightbbox(renderer) for axes in figure.axes)]
    assert not any(legend.overlaps(box) for box in boxes[1:]), name
    for box in boxes:
        assert min(box.x0, box.y0, page.x1 - box.x1, page.y1 - box.y1) > -3, name  # 3 / 300 inch
    for axes in figure.axes:
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            upright = [one for one in labels if one.get_text() and not one.get_rotation() % 90]
            ticks = [one.get_window_extent(renderer) for one in upright]
            assert not any(a.overlaps(b) for a, b in pairwise(ticks)), name
        assert min(text.get_fontsize() for text in axes.findobj(Text)) >= 7, name


@pytest.mark.parametrize("environments", [1, 4])
def test_text_overlaps_nothing(environments):
    """With long names, many groups, a diverged agent and few seeds."""
    settings = [{**one, "entropy_coefficient": x, "normalize": True} for one in GRID[:4:3] for x in (1e-3, 1e-2)]
    settings = [*settings, {**settings[0], "normalize": False}]
    settings = [{**one, "env": f"{one['env']}-{i}"} for one in settings for i in range(environments)]
    table, agents = fake_tables(settings, seeds=2, diverged=[0])
    for name, figure in figures(Tables("x", table, agents, len(agents))):
        assert_legible(figure, name)


# ------------------------------------------------------------------------------------------------------- whole sweeps


def names_of(settings, **options) -> list[str]:
    table, agents = fake_tables(settings, **options)
    return [name for name, _ in figures(Tables("x", table, agents, len(agents)))]


COMPARED = ["performance_profile", "probability_of_improvement"]


@pytest.mark.parametrize(
    ("settings", "options", "expected"),
    [
        ([PPO], {}, ["learning_curves"]),
        ([PPO], {"seeds": 1, "points": 1}, []),
        (TWO[:3], {}, ["learning_curves", "scores", *COMPARED, "slices"]),
        (TWO[:3], {"seeds": 1}, ["learning_curves", "scores", "slices"]),
        (TWO[:3], {"points": 1}, ["scores", *COMPARED, "slices"]),
        (
            GRID,
            {},
            [
                *["learning_curves", "learning_curves_by_learning_rate", "learning_curves_by_discount", "scores"],
                *[*COMPARED, "slices", "importance", "return_over_learning_rate_and_discount"],
            ],
        ),
        (TWO, {}, ["learning_curves", "learning_curves_by_algorithm", "scores", *COMPARED, "slices"]),
        (
            [*TWO[3:], *GRID],
            {},
            [
                *["learning_curves", "learning_curves_by_algorithm", "ppo_learning_curves_by_learning_rate"],
                *["ppo_learning_curves_by_discount", "scores", *COMPARED, "slices", "importance"],
                "ppo_return_over_learning_rate_and_discount",
            ],
        ),
    ],
)
def test_a_sweep_gets_the_pictures_that_make_sense(settings, options, expected):
    assert names_of(settings, **options) == expected


def test_files_are_whole_and_the_same_every_time(tmp_path):
    table, agents = fake_tables(GRID[:2], seeds=3)
    result: Any = SimpleNamespace(table=lambda: table, agents=lambda: agents, trials=[0] * 4, seeds=(0, 1, 2))
    paths = draw_sweep(result, tmp_path)
    assert {path.parent for path in paths} == {tmp_path / "figures"}
    assert sorted(path.name for path in paths) == sorted(path.name for path in (tmp_path / "figures").iterdir())
    for path in paths:
        if path.suffix == ".png":
            assert imageio.imread(path).shape[1] == 2040  # 6.8 inches at 300 dots per inch
        else:
            text = path.read_text()
            root = ElementTree.fromstring(text)
            assert any("6 of 12 agents so far" in (x.text or "") for x in root.iter("{http://www.w3.org/2000/svg}text"))
            assert "dc:date" not in text
    before = {path: path.read_bytes() for path in paths}
    assert draw_sweep(result, tmp_path) == paths
    draw_sweep(result, tmp_path, ["svg"])  # whether or not there is a PNG
    assert {path: path.read_bytes() for path in paths} == before


def write_sweep(directory, settings, **options):
    table, agents = fake_tables(settings, **options)
    directory.mkdir()
    (directory / "sweep.json").write_text(json.dumps({"format": 1}))
    table.to_csv(directory / "table.csv", index=False)
    agents.to_csv(directory / "agents.csv", index=False)
    return directory


def test_sweeps_and_runs_are_compared(tmp_path):
    one, two = write_sweep(tmp_path / "one", GRID), write_sweep(tmp_path / "two", TWO)
    lines = [{"iteration": i, "env_steps": 1000 * i, "return_per_seed": [50.0 * i, 60.0 * i]} for i in (1, 2, 3)]
    run = fake_run(tmp_path / "run", lines)
    config, _ = run_directory.read_config(run)
    run_directory.write_config(run, {**config, "environment": {"name": "CartPole-v1"}}, 1)
    paths = compare([one, two, run, one], tmp_path / "out", ["svg"])
    assert [path.name for path in paths] == ["learning_curves.svg", *(f"{name}.svg" for name in COMPARED)]
    curves, _, pairs = (path.read_text() for path in paths)
    for label in ("one (5 seeds)", "two: ppo (5 seeds)", "two: dqn (5 seeds)", "run (2 seeds)"):
        assert f">{label}<" in curves
    assert "Of a sweep: the best" in curves
    assert ">two: ppo over run<" in pairs


def fails(capsys, words: list[str]) -> str:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_the_command_draws_a_sweep(tmp_path, capsys):
    directory = write_sweep(tmp_path / "sweep", GRID[:2], seeds=2)
    assert main(["plot", str(directory)]) == 0
    printed = capsys.readouterr().out.split()
    assert len(printed) == 10
    assert str(directory / "figures" / "scores.svg") in printed
    assert main(["plot", str(directory), "--format", "svg", "--out", str(tmp_path / "out")]) == 0
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".svg"}
    assert "must be a directory" in fails(capsys, ["plot", str(directory), "--out", "x.png"])


def test_the_command_compares(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_sweep(tmp_path / name, GRID[:2], seeds=2)
    assert main(["plot", "a", "b", "--format", "svg"]) == 0
    names = ["learning_curves", "performance_profile", "probability_of_improvement"]
    assert capsys.readouterr().out.split() == [f"figures/{name}.svg" for name in names]


def test_the_command_draws_runs_in_either_format(tmp_path, capsys):
    run = fake_run(tmp_path / "run", [{"iteration": i, "env_steps": i, "return_per_seed": [i, 1]} for i in (1, 2)])
    assert main(["plot", str(run), "--format", "both"]) == 0
    assert capsys.readouterr().out.split() == [str(run / "learning_curve.png"), str(run / "learning_curve.svg")]
    first = (run / "learning_curve.svg").read_bytes()
    assert main(["plot", str(run), "--out", str(tmp_path / "x.svg")]) == 0
    assert (tmp_path / "x.svg").read_bytes() == first
    ElementTree.fromstring(first)


def test_a_sweep_that_is_empty_or_unfinished_gets_one_clear_line(tmp_path, capsys):
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "sweep.json").write_text(json.dumps({"format": 1}))
    assert "is not finished: go on with it (purerl sweep --resume" in fails(capsys, ["plot", str(unfinished)])
    empty = write_sweep(tmp_path / "empty", GRID[:1])
    agents = pd.read_csv(empty / "agents.csv")
    agents.iloc[:0].to_csv(empty / "agents.csv", index=False)
    assert "no agent of empty has a return to draw" in fails(capsys, ["plot", str(empty)])
    agents.assign(final_return=np.nan).to_csv(empty / "agents.csv", index=False)
    assert "no agent of empty has a return to draw" in fails(capsys, ["plot", str(empty)])
    assert "give at least one directory" in fails(capsys, ["plot"])


def test_csv_says_what_the_tables_say(tmp_path):
    """Pictures from the files of a sweep are those from its result."""
    settings = [{**one, "normalize": x, "sizes": "(64, 64)"} for one in GRID[:2] for x in (True, False)]
    directory = write_sweep(tmp_path / "sweep", settings, seeds=2)
    table, agents = fake_tables(settings, seeds=2)
    pd.testing.assert_frame_equal(read_tables(directory).table, table)
    a = draw(read_tables(directory), tmp_path / "a", ["svg"])
    b = draw(Tables("sweep", table, agents, len(agents)), tmp_path / "b", ["svg"])
    assert [path.read_bytes() for path in a] == [path.read_bytes() for path in b]
    assert scatter(agents, "discount", "trial").axes  # any two numbers
