"""`purerl evaluate` for one agent of a sweep."""

from pathlib import Path
from typing import Any

from purerl.sweeps.results import Agent, SweepResult
from purerl.sweeps.trials import Trial


def of_sweep(directory: Path, number: int | None) -> Agent:
    """An agent of a sweep: by its number, else the first of the best setting. Raises like `of_best_settings`."""
    from purerl.sweep import load

    result = load(directory)
    return result.agent(of_best_settings(result, 1)[0] if number is None else number)


def of_best_settings(result: SweepResult, count: int) -> list[int]:
    """The numbers of the first agents of the `count` best settings.

    Raises ValueError where there are several environments, whose returns cannot be compared, or no finished agents.
    """
    if len(result.environments) > 1:
        raise ValueError(
            f"{result.directory} has several environments: choose agents by number (agents.csv), --agent N"
        )
    ranked = result.ranking()[:count]
    if not ranked:
        raise ValueError(f"{result.directory} has no finished agents yet")
    return [one.trial.number * len(result.seeds) for one in ranked]


def described(number: int, trial: Trial, seed: int) -> str:
    """'agent 12: learning_rate=0.001, seed 4'."""
    settings = ", ".join(f"{name}={value}" for name, value in trial.settings.items())
    return f"agent {number}: {settings}, seed {seed}"


def evaluate(options: Any, key: Any) -> None:
    """Play episodes with one agent and print its returns."""
    import jax
    import numpy as np
    from rich.console import Console

    from purerl.cli.runs import elsewhere
    from purerl.evaluate import evaluate as play
    from purerl.report.records import summarise_evaluation
    from purerl.report.run_directory import dumps
    from purerl.report.tables import facts, return_table
    from purerl.train import require_best

    agent = of_sweep(options.directory, options.agent)
    environment = agent.environment if options.env is None else elsewhere(options.env, agent.environment)
    if environment is None:
        raise ValueError(f"{agent.algorithm.name} has no environment to evaluate on: choose one with --env")
    evaluated = bool(np.isfinite(agent.best.score))
    if options.best:
        require_best(agent.best.score, options.directory)
    wanted = {"best": options.best, "last": options.last} if options.best or options.last else {"best": evaluated}
    if not any(wanted.values()):
        wanted = {"last": True}
    results = {}
    for which in (name for name, is_wanted in wanted.items() if is_wanted):
        policy = agent.policy(best=which == "best", greedy=not options.sampled)
        played = jax.jit(lambda key, policy=policy: play(policy, environment, key, options.episodes))(key)
        results[which] = summarise_evaluation(*(np.asarray(x)[None] for x in played))
    if options.json:
        played_in = {"environment": environment.name, "episodes": options.episodes}
        print(dumps({"agent": agent.number, "seeds": [agent.seed], **played_in, **results}))
        return
    output = Console()
    for which, result in results.items():
        columns = {name.removesuffix("_per_seed").replace("return_", ""): values for name, values in result.items()}
        title = f"{agent.algorithm.name} on {environment.name}: {which} parameters"
        output.print(return_table(title, [agent.seed], columns))
    actions = "sampled" if options.sampled else "greedy"
    output.print(
        facts(
            {
                "sweep": f"{options.directory}, {described(agent.number, agent.trial, agent.seed)}",
                "episodes": f"{options.episodes}, {actions}",
            }
        )
    )
