"""Tables for the console."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.table import Table

from purerl.report.records import PerSeed, in_words, median, survivors


def number(value: float | None, digits: int = 4) -> str:
    """A number for people: so many significant digits, 'k' and 'M' from ten thousand on, '-' for none."""
    if value is None:
        return "-"
    for scale, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale and abs(value) >= 1e4:
            return f"{value / scale:.{digits}g}{suffix}"
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.{digits}g}"


def return_table(title: str, seeds: Sequence[int], columns: dict[str, PerSeed], diverged: Sequence[int] = ()) -> Table:
    """One row per seed, one column per quantity, and in the last row the median over the seeds not diverged."""
    table = Table(title=title, title_justify="left", show_footer=len(seeds) > 1)
    footer = f"median of {in_words(len(seeds), len(diverged))}" if diverged else "median"
    table.add_column("seed", footer=footer, justify="right")
    for name, values in columns.items():
        table.add_column(name, footer=number(median(survivors(values, seeds, diverged))), justify="right")
    if diverged:
        table.add_column("")
    for i, seed in enumerate(seeds):
        mark = ["[red]diverged[/red]" if seed in diverged else ""] if diverged else []
        table.add_row(str(seed), *(number(values[i]) for values in columns.values()), *mark)
    return table


def facts(rows: dict[str, str]) -> Table:
    """Two columns without lines: what, and how much."""
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(f"[dim]{name}[/dim]", value)
    return table


def summary_table(summary: dict[str, Any]) -> Group:
    """The end of a run: return per seed, speed, and where everything is."""
    evaluation = summary["evaluation"]
    title = f"{summary['algorithm']} on {summary['environment']}: {summary['status']}"
    if evaluation:
        columns = {"return": evaluation["return_per_seed"], "std": evaluation["return_std_per_seed"]}
        columns["best"] = evaluation["best_return_per_seed"]
    else:
        columns = {"training return": summary["episode_return_per_seed"]}
    rows = {
        "environment steps": f"{summary['env_steps']:,} x {summary['seeds']} seed{'s' if summary['seeds'] > 1 else ''}",
        "steps per second": f"{summary['env_steps_per_second']:,.0f} (all seeds together)",
        "train": f"{summary['train_seconds']:.2f} s",
        "compile": f"{summary['compile_seconds']:.2f} s",
    }
    rows |= {name: str(path) for name, path in summary["paths"].items()}
    return Group(return_table(title, summary["seed_list"], columns, summary["diverged_seeds"]), facts(rows))
