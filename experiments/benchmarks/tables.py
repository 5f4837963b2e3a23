"""What was measured, in tables."""

import statistics
from typing import Any

from .peers import LIBRARIES
from .settings import Setting, updates_of

Table = dict[str, dict[str, Any]]  # by library
COLUMNS = (
    "library",
    "steps/s",
    "range over rounds",
    "updates/s",
    "purerl is faster by",
    "compile, s",
    "whole, s",
    "memory, MB",
    "return",
)


def summary(rows: dict[str, list[dict[str, Any]]], agents: int, setting: Setting) -> Table:
    """Medians and ranges over rounds, of what the workers report of each library.

    A rate is of all agents together. Where they train one after the other, `rows` are of one agent.
    """
    table, updates = {}, updates_of(setting)
    for library, found in rows.items():
        one_by_one = 1 if LIBRARIES[library].vmapped else agents
        rates = [row["steps"] * agents / (row["running"] * one_by_one) for row in found]
        seconds = statistics.median(row["running"] for row in found) * one_by_one
        wholes = [row["compiling"] + row["running"] * one_by_one for row in found]
        table[library] = {
            "steps per second": statistics.median(rates),
            "range": [min(rates), max(rates)],
            "updates per second": updates * agents / seconds,
            "compile seconds": statistics.median(row["compiling"] for row in found),
            "whole seconds": statistics.median(wholes),
            "memory MB": statistics.median(row["memory_mb"] for row in found),
            "returns": [value for row in found for value in row["returns"]],
        }
    return table


def title_of(
    name: str, agents: int, replay_capacity: int | None = None, cores: int | None = None, steps: int | None = None
) -> str:
    """What a table is of: its key among the numbers, and the title of its panel."""
    words = [name, counted(agents, "agent")]
    words += [f"replay of {replay_capacity:,}"] if replay_capacity else []
    words += [counted(cores, "core")] if cores else []
    words += [counted(steps, "step")] if steps else []
    return ", ".join(words)


def counted(number: int, what: str) -> str:
    """1 agent, 2 agents."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def in_words(title: str, table: Table) -> str:
    """A table in Markdown; ratios are purerl's rate over that of the library."""
    lines = [f"\n{title}\n", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    ours = table.get("purerl")
    for library, row in table.items():
        low, high = row["range"]
        ratio = f"{ours['steps per second'] / row['steps per second']:.1f}" if ours else ""
        cells = [
            library,
            f"{row['steps per second']:,.0f}",
            f"{low:,.0f} to {high:,.0f}",
            f"{row['updates per second']:,.0f}",
            ratio,
            f"{row['compile seconds']:.1f}",
            f"{row['whole seconds']:.1f}",
            f"{row['memory MB']:.0f}",
            f"{statistics.median(row['returns']):.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
