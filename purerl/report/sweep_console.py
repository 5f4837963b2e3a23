"""The live display of a sweep: programs, chunks, agents and steps per second, the best so far, the time left."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from purerl.report.console import clock
from purerl.report.records import Record, RunInformation
from purerl.report.sinks import Sink
from purerl.report.tables import number


class Display(NamedTuple):
    """What a sweep tells whoever watches."""

    start: Callable[[Sequence[Any], Mapping[int, str]], None]  # (programs, what each agent is)
    compiling: Callable[[Any, int, int, int], None]  # (program, its number, programs, agents at a time)
    skip: Callable[[Any, Sequence[int]], None]  # (program, positions): finished by an earlier session
    sink: Callable[[Any, Sequence[int]], Sink]  # (program, positions): what listens to a chunk
    note: Callable[[str], None]
    stop: Callable[[], None]


def silent() -> Display:
    """Says nothing."""
    nothing = Sink(lambda information: None, lambda record: None, lambda summary: None)
    return Display(
        start=lambda programs, names: None,
        compiling=lambda program, index, count, size: None,
        skip=lambda program, positions: None,
        sink=lambda program, positions: nothing,
        note=lambda message: None,
        stop=lambda: None,
    )


def sweep_console(terminal: Console | None = None) -> Display:
    """One live line on a terminal; elsewhere a plain line per evaluation of a chunk."""
    output = Console() if terminal is None else terminal
    state: dict[str, Any] = {
        "done": 0,
        "session": 0,
        "agents": 0,
        "best": None,
        "at": "",
        "chunk": "",
        "diverged": set(),
    }

    def start(programs: Sequence[Any], names: Mapping[int, str]) -> None:
        total = sum(program.agents * program.total_steps for program in programs)
        agents = sum(program.agents for program in programs)
        state.update(total=total, all_agents=agents, names=names, began=time.perf_counter())
        if output.is_terminal:
            columns = [TextColumn("[bold]{task.percentage:3.0f}%"), BarColumn(16), TextColumn("{task.description}")]
            bar = Progress(*columns, console=output)
            state.update(bar=bar, task=bar.add_task("compiling ...", total=total))
            bar.start()

    def compiling(program: Any, index: int, count: int, size: int) -> None:
        where = f"program {index + 1}/{count}"
        state.update(program=where)
        note(f"{where}: {program.algorithm.name} on {program.environment}, {size} agents at a time; compiling ...")

    def skip(program: Any, positions: Sequence[int]) -> None:
        new = _new(program, positions)
        state["done"] += len(new) * program.total_steps
        state["agents"] += len(new)

    def sink(program: Any, positions: Sequence[int]) -> Sink:
        new = _new(program, positions)
        spent = {"steps": 0}

        def open_(information: RunInformation) -> None:
            state["chunk"] = _chunk(program, positions)
            if not state["session"]:
                state["began"] = time.perf_counter()  # compiling the first program does not count
            spent["steps"] = information.env_steps * len(new)
            state["done"] += spent["steps"]

        def write(record: Record) -> None:
            more = record.env_steps * len(new) - spent["steps"]
            spent["steps"] += more
            state["done"] += more
            state["session"] += more
            _remember_best(state, record, new)
            for agent in set(record.diverged_seeds) & set(new) - state["diverged"]:
                state["diverged"].add(agent)
                note(f"agent {agent} diverged by iteration {record.iteration}: {state['names'][agent]}")
            show()

        def close(summary: dict[str, Any] | None) -> None:
            if summary is None or summary["status"] == "interrupted":
                return
            missing = program.total_steps * len(new) - spent["steps"]  # when all agents of the chunk diverged
            state["done"] += missing
            state["agents"] += len(new)
            show(force=True)

        def heard(message: str) -> None:
            if "compiled" in message or "Ctrl-C" in message:
                note(message)

        return Sink(open_, write, close, heard)

    def show(force: bool = False) -> None:
        seconds = max(time.perf_counter() - state["began"], 1e-9)
        rate = state["session"] / seconds
        left = (state["total"] - state["done"]) / rate if rate else None
        per_agent = state["total"] / state["all_agents"]
        best = "-" if state["best"] is None else f"{number(state['best'][0])} (agent {state['best'][1]})"
        lost = f" · {len(state['diverged'])} diverged" if state["diverged"] else ""
        agents = f"{state['agents']}/{state['all_agents']} agents · {number(rate / per_agent, 3)} agents/s"
        where = state["program"] + state["chunk"]
        text = f"{where} · {agents} · {number(rate, 3)} steps/s · best {best}{lost} · ETA {clock(left)}"
        if "bar" in state:
            state["bar"].update(state["task"], completed=state["done"], description=text)
        else:
            percent = 100 * state["done"] // max(state["total"], 1)
            output.print(f"{percent:3d}% {text}", highlight=False, soft_wrap=True)

    def note(message: str) -> None:
        output.print(message, highlight=False, soft_wrap=True, markup=False)

    def stop() -> None:
        if "bar" in state:
            state["bar"].stop()

    return Display(start, compiling, skip, sink, note, stop)


def _chunk(program: Any, positions: Sequence[int]) -> str:
    """', chunk 2/5'; nothing where a program has one chunk only."""
    size = len(positions)
    chunks = -(-program.agents // size)
    return f", chunk {positions[0] // size + 1}/{chunks}" if chunks > 1 else ""


def _new(program: Any, positions: Sequence[int]) -> list[int]:
    """The numbers of the agents of a chunk, without the repetitions that fill it."""
    return list(dict.fromkeys(program.number(position) for position in positions))


def _remember_best(state: dict[str, Any], record: Record, agents: Sequence[int]) -> None:
    values = record.evaluation["return_per_seed"] if record.evaluation else record.metrics.get("episode_return", [])
    returns = np.array([np.nan if x is None else x for x in values[: len(agents)]], float)
    if not np.isnan(returns).all():
        i = int(np.nanargmax(returns))
        if state["best"] is None or returns[i] > state["best"][0]:
            state["best"] = (float(returns[i]), agents[i])
