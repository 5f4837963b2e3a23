"""Search: hyperparameters by Optuna, a whole generation of trials times seeds in one compiled program.

    from purerl import log_uniform
    from purerl.search import Halving, search

    space = {"algorithm": "ppo", "env": "CartPole-v1", "learning_rate": log_uniform(1e-5, 1e-1)}
    result = search(space, trials=64, generation=16, seeds=8, halving=Halving(factor=3, rungs=3))
    print(result.best().trial.settings, result.best().estimate)

`sweep` covers a space evenly and says how a field acts; `search` spends its steps where it is good. It needs Optuna
(`pip install "purerl[search]"`). The space is described in `purerl.sweeps.search.branches`, the pruning in
`purerl.sweeps.search.halving`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from purerl import processes
from purerl.report import run_directory
from purerl.report.sweep_console import Display, sweep_console
from purerl.run import seed_numbers
from purerl.sweeps.description import saved_environment
from purerl.sweeps.search import directory as files
from purerl.sweeps.search import plan as search_plan
from purerl.sweeps.search import proposals
from purerl.sweeps.search.halving import Halving
from purerl.sweeps.search.loop import execute
from purerl.sweeps.search.plan import Options
from purerl.sweeps.search.results import SearchResult
from purerl.sweeps.space import from_data
from purerl.sweeps.trials import Catalogue
from purerl.types import Environment

__all__ = ["Halving", "SearchResult", "load", "resume", "search"]


def search(
    space: Mapping[str, Any],
    *,
    trials: int = 64,
    generation: int = 16,
    seeds: int | Sequence[int] = 8,
    seed: int = 0,
    total_steps: int | None = None,
    directory: str | Path | None = None,
    evaluations: int = 20,
    episodes: int = 128,
    evaluate_on: Environment | None = None,
    preset: bool = True,
    sampler: str | proposals.MakeSampler = "tpe",
    sample_seed: int = 0,
    halving: Halving | None = None,
    aggregate: Literal["iqm", "mean"] = "iqm",
    checkpoint_minutes: float = 10.0,
    keep: Literal["training", "policy"] = "policy",
    resume: bool = False,
    overwrite: bool = False,
    algorithms: Mapping[str, Any] | None = None,
    environments: Mapping[str, Callable[..., Environment]] | None = None,
    display: Display | None = None,
) -> SearchResult:
    """Search `space` for the settings with the highest return at the end of their training.

    Args:
        space: values and axes by name, as for `sweep`. `uniform` and `log_uniform` are searched; every combination of
            the lists is a study of its own, and the generations go to the studies in turn.
        trials: settings to try, in all: a multiple of `generation` x combinations.
        generation: settings that are proposed, and train, at a time.
        seeds: how many agents per setting, or the list of their seeds; `seed` is added to each.
        seed: the first seed.
        total_steps: environment steps per agent, where the space does not say (default: the preset's, else 500,000).
        directory: where everything goes (default: runs/search_TIME); see `purerl.sweeps.search.directory`.
        evaluations: how often an agent is evaluated over the whole of its training.
        episodes: per evaluation and agent.
        evaluate_on: the environment to evaluate on (default: the one the agent is trained on).
        preset: start from the tuned settings of (algorithm, environment), if there are any.
        sampler: "tpe" (tree-structured Parzen estimators), "cmaes", "random", or a function from a seed to an Optuna
            sampler: it is called anew for every generation.
        sample_seed: of the proposals.
        halving: end the training of all but the best of a generation early; None: everybody trains to the end.
        aggregate: of the last evaluations of a trial's seeds: interquartile mean or mean. A trial with a diverged seed
            has failed, whatever the others reached.
        checkpoint_minutes: at most so much work of a generation is lost when the search is killed.
        keep: what stays of agents whose generation is done: what acts, or the whole state to train on with.
        resume: go on with the search in `directory`, or start it if there is none; `trials` may have grown.
        overwrite: delete a search that is in `directory` already.
        algorithms: your own by name: a module, or anything with `Config` and `make(environment, config)`.
        environments: your own by name: functions of their parameters.
        display: who is told of the progress (default: the console; `purerl.report.sweep_console.silent()`: nobody).

    Raises ImportError without Optuna, ValueError for what is wrong with the space or an argument, FileExistsError if
    `directory` holds something, CheckpointError if `resume` finds another search there, MemoryError if a generation
    cannot fit; all of it before anything is compiled or written. After Ctrl-C the current group of iterations is
    finished and saved, then KeyboardInterrupt is raised.
    """
    proposals.require()
    if processes.several():
        raise ValueError("a search runs in one process, on all of its devices: start it without purerl processes")
    options = Options(
        trials, generation, halving, aggregate, sampler, sample_seed, evaluations, episodes, preset,
        checkpoint_minutes, keep,
    )  # fmt: skip
    if total_steps is not None and isinstance(space, Mapping):
        space = {"total_steps": total_steps, **space}
    catalogue = Catalogue(algorithms or {}, environments or {})
    plan = search_plan.make(space, seed_numbers(seeds, seed), options, catalogue, evaluate_on)
    fewest = min(len(study.branch.axes) for study in plan.studies)
    sampling = proposals.maker(sampler, generation, pruned=halving is not None, axes=fewest)
    described = search_plan.describe(space, plan, options)
    directory = Path("runs") / f"search_{time.strftime('%Y%m%d-%H%M%S')}" if directory is None else Path(directory)
    with files.claimed(directory, resume=resume, overwrite=overwrite):
        if files.is_search(directory):
            saved = files.read(directory)
            search_plan.check_same(saved, described, directory)
            described |= {name: saved[name] for name in search_plan.VERSIONS}  # those it began with
        run_directory.write_json(directory / files.SEARCH, described)
        return execute(directory, plan, options, sampling, display or sweep_console())


def load(
    directory: str | Path,
    *,
    algorithms: Mapping[str, Any] | None = None,
    environments: Mapping[str, Callable[..., Environment]] | None = None,
    evaluate_on: Environment | None = None,
) -> SearchResult:
    """The results of a search on disk, finished or not. What was not purerl's own must be given as for the training.

    Raises FileNotFoundError if `directory` holds no search, ValueError (CheckpointError) if what is there cannot be
    made again with these arguments and this version.
    """
    directory = Path(directory)
    saved = files.read(directory)
    catalogue = Catalogue(algorithms or {}, environments or {})
    if evaluate_on is None and saved["evaluate_on"] is not None:
        evaluate_on = saved_environment(saved["evaluate_on"], directory, catalogue)
    space, options = from_data(saved["space"]), search_plan.saved_options(saved)
    plan = search_plan.make(space, saved["seeds"], options, catalogue, evaluate_on)
    search_plan.check_same(saved, search_plan.describe(space, plan, options), directory)
    return SearchResult(directory, plan)


def resume(
    directory: str | Path,
    display: Display | None = None,
    sampler: proposals.MakeSampler | None = None,
    trials: int | None = None,
    **own: Any,
) -> SearchResult:
    """Go on with a search that was stopped or killed; everything else comes from its directory.

    Args:
        sampler: the function that was given to `search`, if it was no name.
        trials: more of them than were asked for (default: as many).
        own: `algorithms`, `environments` and `evaluate_on`, as they were given to `search`.

    Raises ValueError if the sampler was a function and is not given again.
    """
    saved, loaded = files.read(Path(directory)), load(directory, **own)
    if sampler is None and saved["sampler"] not in proposals.SAMPLERS:
        raise ValueError(f"{directory} was searched with a sampler of your own, {saved['sampler']}: give it again")
    options = search_plan.saved_options(saved, sampler)._asdict()
    return search(
        from_data(saved["space"]),
        seeds=saved["seeds"],
        directory=directory,
        evaluate_on=loaded.plan.evaluate_on,
        resume=True,
        display=display,
        **{**options, "trials": trials or saved["trials"]},
        **{name: value for name, value in own.items() if name != "evaluate_on"},
    )
