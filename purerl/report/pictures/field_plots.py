"""Pictures of the return against the swept fields one by one: slices, and which of them matter.

Each takes a table of agents (`SweepResult.agents()`) and returns a matplotlib Figure. A diverged agent is drawn as a
cross and keeps its score, that of the policy it had.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from purerl.report import sensitivity
from purerl.report.pictures.learning_curve import COLOURS
from purerl.report.pictures.style import (
    caption,
    cross,
    cut_intervals,
    field_axis,
    look,
    new_figure,
    point_look,
    styled,
    title_of,
)
from purerl.report.pictures.sweep_scores import (
    FINAL,
    SETTING,
    Frame,
    best_of_each,
    counted,
    in_words,
    is_numeric,
    prepared,
    score_matrix,
    score_name,
    seeds_in_words,
    value_in_words,
    varying,
)
from purerl.report.statistics import estimate

INTERVALS = 40  # values of a field that get an interval each
JOINED = 12  # values of a field whose intervals a line may join
CROWD = 400  # points that are too many to be drawn as dark as few
MANY = 2000  # points that are too many to be drawn one by one in an SVG
PANELS = 9
DODGE, WIDEST = 5.0, 18.0  # points between algorithms at the same value, and from the first to the last
INTERACTIONS, NOISE = "interactions", "noise of seeds"


@styled
def slices(agents: Frame, names: Sequence[str] | None = None, confidence: float = 0.95) -> Figure:
    """The final return against each field alone: every agent a point, every repeated value an interval.

    Args:
        names: the fields (default: the first nine of those that vary).
        confidence: of the intervals.
    """
    agents = prepared(agents)
    found = varying(agents)
    names = found[:PANELS] if names is None else names
    groups = best_of_each(agents)
    algorithms = [one["algorithm"].iloc[0] for one in groups.members.values()]
    agents = agents[agents["algorithm"].isin(algorithms)]
    height = 2.4 if len(names) > 1 else 3.0
    figure, panels, columns = new_figure(len(names), title_of(agents), height, sharey=True)
    for number, (axes, name) in enumerate(zip(panels, names, strict=True)):
        draw = _numeric_slice if is_numeric(agents, name) else _categorical_slice
        draw(axes, agents, name, algorithms, confidence)
        axes.set_ylabel(score_name(agents) if number % columns == 0 else "")
    cut = cut_intervals(panels[0], "y", agents[FINAL])
    handles = [Line2D([], [], linestyle="", **point_look(i), label=name) for i, name in enumerate(algorithms)]
    handles = handles if len(algorithms) > 1 else []
    if agents["diverged"].any():
        handles.append(cross(f"diverged ({agents['diverged'].sum()} of {counted(len(agents), 'agent')})"))
    left_out = f" {counted(groups.left_out, 'algorithm')} not shown." if groups.left_out else ""
    caption(figure, _slice_words(agents, names, len(found), confidence) + left_out + cut, handles)
    return figure


@styled
def importance(agents: Frame) -> Figure:
    """The share of each field in the variance of the final return, a panel per algorithm (functional ANOVA).

    Raises like `purerl.report.sensitivity.importance`: ValueError where nothing varies or all returns are equal,
    ImportError for a design that is no grid without optuna.
    """
    agents = prepared(agents)
    algorithms = list(agents["algorithm"].unique())[:PANELS]
    shares = [_shares(agents[agents["algorithm"] == algorithm]) for algorithm in algorithms]
    bars = max(map(len, shares))
    figure, panels, _ = new_figure(len(shares), title_of(agents), 0.7 + 0.3 * bars, columns=2)
    for axes, algorithm, share in zip(panels, algorithms, shares, strict=True):
        for row, (name, value) in enumerate(share.items()):
            rest = name.startswith((INTERACTIONS, NOISE))
            axes.barh(row, value, height=0.65, color="0.75" if rest else COLOURS[0], hatch="///" if rest else None)
            axes.annotate(
                f"{round(100 * value)} %", (max(value, 0), row), (3, 0), textcoords="offset points", va="center"
            )
        axes.set_yticks(range(len(share)), list(share))
        axes.set_ylim(len(share) - 0.4, -0.6)
        axes.set_xlim(min(0, *share.values()), max(0.1, *share.values()) * 1.15)
        axes.set_xlabel("share of the variance of the final return")
        axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.0f} %")
        axes.set_title(algorithm if len(panels) > 1 else "")
    how = "" if is_full_grid(agents) else ", by a random forest of the settings' means"
    note = f"Functional ANOVA of {counted(len(agents), 'agent')} ({seeds_in_words(agents)} per setting){how}."
    nothing = " An agent without a return counts as the lowest." if agents[FINAL].isna().any() else ""
    caption(figure, note + nothing)
    return figure


def is_full_grid(agents: Frame) -> bool:
    """Whether every combination of the fields' values is a setting."""
    return int(np.prod([agents[name].nunique() for name in varying(agents)])) == agents[SETTING].nunique()


def _numeric_slice(axes: Axes, agents: Frame, name: str, algorithms: Sequence[str], confidence: float) -> None:
    agents = agents[agents[name].notna() & agents[FINAL].notna()]
    for i, algorithm in enumerate(algorithms):
        own, points = agents[agents["algorithm"] == algorithm], _dodge(i, len(algorithms))
        aside = axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)
        _points(axes, own[name].to_numpy(float), own, i, aside)
        _make_room(axes, own[name], own[FINAL])
        repeated = [(value, of_value) for value, of_value in own.groupby(name) if len(of_value) > 1]
        if not repeated or len(repeated) > INTERVALS:
            continue
        estimates = [estimate(score_matrix(of_value), confidence=confidence) for _, of_value in repeated]
        middle, low, high = np.array([one[:3] for one in estimates]).T
        crowded = len(repeated) > JOINED
        axes.errorbar(
            [value for value, _ in repeated],
            middle,
            yerr=None if np.isnan(low).any() else [middle - low, high - middle],
            **{**point_look(i), "markerfacecolor": "white"},
            linestyle=look(i)["linestyle"] if _is_curve(own, name) else "",
            linewidth=0.7 if crowded else 1.3,
            markersize=3 if crowded else 5,
            capsize=0 if crowded else 2.5,
            transform=aside,
            zorder=3,
        )
        for ends in (low, high):
            _make_room(axes, [value for value, _ in repeated], ends)
    axes.autoscale_view()
    field_axis(axes, "x", name, agents[name].to_numpy(float))


def _categorical_slice(axes: Axes, agents: Frame, name: str, algorithms: Sequence[str], confidence: float) -> None:
    agents = agents[agents[name].notna() & agents[FINAL].notna()]
    values = list(agents[name].unique())
    values = sorted(values) if agents[name].dtype.kind == "b" else values
    groups = [agents[agents[name] == value] for value in values]
    grey: dict[str, Any] = {f"{part}props": {"color": "0.5"} for part in ("box", "whisker", "cap", "median")}
    scores = [group[FINAL].to_numpy() for group in groups]
    axes.boxplot(scores, positions=range(len(values)), widths=0.55, showfliers=False, manage_ticks=False, **grey)
    rng = np.random.default_rng(0)
    for place, group in enumerate(groups):
        across = place + rng.uniform(-0.2, 0.2, len(group))
        for i, algorithm in enumerate(algorithms):
            own = (group["algorithm"] == algorithm).to_numpy()
            _points(axes, across[own], group[own], i, axes.transData)
        one = estimate(score_matrix(group), confidence=confidence)
        error = None if np.isnan(one.low) else [[one.value - one.low], [one.high - one.value]]
        axes.errorbar(
            place, one.value, yerr=error, fmt="o", color="black", markerfacecolor="white", markersize=5, capsize=2.5
        )
    labels = [value_in_words(value) for value in values]
    crowded = sum(map(len, labels)) > 24
    axes.set_xticks(range(len(values)), labels, rotation=30 if crowded else 0, ha="right" if crowded else "center")
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_xlabel(in_words(name))


def _points(axes: Axes, across: np.ndarray, agents: Frame, number: int, transform: Any) -> None:
    """The agents as points, the diverged ones as crosses."""
    lost, scores = agents["diverged"].to_numpy(bool), agents[FINAL].to_numpy(float)
    raster = len(agents) > MANY
    axes.scatter(
        across[~lost],
        scores[~lost],
        **point_look(number),
        s=12,
        alpha=0.5 if len(agents) < CROWD else 0.2,
        linewidths=0,
        transform=transform,
        rasterized=raster,
    )
    if lost.any():
        axes.scatter(across[lost], scores[lost], marker="x", color="black", s=24, linewidths=1.2, transform=transform)


def _dodge(number: int, count: int) -> float:
    """How far, in points, one of so many algorithms is moved aside."""
    return (number - (count - 1) / 2) * min(DODGE, WIDEST / max(count - 1, 1))


def _make_room(axes: Axes, across: Any, up: Any) -> None:
    """Let the axes reach these points. Matplotlib does not see what it draws aside of its place."""
    points = np.column_stack([across, up]).astype(float)
    axes.update_datalim(points[np.isfinite(points).all(axis=1)])


def _is_curve(agents: Frame, name: str) -> bool:
    """Whether a line may join a field's values: no other field varies, or every value has as many settings."""
    counts = agents.groupby(name)[SETTING].nunique()
    alone = varying(agents) == [name]
    return len(counts) <= JOINED and counts.nunique() == 1 and (alone or counts.iloc[0] > 1)


def _slice_words(agents: Frame, names: Sequence[str], found: int, confidence: float) -> str:
    settings = counted(agents[SETTING].nunique(), "setting")
    words = [f"Points: agents ({settings} x {seeds_in_words(agents)})."]
    if any(agents[name].nunique() < len(agents) for name in names):
        words.append(f"Interquartile mean and {100 * confidence:g} % bootstrap interval of a value's agents.")
    if not all(is_numeric(agents, name) for name in names):
        words.append("Boxes: quartiles, whiskers within 1.5 times their distance.")
    if found > len(names):
        words.append(f"{counted(found - len(names), 'field')} not shown.")
    return " ".join(words)


def _shares(agents: Frame) -> dict[str, float]:
    """The shares of one algorithm's fields, the largest first, then those of interactions and noise."""
    names = varying(agents)
    wide = agents.pivot(index=[SETTING, "seed"], columns="env", values=FINAL).mean(axis=1, skipna=False)
    scores = wide.fillna(wide.min()).rename("score").reset_index()
    if not is_full_grid(agents):  # the forest is to see each setting once
        scores = scores.groupby(SETTING, as_index=False)["score"].mean()
    values = agents.drop_duplicates(SETTING).set_index(SETTING)[names].loc[scores[SETTING]]
    columns = {in_words(n): values[n].astype(str if values[n].isna().any() else values[n].dtype) for n in names}
    found = sensitivity.importance(columns, scores["score"].to_numpy())
    shares = dict(sorted(found.main.items(), key=lambda one: -one[1]))
    if np.isnan(found.noise):
        return {**shares, f"{INTERACTIONS}, {NOISE}": found.interactions}
    return {**shares, INTERACTIONS: found.interactions, NOISE: found.noise}
