"""The training loop seen from the host: group by group, watched, saved and resumed.

A group is the iterations between two evaluations. One compiled program, `vmap(advance)` over the agents with the
training donated, is called once per group; while the device works on group n + 1, the host reports group n. Two
things hold whatever happens in between: a line is in the JSONL files before the checkpoint that stands for it, and a
checkpoint reads only arrays that no later call is given.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from purerl import checkpoint, processes, trees
from purerl.checkpoint import Checkpoints, Progress
from purerl.devices import Layout
from purerl.evaluate import Evaluation
from purerl.host import interruption, memory
from purerl.host.compilation import Agents, Learner, Programs, compile_programs, training_shapes
from purerl.report import run_directory
from purerl.report.records import Record, RunInformation, aggregate, diverged, summarise_evaluation
from purerl.report.sinks import Sink
from purerl.report.summary import steps_at, summarise
from purerl.train import EvaluationPlan, Training

COPY_LIMIT = 1 << 30  # bytes: a larger training is not copied for its checkpoint, the next group waits instead


class RunResult(NamedTuple):
    """What a run returns. All arrays but those of `training` are on the host."""

    training: Training  # batched over the agents: in a run, one per seed
    metrics: dict[str, np.ndarray]  # each [agents, iterations], of the iterations done by this call ({} if none)
    evaluations: Evaluation | None  # each [agents, groups, episodes], of the groups done by this call (None if none)
    summary: dict[str, Any]
    directory: Path | None


class Setup(NamedTuple):
    """What is fixed during a run."""

    learner: Learner
    agents: Agents
    layout: Layout
    metadata: dict[str, Any]  # `checkpoint.metadata`; its "seeds" number the agents
    plan: EvaluationPlan | None
    directory: Path | None
    checkpoints: Checkpoints | None
    checkpoint_every: int  # groups
    sinks: Sequence[Sink]
    checkpoint_seconds: float = 0.0  # at least so long between two checkpoints; the last group is always saved
    unit: str = "seed"  # what the numbers of the agents are called
    resume_with: str = "purerl train --resume"  # the command that goes on, before the directory
    stops_when_diverged: bool = True  # when every agent has, a group later
    until: int | None = None  # this piece of the run is finished after so many iterations; None: at its end
    initial: tuple[Training, int] | None = None  # begin with this training, so many iterations old; it is donated

    @property
    def last(self) -> int:
        """Iterations done when this is finished; schedules go on to those of the metadata."""
        return self.metadata["iterations"] if self.until is None else self.until

    @property
    def what(self) -> str:
        """What is trained, for messages."""
        count = len(self.metadata["seeds"])
        return f"the training state of {count} {self.unit}{'s' if count > 1 else ''}"

    def note(self, message: str) -> None:
        """Say something to whoever watches."""
        for sink in self.sinks:
            sink.note(message)


class Group(NamedTuple):
    """What one call of the program leaves behind: arrays that may still be on their way."""

    iteration: int  # iterations done with this group
    metrics: Any  # each [agents, iterations of the group]
    evaluation: Evaluation | None  # each [agents, episodes]
    to_save: tuple[Any, Any] | None  # the training and its snapshots


@dataclasses.dataclass
class Log:
    """What has been reported so far."""

    diverged: np.ndarray  # [seeds] bool
    all_diverged_at: int | None  # iterations done at the group by which every seed had diverged
    last_metrics: dict[str, Any]  # the newest line of metrics.jsonl
    last_evaluation: dict[str, Any] | None  # the newest line of evaluations.jsonl
    metrics: list[dict[str, np.ndarray]]  # per group of this session
    evaluations: list[Evaluation]

    def over(self, iteration: int) -> bool:
        """Whether to stop after `iteration` iterations because every seed had diverged at least one group before.

        One group before, since a group is reported while the next one runs; a resumed run stops at the same place.
        """
        return self.all_diverged_at is not None and self.all_diverged_at < iteration


def execute(setup: Setup, programs: Programs | None = None) -> RunResult:
    """Compile, start or restore, train to the end, summarise. See `purerl.run.run` for what it raises.

    Args:
        programs: compiled before, for as many agents of the same learner.
    """
    with memory.explained(setup.what, setup.layout.devices):
        return _execute(setup, programs)


def _execute(setup: Setup, programs: Programs | None) -> RunResult:
    metadata, layout = setup.metadata, setup.layout
    shapes = training_shapes(setup.learner, setup.agents)
    size = trees.nbytes(shapes)
    initial, begin = setup.initial or (None, 0)
    if initial is None:
        memory.require(layout.share(size), layout.devices, setup.what)
    progress, training = Progress(begin, 0.0, 0.0), None
    if setup.checkpoints is not None and setup.checkpoints.latest() is not None:
        saved, progress, training = setup.checkpoints.restore("training", shapes, layout.sharding)
        checkpoint.check(saved, metadata, setup.checkpoints.directory)
        setup.checkpoints.forget_after(progress.iteration)
    log = _read_log(setup, progress.iteration)
    if training is not None and (progress.iteration == setup.last or log.over(progress.iteration)):
        setup.note(f"nothing to do: the run in {setup.directory} was already finished")
        return _finish(setup, log, training, progress)

    if training is None and initial is not None:
        training = jax.device_put(initial, layout.sharding)
        log.diverged |= np.asarray(training.diverged)
    if programs is None:
        programs = compiled(setup, size, fresh=training is None, iteration=progress.iteration)
    _require_all(setup, programs, size, restored=training is not None)
    env_steps = steps_at(metadata, progress.iteration)
    information = RunInformation(metadata, setup.directory, progress.iteration, env_steps, progress.train_seconds)
    with contextlib.ExitStack() as on_failure:
        for sink in setup.sinks:
            sink.open(information)
            on_failure.callback(sink.close, None)
        if training is None:
            assert programs.init is not None
            training = programs.init(layout.put(setup.agents))
        training, progress = _loop(setup, programs, training, progress, log)
        on_failure.pop_all()  # nothing failed: the sinks are closed with the summary
    return _finish(setup, log, training, progress)


def compiled(setup: Setup, size: int, fresh: bool, iteration: int = 0) -> Programs:
    """The programs of a setup; says what it does, since it takes seconds."""
    where = memory.in_words(setup.layout.devices)
    setup.note(f"{setup.what} takes {memory.human(size)} on {where}; compiling ...")
    programs = compile_programs(
        setup.learner,
        setup.agents,
        setup.layout,
        iterations=setup.metadata["iterations"],
        group=setup.metadata["group"],
        plan=setup.plan,
        fresh=fresh,
    )
    resumed = f"; resuming after iteration {iteration}" if iteration else ""
    setup.note(f"compiled in {programs.seconds:.1f} s{resumed}")
    return programs


def _require_all(setup: Setup, programs: Programs, size: int, restored: bool) -> None:
    """Refuse what will not fit, now that the compiler has said what it needs besides the training."""
    allocated = size if restored else 0
    copied = size if setup.checkpoints is not None and size <= COPY_LIMIT else 0
    parts = f"{setup.what}, the work on it ({memory.human(programs.working_bytes)})"
    parts += f" and its copy for checkpoints ({memory.human(copied)})" if copied else ""
    memory.require(setup.layout.share(size - allocated + programs.working_bytes + copied), setup.layout.devices, parts)


def _loop(
    setup: Setup, programs: Programs, training: Training, progress: Progress, log: Log
) -> tuple[Training, Progress]:
    """Every group that is left, unless Ctrl-C or the divergence of every seed ends it before."""
    total, group = setup.last, setup.metadata["group"]
    checkpoints, began = setup.checkpoints, time.perf_counter() - progress.train_seconds
    copies = trees.nbytes(training) <= COPY_LIMIT
    floats = setup.layout.put(setup.agents.floats)

    def seconds() -> float:
        return time.perf_counter() - began

    def report(waiting: Group) -> None:
        _report(setup, log, waiting, seconds)
        if checkpoints is not None and waiting.to_save is not None:
            now = Progress(waiting.iteration, seconds(), programs.seconds)
            checkpoints.save(now, *waiting.to_save, setup.metadata)

    iteration, saved_at, waiting = progress.iteration, progress.iteration, None
    saved_seconds = seconds()
    with interruption.deferred(setup.note) as interrupted:
        while iteration < total and not interrupted() and not log.over(iteration):
            training, metrics, evaluation = programs.advance(floats, training, np.int32(iteration))
            iteration += group
            due = checkpoints is not None and iteration // group % setup.checkpoint_every == 0
            due &= bool(processes.agree([seconds() - saved_seconds >= setup.checkpoint_seconds])[0])
            snapshots = programs.snapshots(floats, training) if due else None
            to_save = (programs.copy(training) if copies else training, snapshots) if due else None
            if waiting is not None:
                report(waiting)
            waiting = Group(iteration, metrics, evaluation, to_save)
            if checkpoints is None or not due:
                continue
            saved_at, saved_seconds = iteration, seconds()
            if not copies:
                report(waiting)
                checkpoints.wait()
                waiting = None
        if waiting is not None:
            report(waiting)
        progress = Progress(iteration, seconds(), programs.seconds)
        if checkpoints is not None and saved_at < iteration:
            checkpoints.save(progress, training, programs.snapshots(floats, training), setup.metadata)
        if checkpoints is not None:
            checkpoints.wait()
    return training, progress


def _report(setup: Setup, log: Log, group: Group, seconds: Callable[[], float]) -> None:
    """Fetch a group's numbers, look for divergence, and tell every sink."""
    metrics, evaluation = processes.gather((group.metrics, group.evaluation))
    bad = diverged(metrics)
    seeds = np.array(setup.metadata["seeds"])
    if (bad & ~log.diverged).any():
        new = ", ".join(map(str, seeds[bad & ~log.diverged]))
        advice = "; smaller steps (learning_rate) or gradients (max_gradient_norm) may help"
        setup.note(f"diverged (a loss is not finite) by iteration {group.iteration}: {setup.unit} {new}{advice}")
    log.diverged |= bad
    if setup.stops_when_diverged and log.diverged.all() and log.all_diverged_at is None:
        log.all_diverged_at = group.iteration
    record = Record(
        iteration=group.iteration,
        env_steps=steps_at(setup.metadata, group.iteration),
        metrics=aggregate(metrics),
        evaluation=None if evaluation is None else summarise_evaluation(*evaluation),
        diverged_seeds=seeds[log.diverged].tolist(),
        train_seconds=seconds(),
    )
    log.metrics.append(metrics)
    log.last_metrics = {**record.metrics, "diverged_seeds": record.diverged_seeds}
    if evaluation is not None:
        log.evaluations.append(evaluation)
        log.last_evaluation = record.evaluation
    for sink in setup.sinks:
        sink.write(record)


def _read_log(setup: Setup, iteration: int) -> Log:
    """What earlier sessions reported up to `iteration`."""
    lines: dict[str, list[dict[str, Any]]] = {run_directory.METRICS: [], run_directory.EVALUATIONS: []}
    if setup.directory is not None:
        for name in lines:
            read = run_directory.read_lines(setup.directory / name)
            lines[name] = [line for line in read if line["iteration"] <= iteration]
    metrics = lines[run_directory.METRICS][-1] if lines[run_directory.METRICS] else {}
    evaluation = lines[run_directory.EVALUATIONS][-1] if lines[run_directory.EVALUATIONS] else None
    seeds = setup.metadata["seeds"]
    all_diverged = [line["iteration"] for line in lines[run_directory.METRICS] if line["diverged_seeds"] == seeds]
    return Log(
        diverged=np.isin(seeds, metrics.get("diverged_seeds", [])),
        all_diverged_at=min(all_diverged, default=None) if setup.stops_when_diverged else None,
        last_metrics=metrics,
        last_evaluation=evaluation,
        metrics=[],
        evaluations=[],
    )


def _finish(setup: Setup, log: Log, training: Training, progress: Progress) -> RunResult:
    """Write the summary and the picture, close the sinks; after a Ctrl-C, say how to go on and raise."""
    ended = progress.iteration == setup.last or log.over(progress.iteration)
    status = "interrupted" if not ended else "diverged" if log.diverged.all() else "finished"
    summary = summarise(
        setup.metadata,
        status=status,
        **progress._asdict(),
        metrics=log.last_metrics,
        evaluation=log.last_evaluation,
        best_score=processes.gather(training.best.score),
        best_iteration=processes.gather(training.best.iteration),
        directory=setup.directory,
    )
    if setup.directory is not None and processes.first():
        run_directory.write_json(setup.directory / run_directory.SUMMARY, summary)
    for sink in setup.sinks:
        sink.close(summary)
    if status == "interrupted":
        where = setup.directory
        setup.note(f"interrupted; go on with: {setup.resume_with} {where}" if where else "interrupted, nothing saved")
        raise KeyboardInterrupt
    metrics = {name: np.concatenate([m[name] for m in log.metrics], axis=1) for name in (log.metrics or [{}])[0]}
    evaluations: Any = jax.tree.map(lambda *x: np.stack(x, axis=1), *log.evaluations) if log.evaluations else None
    return RunResult(training, metrics, evaluations, summary, setup.directory)
