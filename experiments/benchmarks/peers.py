"""The libraries that are compared, each in a virtual environment of its own, with pinned versions."""

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, NamedTuple

WORKERS = Path(__file__).parent / "workers"


class Library(NamedTuple):
    """What to install, and which worker trains in it, with which argument."""

    requirements: tuple[str, ...]
    worker: str
    argument: str | None = None


LIBRARIES = {
    "purerl": Library((), "with_purerl.py"),
    "rejax": Library(("rejax==0.1.3", "gymnax==0.0.9", "six"), "with_rejax.py"),
    "stable-baselines3": Library(
        ("torch==2.13.0", "stable-baselines3==2.9.2"),
        "with_stable_baselines.py",
        "stable_baselines3",
    ),
    "sbx": Library(("torch==2.13.0", "sbx-rl==0.28.0"), "with_stable_baselines.py", "sbx"),
}


def python_of(name: str, environments: Path) -> Path:
    """The interpreter of a library: this one for purerl, else that of its virtual environment, made when missing."""
    library = LIBRARIES[name]
    if not library.requirements:
        return Path(sys.executable)
    directory = environments / name
    python, complete = directory / "bin" / "python", directory / "complete"
    wanted = "\n".join(library.requirements)
    if not complete.exists() or complete.read_text(encoding="utf-8") != wanted:
        print(f"installing {', '.join(library.requirements)} into {directory}", flush=True)
        venv.create(directory, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *library.requirements], check=True)
        complete.write_text(wanted, encoding="utf-8")
    return python


def measure(name: str, setting: dict[str, Any], agents: int, seed: int, episodes: int, python: Path) -> dict[str, Any]:
    """Run one training in a fresh process and return what its worker reports.

    Raises RuntimeError with the end of its output if the worker fails.
    """
    library = LIBRARIES[name]
    job = [setting, agents, seed, episodes, *([library.argument] if library.argument else [])]
    ended = subprocess.run(
        [python, WORKERS / library.worker, json.dumps(job)], capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise RuntimeError(f"{name} failed on {setting['algorithm']}:\n{ended.stderr[-2000:]}")
    return json.loads(ended.stdout.strip().splitlines()[-1])
