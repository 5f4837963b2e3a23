"""`purerl search`: the command line of `purerl.search`."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import tyro

from purerl.cli.options import Flag, Positionals, join_resume, resumes, sweep_display

USAGE = """usage: purerl search ALGORITHM[,...] --env NAME[,...] FIELD=RANGE [FIELD=VALUES ...] [options]
       purerl search --resume DIR [--trials N]

algorithms: {names}

FIELD is a field of the algorithm's Config, total_steps, or env.NAME for a parameter of the environment.

  "log_uniform(1e-5, 1e-1)"         a float that is searched; also uniform(a, b)
  [64,64],[256,256]                 a study of its own, by Optuna, for each of these values
  "uniform(0.1, 0.4) when algorithm=ppo"

A generation of trials times seeds trains at a time, in one compiled program. With --halving F only one trial in F goes
on after each rung of its training.

example:
  purerl search ppo --env CartPole-v1 "learning_rate=log_uniform(1e-5, 1e-1)" --trials 64 --generation 16 --halving 3

options: purerl search --options
"""


@dataclasses.dataclass(frozen=True)
class SearchOptions:
    """How a space is searched."""

    fields: Positionals = ()
    """FIELD=RANGE, see purerl search --help."""
    env: str | None = None
    """Environments, separated by commas."""
    trials: int = 64
    """Settings to try, in all."""
    generation: int = 16
    """Settings that train at a time."""
    seeds: int = 8
    """Agents per setting."""
    seed: int = 0
    """The first seed."""
    sampler: Literal["tpe", "cmaes", "random"] = "tpe"
    """Who proposes the settings."""
    sample_seed: int = 0
    """Seed of the proposals."""
    halving: int | None = None
    """After each rung one trial in so many goes on (default: all train to the end)."""
    rungs: int = 3
    """Pieces that the training is cut into by --halving."""
    aggregate: Literal["iqm", "mean"] = "iqm"
    """What a trial's value is of its seeds' returns: the interquartile mean or the mean."""
    total_steps: int | None = None
    """Environment steps per agent (default: the preset's, else 500000)."""
    out: Path | None = None
    """Directory of the search (default: runs/search_TIME)."""
    resume: Flag = False
    """Go on with the search in --out, with the same options (or: --resume DIR)."""
    overwrite: Flag = False
    """Delete the search that is in --out already."""
    evaluations: int = 20
    """How many times an agent is evaluated over the whole of its training."""
    episodes: int = 128
    """Episodes per evaluation and agent."""
    preset: bool = True
    """Start from the tuned settings for this algorithm and environment, if there are any."""
    checkpoint_minutes: float = 10.0
    """At most so much work of a generation is lost when the search is killed."""
    keep: Literal["training", "policy"] = "policy"
    """Keep what acts, or every agent's whole state to train on with."""
    cores: int | None = None
    """CPU cores to use, each as a device (default: all)."""
    quiet: Flag = False
    """Say nothing."""


@dataclasses.dataclass(frozen=True)
class ResumeOptions:
    """Go on with a search; everything else comes from its directory."""

    resume: Path
    """The directory of the search."""
    trials: int | None = None
    """More trials than were asked for (default: as many)."""
    cores: int | None = None
    """CPU cores to use, each as a device (default: all)."""
    quiet: Flag = False
    """Say nothing."""


def search(words: list[str]) -> None:
    """`purerl search ...`."""
    from purerl import algorithms

    if not words or words[0] in ("-h", "--help"):
        print(USAGE.format(names=", ".join(algorithms.ALGORITHMS)), end="")
        return
    words = ["--help" if word == "--options" else word for word in words]
    if resumes(words):
        _resume(tyro.cli(ResumeOptions, prog="purerl search", args=words))
        return
    names = "" if words[0].startswith("-") else words[0]
    options = tyro.cli(SearchOptions, prog="purerl search", args=join_resume(words[1:] if names else words))
    _start(names, options)


def _start(names: str, options: SearchOptions) -> None:
    from purerl.devices import use_all_cores
    from purerl.search import Halving
    from purerl.search import search as find

    if options.resume and options.out is None:
        raise ValueError("--resume needs the directory of the search: --resume DIR")
    space = _space(names, options)
    use_all_cores(options.cores)
    find(
        space,
        trials=options.trials,
        generation=options.generation,
        seeds=options.seeds,
        seed=options.seed,
        total_steps=options.total_steps,
        directory=options.out,
        evaluations=options.evaluations,
        episodes=options.episodes,
        preset=options.preset,
        sampler=options.sampler,
        sample_seed=options.sample_seed,
        halving=None if options.halving is None else Halving(options.halving, options.rungs),
        aggregate=options.aggregate,
        checkpoint_minutes=options.checkpoint_minutes,
        keep=options.keep,
        resume=options.resume,
        overwrite=options.overwrite,
        display=sweep_display(options.quiet),
    )


def _resume(options: ResumeOptions) -> None:
    from purerl.devices import use_all_cores
    from purerl.search import resume
    from purerl.sweeps.search.directory import read as read_search

    begun = read_search(options.resume)["numerics"]["devices"]
    use_all_cores(options.cores or begun)  # as many as it began with: the same bits
    resume(options.resume, display=sweep_display(options.quiet), trials=options.trials)


def _space(names: str, options: SearchOptions) -> dict[str, Any]:
    """The space of a command line. Raises ValueError for a field that is not FIELD=VALUES, or if a name is missing."""
    from purerl.cli.sweep import SweepOptions, read

    for name, given, flag in (
        ("algorithm", names, "purerl search ALGORITHM ..."),
        ("environment", options.env, "--env NAME"),
    ):
        if not given:
            raise ValueError(f"the search has no {name}: {flag}")
    return read(names, SweepOptions(fields=options.fields, env=options.env), [])[0]
