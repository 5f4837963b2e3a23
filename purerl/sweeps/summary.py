"""A sweep in words and files: what will be trained, and what was found."""

import math
from collections.abc import Sequence
from typing import Any

from purerl.configuration import to_json
from purerl.host import memory
from purerl.report import run_directory
from purerl.report.statistics import in_words
from purerl.sweeps import directory as files
from purerl.sweeps import plan
from purerl.sweeps.plan import Program
from purerl.sweeps.results import SweepResult

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
    ranked = result.ranking() if len(agents) else []
    lost = agents[agents["diverged"]] if len(agents) else agents
    top = [
        {
            "trial": one.trial.number,
            "settings": to_json(one.trial.settings),
            "final_return": {
                "iqm": one.estimate.value,
                "low": _finite(one.estimate.low),
                "high": _finite(one.estimate.high),
            },
            "diverged_seeds": one.diverged,
        }
        for one in ranked[:TOP]
    ]
    summary = {
        "agents": len(agents),
        "programs": len(result.programs),
        "diverged_agents": lost["agent"].astype(int).tolist() if len(lost) else [],
        "best_trials": top,
    }
    run_directory.write_json(result.directory / files.SUMMARY, summary)
    return report(result, ranked)


def report(result: SweepResult, ranked: Sequence[Any]) -> list[str]:
    """The end of a sweep in words: the best trials, each with its interval, and where everything is."""
    varying = [n for n in result.fields if len({repr(trial.value(n)) for trial in result.trials}) > 1]
    lines = [f"final return, interquartile mean over {len(result.seeds)} seeds:"]
    for one in ranked[:TOP]:
        settings = ", ".join(f"{name}={_short(one.trial.value(name))}" for name in varying) or "the only setting"
        lost = f", {one.diverged} diverged" if one.diverged else ""
        lines.append(f"  {in_words(one.estimate)}{lost}: {settings} (trial {one.trial.number})")
    return [*lines, f"results: {result.directory} (purerl plot {result.directory})"]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
