"""Learning curves of one or several runs: the median over seeds, with bands from 25 to 75 % and from worst to best.

A seed that diverges leaves the statistics there, and the legend counts it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purerl.report import run_directory
from purerl.report.records import in_words
from purerl.report.summary import environment_name

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito (2008)
DASHES = ("-", "--", "-.", ":")


class Curve(NamedTuple):
    """One run: returns against environment steps."""

    label: str
    algorithm: str
    environment: str
    quantity: str
    env_steps: np.ndarray  # [points], per seed
    returns: np.ndarray  # [points, seeds], NaN where there is no number and from a seed's divergence on
    diverged: int  # seeds that have diverged by the end


def read_curve(directory: Path) -> Curve:
    """The evaluation returns of a run, or its training returns if it was not evaluated.

    Raises FileNotFoundError if `directory` is not a run, ValueError if nothing has been written yet.
    """
    config, _ = run_directory.read_config(directory)
    metrics = run_directory.read_lines(directory / run_directory.METRICS)
    diverged_at = {line["iteration"]: line["diverged_seeds"] for line in metrics}
    lines = run_directory.read_lines(directory / run_directory.EVALUATIONS)
    name, quantity = "return_per_seed", "return of evaluation episodes"
    if not lines:
        lines = metrics
        name, quantity = "episode_return", "return of training episodes"
    lines = [line for line in lines if name in line]
    if not lines:
        raise ValueError(f"{directory} has no returns to plot yet")
    returns = np.array([line[name] for line in lines], dtype=float)
    lost = [np.isin(config["seeds"], diverged_at.get(line["iteration"], [])) for line in lines]
    return Curve(
        label=directory.absolute().name,
        algorithm=config["algorithm"],
        environment=environment_name(config),
        quantity=quantity,
        env_steps=np.array([line["env_steps"] for line in lines]),
        returns=np.where(lost, np.nan, returns),
        diverged=int(np.sum(lost[-1])),
    )


def learning_curve(directories: Sequence[Path], out: Path) -> Path:
    """Draw the runs in `directories` into the picture `out`, PNG or SVG by its name (see `save`); returns its path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves = [read_curve(Path(directory)) for directory in directories]
    figure = Figure(figsize=(7.2, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for i, curve in enumerate(curves):
        _draw(axes, curve, COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)], alone=len(curves) == 1)
    axes.set_title(_title(curves))
    axes.set_xlabel("environment steps (per seed)")
    axes.set_ylabel(", ".join(sorted({curve.quantity for curve in curves})))
    axes.xaxis.set_major_formatter(_engineering())
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    title = "median, 25 to 75 % of seeds" if len(curves) > 1 else None
    axes.legend(frameon=False, fontsize="small", title=title, title_fontsize="small")
    return save(figure, out)


def save(figure: Any, out: Path) -> Path:
    """Write a matplotlib figure into `out` in one step and return its path; the format is that of its suffix, else PNG.

    The same figure gives the same bytes. The text of an SVG stays text, which can be searched and edited.
    """
    from matplotlib import rc_context

    kind = out.suffix.lstrip(".").lower() or "png"
    temporary = out.with_name(f".{out.name}.tmp")
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "purerl"}):
        try:
            figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else None)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    temporary.replace(out)
    return out


def _draw(axes: Any, curve: Curve, colour: str, dash: str, alone: bool) -> None:
    seeds = curve.returns.shape[1]
    valid = ~np.isnan(curve.returns).all(axis=1)
    steps, returns = curve.env_steps[valid], curve.returns[valid]
    counted = in_words(seeds, curve.diverged)
    label = (f"median of {counted}" if seeds > 1 else counted) if alone else f"{curve.label} ({counted})"
    if not len(steps):
        axes.plot([], [], dash, color=colour, label=label)
        return
    marker = "o" if len(steps) < 2 else ""
    axes.plot(steps, np.nanmedian(returns, axis=1), dash, color=colour, linewidth=1.8, marker=marker, label=label)
    if seeds == 1:
        return
    low, high = np.nanpercentile(returns, [25, 75], axis=1)
    axes.fill_between(
        steps, low, high, color=colour, alpha=0.28, linewidth=0, label="25 to 75 % of seeds" if alone else None
    )
    if alone:
        worst, best = np.nanmin(returns, axis=1), np.nanmax(returns, axis=1)
        axes.fill_between(steps, worst, best, color=colour, alpha=0.10, linewidth=0, label="worst to best seed")


def _title(curves: Sequence[Curve]) -> str:
    algorithms = ", ".join(dict.fromkeys(curve.algorithm for curve in curves))
    environments = ", ".join(dict.fromkeys(curve.environment for curve in curves))
    return f"{algorithms} on {environments}"


def _engineering() -> Any:
    from matplotlib.ticker import EngFormatter

    return EngFormatter(sep="")
