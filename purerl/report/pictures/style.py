"""How the pictures of sweeps look: one width, one type size, lines and points that differ also without colour."""

import textwrap
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FixedLocator, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike

from purerl.report.pictures.learning_curve import COLOURS
from purerl.report.pictures.sweep_scores import Frame, in_words, is_log_spaced, value_in_words

WIDTH = 6.8  # inches: a text column, or two of a narrow one
LETTERS = 112  # of the smallest type in that width
MAP = colormaps["viridis"]  # its lightness rises from end to end, so it can be read in grey
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
MARKERS = "osD^vPX"
INK = "0.25"
LINE = 0.165  # inches
STYLE = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "legend.fontsize": 8.5,
    "legend.title_fontsize": 8.5,
    "figure.titlesize": 10.0,
    "figure.titleweight": "bold",
    "figure.dpi": 100.0,
    "savefig.dpi": 300.0,
    "figure.constrained_layout.h_pad": 0.06,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
}
styled = rc_context(cast(Any, STYLE))  # a decorator: functions that draw


def new_figure(
    panels: int, title: str, height: float = 3.0, columns: int = 3, **sharing: Any
) -> tuple[Figure, list[Axes], int]:
    """A figure, its panels row by row, and how many columns they make; `height` in inches per row."""
    columns = 2 if panels in (2, 4) else min(columns, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(WIDTH, height * rows + 0.3), dpi=300, layout="constrained")
    FigureCanvasAgg(figure)
    grid = np.ravel(figure.subplots(rows, columns, squeeze=False, **sharing))
    for empty in grid[panels:]:
        figure.delaxes(empty)
    for axes in grid[:panels]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8.5, which="both")
        axes.grid(alpha=0.25, linewidth=0.6)
    figure.suptitle(fold(title, 80))
    return figure, list(grid[:panels]), columns


@styled
def finish(figure: Figure, words: str = "") -> None:
    """Add words to the title of a figure and fix where everything is, so that it is there in files of every format."""
    figure.suptitle(figure.get_suptitle() + words)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def cut_intervals(axes: Axes, which: str, values: ArrayLike) -> str:
    """Keep the intervals of few runs from dwarfing the values: the axis ends half their range beyond them.

    Returns the words for the caption that this calls for.
    """
    known = np.asarray(values, float)[np.isfinite(values)]
    limits = axes.get_xlim() if which == "x" else axes.get_ylim()
    if known.size == 0 or known.min() == known.max():
        return ""
    reach = 0.5 * (known.max() - known.min())
    low, high = max(limits[0], float(known.min() - reach)), min(limits[1], float(known.max() + reach))
    axes.set(**{f"{which}lim": (low, high)})
    return "" if (low, high) == limits else " Some intervals reach beyond the axis."


def caption(figure: Figure, note: str, handles: Sequence[Any] = ()) -> None:
    """What the picture shows and, below that, its legend: under the panels, where they cover no data.

    The figure grows by their height, so the panels keep theirs.
    """
    longest = max([len(str(handle.get_label())) for handle in handles], default=0)
    columns = int(np.clip(LETTERS // (longest + 8), 1, max(len(handles), 1)))
    title = fold(note, LETTERS)
    lines = title.count("\n") + 1 - (-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + LINE * (lines + 1))
    legend = figure.legend(
        handles=list(handles), title=title, loc="outside lower center", ncols=columns, frameon=False, handlelength=2.8
    )
    legend.get_title().set_multialignment("center")


def fold(text: str, letters: int) -> str:
    """Text in lines of so many letters."""
    return "\n".join(textwrap.wrap(text, letters))


def fold_label(label: str, letters: int) -> str:
    """The label of a group in lines of so many letters, broken between its fields."""
    return fold(", ".join(part.replace(" ", "\u00a0") for part in label.split(", ")), letters)


def look(number: int) -> dict[str, Any]:
    """How the line of a group is drawn: colour, dashes and marker differ."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4.0,
        "linewidth": 1.6,
    }


def point_look(number: int) -> dict[str, Any]:
    """How the points of a group are drawn."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def cross(label: str) -> Line2D:
    """What stands for diverged agents, in a legend."""
    return Line2D([], [], linestyle="", marker="x", color="black", markersize=5.5, markeredgewidth=1.3, label=label)


def steps_axis(axes: Axes) -> None:
    """Environment steps along the horizontal axis."""
    axes.set_xlabel("environment steps per agent")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0.02)


def field_axis(axes: Axes, which: str, name: str, values: ArrayLike) -> None:
    """A swept field along an axis ("x" or "y"), logarithmic where its values are; few values are its ticks."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    few, log = np.unique(values), is_log_spaced(values)
    axis.set_label_text(in_words(name) + (" (log scale)" if log else ""))
    axes.set(**{f"{which}lim": _limits(few, log), f"{which}scale": "log" if log else "linear"})
    if log:
        axis.set_major_locator(LogLocator(numticks=6))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(lambda x, _: value_in_words(x))
    if len(few) <= 6 and _far_apart(few, log):
        axis.set_major_locator(FixedLocator(few.tolist()))
        axis.set_minor_locator(FixedLocator([]))
        axis.set_major_formatter(lambda x, _: value_in_words(x, few))


def text_colour(value: float, norm: Normalize) -> str:
    """Black or white: what can be read on the colour of a value."""
    red, green, blue, _ = MAP(norm(value))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def title_of(agents: Frame) -> str:
    """'dqn, ppo on CartPole-v1'."""
    in_order = agents.sort_values("agent")
    algorithms, environments = (list(in_order[name].unique()) for name in ("algorithm", "env"))
    where = ", ".join(environments) if len(environments) <= 3 else f"{len(environments)} environments"
    return f"{', '.join(algorithms)} on {where}"


def _limits(values: np.ndarray, log: bool) -> tuple[float, float]:
    """From below the first to above the last value."""
    low, high = (np.log(values[[0, -1]]) if log else values[[0, -1]]).tolist()
    margin = 0.08 * (high - low or 1.0)
    return (float(np.exp(low - margin)), float(np.exp(high + margin))) if log else (low - margin, high + margin)


def _far_apart(values: np.ndarray, log: bool) -> bool:
    """Whether labels at these values of an axis would not overlap."""
    places = np.log(values) if log else values
    return len(values) < 2 or bool(np.diff(places).min() >= (places[-1] - places[0]) / 8)
