"""Pictures that compare groups of agents: learning curves, scores with intervals, performance profiles, improvements.

Each takes `Groups` of prepared agents (see `sweep_scores`) and returns a matplotlib Figure. Estimates are interquartile
means with bootstrap intervals (Agarwal et al., 2021; see `purerl.report.statistics`).
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from purerl.report.pictures.learning_curve import COLOURS
from purerl.report.pictures.style import (
    caption,
    cut_intervals,
    fold_label,
    look,
    new_figure,
    steps_axis,
    styled,
    title_of,
)
from purerl.report.pictures.sweep_scores import (
    BEST,
    EPISODES,
    FINAL,
    SETTING,
    Frame,
    Groups,
    aligned_curves,
    counted,
    score_matrix,
    score_name,
)
from purerl.report.statistics import (
    Estimate,
    estimate,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    sample_efficiency_curve,
)

PANELS = 6
PAIRS = 6  # as many as four groups have
THRESHOLDS = 300
SHORT = 14  # letters of a name that may stand beside another


@styled
def learning_curves(table: Frame, groups: Groups, confidence: float = 0.95) -> Figure:
    """The interquartile mean over each group's agents against environment steps; a panel per environment.

    Args:
        table: one row per agent and evaluation (`SweepResult.table()`).
        groups: which agents make a line.
        confidence: of the bands, pointwise.
    """
    everyone = _everyone(groups)
    environments = list(everyone["env"].unique())
    score = _score_column(table)
    kind = "evaluation" if score == "return" else "training"
    height = 3.2 if len(environments) < 2 else 2.3
    figure, panels, columns = new_figure(min(len(environments), PANELS), title_of(everyone), height)
    cut = {""}
    for number, (axes, environment) in enumerate(zip(panels, environments, strict=False)):
        here = everyone[everyone["env"] == environment]["agent"]
        for i, members in enumerate(groups.members.values()):
            own = table[table["agent"].isin(set(members["agent"]) & set(here))]
            _draw_curve(axes, *aligned_curves(own, score), i, confidence)
        cut |= {cut_intervals(axes, "y", table[table["agent"].isin(here)][score])}
        for band in axes.collections:
            band.set_alpha(np.clip(0.7 / len(groups.members), 0.1, 0.2))
        steps_axis(axes)
        axes.set_title(environment if len(panels) > 1 else "")
        axes.set_ylabel(f"return of {kind} episodes\n(undiscounted)" if number % columns == 0 else "")
    what = _estimated("Interquartile mean", groups, "bands", confidence)
    if len(environments) > len(panels):
        what += f" {len(environments) - len(panels)} environments are not shown."
    caption(figure, f"{what}{max(cut)} {_chosen(groups)}", _legend(groups))
    return figure


@styled
def score_intervals(groups: Groups, confidence: float = 0.95) -> Figure:
    """Final and best score of each group: a point and its interval."""
    everyone, names = _everyone(groups), [fold_label(label, 40) for label in _labels(groups)]
    row = 0.12 + 0.16 * max(name.count("\n") + 1 for name in names)
    figure, panels, _ = new_figure(2, title_of(everyone), 0.8 + row * len(names), columns=2, sharey=True)
    cut = {""}
    for axes, column in zip(panels, (FINAL, BEST), strict=True):
        for place, members in enumerate(groups.members.values()):
            _draw_estimate(axes, estimate(score_matrix(members, column), confidence=confidence), place)
        cut |= {cut_intervals(axes, "x", everyone[column])}
        axes.set_xlabel(score_name(everyone, column))
    for axes, title in zip(panels, ("last {}", "best {} (biased upwards)"), strict=True):
        axes.set_title(title.format("evaluation" if everyone[EPISODES].iloc[0] == "evaluation" else "report"))
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    what = _estimated("Interquartile mean", groups, "bars", confidence)
    caption(figure, f"{what}{max(cut)} {_chosen(groups)}")
    return figure


@styled
def performance_profiles(groups: Groups, confidence: float = 0.95) -> Figure:
    """The fraction of runs whose final score exceeds a threshold, against the threshold (Agarwal et al., 2021).

    Bands are drawn from a group's lowest to its highest score.
    """
    everyone = _everyone(groups)
    scores = [score_matrix(members, FINAL, common_environments(groups)) for members in groups.members.values()]
    thresholds = np.unique(np.concatenate([x.ravel() for x in scores]))
    if len(thresholds) > THRESHOLDS:
        thresholds = np.linspace(thresholds[0], thresholds[-1], THRESHOLDS)
    margin = 0.03 * (thresholds[-1] - thresholds[0] or 1.0)
    thresholds = np.concatenate([[thresholds[0] - margin], thresholds, [thresholds[-1] + margin]])
    figure, (axes,), _ = new_figure(1, title_of(everyone), 3.2)
    for i, one in enumerate(scores):
        band = performance_profile(one, thresholds, confidence, _resamples(one))
        axes.plot(thresholds, band.value, **look(i), drawstyle="steps-post", markevery=(0.02 * i, 0.14))
        inside = (band.value > 0) & (band.value < 1)
        inside[1:] |= inside[:-1]
        low, high = (np.where(inside, ends, np.nan) for ends in (band.low, band.high))
        alpha = np.clip(0.35 / len(scores), 0.05, 0.15)
        axes.fill_between(thresholds, low, high, step="post", color=look(i)["color"], alpha=alpha, linewidth=0)
    axes.set_xlabel("threshold: " + score_name(everyone).replace("\n", " "))
    axes.set_ylabel("fraction of runs above the threshold")
    axes.set_ylim(-0.02, 1.02)
    what = _estimated("Performance profile", groups, "bands", confidence)
    caption(figure, f"{what} {_chosen(groups)}", _legend(groups))
    return figure


@styled
def improvements(groups: Groups, confidence: float = 0.95) -> Figure:
    """The probability that a run of one group has a higher final score than a run of another (Agarwal et al., 2021).

    Every pair of up to four groups; of more the best against each other one.
    """
    environments, labels = common_environments(groups), list(groups.members)
    scores = [score_matrix(members, FINAL, environments) for members in groups.members.values()]
    pairs = list(combinations(range(len(labels)), 2))
    if len(pairs) > PAIRS:
        best = int(np.argmax([interquartile_mean(one) for one in scores]))
        pairs = [(best, i) for i in range(len(labels)) if i != best]
    names = _short_names(labels)
    figure, (axes,), _ = new_figure(1, title_of(_everyone(groups)), 0.6 + 0.3 * len(pairs))
    for row, (x, y) in enumerate(pairs):
        _draw_estimate(axes, probability_of_improvement(scores[x], scores[y], confidence), row)
    axes.axvline(0.5, color="0.4", linewidth=1.0, linestyle="--")
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("probability that a run of the first has the higher final score")
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    axes.set_yticks(range(len(pairs)), [f"{names[x]} over {names[y]}" for x, y in pairs])
    what = _estimated("Mann-Whitney statistic", groups, "bars", confidence)
    pairs_of_names = [(name, label) for name, label in zip(names, labels, strict=True) if name != label]
    described = [label if label.startswith(name) else f"{name}: {label}" for name, label in pairs_of_names]
    caption(figure, f"{what} {_chosen(groups)}", [Line2D([], [], linestyle="", label=one) for one in described])
    return figure


def common_environments(groups: Groups) -> list[str]:
    """The environments in which every group has agents."""
    sets = [set(members["env"]) for members in groups.members.values()]
    return sorted(set.intersection(*sets))


def _draw_curve(axes: Any, steps: np.ndarray, returns: np.ndarray, number: int, confidence: float) -> None:
    if not len(steps):
        return
    band = sample_efficiency_curve(returns[:, None], confidence=confidence, resamples=_resamples(returns))
    every = max(1, len(steps) // 8)
    axes.plot(steps, band.value, **look(number), markevery=(number % every, every))
    if len(returns) > 1:
        axes.fill_between(steps, band.low, band.high, color=look(number)["color"], linewidth=0)


def _draw_estimate(axes: Any, one: Estimate, row: int) -> None:
    error = None if np.isnan(one.low) else [[one.value - one.low], [one.high - one.value]]
    axes.errorbar([one.value], [row], xerr=error, fmt="o", color=COLOURS[0], markersize=5, capsize=3, linewidth=1.6)


def _short_names(labels: Sequence[str]) -> list[str]:
    """Names for groups that stand side by side: their labels, the algorithms these begin with, or A, B, C, ..."""
    if max(map(len, labels)) <= SHORT:
        return list(labels)
    first = [label.partition(", ")[0] for label in labels]
    algorithms = len(set(first)) == len(first) and all(len(name) <= SHORT and " " not in name for name in first)
    return first if algorithms else [chr(ord("A") + i) for i in range(len(labels))]


def _everyone(groups: Groups) -> Frame:
    return pd.concat(list(groups.members.values()))


def _score_column(table: Frame) -> str:
    evaluated = "return" in table and table["return"].notna().any()
    return "return" if evaluated else "episode_return"


def _legend(groups: Groups) -> list[Line2D]:
    labels = _labels(groups)
    return [Line2D([], [], **look(i), label=label) for i, label in enumerate(labels)]


def _labels(groups: Groups) -> list[str]:
    """The groups' names, with their numbers of agents where these differ and of diverged ones where there are any."""
    counts, noun = _counts(groups)
    labels = []
    for (label, members), count in zip(groups.members.items(), counts, strict=True):
        notes = [counted(count, noun)] if len(set(counts)) > 1 else []
        notes += [f"{members['diverged'].sum()} diverged"] if members["diverged"].any() else []
        labels.append(f"{label} ({', '.join(notes)})" if notes else label)
    return labels


def _counts(groups: Groups) -> tuple[list[int], str]:
    """How many runs each group has, and what they are: seeds of one setting, or agents of several."""
    members = groups.members.values()
    one_setting = all(one[SETTING].nunique() == 1 for one in members)
    return [len(one[[SETTING, "seed"]].drop_duplicates()) for one in members], "seed" if one_setting else "agent"


def _estimated(what: str, groups: Groups, drawn_as: str, confidence: float) -> str:
    """'Interquartile mean over 8 seeds, bands: 95 % bootstrap intervals, pointwise.'"""
    (counts, noun), environments = _counts(groups), _everyone(groups)["env"].nunique()
    everywhere = len(common_environments(groups)) == environments
    most, fewest = max(counts), min(counts)
    runs = counted(most, noun) if most == fewest else f"{fewest} to {most} {noun}s"
    where = f" in each of {environments} environments" if everywhere else " per environment"
    runs += where if environments > 1 else ""
    if most < 2:
        return f"{'One' if environments < 2 else what + ' over 1'} {noun}{runs.removeprefix(f'1 {noun}')}: no interval."
    pointwise = ", pointwise" if drawn_as == "bands" else ""
    return f"{what} over {runs}, {drawn_as}: {100 * confidence:g} % bootstrap intervals{pointwise}."


def _chosen(groups: Groups) -> str:
    """The part of a caption on what is shown, what is not, and what went wrong."""
    everyone = _everyone(groups)
    sentences = [groups.how] if groups.how else []
    if groups.left_out:
        sentences.append(f"{groups.left_out} more {'is' if groups.left_out == 1 else 'are'} not shown.")
    if everyone["diverged"].any():
        sentences.append("The return of a diverged agent is that of its frozen policy.")
    if nothing := int(everyone[FINAL].isna().sum()):
        verb = "is" if nothing == 1 else "are"
        sentences.append(f"{counted(nothing, 'agent')} without a return {verb} left out.")
    return " ".join(sentences)


def _resamples(scores: np.ndarray) -> int:
    """Fewer bootstrap samples for many runs, where each takes long and fewer will do."""
    return int(np.clip(1_000_000 // max(len(scores), 1), 200, 2000))
