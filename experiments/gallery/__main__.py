"""The gallery: every experiment's figure and what it found, and a check that each claim's numbers still hold.

    python -m experiments.gallery                                # check the stored results, write the page: seconds
    python -m experiments.gallery --quick                        # and run every experiment with --quick: an hour or two
    python -m experiments.gallery --full --only td3_ablation     # run it in full, check, keep figure and numbers

Run from the root of the repository. What an experiment found is a sentence with places for numbers, and the numbers are
read from its results (`experiments/results/NAME.json`: what the experiment wrote, with the command, the date and the
machine), so the page cannot say what was not measured. Each claim has bounds: of a full run, and, where a short run can
show it, of a quick one. The command fails if a number lies outside of them, if an experiment fails, or if a figure is
missing.
"""

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import tyro

from . import ENTRIES
from .entries import Entry
from .page import page
from .results import EXPERIMENTS, FIGURES, RESULTS, stored


def main(
    quick: bool = False,
    full: bool = False,
    only: tuple[str, ...] = (),
    out: Path = Path("runs/gallery"),
    docs: Path = Path("docs/gallery.md"),
) -> int:
    """Check what was measured, measure again if asked to, and write the page.

    Args:
        quick: run every experiment with `--quick` and check what such a run can show.
        full: run every experiment in full, which takes days on two cores, and keep its figure and numbers.
        only: names of experiments; by default all.
        out: where runs write.
        docs: the page to write.
    """
    chosen = [entry for entry in ENTRIES if not only or entry.name in only]
    if unknown := set(only) - {entry.name for entry in ENTRIES}:
        print(
            f"There is no experiment {', '.join(sorted(unknown))} in the gallery; there are: "
            f"{', '.join(entry.name for entry in ENTRIES)}.",
            file=sys.stderr,
        )
        return 2
    faults: list[str] = []
    for entry in chosen:
        if quick or full:
            faults += run(entry, out, quick=not full)
        faults += check(entry)
    docs.parent.mkdir(parents=True, exist_ok=True)
    docs.write_text(page(ENTRIES, stored), encoding="utf-8")
    print(f"page: {docs}")
    for fault in faults:
        print(f"FAULT {fault}", file=sys.stderr)
    print(f"{len(chosen)} experiments, {sum(len(entry.measures) for entry in chosen)} numbers, {len(faults)} faults")
    return 1 if faults else 0


def check(entry: Entry) -> list[str]:
    """What is wrong with the stored results and the figure of an experiment."""
    picture = FIGURES / f"{entry.name}.png"
    faults = [] if picture.exists() else [f"{entry.name}: experiments/figures/{picture.name} is missing"]
    return faults + entry.broken(stored(entry)["numbers"], quick=False)


def run(entry: Entry, out: Path, quick: bool) -> list[str]:
    """Run an experiment, check its numbers, and keep them if it was in full. What went wrong, in words."""
    directory = (out / ("quick" if quick else f"full_{time.strftime('%Y%m%d-%H%M%S')}") / entry.name).resolve()
    if quick:
        shutil.rmtree(directory, ignore_errors=True)
    full = shlex.split(stored(entry)["command"])  # with the options of the numbers that it is compared with
    command = [*full[:2], "--quick"] if quick else full
    began = time.perf_counter()
    with_path = os.environ | {"MPLBACKEND": "Agg"}
    arguments = [sys.executable, *command[1:], "--out", str(directory)]
    ended = subprocess.run(
        arguments, cwd=EXPERIMENTS.parent, env=with_path, capture_output=True, text=True, check=False
    )
    print(f"{entry.name:30} {time.perf_counter() - began:6.0f} s", flush=True)
    if ended.returncode:
        return [f"{entry.name}: {shlex.join(command)} failed with {ended.returncode}:\n{ended.stderr[-2000:]}"]
    written = directory / "quick" if quick and (directory / "quick").exists() else directory
    if not (written / "numbers.json").exists():
        return [f"{entry.name}: {shlex.join(command)} wrote no numbers.json"]
    numbers = json.loads((written / "numbers.json").read_text(encoding="utf-8"))
    figure = next((written / name for name in ("figure.png", f"{entry.name}.png") if (written / name).exists()), None)
    faults = entry.broken(numbers, quick)
    if figure is None:
        faults.append(f"{entry.name}: {shlex.join(command)} drew no figure")
    elif not quick and not faults:
        keep(entry, numbers, shlex.join(command), figure)
    return faults


def keep(entry: Entry, numbers: Any, command: str, figure: Path) -> None:
    """Store a full run's numbers with their origin, and its figure."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    record = {"command": command, "date": date.today().isoformat(), "machine": machine, "numbers": numbers}
    (RESULTS / f"{entry.name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.copy(figure, FIGURES / f"{entry.name}.png")


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
