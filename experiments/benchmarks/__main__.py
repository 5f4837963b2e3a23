"""purerl and its peers, in turns on one machine: environment steps per second, compile time, and what was learned.

    python -m experiments.benchmarks                                  # all settings, one agent: a quarter of an hour
    python -m experiments.benchmarks --quick                          # short trainings, one round
    python -m experiments.benchmarks --settings ppo --agents 1 16     # sixteen agents: one program, or sixteen runs

Every library trains in a process of its own, in a virtual environment that is made on the first call, with the same
environment, networks, batches and number of updates per step. Rounds alternate between the libraries, so that a noisy
machine slows them alike; medians over rounds are compared. A rate is environment steps of all agents per second of
training, without importing and, but for sbx, which compiles while it trains, without compilation; purerl compiles with
LLVM's first level of optimisation, its default, rejax with XLA's. The time of a whole experiment has compilation in it.
The return is over as many episodes for everyone, after training: of the greedy policy, but rejax's PPO and SAC sample
and its DQN has an epsilon of 0.005.

Libraries without vmapped agents train one after the other; of more than one agent they train one, and the time is
multiplied. What is not equal in spite of equal settings is in `settings.py`.
"""

import json
import os
import platform
import statistics
from datetime import date
from pathlib import Path
from typing import Any

import tyro

from .peers import LIBRARIES, measure, python_of
from .settings import QUICK, SETTINGS

VMAPPED = ("purerl", "rejax")


def main(
    settings: tuple[str, ...] = tuple(SETTINGS),
    libraries: tuple[str, ...] = tuple(LIBRARIES),
    agents: tuple[int, ...] = (1,),
    rounds: int = 3,
    episodes: int = 32,
    quick: bool = False,
    environments: Path = Path("runs/benchmarks/environments"),
    out: Path = Path("runs/benchmarks/peers.json"),
) -> None:
    """Measure in turns and print a table of each setting.

    Args:
        settings: some of ppo, dqn, sac.
        libraries: some of purerl, rejax, stable-baselines3, sbx.
        agents: how many agents, of one program where a library has that.
        rounds: trainings of each library; medians are compared.
        episodes: of the evaluation after each training.
        quick: short trainings, one round.
        environments: where the libraries are installed.
        out: the numbers, beside what is there of other settings.
    """
    pythons = {name: python_of(name, environments.resolve()) for name in libraries}
    numbers: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    for name in settings:
        setting = SETTINGS[name]._asdict() | ({"steps": QUICK[name]} if quick else {})
        for count in agents:
            rows: dict[str, list[dict[str, Any]]] = {library: [] for library in libraries}
            for seed in range(1 if quick else rounds):
                for library, found in rows.items():
                    trained = count if library in VMAPPED else 1
                    found.append(measure(library, setting, trained, seed, episodes, pythons[library]))
            table = summary(rows, count)
            key = f"{name}, {count} agents" + (", quick" if quick else "")
            numbers[key] = numbers.get(key, {}) | table
            numbers["machine"] = f"{os.cpu_count()} cores, {platform.machine()}, {date.today().isoformat()}"
            print(in_words(f"{name} on {setting['environment']}, {count} agents", table), flush=True)
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def summary(rows: dict[str, list[dict[str, Any]]], agents: int) -> dict[str, dict[str, Any]]:
    """Medians and ranges over rounds, and how many times slower each library is than purerl."""
    table = {}
    for library, found in rows.items():
        one_by_one = 1 if library in VMAPPED else agents
        rates = [row["steps"] * agents / (row["running"] * one_by_one) for row in found]
        wholes = [row["compiling"] + row["running"] * one_by_one for row in found]
        table[library] = {
            "steps per second": statistics.median(rates),
            "range": [min(rates), max(rates)],
            "compile seconds": statistics.median(row["compiling"] for row in found),
            "whole seconds": statistics.median(wholes),
            "memory MB": statistics.median(row["memory_mb"] for row in found),
            "returns": [value for row in found for value in row["returns"]],
        }
    return table


def in_words(title: str, table: dict[str, dict[str, Any]]) -> str:
    """A table in Markdown; ratios are purerl's rate over that of the library."""
    lines = [
        f"\n{title}\n",
        "| library | steps/s | range over rounds | purerl is faster by | compile, s | whole, s | memory, MB | return |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ours = table.get("purerl")
    for library, row in table.items():
        low, high = row["range"]
        ratio = f"{ours['steps per second'] / row['steps per second']:.1f}" if ours else ""
        cells = [
            library,
            f"{row['steps per second']:,.0f}",
            f"{low:,.0f} to {high:,.0f}",
            ratio,
            f"{row['compile seconds']:.1f}",
            f"{row['whole seconds']:.1f}",
            f"{row['memory MB']:.0f}",
            f"{statistics.median(row['returns']):.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    tyro.cli(main)
