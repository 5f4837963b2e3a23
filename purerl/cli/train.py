"""`purerl train`: the command line of `purerl.run`."""

import dataclasses
import itertools
import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import tyro

from purerl.cli.options import HELP, UNSAID, Flag, join_resume, read_options, wrapped
from purerl.configuration import value_from_text

USAGE = """usage: purerl train ALGORITHM --env NAME [options]
       purerl train --resume DIR [--wandb] [--tensorboard]

algorithms (purerl list says what they are):
{names}

Every setting of an algorithm is a flag: purerl train ALGORITHM --help
(with --env NAME before --help, the defaults shown are the preset's for that environment)
"""


@dataclasses.dataclass(frozen=True)
class Options:
    """These are the same for every algorithm."""

    env: str
    """Name of the environment, for example CartPole-v1 (all of them: purerl list)."""
    env_param: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A parameter of the environment as NAME=VALUE, for example max_torque=3.0; may be given several times."""
    env_params: Annotated[str | None, UNSAID] = None
    """The same as one JSON object, for example '{"max_torque": 3.0}'."""
    seeds: int = 1
    """How many agents to train, all in one program."""
    seed: int = 0
    """Seed of the first agent; the others have the next numbers."""
    total_steps: Annotated[int | None, UNSAID] = None
    """Environment steps per seed, such as 1e6; without a preset 500000."""
    out: Annotated[Path | None, UNSAID] = None
    """Run directory (default: runs/ALGORITHM_ENV_TIME_SEED_PROCESS)."""
    resume: Flag = False
    """Continue the run in --out (or: --resume DIR) from its newest checkpoint."""
    overwrite: Flag = False
    """Delete the run that is in --out already."""
    evaluations: int = 20
    """How many times to evaluate over the run; 0: never."""
    episodes: int = 128
    """Episodes per evaluation and seed."""
    checkpoint_every: int = 1
    """Evaluations between checkpoints."""
    cores: Annotated[int | None, UNSAID] = None
    """CPU cores to spread the seeds over, each as a device (default: all)."""
    threads: Annotated[int | None, UNSAID] = None
    """CPU threads to compute with (default: 1 for a single agent of small networks, else one per core)."""
    data_parallel: Flag = False
    """Split the environments and minibatches of every agent over all devices, instead of the agents."""
    preset: bool = True
    """Start from the tuned settings for this algorithm and environment, if there are any."""
    wandb: Flag = False
    """Log to Weights & Biases (offline unless logged in)."""
    tensorboard: Flag = False
    """Log to TensorBoard, in the run directory."""


@dataclasses.dataclass(frozen=True)
class ResumeOptions:
    """Continue a run; all its settings come from its directory."""

    resume: Path
    """The run directory."""
    wandb: Flag = False
    """Log to Weights & Biases (offline unless logged in)."""
    tensorboard: Flag = False
    """Log to TensorBoard, in the run directory."""


def train(words: list[str]) -> None:
    """`purerl train ...`."""
    from purerl import algorithms

    if not words or words[0] in HELP:
        print(USAGE.format(names=wrapped(algorithms.ALGORITHMS)), end="")
    elif words[0].startswith("-"):
        if not any(word.split("=")[0] == "--resume" for word in words) or "--env" in words:
            raise ValueError(f"the algorithm comes first: purerl train ALGORITHM --env NAME ..., not {words[0]}")
        _resume(read_options(ResumeOptions, "purerl train", words))
    else:
        _start(words[0], join_resume(words[1:]))


def _start(name: str, words: list[str]) -> None:
    from purerl import algorithms, environments
    from purerl.cli.threads import choose_threads, computes_little
    from purerl.devices import use_all_cores
    from purerl.presets import DEFAULT_TOTAL_STEPS
    from purerl.run import run

    module = algorithms.load(name)
    preset = _preset(name, words)
    _require_environment(name, words)
    options, config = parse(name, module.Config, preset, words)
    environment_parameters = parse_parameters(options.env_param, options.env_params)
    if options.resume and options.out is None:
        raise ValueError("--resume needs the run directory: --resume DIR")
    several = options.seeds > 1 or options.data_parallel
    if options.threads is not None:
        choose_threads(options.threads)
    elif not several and computes_little(name, config, options.env):
        choose_threads(1)
    if several:
        use_all_cores(options.cores)
    algorithm = module.make(environments.make(options.env, **environment_parameters), config)
    if preset:
        print(describe_preset(name, options, config, preset))
    elif options.preset:
        print(f"no preset for {name} on {options.env}: the algorithm's defaults")
    directory = options.out or default_directory(name, options.env, options.seed)
    run(
        algorithm,
        total_steps=DEFAULT_TOTAL_STEPS if options.total_steps is None else options.total_steps,
        seeds=options.seeds,
        seed=options.seed,
        directory=directory,
        evaluations=options.evaluations,
        episodes=options.episodes,
        checkpoint_every=options.checkpoint_every,
        resume=options.resume,
        overwrite=options.overwrite,
        data_parallel=options.data_parallel,
        sinks=_sinks(directory, options.wandb, options.tensorboard),
    )


def _resume(options: ResumeOptions) -> None:
    from purerl import saved
    from purerl.cli.threads import choose_threads
    from purerl.devices import DATA, use_all_cores
    from purerl.report.run_directory import read_config
    from purerl.report.summary import environment_name
    from purerl.run import run

    numerics = read_config(options.resume)[0].get("numerics", {})
    if "threads" in numerics:
        choose_threads(numerics["threads"])
    use_all_cores(numerics.get("devices", 1))  # as many as it began with: the same bits
    past = saved.load(options.resume)
    evaluation, seeds = past.metadata["evaluation"], past.metadata["seeds"]
    print(f"resuming {past.metadata['algorithm']} on {environment_name(past.metadata)} with {len(seeds)} seeds")
    run(
        past.algorithm,
        iterations=past.metadata["iterations"],
        seeds=seeds,
        directory=past.directory,
        evaluations=past.metadata["iterations"] // past.metadata["group"] if evaluation else 0,
        episodes=evaluation["episodes"] if evaluation else 1,
        evaluate_on=past.evaluated_on if evaluation else None,
        checkpoint_every=past.checkpoint_every,
        resume=True,
        data_parallel=numerics.get("split") == DATA,
        sinks=_sinks(past.directory, options.wandb, options.tensorboard),
    )


def parse(name: str, config: type, preset: dict[str, Any], words: list[str]) -> tuple[Options, Any]:
    """Options and Config from the command line, with the preset as the defaults. Exits with help or with a mistake."""
    fields = {key: value for key, value in preset.items() if key != "total_steps"}

    command_type = dataclasses.make_dataclass("Command", [("run", Options), (name, config)], frozen=True)
    defaults = command_type(Options(env=tyro.MISSING, total_steps=preset.get("total_steps")), config(**fields))
    description = f"Train {name}. Results go to a run directory: checkpoints, metrics, a learning curve, a summary."
    command = read_options(command_type, f"purerl train {name}", words, description=description, default=defaults)
    return command.run, getattr(command, name)


def parse_parameters(pairs: tuple[str, ...], text: str | None) -> dict[str, Any]:
    """Environment parameters from `NAME=VALUE` pairs (values are JSON, else strings) and one JSON object."""
    try:
        parameters = json.loads(text) if text else {}
    except json.JSONDecodeError as error:
        raise ValueError(f"--env-params is not JSON: {error}") from error
    if not isinstance(parameters, dict):
        raise ValueError(f"--env-params must be a JSON object, got {text}")
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"--env-param must look like NAME=VALUE, got {pair!r}")
        parameters[name] = value_from_text(value)
    return parameters


def _require_environment(name: str, words: list[str]) -> None:
    """Raise ValueError if no environment is named, or something stands where its flag is missing."""
    flags = [word.partition("=")[0] for word in words]
    if "--env" in flags or not {"-h", "--help"}.isdisjoint(flags):
        return
    if "--resume" in flags:
        directory = dict(itertools.pairwise(words)).get("--out", "DIR")
        raise ValueError(f"a run knows its algorithm and its environment: purerl train --resume {directory}")
    if words and not words[0].startswith("-"):
        raise ValueError(f"what is {words[0]!r}? The environment has a flag: purerl train {name} --env {words[0]}")
    known = [flag for flag in flags if flag in ("--environment", "--env-id", "--env_id")]
    wrong = f", not {known[0]}" if known else ""
    raise ValueError(f"say in which environment{wrong}: purerl train {name} --env CartPole-v1 (purerl list has all)")


def _preset(name: str, words: list[str]) -> dict[str, Any]:
    """The preset of the environment that the command line names, read before parsing to become its defaults."""
    from purerl import presets

    if "--no-preset" in words:
        return {}
    environment = ""
    for word, following in itertools.pairwise([*words, ""]):
        environment = following if word == "--env" else environment
        environment = word.removeprefix("--env=") if word.startswith("--env=") else environment
    return presets.load(name, environment)


def describe_preset(name: str, options: Options, config: Any, preset: dict[str, Any]) -> str:
    """'preset for ppo on CartPole-v1: ...', with what the user's flags replaced."""
    chosen = {key: options.total_steps if key == "total_steps" else getattr(config, key) for key in preset}
    parts = [
        f"{key}={value}" if chosen[key] == value else f"{key}={chosen[key]} (yours; preset {value})"
        for key, value in preset.items()
    ]
    return f"preset for {name} on {options.env}: {', '.join(parts)}"


def default_directory(name: str, environment: str, seed: int) -> Path:
    """`runs/ALGORITHM_ENV_TIME_SEED_PROCESS`: runs launched in the same second do not meet."""
    when = time.strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{name}_{environment.replace('/', '-')}_{when}_seed{seed}_{os.getpid()}"


def _sinks(directory: Path, wandb: bool, tensorboard: bool) -> list[Any]:
    from purerl.report import run_directory, sinks
    from purerl.report.console import console

    chosen = [console()]
    if wandb:
        chosen.append(sinks.wandb())
    if tensorboard:
        chosen.append(sinks.tensorboard(directory / run_directory.TENSORBOARD))
    return chosen
