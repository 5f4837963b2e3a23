"""Train the programs of a sweep, chunk by chunk; what is finished stays finished."""

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from purerl import checkpoint, processes, trees
from purerl.configuration import to_json
from purerl.devices import over_agents
from purerl.host import driver, memory
from purerl.host.compilation import Programs
from purerl.host.driver import Setup
from purerl.report import run_directory
from purerl.report.sweep_console import Display
from purerl.run import execute_in, require_states_that_last
from purerl.sweeps import directory as files
from purerl.sweeps import plan
from purerl.sweeps.plan import Program
from purerl.train import EvaluationPlan
from purerl.types import Environment


class Options(NamedTuple):
    """How a sweep is trained; `sweep.json` keeps those that decide its numbers."""

    evaluations: int
    episodes: int
    evaluate_on: Environment | None
    checkpoint_minutes: float
    keep: str  # "training" or "policy"
    memory: int | None  # bytes that a chunk may use
    chunk: int | None  # agents


class Piece(NamedTuple):
    """A chunk of a program."""

    program: int
    number: int
    positions: tuple[int, ...]
    directory: Path


def chunk_sizes(programs: Sequence[Program], options: Options) -> list[int]:
    """Agents per chunk of every program, the same for all processes. Raises MemoryError if an agent cannot fit."""
    budget, devices, several = _budget(options), len(jax.devices()), processes.several()
    sizes = [plan.chunk_size(program, budget, devices, most=options.chunk, even=several) for program in programs]
    return processes.agree(sizes)


def _budget(options: Options) -> int | None:
    """Bytes that a chunk may use on the devices of all processes, by the measure of the first one."""
    budget = plan.memory_budget(jax.local_devices(), options.memory)
    if budget is None or options.memory is not None:
        return budget
    return processes.agree([budget // 1024])[0] * 1024 * jax.process_count()


def pieces(programs: Sequence[Program], sizes: Sequence[int], directory: Path) -> list[Piece]:
    """Every chunk of a sweep, in the order of training."""
    return [
        Piece(p, k, tuple(positions), files.chunk(directory, p, k))
        for p, (program, size) in enumerate(zip(programs, sizes, strict=True))
        for k, positions in enumerate(plan.positions(program, size))
    ]


def execute(
    programs: Sequence[Program], sizes: list[int], directory: Path, options: Options, display: Display
) -> list[int]:
    """Train what is not finished yet and return the sizes of the chunks, which memory may have made smaller.

    Raises like `purerl.run`; KeyboardInterrupt after Ctrl-C, when the current group of iterations is saved.
    """
    sizes = list(sizes)
    for p, program in enumerate(programs):
        mine = [piece for piece in pieces(programs, sizes, directory) if piece.program == p]
        done = processes.agree([int(files.finished(piece.directory)) for piece in mine])
        left = [piece for piece, is_done in zip(mine, done, strict=True) if not is_done]
        for piece in mine:
            if piece not in left:
                _tidy(piece, options)  # a kill may have come before
                display.skip(program, piece.positions)
        if not left:
            continue
        for piece in left:
            require_states_that_last(program.algorithm, piece.directory, "delete it and resume")
        begun = processes.agree([int(any(piece.directory.exists() for piece in mine))])[0] == 1
        compiled, size = _compile_to_fit(programs, p, left[0], begun, options, display)
        if size != sizes[p]:
            sizes[p] = size
            left = [piece for piece in pieces(programs, sizes, directory) if piece.program == p]
            files.write_sizes(directory, sizes)
        for piece in left:
            _train(program, piece, compiled, options, display)
    return sizes


def _compile_to_fit(
    programs: Sequence[Program], p: int, piece: Piece, begun: bool, options: Options, display: Display
) -> tuple[Programs, int]:
    """The compiled program, for smaller chunks if the compiler's own numbers say that these do not fit.

    Where chunks of this size have been `begun`, their size cannot change: then it raises MemoryError.
    """
    program, size = programs[p], len(piece.positions)
    setup = _setup(program, piece, options, [display.sink(program, piece.positions)])
    total = size * program.agent_bytes
    display.compiling(program, p, len(programs), size)
    compiled = driver.compiled(setup, total, fresh=True)
    budget = _budget(options)
    needed = total + compiled.working_bytes + min(total, driver.COPY_LIMIT)
    if budget is None or needed <= budget or options.chunk is not None:
        return compiled, size
    smaller = plan.chunk_size(program, budget, len(jax.devices()), per_agent=-(-needed // size))
    if smaller >= size or begun or processes.several():
        way_out = "give it more memory" if begun else f"give --chunk {smaller} or more memory"
        raise MemoryError(
            f"a chunk of {size} agents needs {memory.human(needed)}, but the sweep may use {memory.human(budget)}: "
            f"{way_out}"
        )
    display.note(f"{size} agents need {memory.human(needed)}: chunks of {smaller} instead")
    part = piece._replace(positions=tuple(plan.positions(program, smaller)[0]))
    return _compile_to_fit(programs, p, part, begun, options, display)


def setup_of(
    program: Program, positions: Sequence[int], directory: Path, evaluation: EvaluationPlan | None, sinks: Sequence[Any]
) -> Setup:
    """How the agents at these positions of a program are trained, in a run directory whose seeds are their numbers."""
    batch = program.batch(positions)
    layout = over_agents(len(positions))
    evaluated_on = (evaluation and evaluation.environment) or program.algorithm.environment
    metadata = checkpoint.metadata(
        program.algorithm,
        [program.number(position) for position in positions],
        program.groups * program.group,
        program.group,
        (evaluated_on, evaluation.episodes) if evaluation and evaluated_on else None,
    )
    metadata["numerics"] |= layout.described()
    metadata["swept"] = {name: to_json(values.tolist()) for name, values in batch.floats.items()}
    metadata["seed_of_agent"] = [program.seeds[position % len(program.seeds)] for position in positions]
    return Setup(
        program.learner,
        batch,
        layout,
        metadata,
        evaluation,
        directory,
        None,
        checkpoint_every=1,
        sinks=sinks,
        unit="agent",
    )


def _setup(program: Program, piece: Piece, options: Options, sinks: Sequence[Any]) -> Setup:
    evaluation = EvaluationPlan(options.evaluate_on, options.episodes) if options.evaluations else None
    return setup_of(program, piece.positions, piece.directory, evaluation, sinks)._replace(
        checkpoint_seconds=60.0 * options.checkpoint_minutes,
        resume_with="purerl sweep --resume",
        stops_when_diverged=False,  # or what an agent reports would depend on its company
    )


def _train(program: Program, piece: Piece, compiled: Programs, options: Options, display: Display) -> None:
    setup = _setup(program, piece, options, [display.sink(program, piece.positions)])
    result = execute_in(piece.directory, setup, resume=True, programs=compiled)
    del result  # its training lies in the checkpoint: the memory is for the next chunk
    _tidy(piece, options)


def _tidy(piece: Piece, options: Options) -> None:
    """Delete all but the policies from the checkpoints of a finished chunk, where only they are kept."""
    if options.keep == "policy" and processes.first():
        forget_training(piece.directory)


def forget_training(chunk_directory: Path) -> None:
    """Delete all but the policies from the checkpoints in a run directory."""
    for step in (chunk_directory / run_directory.CHECKPOINTS).iterdir():
        if step.name.isdigit() and (step / "training").exists():
            shutil.rmtree(step / "training")


def disk_warning(programs: Sequence[Program], directory: Path, options: Options) -> list[str]:
    """A sentence if the checkpoints of the whole sweep, uncompressed, may not fit the disk."""
    kept = checkpoint.KEEP if options.keep == "training" else 0
    whole = [kept * program.agent_bytes for program in programs]
    needed = sum(p.agents * (size + _policy_bytes(p)) for p, size in zip(programs, whole, strict=True))
    if needed <= shutil.disk_usage(directory).free:
        return []
    return [
        f"the checkpoints may take {memory.human(needed)}, more than the disk of {directory} has left: keep='policy' "
        f"(--keep policy) stores the policies only"
    ]


def _policy_bytes(program: Program) -> int:
    state = jax.eval_shape(lambda: program.algorithm.init(jax.random.key(0)))
    return 2 * trees.nbytes(jax.eval_shape(program.algorithm.snapshot, state))


@contextlib.contextmanager
def saying_how_to_go_on(directory: Path, display: Display):
    """After Ctrl-C, say how to go on with the whole sweep."""
    try:
        yield
    except KeyboardInterrupt:
        display.note(f"interrupted; go on with: purerl sweep --resume {directory}")
        raise
