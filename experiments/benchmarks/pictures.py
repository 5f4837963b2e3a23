"""The tables as a picture: steps per second, library by library."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from purerl.report.pictures.learning_curve import COLOURS, save

from .tables import Table


def against(ours: float, theirs: float) -> str:
    """How a library's rate compares with purerl's, in words."""
    if f"{ours / theirs:.1f}" == "1.0":
        return "as fast as purerl"
    faster, ratio = ("purerl", ours / theirs) if ours > theirs else ("it", theirs / ours)
    return f"{faster} is {ratio:.1f} times as fast" if ratio < 10 else f"{faster} is {ratio:.0f} times as fast"


def draw(tables: dict[str, Table], out: Path) -> Path:
    """One panel per table of horizontal bars, the medians; whiskers are the ranges over rounds."""
    heights = [len(table) + 1.6 for table in tables.values()]
    figure = Figure(figsize=(7.2, 0.8 + 0.27 * sum(heights)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(tables), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, (title, table) in zip(panels, tables.items(), strict=True):
        bars(axes, title, table)
    highest = max(row["range"][1] for table in tables.values() for row in table.values())
    lowest = min(row["range"][0] for table in tables.values() for row in table.values())
    panels[-1].set_xlim(lowest / 3, highest * (highest / lowest) ** 0.8 * 10)  # the words stand beside the bars
    panels[-1].set_xlabel("environment steps per second of all agents; median and range over rounds")
    return save(figure, out)


def bars(axes, title: str, table: Table) -> None:
    """One panel."""
    ours = table.get("purerl")
    for place, (library, row) in enumerate(table.items()):
        rate, (low, high) = row["steps per second"], row["range"]
        axes.barh(place, rate, height=0.7, color=COLOURS[0] if library == "purerl" else "0.75")
        axes.errorbar(rate, place, xerr=[[rate - low], [high - rate]], color="0.25", capsize=2.5, linewidth=1.1)
        words = f"{rate:,.0f}"
        if ours and library != "purerl":
            words += f": {against(ours['steps per second'], rate)}"
        axes.annotate(words, (high, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.set_title(title, loc="left", fontsize=9.5)
    axes.set_yticks(range(len(table)), list(table))
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
