"""Pictures of the return over two swept fields: heat maps of grids, coloured points of any other design.

Each takes a table of agents (`SweepResult.agents()`; of one algorithm where its fields are not the others') and returns
a matplotlib Figure. A diverged agent keeps its score, that of the policy it had, and is counted at a cross.
"""

from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from purerl.report.pictures.style import INK, MAP, caption, cross, field_axis, new_figure, styled, text_colour, title_of
from purerl.report.pictures.sweep_scores import (
    SETTING,
    Frame,
    counted,
    in_words,
    is_log_spaced,
    prepared,
    score_matrix,
    score_name,
    seeds_in_words,
    value_in_words,
    varying,
)
from purerl.report.statistics import interquartile_mean

Over = Literal["best", "mean"]
ROOM = 10  # cells in a row that leave room for numbers
WIDEST = 80  # letters that fit under a heat map
CELLS = 16  # of a heat map in a row or column; a larger grid is drawn as points


def is_grid(agents: Frame, x: str, y: str) -> bool:
    """Whether every value of one field occurs with every value of the other, in a picture with few enough cells."""
    sizes = agents[x].nunique(), agents[y].nunique()
    pairs = agents[[x, y]].dropna().drop_duplicates()
    return len(pairs) == sizes[0] * sizes[1] and max(sizes) <= CELLS


def return_over(agents: Frame, x: str, y: str, over: Over = "best") -> Figure:
    """The final return over two numeric fields: a heat map of a grid, coloured points of any other design."""
    agents = prepared(agents)
    return heat_map(agents, x, y, over) if is_grid(agents, x, y) else scatter(agents, x, y)


@styled
def heat_map(agents: Frame, x: str, y: str, over: Over = "best") -> Figure:
    """The interquartile mean over seeds in every cell of a grid of two fields.

    Args:
        over: where other fields vary, the best of a cell's settings (those without diverged agents go first), or their
            mean.
    """
    agents = prepared(agents)
    columns, rows = (np.sort(agents[name].dropna().unique()) for name in (x, y))
    values, lost = np.full((len(rows), len(columns)), np.nan), np.zeros((len(rows), len(columns)), int)
    for (of_x, of_y), cell in agents.groupby([x, y]):
        place = np.searchsorted(rows, of_y), np.searchsorted(columns, of_x)
        values[place], lost[place] = cell_score(cell, over), cell["diverged"].sum()
    figure, (axes,), _ = new_figure(1, title_of(agents), float(np.clip(0.36 * len(rows), 2.2, 4.4)))
    norm = _norm(values)
    mesh = axes.pcolormesh(np.ma.masked_invalid(values), cmap=MAP, norm=norm, edgecolors="white", linewidth=0.8)
    axes.grid(False)
    axes.set_facecolor("0.85")
    _label_cells(axes, values, lost, norm)
    for axis, name, ticks in ((axes.xaxis, x, columns), (axes.yaxis, y, rows)):
        words = [value_in_words(value, ticks) for value in ticks]
        axis.set_ticks(np.arange(len(ticks)) + 0.5, words)
        if axis is axes.xaxis and sum(len(word) + 2 for word in words) > WIDEST:
            axes.tick_params(axis="x", rotation=45)
        axis.set_label_text(in_words(name) + (" (log scale)" if is_log_spaced(ticks) else ""))
    _colour_bar(figure, mesh, axes, agents)
    where = ", with their number" if len(columns) <= ROOM else " in a cell"
    empty = " Grey: no return." if np.isnan(values).any() else ""
    caption(figure, _cell_words(agents, x, y, over) + empty, _crosses(agents, where))
    return figure


@styled
def scatter(agents: Frame, x: str, y: str) -> Figure:
    """A point per setting at its values of two fields, coloured by the interquartile mean over its seeds."""
    agents = prepared(agents)
    agents = agents[agents[x].notna() & agents[y].notna()]
    settings = [one for _, one in agents.groupby(SETTING)]
    places = np.array([[one[x].iloc[0], one[y].iloc[0]] for one in settings], float)
    values = np.array([cell_score(one, "mean") for one in settings])
    figure, (axes,), _ = new_figure(1, title_of(agents), 3.4)
    order = np.argsort(np.nan_to_num(values, nan=-np.inf))  # the best on top
    points = axes.scatter(
        *places[order].T, c=values[order], cmap=MAP, norm=_norm(values), s=38, linewidths=0.5, edgecolors=INK
    )
    lost = np.array([one["diverged"].any() for one in settings])
    if lost.any():
        crosses = axes.scatter(*places[lost].T, marker="x", color="black", s=60, linewidths=1.3, zorder=3)
        crosses.set_path_effects([withStroke(linewidth=3, foreground="white")])
    for which, name, ticks in (("x", x, places[:, 0]), ("y", y, places[:, 1])):
        field_axis(axes, which, name, ticks)
    _colour_bar(figure, points, axes, agents)
    note = f"A point per setting: interquartile mean over {seeds_in_words(agents)}."
    caption(figure, note, _crosses(agents, " in a setting"))
    return figure


def cell_score(agents: Frame, over: Over) -> float:
    """The best or the mean of the settings' interquartile means; NaN if there is no score."""
    scores, lost = [], []
    for _, of_setting in agents.groupby(SETTING):
        matrix = score_matrix(of_setting)
        if matrix.size:
            scores.append(float(interquartile_mean(matrix)))
            lost.append(bool(of_setting["diverged"].any()))
    if not scores:
        return float("nan")
    if over == "mean":
        return float(np.mean(scores))
    whole = [score for score, diverged in zip(scores, lost, strict=True) if not diverged]
    return max(whole or scores)


def _label_cells(axes: Axes, values: np.ndarray, lost: np.ndarray, norm: Normalize) -> None:
    """The number in every cell, if there is room; a cross and how many where agents have diverged."""
    room = values.shape[1] <= ROOM
    for (row, column), value in np.ndenumerate(values):
        colour = text_colour(value, norm) if np.isfinite(value) else "black"
        if room and np.isfinite(value):
            axes.text(column + 0.5, row + 0.5, _digits(value, norm), color=colour, ha="center", va="center", size=8.5)
        if not lost[row, column]:
            continue
        across = column + (0.1 if room else 0.5)
        axes.scatter(across, row + (0.78 if room else 0.5), marker="x", color=colour, s=18, linewidths=1.2)
        if room:
            axes.text(across + 0.07, row + 0.76, str(lost[row, column]), color=colour, ha="left", va="center", size=7.5)


def _digits(value: float, norm: Normalize) -> str:
    """A number with as many decimals as tell a hundredth of the range apart, three digits at most."""
    span = (norm.vmax or 0.0) - (norm.vmin or 0.0)
    largest = max(abs(norm.vmax or 0.0), abs(norm.vmin or 0.0))
    if largest >= 1e5:
        return f"{value:.2e}".replace("e+0", "e")
    decimals = max(0, 2 - int(np.floor(np.log10(largest)))) if largest > 0 else 0
    return f"{value:.{decimals if span < 100 else 0}f}"


def _norm(values: np.ndarray) -> Normalize:
    """From the lowest to the highest value; some width where they are all the same."""
    known = values[np.isfinite(values)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    return Normalize(low, high if high > low else low + 1.0)


def _colour_bar(figure: Figure, drawn: Any, axes: Axes, agents: Frame) -> None:
    bar = figure.colorbar(drawn, ax=axes, pad=0.02, aspect=25)
    bar.set_label(score_name(agents).replace(" (", "\n("))
    bar.ax.tick_params(labelsize=8.5)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def _cell_words(agents: Frame, x: str, y: str, over: Over) -> str:
    """What the number in a cell is."""
    others = [in_words(name) for name in varying(agents) if name not in (x, y)]
    each = f"interquartile mean over {seeds_in_words(agents)}"
    if not others:
        return f"Each cell: {each}."
    which = "the best over" if over == "best" else "the mean over all values of"
    return f"Each cell: {each}, {which} {', '.join(others)}."


def _crosses(agents: Frame, where: str) -> list[Line2D]:
    """The legend of the crosses, if there are any, with the number of diverged agents in all."""
    lost = int(agents["diverged"].sum())
    return [cross(f"diverged agents{where}; {lost} of {counted(len(agents), 'agent')} in all")] if lost else []
