"""The host-side face of `purerl.train`: what to train, for how long, and where to keep it.

`run` checks the arguments, plans the groups of iterations and guards the run directory; `host.driver` then does it.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from purerl import checkpoint, processes, trees
from purerl.configuration import whole_number
from purerl.devices import idle_gpu, over_agents, over_data
from purerl.host.compilation import Agents, Programs
from purerl.host.driver import RunResult, Setup, execute
from purerl.report import run_directory
from purerl.report.console import console
from purerl.report.sinks import Sink, jsonl, picture
from purerl.train import EvaluationPlan, require_algorithm
from purerl.types import Algorithm, Environment

REPORTS = 20  # groups of a run without evaluation


def run(
    algorithm: Algorithm,
    *,
    total_steps: int | None = None,
    iterations: int | None = None,
    seeds: int | Sequence[int] = 1,
    seed: int = 0,
    directory: str | Path | None = None,
    evaluations: int = 20,
    episodes: int = 128,
    evaluate_on: Environment | None = None,
    checkpoint_every: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    data_parallel: bool = False,
    sinks: Sequence[Sink] | None = None,
) -> RunResult:
    """Train one agent per seed in one program; report, evaluate, save and resume on the way.

    Args:
        algorithm: what to train, for example `ppo.make(environment, ppo.Config())`.
        total_steps: environment steps per seed, those of the warm-up included. Either this or `iterations`.
        iterations: of the whole run; both are rounded up to a whole number of groups.
        seeds: how many agents, or the list of their seeds; `seed` is added to each.
        seed: the first seed.
        directory: where checkpoints, metrics and the summary go (see `purerl.report.run_directory`); None: nowhere.
        evaluations: how often to evaluate and report over the run; 0: never evaluate, report 20 times.
        episodes: per evaluation and seed.
        evaluate_on: the environment to evaluate on (default: the algorithm's own).
        checkpoint_every: groups between checkpoints; the last group is always saved.
        resume: continue from the newest checkpoint in `directory`, bit for bit, or start if there is none.
        overwrite: delete a run that is in `directory` already.
        data_parallel: split the environments and minibatches of every agent over all devices of this host, instead of
            the agents: for one large agent of a learner whose gradients are sums over its batch, such as PPO. The
            result is the same up to the order of sums.
        sinks: where numbers go besides the run directory (default: the console; `()`: nowhere).

    Raises ValueError or TypeError for bad arguments, FileExistsError if `directory` holds a run already or another
    process works on it, CheckpointError if `resume` finds another run there, MemoryError if the training cannot fit.
    After Ctrl-C the current group is finished and saved, then KeyboardInterrupt is raised; a second Ctrl-C is not
    waited for.
    """
    require_algorithm(algorithm, "run")
    if checkpoint_every < 1:
        raise ValueError(f"checkpoint_every must be at least 1 group, got {checkpoint_every}")
    if evaluations and episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}; evaluations=0 evaluates never")
    if directory is None and (resume or overwrite):
        raise ValueError("resume and overwrite need a directory: directory='runs/NAME'")
    groups, group = plan_groups(algorithm, total_steps, iterations, evaluations)
    plan = _evaluation_plan(algorithm, evaluate_on, episodes) if evaluations else None
    evaluation = (plan.environment, plan.episodes) if plan and plan.environment else None
    metadata = checkpoint.metadata(algorithm, seed_numbers(seeds, seed), groups * group, group, evaluation)
    sinks = (console(),) if sinks is None else tuple(sinks)
    agents = Agents(trees.keys(metadata["seeds"]), floats={})
    layout = over_data() if data_parallel else over_agents(len(metadata["seeds"]))
    metadata["numerics"] |= layout.described()
    setup = Setup(lambda floats: algorithm, agents, layout, metadata, plan, None, None, checkpoint_every, sinks)
    for line in idle_gpu():
        setup.note(line)
    if directory is None:
        return execute(setup)
    directory = Path(directory)
    if resume:
        require_states_that_last(algorithm, directory)
    setup = setup._replace(sinks=(picture(directory), *sinks))
    return execute_in(directory, setup, resume=resume, overwrite=overwrite)


def execute_in(
    directory: Path, setup: Setup, *, resume: bool, overwrite: bool = False, programs: Programs | None = None
) -> RunResult:
    """`host.driver.execute` in a run directory of its own, with the checks and the files that belong to it.

    Where several processes train together, the first one keeps the directory and listens.
    """
    with contextlib.ExitStack() as stack:
        with processes.refused_together():
            if processes.first():
                stack.enter_context(run_directory.claimed(directory, resume=resume, overwrite=overwrite))
                _check_or_write(directory, setup)
        sinks = (jsonl(directory), *setup.sinks) if processes.first() else ()
        checkpoints = stack.enter_context(checkpoint.opened(directory / run_directory.CHECKPOINTS))
        return execute(setup._replace(directory=directory, checkpoints=checkpoints, sinks=sinks), programs)


def _check_or_write(directory: Path, setup: Setup) -> None:
    """Compare `config.json` with what is asked for, or write it."""
    if (directory / run_directory.CONFIG).exists():
        checkpoint.check(run_directory.read_config(directory)[0], setup.metadata, directory)
    else:
        run_directory.write_config(directory, setup.metadata, setup.checkpoint_every)


def require_states_that_last(
    algorithm: Algorithm, directory: Path, way_out: str = "use another directory or overwrite this one"
) -> None:
    """Raise CheckpointError if there is a training in `directory` whose environments another process simulated."""
    environment = algorithm.environment
    if not (environment and environment.host):
        return
    with processes.refused_together():
        if processes.first() and run_directory.has_checkpoint(directory):
            raise checkpoint.CheckpointError(
                f"{directory} cannot be resumed: {environment.name} is simulated on the host, and the episodes that "
                f"were going on ended with the process that trained it. Its policies can be evaluated and filmed; to "
                f"train anew, {way_out}"
            )


def seed_numbers(seeds: int | Sequence[int], seed: int = 0) -> list[int]:
    """`seed + i` for every agent i. Raises ValueError if there is none, or if two agents have the same."""
    seeds = np.asarray(seeds).tolist() if isinstance(seeds, np.ndarray | jax.Array) else seeds
    listed = isinstance(seeds, Sequence) and not isinstance(seeds, str)
    offsets: Any = seeds if listed else range(whole_number("seeds", seeds))
    numbers = [seed + whole_number("a seed", i) for i in offsets]
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"seeds must be a positive number or a list of different seeds, got {seeds!r}")
    return numbers


def plan_groups(
    algorithm: Algorithm, total_steps: int | None, iterations: int | None, evaluations: int
) -> tuple[int, int]:
    """`(groups, iterations per group)` such that at least the budget is spent.

    Raises ValueError for a bad budget, TypeError for one that is no number.
    """
    if (total_steps is None) == (iterations is None):
        raise ValueError("give either total_steps=200_000 or iterations=100, and not both")
    if evaluations < 0:
        raise ValueError(f"evaluations must be at least 0, got {evaluations}")
    total_steps = None if total_steps is None else whole_number("total_steps", total_steps)
    iterations = None if iterations is None else whole_number("iterations", iterations)
    if iterations is None:
        if algorithm.env_steps_per_iteration == 0:
            raise ValueError(f"{algorithm.name} takes no environment steps: give iterations instead of total_steps")
        left = (total_steps or 0) - algorithm.env_steps_of_init
        iterations = -(-left // algorithm.env_steps_per_iteration)
    if iterations < 1:
        raise ValueError(_too_little(algorithm, total_steps, iterations))
    group = -(-iterations // (evaluations or REPORTS))
    return -(-iterations // group), group


def _too_little(algorithm: Algorithm, total_steps: int | None, iterations: int) -> str:
    """Why the budget does not allow one iteration, and which one would."""
    if total_steps is None:
        return f"the budget must allow at least one iteration, got iterations={iterations}"
    step, warm_up = algorithm.env_steps_per_iteration, algorithm.env_steps_of_init
    more = f"; an iteration takes {step} steps" + (f", after {warm_up} of warm-up" if warm_up else "")
    return f"the budget must allow at least one iteration, got total_steps={total_steps}{more}: give {warm_up + step}"


def _evaluation_plan(algorithm: Algorithm, evaluate_on: Environment | None, episodes: int) -> EvaluationPlan:
    environment = evaluate_on or algorithm.environment
    if environment is None:
        raise ValueError(f"{algorithm.name} has no environment of its own: pass evaluate_on, or evaluations=0")
    return EvaluationPlan(environment, episodes)
