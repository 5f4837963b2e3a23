"""`purerl sweep`: the command line of `purerl.sweep`."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

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

USAGE = """usage: purerl sweep ALGORITHM[,...] --env NAME[,...] [FIELD=VALUES ...] [--seeds N] [options]
       purerl sweep --file SWEEP.toml [options]
       purerl sweep --resume DIR

algorithms (purerl list says what they are):
{names}

FIELD is a field of the algorithm's Config, total_steps, or env.NAME for a parameter of the environment. VALUES are

  0.9,0.95,0.99                     each of them (a grid)
  "log_uniform(1e-4, 1e-2)"         --samples draws; also uniform(a, b) and choice(a, b, ...)
  "0.1,0.2 when algorithm=ppo"      only where another field has this value
  "widths=[64,64],[256,256]"        tuples, with their field in quotes: to zsh brackets are a pattern

float fields vary inside one compiled program, all others choose a program. In a TOML file, the same under [space]:

  seeds = 8
  samples = 16
  [space]
  algorithm = ["dqn", "ppo"]
  env = "CartPole-v1"
  learning_rate = {{ log_uniform = [1e-4, 1e-2] }}
  clip = {{ grid = [0.1, 0.2], when = {{ algorithm = "ppo" }} }}

example:
  purerl sweep ppo --env CartPole-v1 "learning_rate=log_uniform(1e-4, 1e-2)" trace_decay=0.9,0.95 --samples 8 --seeds 8

options: purerl sweep --options
"""


@dataclasses.dataclass(frozen=True)
class SweepOptions:
    """Train every setting of a sweep with every seed. What the FIELDs may be: purerl sweep --help."""

    fields: Positionals = ()
    """What to vary: purerl sweep --help."""
    env: Annotated[str | None, UNSAID] = None
    """One environment, or several separated by commas: CartPole-v1,Acrobot-v1."""
    file: Annotated[Path | None, UNSAID] = None
    """A TOML file with these options and a table [space]; flags win."""
    seeds: int = 8
    """Agents per setting."""
    seed: int = 0
    """Seed of the first agent of every setting; the others have the next numbers."""
    samples: int = 1
    """Draws of the random axes for each point of the grid."""
    sample_seed: int = 0
    """Seed of the draws."""
    total_steps: Annotated[int | None, UNSAID] = None
    """Environment steps per agent, such as 1e6 (default: the preset's, else 500000)."""
    out: Annotated[Path | None, UNSAID] = None
    """Directory of the sweep (default: runs/sweep_TIME)."""
    resume: Flag = False
    """Go on with the sweep in --out (or: --resume DIR)."""
    overwrite: Flag = False
    """Delete the sweep that is in --out already."""
    evaluations: int = 20
    """How many times every agent is evaluated; 0: never."""
    episodes: int = 128
    """Episodes per evaluation and agent."""
    preset: bool = True
    """Start from the tuned settings for this algorithm and environment, if there are any."""
    memory: Annotated[str | None, UNSAID] = None
    """What a chunk may use, for example 8GB (default: four fifths of what is left)."""
    chunk: Annotated[int | None, UNSAID] = None
    """Agents that train at a time (default: as many as fit)."""
    checkpoint_minutes: float = 10.0
    """At most so much work of a chunk is lost when the sweep is killed."""
    keep: Literal["training", "policy"] = "training"
    """Keep every agent's whole state to train on with, or only what acts."""
    cores: Annotated[int | None, UNSAID] = None
    """CPU cores to use, each as a device (default: all)."""
    coordinator: Annotated[str | None, UNSAID] = None
    """HOST:PORT of process 0, when several processes share the sweep; with --processes and --process."""
    processes: Annotated[int | None, UNSAID] = None
    """How many processes share the sweep."""
    process: Annotated[int | None, UNSAID] = None
    """Which of them this is, from 0."""
    slurm: Flag = False
    """Share the sweep with the other tasks of this SLURM job."""
    quiet: Flag = False
    """Say nothing."""


@dataclasses.dataclass(frozen=True)
class ResumeOptions:
    """Go on with a sweep; everything else comes from its directory."""

    resume: Path
    """The directory of the sweep."""
    memory: Annotated[str | None, UNSAID] = None
    """What a chunk may use, for example 8GB (default: as before)."""
    cores: Annotated[int | None, UNSAID] = None
    """CPU cores to use, each as a device (default: as many as before, for the same bits)."""
    coordinator: Annotated[str | None, UNSAID] = None
    """HOST:PORT of process 0, when several processes share the sweep; with --processes and --process."""
    processes: Annotated[int | None, UNSAID] = None
    """How many processes share the sweep."""
    process: Annotated[int | None, UNSAID] = None
    """Which of them this is, from 0."""
    slurm: Flag = False
    """Share the sweep with the other tasks of this SLURM job."""
    quiet: Flag = False
    """Say nothing."""


def sweep(words: list[str]) -> None:
    """`purerl sweep ...`."""
    from purerl import algorithms

    if not words or words[0] in HELP:
        print(USAGE.format(names=wrapped(algorithms.ALGORITHMS)), end="")
        return
    words = ["--help" if word == "--options" else word for word in words]
    if resumes(words, "--file"):
        _resume(read_options(ResumeOptions, "purerl sweep", words, complete="purerl sweep --resume DIR --options"))
        return
    names = "" if words[0].startswith("-") else words[0]
    words = join_resume(words[1:] if names else words)
    advice = "; a field of the Config has no dashes: FIELD=VALUES"
    options = read_options(SweepOptions, "purerl sweep", words, advice=advice, complete="purerl sweep --options")
    _start(names, options, words)


def _start(names: str, options: SweepOptions, words: list[str]) -> None:
    from purerl.devices import use_all_cores
    from purerl.sweep import sweep as train

    space, options = read(names, options, words)
    if options.resume and options.out is None:
        raise ValueError("--resume needs the directory of the sweep: --resume DIR")
    _connect(options)
    use_all_cores(options.cores)
    train(
        space,
        seeds=options.seeds,
        seed=options.seed,
        samples=options.samples,
        sample_seed=options.sample_seed,
        total_steps=options.total_steps,
        directory=options.out,
        evaluations=options.evaluations,
        episodes=options.episodes,
        preset=options.preset,
        memory=None if options.memory is None else parse_bytes(options.memory),
        chunk=options.chunk,
        checkpoint_minutes=options.checkpoint_minutes,
        keep=options.keep,
        resume=options.resume,
        overwrite=options.overwrite,
        display=sweep_display(options.quiet),
    )


def _resume(options: ResumeOptions) -> None:
    from purerl.devices import use_all_cores
    from purerl.sweep import resume
    from purerl.sweeps.directory import read as read_sweep

    _connect(options)
    begun = read_sweep(options.resume)["numerics"]["devices"]
    use_all_cores(options.cores or (begun if options.processes is None and not options.slurm else None))
    memory = None if options.memory is None else parse_bytes(options.memory)
    resume(options.resume, memory=memory, display=sweep_display(options.quiet))


def _connect(options: SweepOptions | ResumeOptions) -> None:
    """Join the other processes, if there are any."""
    from purerl import processes

    if options.slurm or options.coordinator or options.processes or options.process is not None:
        processes.connect(options.coordinator, options.processes, options.process)


def read(names: str, options: SweepOptions, words: list[str]) -> tuple[dict[str, Any], SweepOptions]:
    """The space and the options of a command line; what it does not say comes from `--file`.

    Raises ValueError for a file that is not TOML, for what it cannot say, or if no algorithm or environment is given.
    """
    from purerl.sweeps.space import parse_axis

    space, options = _from_file(options, words) if options.file else ({}, options)
    if names:
        space["algorithm"] = parse_axis(names)
    if options.env is not None:
        space["env"] = parse_axis(options.env)
    for pair in options.fields:
        name, equals, values = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"a field of the space must look like FIELD=VALUES, got {pair!r}")
        try:
            space[name] = parse_axis(values)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    for name, flag in (("algorithm", "purerl sweep ALGORITHM ..."), ("env", "--env NAME")):
        if name not in space:
            raise ValueError(f"the space has no {name}: {flag}, or {name} = ... under [space] in --file")
    first = {name: space.pop(name) for name in ("algorithm", "env")}  # others may depend on them
    return {**first, **space}, options


def parse_bytes(text: str) -> int:
    """'8GB', '512 MiB', '2e9' as bytes; units are powers of 1024 with an i, else of 1000. Raises ValueError."""
    stripped = text.strip().upper().removesuffix("B")
    base = 1024 if stripped.endswith("I") else 1000
    stripped = stripped.removesuffix("I")
    power = "KMGT".find(stripped[-1:]) + 1 if stripped[-1:] in tuple("KMGT") else 0
    try:
        return int(float(stripped[:-1] if power else stripped) * base**power)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"--memory must be a number of bytes such as 8GB or 512MiB, got {text!r}") from error


def _from_file(options: SweepOptions, words: list[str]) -> tuple[dict[str, Any], SweepOptions]:
    from purerl.configuration import nearest
    from purerl.sweeps.space import from_data

    assert options.file is not None
    try:
        data = tomllib.loads(options.file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"--file {options.file} cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{options.file} is not TOML: {error}") from error
    space = from_data(data.pop("space", {}))
    kinds = get_type_hints(SweepOptions)
    allowed = kinds.keys() - {"fields", "file", "env", "resume", "out"}
    flags = [word.split("=")[0] for word in words if word.startswith("--")]
    given = {flag.removeprefix("--").removeprefix("no-").replace("-", "_") for flag in flags}
    for name in data:
        if name not in allowed:
            raise ValueError(
                f"{options.file} has no option {name!r}: {nearest(name, allowed)}; fields go under [space]"
            )
    chosen = {n: _option(kinds[n], v, f"{options.file}: {n}") for n, v in data.items() if n not in given}
    return space, dataclasses.replace(options, **chosen)


def _option(kind: Any, value: Any, path: str) -> Any:
    """The value of an option in a file; whole numbers may be written 1e6, as on the command line."""
    from purerl.configuration import from_json, whole_number

    whole = kind in (int, int | None) and isinstance(value, float)
    return whole_number(path, value) if whole else from_json(kind, value, path)
