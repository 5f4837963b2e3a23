"""The loop of a search: ask Optuna for a generation, train it, tell what came of it; then write the tables."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from purerl import checkpoint
from purerl.configuration import to_json
from purerl.report import run_directory
from purerl.report.statistics import in_words
from purerl.report.sweep_console import Display
from purerl.sweeps.plan import Program
from purerl.sweeps.results import Ranked
from purerl.sweeps.search import directory as files
from purerl.sweeps.search import proposals
from purerl.sweeps.search.generations import Outcome, Plan, outcomes
from purerl.sweeps.search.plan import Options
from purerl.sweeps.search.results import SearchResult
from purerl.sweeps.search.training import Trainer
from purerl.sweeps.trials import Trial

TOP = 10  # trials


def execute(
    directory: Path, plan: Plan, options: Options, make_sampler: proposals.MakeSampler, display: Display
) -> SearchResult:
    """Every generation, those that are finished only told again. Raises like `purerl.run`."""
    names: dict[int, str] = {}  # of the agents, as they are proposed
    display.note(_overview(plan, options))
    display.start(_expected(plan), names)
    trainer = Trainer(plan, display, options.checkpoint_minutes, options.keep)
    studies = [proposals.new_study(f"{directory.name}-{i}") for i in range(len(plan.studies))]
    best: Outcome | None = None
    try:
        for number in range(plan.generations):
            study, branch = studies[number % len(studies)], plan.study_of(number).branch
            seed = proposals.seed_of(options.sample_seed, branch.number, number)
            asked = proposals.ask(study, make_sampler(seed), branch.axes, plan.size)
            trials = plan.trials(number, _kept(directory, number, [trial.params for trial in asked]))
            names |= _names(plan, trials)
            found = outcomes(plan, trainer.train(directory, number, trials))
            proposals.tell(study, asked, [one.told(list(branch.axes)) for one in found])
            best = max([one for one in (best, *found) if one and one.state == "complete"], key=_value, default=None)
            display.note(_said(plan, number, found, best))
    except KeyboardInterrupt:
        display.note(f"interrupted; go on with: purerl search --resume {directory}")
        raise
    finally:
        display.stop()
    result = SearchResult(directory, plan)
    for line in write(result):
        display.note(line)
    return result


def write(result: SearchResult) -> list[str]:
    """Write the tables and the summary of a search; returns its end in words."""
    trials: Any = result.trials()
    run_directory.replace_text(result.directory / files.TABLE, result.table().to_csv(index=False))
    run_directory.replace_text(result.directory / files.TRIALS, trials.to_csv(index=False))
    ranked = result.ranking()
    states = {str(state): int(count) for state, count in trials["state"].value_counts().sort_index().items()}
    summary = {
        "trials": len(trials),
        "states": states,
        "env_steps": int(trials["env_steps"].sum()) * len(result.plan.seeds),
        "best_trials": [_summarised(one) for one in ranked[:TOP]],
    }
    run_directory.write_json(result.directory / files.SUMMARY, summary)
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    lines = [f"{len(trials)} trials ({counted}); final return over {len(result.plan.seeds)} seeds:"]
    lines += [
        f"  {in_words(one.estimate)}: {result.plan.words(one.trial)} (trial {one.trial.number})" for one in ranked[:TOP]
    ]
    return [*lines, f"results: {result.directory}"]


def _kept(directory: Path, number: int, proposed: list[dict[str, float]]) -> list[dict[str, float]]:
    """Write what is proposed for a generation, or compare it with what has been written for it.

    Raises CheckpointError if they differ.
    """
    saved = files.read_proposals(directory, number)
    if saved is None:
        files.write_proposals(directory, number, proposed)
    elif saved != proposed:
        before, now = files.read(directory)["optuna"], proposals.require().__version__
        raise checkpoint.CheckpointError(
            f"{directory}: the sampler does not propose again what it proposed for generation {number}. A search goes "
            f"on with the sampler and the Optuna it began with (Optuna {before}, now {now}), and a sampler of your own "
            f"must depend on nothing but the seed it is made from"
        )
    return proposed


def _expected(plan: Plan) -> list[Program]:
    """What the display counts: every rung of every generation, as programs."""
    return [
        study.program._replace(trials=study.program.trials[:1] * rung.trials, groups=rung.groups)
        for number in range(plan.generations)
        for study in [plan.study_of(number)]
        for rung in study.rungs
    ]


def _names(plan: Plan, trials: tuple[Trial, ...]) -> dict[int, str]:
    return {
        trial.number * len(plan.seeds) + i: f"{plan.words(trial)}, seed={seed}"
        for trial in trials
        for i, seed in enumerate(plan.seeds)
    }


def _overview(plan: Plan, options: Options) -> str:
    count, steps = len(plan.studies), 0
    for number in range(plan.generations):
        program, done = plan.study_of(number).program, 0
        for rung in plan.study_of(number).rungs:
            each = (rung.groups - done) * program.group * program.algorithm.env_steps_per_iteration
            each += 0 if done else program.algorithm.env_steps_of_init
            steps, done = steps + rung.trials * each * len(plan.seeds), rung.groups
    halved = f", halved by {options.halving.factor} over {options.halving.rungs} rungs" if options.halving else ""
    return (
        f"{count} stud{'ies' if count > 1 else 'y'} by {proposals.name_of(options.sampler)}: {plan.generations} "
        f"generations of {plan.size} trials x {len(plan.seeds)} seeds{halved}, {steps:,} environment steps"
    )


def _said(plan: Plan, number: int, found: list[Outcome], best: Outcome | None) -> str:
    """A generation in words."""
    complete = [one for one in found if one.state == "complete"]
    failed = sum(one.state == "failed" for one in found)
    here = f"best {_value(max(complete, key=_value)):.4g}" if complete else "none was trained to the end"
    lost = f", {failed} diverged" if failed else ""
    ever = f"; best so far {_value(best):.4g}: {plan.words(best.trial)} (trial {best.trial.number})" if best else ""
    return f"generation {number + 1}/{plan.generations}: {here}{lost}{ever}"


def _value(one: Outcome) -> float:
    return one.reports[-1][1]


def _summarised(one: Ranked) -> dict[str, Any]:
    low, high = (x if math.isfinite(x) else None for x in (one.estimate.low, one.estimate.high))
    return {
        "trial": one.trial.number,
        "settings": to_json(one.trial.settings),
        "final_return": {"value": one.estimate.value, "low": low, "high": high},
        "return_per_seed": np.asarray(one.scores).tolist(),
    }
