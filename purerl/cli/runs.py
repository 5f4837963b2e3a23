"""`purerl evaluate | plot | list`: what is done with runs that exist."""

import ast
import dataclasses
import importlib.util
import sys
import textwrap
import warnings
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal

from purerl.cli.options import UNSAID, Flag, Run, Runs, read_options


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Play episodes with the policies of a run and print their returns: of the best and of the last parameters."""

    directory: Run
    """The directory of a run or a sweep."""
    agent: Annotated[int | None, UNSAID] = None
    """Of a sweep: the number of the agent, see agents.csv (default: the first one of the best setting)."""
    episodes: int = 128
    """Episodes per agent."""
    seed: int = 0
    """Seed of the evaluation."""
    env: Annotated[str | None, UNSAID] = None
    """Play in this environment instead of the one of the training, for example gymnasium/CartPole-v1."""
    best: Flag = False
    """Only the parameters that evaluated best during training."""
    last: Flag = False
    """Only the parameters of the newest checkpoint."""
    sampled: Flag = False
    """Sample actions instead of acting greedily."""
    json: Flag = False
    """Print JSON instead of a table."""


@dataclasses.dataclass(frozen=True)
class PlotOptions:
    """Draw the learning curves of runs, every picture of a sweep, or sweeps and runs against each other."""

    directories: Runs
    """The directories of runs or sweeps."""
    out: Annotated[Path | None, UNSAID] = None
    """The picture of runs, or with a sweep the directory of its pictures (default: beside what is drawn)."""
    format: Annotated[Literal["png", "svg", "both"] | None, UNSAID] = None
    """What to write. Default: of runs what --out ends with, else PNG; of sweeps both."""


@dataclasses.dataclass(frozen=True)
class ListOptions:
    """Print the algorithms and environments there are."""


def evaluate(words: list[str]) -> None:
    """`purerl evaluate DIR`."""
    options = read_options(EvaluateOptions, "purerl evaluate", words)
    if asks_for_an_agent(options):
        from purerl.cli import agents

        agents.evaluate(options, own_stream(options.seed))
        return
    import jax
    import numpy as np
    from rich.console import Console

    from purerl import saved
    from purerl.evaluate import evaluate as play
    from purerl.report.records import summarise_evaluation
    from purerl.report.run_directory import diverged_seeds, dumps
    from purerl.report.tables import facts, return_table
    from purerl.train import require_best

    run = saved.load(options.directory)
    environment = run.evaluated_on if options.env is None else elsewhere(options.env, run.evaluated_on)
    if environment is None:
        raise ValueError(f"{run.metadata['algorithm']} has no environment to evaluate on: choose one with --env")
    policies = saved.load_policies(run)
    evaluated = bool(np.isfinite(policies.best_score).any())
    if options.best:
        require_best(policies.best_score, run.directory)
    wanted = {"best": options.best, "last": options.last}
    if not any(wanted.values()):
        wanted = {"best": evaluated, "last": True}
    seeds = run.metadata["seeds"]

    def one(state, key):
        policy = run.algorithm.policy(state, greedy=not options.sampled)
        return play(policy, environment, key, options.episodes)

    keys = jax.random.split(own_stream(options.seed), len(seeds))
    play_all = jax.jit(jax.vmap(one))
    results = {
        which: summarise_evaluation(*map(np.asarray, play_all(getattr(policies, which), keys)))
        for which in wanted
        if wanted[which]
    }
    if options.json:
        print(dumps({"seeds": seeds, "environment": environment.name, "episodes": options.episodes, **results}))
        return
    output, diverged = Console(), diverged_seeds(run.directory)
    for which, result in results.items():
        columns = {name.removesuffix("_per_seed").replace("return_", ""): values for name, values in result.items()}
        title = f"{run.metadata['algorithm']} on {environment.name}: {which} parameters"
        output.print(return_table(title, seeds, columns, diverged))
    rows = {"run": f"{run.directory}, iteration {policies.iteration}"}
    rows["episodes"] = f"{options.episodes} per seed, {'sampled' if options.sampled else 'greedy'} actions"
    output.print(facts(rows))


def elsewhere(name: str, trained_on: Any) -> Any:
    """The environment called `name`, for a policy that was trained on another one."""
    from purerl import environments, export

    environment = environments.make(name)
    if trained_on is not None:
        export.require_same_spaces(trained_on, environment)
    return environment


def plot(words: list[str]) -> None:
    """`purerl plot DIR...`."""
    options = read_options(PlotOptions, "purerl plot", words)
    if not options.directories:
        raise ValueError("give at least one directory of a run or a sweep")
    from purerl.sweeps.directory import is_sweep

    draw = _plot_sweeps if any(map(is_sweep, options.directories)) else _plot_runs
    for path in draw(options):
        print(path)


def _plot_runs(options: PlotOptions) -> list[Path]:
    from purerl.report.pictures.learning_curve import learning_curve
    from purerl.report.run_directory import LEARNING_CURVE

    alone = options.directories[0] / LEARNING_CURVE if len(options.directories) == 1 else Path("learning_curves.png")
    out = options.out or alone
    outs = [out] if options.format is None else [out.with_suffix(f".{kind}") for kind in _formats(options)]
    return [learning_curve(options.directories, path) for path in outs]


def _plot_sweeps(options: PlotOptions) -> list[Path]:
    from purerl.report.pictures.sweep_plots import compare, draw, read_tables
    from purerl.sweeps.directory import FIGURES

    if options.out is not None and options.out.suffix in (".png", ".svg"):
        raise ValueError(f"a sweep has several pictures: --out must be a directory for them, got {options.out}")
    first, formats = options.directories[0], _formats(options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        if len(options.directories) == 1:
            paths = draw(read_tables(first), options.out or first / FIGURES, formats)
        else:
            paths = compare(options.directories, options.out or Path(FIGURES), formats)
    for warning in [one for one in caught if one.category is UserWarning]:
        print(f"purerl plot: {warning.message}", file=sys.stderr)
    return paths


def _formats(options: PlotOptions) -> tuple[str, ...]:
    return (options.format,) if options.format in ("png", "svg") else ("png", "svg")


def list_names(words: list[str]) -> None:
    """`purerl list`."""
    read_options(ListOptions, "purerl list", words)
    from purerl.algorithms import ALGORITHMS
    from purerl.environments import names

    print("algorithms")
    width = max(map(len, ALGORITHMS)) + 2
    for name, module in ALGORITHMS.items():
        print(f"  {name:<{width}}{_first_line(module)}")
    print("environments")
    suites = {suite: " ".join(members) for suite, members in _by_suite(names()).items()}
    suites["gymnasium"] = "gymnasium/ID for every ID of Gymnasium, such as gymnasium/LunarLander-v3 (on the host)"
    width = max(map(len, suites)) + 2
    wrap = textwrap.TextWrapper(110, subsequent_indent=" " * (2 + width), break_on_hyphens=False)
    for suite, members in suites.items():
        print(wrap.fill(f"  {suite:<{width}}{members}"))


def asks_for_an_agent(options: Any) -> bool:
    """Whether the directory is that of a sweep. Raises ValueError for an agent of a run."""
    from purerl.sweeps.directory import is_sweep

    if is_sweep(options.directory):
        return True
    if options.agent is not None:
        raise ValueError(f"--agent is for sweeps, and {options.directory} is none")
    return False


def _first_line(module: str) -> str:
    """The first line of a module's docstring, without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ImportError(f"{module} is in the table of algorithms but cannot be found")
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def _by_suite(names: list[str]) -> dict[str, list[str]]:
    suites: dict[str, list[str]] = {}
    for name in names:
        suite = name.partition("/")[0] if "/" in name else "-"
        suites.setdefault(suite, []).append(name)
    return suites


def own_stream(seed: int) -> Any:
    """The random key of an evaluation or a film. No training draws from it: those split `jax.random.key(seed)`."""
    import jax

    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(b"purerl evaluate and render"))
