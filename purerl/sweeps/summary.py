"""A sweep in words and files: what will be trained, and what was found."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from purerl.configuration import to_json
from purerl.host import memory
from purerl.report import run_directory
from purerl.report.statistics import in_words
from purerl.sweeps import directory as files
from purerl.sweeps import plan
from purerl.sweeps.plan import Program
from purerl.sweeps.results import Ranked, SweepResult

TOP = 10  # trials


def overview(programs: Sequence[Program], sizes: Sequence[int]) -> list[str]:
    """What will be trained: one line in all, and one per program."""
    agents, trials = sum(p.agents for p in programs), sum(len(p.trials) for p in programs)
    steps = sum(p.agents * p.total_steps for p in programs)
    lines = [
        f"{len(programs)} program{'s' if len(programs) > 1 else ''}: {trials} settings x {len(programs[0].seeds)} "
        f"seeds = {agents} agents, {steps:,} environment steps"
    ]
    for program, size in zip(programs, sizes, strict=True):
        own = ", ".join(f"{name}={value}" for name, value in plan.fixed(program, programs).items())
        chunks = -(-program.agents // size)
        lines.append(
            f"  {program.algorithm.name} on {program.environment}{f' ({own})' if own else ''}: {program.agents} agents"
            f"{f' in {chunks} chunks of {size}' if chunks > 1 else ''}, {memory.human(size * program.agent_bytes)} "
            f"of training state per chunk; in one program: {', '.join(program.floats) or 'seeds only'}"
        )
    return lines


def write(result: SweepResult) -> list[str]:
    """Write the tables and the summary of a sweep; returns its end in words."""
    table, agents = result.table(), result.agents()
    run_directory.replace_text(result.directory / files.TABLE, table.to_csv(index=False))
    run_directory.replace_text(result.directory / files.AGENTS, agents.to_csv(index=False))
    ranked = {env: result.ranking(env=env)[:TOP] for env in result.environments} if len(agents) else {}
    lost = agents[agents["diverged"]] if len(agents) else agents
    summary = {
        "agents": len(agents),
        "programs": len(result.programs),
        "diverged_agents": lost["agent"].astype(int).tolist() if len(lost) else [],
        "best_trials": {env: [_described(one) for one in best] for env, best in ranked.items()},
    }
    run_directory.write_json(result.directory / files.SUMMARY, summary)
    return report(result, ranked, lost)


def report(result: SweepResult, ranked: Mapping[str, Sequence[Ranked]], lost: Any) -> list[str]:
    """The end of a sweep in words: its best trials with their intervals, what diverged, and where everything is.

    Args:
        ranked: the best trials of each environment.
        lost: the rows of `agents()` that diverged.
    """
    fields = [n for n in result.fields if len({repr(trial.value(n)) for trial in result.trials}) > 1 and n != "env"]

    def words(values: Callable[[str], Any]) -> str:
        return ", ".join(f"{name}={_short(values(name))}" for name in fields) or "the only setting"

    lines = []
    for env, best in ranked.items():
        lines.append(f"{env}: final return, interquartile mean over {len(result.seeds)} seeds")
        for one in best:
            also = f", {one.diverged} diverged" if one.diverged else ""
            lines.append(f"  {in_words(one.estimate)}{also}: {words(one.trial.value)} (trial {one.trial.number})")
    if len(lost):
        lines.append(f"{len(lost)} agents diverged (a loss was not finite) and were frozen:")
    for row in lost.to_dict("records")[:TOP]:
        where = f"seed {row['seed']}, {row['env']}, by iteration {row['diverged_at']:.0f}"
        lines.append(f"  agent {row['agent']}: {words(row.get)} ({where})")
    if len(lost) > TOP:
        lines.append(f"  and {len(lost) - TOP} more: {result.directory / files.AGENTS}")
    return [*lines, f"results: {result.directory} (pictures: purerl plot {result.directory})"]


def _described(one: Ranked) -> dict[str, Any]:
    """A trial in `summary.json`."""
    interval = {name: _finite(getattr(one.estimate, name)) for name in ("low", "high")}
    return {
        "trial": one.trial.number,
        "settings": to_json(one.trial.settings),
        "final_return": {"iqm": one.estimate.value, **interval, "confidence": one.estimate.confidence},
        "diverged_seeds": one.diverged,
    }


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
