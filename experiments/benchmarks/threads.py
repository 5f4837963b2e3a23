"""One thread of the CPU, or one for every core: how fast one agent trains in XLA either way.

    python -m experiments.benchmarks.threads              # a quarter of an hour
    python -m experiments.benchmarks.threads --quick
    python -m experiments.benchmarks.threads --settings sac "sac, 256 units"

The settings are those of `python -m experiments.benchmarks`, and some of larger networks. Threads are chosen when XLA
begins, so every measurement is a process of its own; they take turns, and medians over rounds are compared. This is
what `purerl train` knows when it chooses (`purerl/cli/threads.py`).
"""

import json
import os
import statistics
import subprocess
import sys
from typing import Any

import jax
import tyro

from purerl import load, make, use_threads

from .settings import SETTINGS, Setting

WIDER: dict[str, tuple[str, int]] = {  # of a setting, with layers so wide
    "ppo, 128 units": ("ppo", 128),
    "ppo, 256 units": ("ppo", 256),
    "sac, 128 units": ("sac", 128),
    "sac, 256 units": ("sac", 256),
}
IMAGES = {f"{name}, MinAtar": Setting(name, "Breakout-MinAtar", 8_192, 2_048, {}) for name in ("ppo", "dqn")}
NAMES = (*(name for name in SETTINGS if not name.startswith("sac_")), *WIDER, *IMAGES, "sac_halfcheetah")


def main(settings: tuple[str, ...] = NAMES, rounds: int = 3, quick: bool = False) -> None:
    """Measure in turns and print a table.

    Args:
        settings: some of the names that it prints.
        rounds: processes of each kind; medians are compared.
        quick: two settings, one round.
    """
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, jax {jax.__version__}; environment steps/s with one thread, with {cores}, and their ratio")
    for name in ("ppo", "dqn") if quick else settings:
        speeds: dict[int, list[float]] = {1: [], cores: []}
        for _ in range(1 if quick else rounds):
            for threads, found in speeds.items():
                found.append(measured(name, threads))
        one, all_of_them = (statistics.median(found) for found in speeds.values())
        print(f"{name:22} {one:10,.0f} {all_of_them:10,.0f} {one / all_of_them:6.2f}", flush=True)


def measured(name: str, threads: int) -> float:
    """Environment steps per second in a process with so many threads."""
    words = [sys.executable, "-m", "experiments.benchmarks.threads", "--worker", name, str(threads)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{name} with {threads} threads failed:\n{ended.stderr}")
    return json.loads(ended.stdout.splitlines()[-1])


def worker(name: str, threads: int) -> None:
    """Print the median speed of five calls of a compiled piece of training, after one to warm up."""
    use_threads(threads)
    from .throughput import measure, whole  # computes a key, so after the threads are chosen

    setting, fields = setting_of(name)
    module = load(setting.algorithm)
    algorithm = module.make(make(setting.environment), module.Config(**fields))
    iterations = max(1, setting.quick_steps // algorithm.env_steps_per_iteration)
    (seconds,) = measure({name: whole(algorithm, iterations)}, 5).values()
    print(json.dumps(iterations * algorithm.env_steps_per_iteration / statistics.median(seconds)))


def setting_of(name: str) -> tuple[Setting, dict[str, Any]]:
    """The setting of that name and its fields."""
    if name in WIDER:
        base, width = WIDER[name]
        setting = SETTINGS[base]
        parts = {part: (width, width) for part in ("widths", "critic_widths") if part in setting.fields}
        return setting._replace(quick_steps=setting.quick_steps // 8), setting.fields | parts  # they are slow
    setting = IMAGES.get(name) or SETTINGS[name]
    return setting, setting.fields


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], int(sys.argv[3]))
    else:
        tyro.cli(main)
