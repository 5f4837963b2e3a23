"""The libraries that are compared, each in a virtual environment of its own, with pinned versions."""

import json
import os
import subprocess
import sys
import venv
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from .settings import Setting, updates_of

WORKERS = Path(__file__).parent / "workers"
TOLERANCE = 0.01  # of the number of updates: where learning begins differs by a step or two


class Library(NamedTuple):
    """What to install, which worker trains in it, with which argument, and what it can do."""

    requirements: tuple[str, ...]
    worker: str
    algorithms: tuple[str, ...]
    argument: str | None = None
    vmapped: bool = False  # agents are one program; else they train one after the other
    classic: bool = True  # has CartPole-v1 and the like
    brax: bool = False  # has brax's environments


LIBRARIES = {
    "purerl": Library((), "with_purerl.py", ("ppo", "dqn", "pqn", "sac", "td3"), vmapped=True, brax=True),
    "rejax": Library(
        ("rejax==0.1.3", "gymnax==0.0.9", "six"), "with_rejax.py", ("ppo", "dqn", "pqn", "sac", "td3"), vmapped=True
    ),
    "stable-baselines3": Library(
        ("torch==2.13.0", "stable-baselines3==2.9.2"),
        "with_stable_baselines.py",
        ("ppo", "dqn", "sac", "td3"),
        "stable_baselines3",
    ),
    "sbx": Library(
        ("torch==2.13.0", "sbx-rl==0.28.0"), "with_stable_baselines.py", ("ppo", "dqn", "sac", "td3"), "sbx"
    ),
    "brax": Library(
        ("jax==0.10.2", "flax==0.12.8", "optax==0.2.8", "brax==0.14.2", "mujoco==4.0.0", "mujoco-mjx==3.17.0"),
        "with_brax.py",
        ("ppo", "sac"),
        classic=False,
        brax=True,
    ),
}


def refusal(name: str, setting: Setting) -> str | None:
    """Why a library is not in the table of a setting, in words; None if it is."""
    library = LIBRARIES[name]
    if setting.algorithm not in library.algorithms:
        return f"{name} has no {setting.algorithm}"
    physics = setting.environment.startswith("brax/")
    if not (library.brax if physics else library.classic):
        return f"{setting.environment} is not run in {name}"
    return None


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


def on_cores(count: int | None) -> Any:
    """What to do in a new process before anything is imported, so that it has so many cores; None for all of them.

    Raises ValueError if there are fewer, or if the operating system cannot do it.
    """
    if count is None:
        return None
    if not hasattr(os, "sched_setaffinity"):
        raise ValueError("--cores needs an operating system that can bind a process to cores, such as Linux")
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= count <= len(cores):
        raise ValueError(f"--cores {count}: this process may use {len(cores)}")
    return partial(os.sched_setaffinity, 0, cores[:count])


def measure(
    name: str, setting: Setting, agents: int, seed: int, episodes: int, python: Path, cores: int | None = None
) -> dict[str, Any]:
    """Run one training in a fresh process and return what its worker reports.

    Raises RuntimeError with the end of its output if the worker fails, or if it made other updates than wanted.
    """
    library = LIBRARIES[name]
    job = [setting._asdict(), agents, seed, episodes, *([library.argument] if library.argument else [])]
    ended = subprocess.run(
        [python, WORKERS / library.worker, json.dumps(job)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=on_cores(cores),
    )
    if ended.returncode:
        raise RuntimeError(f"{name} failed on {setting.algorithm}:\n{ended.stderr[-2000:]}")
    found = json.loads(ended.stdout.strip().splitlines()[-1])
    check_updates(name, setting, found)
    return found


def check_updates(name: str, setting: Setting, found: dict[str, Any]) -> None:
    """Raise RuntimeError if a library counted other updates per step than those of the setting."""
    if found["updates"] is None:
        return
    wanted = updates_of(setting._replace(steps=found["steps"]))
    if abs(found["updates"] - wanted) > TOLERANCE * wanted:
        raise RuntimeError(f"{name} made {found['updates']:,} updates in {setting.algorithm}, wanted {wanted:,}")
