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
    heights = [len(table) + 0.4 for table in tables.values()]
    figure = Figure(figsize=(7.2, 0.6 + 0.25 * sum(heights) + 0.42 * len(tables)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(tables), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, (title, table) in zip(panels, tables.items(), strict=True):
        bars(axes, title, table)
    lowest = min(row["range"][0] for table in tables.values() for row in table.values())
    panels[-1].set_xlim(left=lowest / 3)
    panels[-1].set_xlabel("environment steps per second of all agents: median and range over rounds")
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
        axes.text(1.02, place, words, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
    axes.set_title(title, loc="left", fontsize=9.5)
    axes.set_yticks(range(len(table)), list(table))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(table) - 0.3, -0.7)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
