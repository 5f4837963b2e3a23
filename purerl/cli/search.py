"""`purerl search`: the command line of `purerl.search`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from purerl.cli.options import (
    HELP,
    UNSAID,
    Flag,
    Positionals,
    join_resume,
    read_options,
    resumes,
    sweep_display,
    wrapped,
)

USAGE = """usage: purerl search ALGORITHM[,...] --env NAME[,...] FIELD=RANGE [FIELD=VALUES ...] [options]
       purerl search --resume DIR [--trials N]

algorithms (purerl list says what they are):
{names}

FIELD is a field of the algorithm's Config, total_steps, or env.NAME for a parameter of the environment.

  "log_uniform(1e-5, 1e-1)"         a float that is searched; also uniform(a, b)
  "widths=[64,64],[256,256]"        a study of its own, by Optuna, for each of these values
  "uniform(0.1, 0.4) when algorithm=ppo"

A generation of trials times seeds trains at a time, in one compiled program. With --halving F only one trial in F goes
on after each rung of its training.

example:
  purerl search ppo --env CartPole-v1 "learning_rate=log_uniform(1e-5, 1e-1)" --trials 64 --generation 16 --halving 3

options: purerl search --options
"""


@dataclasses.dataclass(frozen=True)
class SearchOptions:
    """Let Optuna search the space that the FIELDs span. What they may be: purerl search --help."""

    fields: Positionals = ()
    """What to search: purerl search --help."""
    env: Annotated[str | None, UNSAID] = None
    """One environment, or several separated by commas: CartPole-v1,Acrobot-v1."""
    trials: int = 64
    """Settings to try, in all."""
    generation: int = 16
    """Settings that train at a time."""
    seeds: int = 8
    """Agents per setting."""
    seed: int = 0
    """Seed of the first agent of every setting; the others have the next numbers."""
    sampler: Literal["tpe", "cmaes", "random"] = "tpe"
    """How settings are proposed: by tree-structured Parzen estimators, by CMA-ES or at random."""
    sample_seed: int = 0
    """Seed of the proposals."""
    halving: Annotated[int | None, UNSAID] = None
    """Only one trial in so many goes on after each rung of its training (default: all train to the end)."""
    rungs: int = 3
    """With --halving: how many pieces the training is cut into."""
    aggregate: Literal["iqm", "mean"] = "iqm"
    """What stands for the returns of a trial's seeds: their interquartile mean or their mean."""
    total_steps: Annotated[int | None, UNSAID] = None
    """Environment steps per agent, such as 1e6 (default: the preset's, else 500000)."""
    out: Annotated[Path | None, UNSAID] = None
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
    cores: Annotated[int | None, UNSAID] = None
    """CPU cores to use, each as a device (default: all)."""
    quiet: Flag = False
    """Say nothing."""


@dataclasses.dataclass(frozen=True)
class ResumeOptions:
    """Go on with a search; everything else comes from its directory."""

    resume: Path
    """The directory of the search."""
    trials: Annotated[int | None, UNSAID] = None
    """More trials than were asked for (default: as many)."""
    cores: Annotated[int | None, UNSAID] = None
    """CPU cores to use, each as a device (default: all)."""
    quiet: Flag = False
    """Say nothing."""


def search(words: list[str]) -> None:
    """`purerl search ...`."""
    from purerl import algorithms

    if not words or words[0] in HELP:
        print(USAGE.format(names=wrapped(algorithms.ALGORITHMS)), end="")
        return
    words = ["--help" if word == "--options" else word for word in words]
    if resumes(words):
        _resume(read_options(ResumeOptions, "purerl search", words, complete="purerl search --resume DIR --options"))
        return
    names = "" if words[0].startswith("-") else words[0]
    words = join_resume(words[1:] if names else words)
    advice = "; a field of the Config has no dashes: FIELD=VALUES"
    options = read_options(SearchOptions, "purerl search", words, advice=advice, complete="purerl search --options")
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
