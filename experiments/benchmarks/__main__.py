"""purerl and its peers, in turns on one machine: environment steps per second, compile time, and what was learned.

    python -m experiments.benchmarks                                  # classic settings, one agent
    python -m experiments.benchmarks --quick                          # short trainings, one round
    python -m experiments.benchmarks --settings ppo --agents 1 16     # sixteen agents: one program, or sixteen runs
    python -m experiments.benchmarks --settings dqn sac --replay-capacity 10000 100000 1000000
    python -m experiments.benchmarks --settings ppo sac --cores 1 2
    python -m experiments.benchmarks --settings ppo_hopper sac_hopper # brax's environments, against its own learners

Every library trains in a process of its own, in a virtual environment that is made on the first call, with the same
environment, networks, batches and number of updates per step; libraries that count their updates are checked. Rounds
alternate between the libraries, so that a noisy machine slows them alike; medians over rounds are compared. A rate is
environment steps, or updates, of all agents per second of training, without importing and, but for sbx, which compiles
while it trains, without compilation; purerl compiles with LLVM's first level of optimisation, its default, rejax and
brax with XLA's. The time of a whole experiment has compilation in it. The return is over as many episodes for everyone,
after training: of the greedy policy, but rejax's PPO and SAC sample and its DQN and PQN have an epsilon of 0.005.

Several agents of purerl are spread over the cores, as in a sweep, and one of small networks is computed by one thread,
as in `purerl train`; those of rejax are vmapped on all of them (with `PJRT_NPROC=1` before the command every library of
XLA's has one thread). Libraries without vmapped agents train one after the other; of more than one agent they train
one, and the time is multiplied. A library without an algorithm is left out of its tables. What is not equal in spite of
equal settings is in `settings.py`. Beside the numbers stands a picture of all that they hold.
"""

import json
import os
import platform
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import tyro

from .peers import LIBRARIES, measure, on_cores, python_of, refusal
from .pictures import draw
from .settings import CLASSIC, SETTINGS, Setting, overridden
from .tables import in_words, summary, title_of


def main(
    settings: tuple[str, ...] = CLASSIC,
    libraries: tuple[str, ...] = tuple(LIBRARIES),
    agents: tuple[int, ...] = (1,),
    replay_capacity: tuple[int, ...] = (),
    cores: tuple[int, ...] = (),
    steps: int | None = None,
    rounds: int = 3,
    episodes: int = 32,
    quick: bool = False,
    environments: Path = Path("runs/benchmarks/environments"),
    out: Path = Path("runs/benchmarks/peers.json"),
) -> None:
    """Measure in turns, print a table of each setting, and draw them all.

    Args:
        settings: some of ppo, dqn, pqn, sac, td3, and ppo_ or sac_ with inverted_pendulum, hopper or halfcheetah.
        libraries: some of purerl, rejax, stable-baselines3, sbx, brax.
        agents: how many agents, of one program where a library has that.
        replay_capacity: steps that a replay holds, instead of the setting's.
        cores: to how many cores every process is bound, instead of using all.
        steps: environment steps of each agent, instead of the setting's.
        rounds: trainings of each library; medians are compared.
        episodes: of the evaluation after each training.
        quick: short trainings, one round.
        environments: where the libraries are installed.
        out: the numbers, beside what is there of other settings; the picture is beside them.
    """
    cases = cases_of(settings, libraries, agents, replay_capacity, cores, steps, quick)
    numbers: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    pythons = {}
    out.parent.mkdir(parents=True, exist_ok=True)
    for title, (setting, count, bound) in cases.items():
        chosen = [library for library in libraries if suits(library, setting)]
        if not chosen:
            continue
        pythons |= {name: python_of(name, environments.resolve()) for name in chosen if name not in pythons}
        rows: dict[str, list[dict[str, Any]]] = {library: [] for library in chosen}
        for seed, library in product(range(1 if quick else rounds), chosen):
            trained = count if LIBRARIES[library].vmapped else 1
            rows[library].append(measure(library, setting, trained, seed, episodes, pythons[library], bound))
        table = numbers.get(title, {}) | summary(rows, count, setting)
        numbers[title] = {library: table[library] for library in LIBRARIES if library in table}
        numbers["machine"] = f"{os.cpu_count()} cores, {platform.machine()}, {date.today().isoformat()}"
        print(in_words(f"{title}: {setting.environment}, {setting.steps:,} steps", numbers[title]), flush=True)
        out.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    tables = {title: table for title, table in numbers.items() if title != "machine"}
    if tables:
        print(f"\npicture: {draw(tables, out.with_suffix('.png'))}")


def cases_of(
    settings: tuple[str, ...],
    libraries: tuple[str, ...],
    agents: tuple[int, ...],
    replay_capacity: tuple[int, ...],
    cores: tuple[int, ...],
    steps: int | None,
    quick: bool,
) -> dict[str, tuple[Setting, int, int | None]]:
    """Setting, agents and cores of every table, by its title.

    Raises SystemExit for a name that is not known, a capacity or steps that do not fit, or cores that are not there.
    """
    for what, names, known in (("setting", settings, SETTINGS), ("library", libraries, LIBRARIES)):
        for name in names:
            if name not in known:
                raise SystemExit(f"there is no {what} {name!r}; choose from {', '.join(known)}")
    cases = {}
    try:
        for name, count, capacity, bound in product(settings, agents, replay_capacity or (None,), cores or (None,)):
            on_cores(bound)
            setting = overridden(name, steps, capacity, quick)
            capacity = capacity if "replay_capacity" in setting.fields else None
            title = title_of(name, count, capacity, bound, steps) + (", quick" if quick else "")
            cases[title] = (setting, count, bound)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    return cases


def suits(library: str, setting: Setting) -> bool:
    """Whether a library trains a setting; if not, why is printed."""
    reason = refusal(library, setting)
    if reason:
        print(f"left out: {reason}", flush=True)
    return reason is None


if __name__ == "__main__":
    tyro.cli(main)
