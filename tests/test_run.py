"""The driver: one compile, exact accounting, resume to the same bits, divergence, Ctrl-C, refusals."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from purerl import trees
from purerl.checkpoint import CheckpointError, Checkpoints
from purerl.devices import over_agents
from purerl.evaluate import Evaluation
from purerl.host import memory
from purerl.host.compilation import Agents, compile_programs, compiler_options, training_shapes
from purerl.report import run_directory
from purerl.report.sinks import Sink
from purerl.run import plan_groups, run, seed_numbers
from purerl.train import EvaluationPlan, train
from tests import toy_learner
from tests.toy_learner import Config, corridor

SMALL = {"iterations": 12, "evaluations": 4, "episodes": 3, "seeds": 2}
COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


def algorithm(**config):
    return toy_learner.make(corridor(), Config(**config))


def quiet_run(directory=None, **arguments):
    learner = arguments.pop("algorithm", None) or algorithm()
    return run(learner, directory=directory, sinks=(), **(SMALL | arguments))


def data(tree):
    """Leaves as numpy, keys as key data."""
    is_key = lambda x: jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)  # noqa: E731
    return [np.asarray(jax.random.key_data(x) if is_key(x) else x) for x in jax.tree.leaves(tree)]


def assert_same(a, b):
    for x, y in zip(data(a), data(b), strict=True):
        np.testing.assert_array_equal(x, y)


def interrupt_after(group: int, number: int = signal.SIGINT) -> Sink:
    """A sink that sends this process a signal when it is told of the given group."""
    seen = []

    def write(record):
        seen.append(record.iteration)
        if len(seen) == group:
            os.kill(os.getpid(), number)

    return Sink(lambda information: None, write, lambda summary: None)


def test_the_result_has_every_number_and_equals_the_pure_training_loop(tmp_path):
    result = quiet_run(tmp_path / "run")
    assert result.metrics["loss"].shape == (2, 12)
    assert result.evaluations.returns.shape == (2, 4, 3)
    plan = EvaluationPlan(corridor(), 3)
    keys = jax.numpy.stack([jax.random.key(0), jax.random.key(1)])
    pure = jax.jit(jax.vmap(lambda key: train(algorithm(), key, 12, evaluate_every=3, plan=plan)))(keys)
    assert_same(result.training.state, pure.state)
    assert_same(result.training.best, pure.best)
    assert_same(result.metrics, pure.metrics)
    assert_same(result.evaluations, Evaluation(*pure.evaluations))


def test_the_run_directory_holds_what_it_promises_in_strict_json(tmp_path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    quiet_run(tmp_path, algorithm=algorithm(explode_after=5, explode_above=0.5), seeds=4)
    for name in ("config.json", "summary.json"):
        json.loads((tmp_path / name).read_text(), parse_constant=refuse)
    lines = [json.loads(x, parse_constant=refuse) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [3, 6, 9, 12]
    assert [line["env_steps"] for line in lines] == [9, 18, 27, 36]
    assert all(len(line["loss"]) == 4 for line in lines)
    summary = json.loads((tmp_path / "summary.json").read_text())
    for key in ("algorithm", "environment", "seeds", "env_steps", "compile_seconds", "train_seconds"):
        assert key in summary
    assert summary["env_steps_per_second"] == pytest.approx(36 * 4 / summary["train_seconds"])
    assert len(summary["evaluation"]["return_per_seed"]) == 4
    assert summary["diverged_seeds"] == lines[-1]["diverged_seeds"]
    assert (tmp_path / "learning_curve.png").stat().st_size > 5000
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("evaluations", [2, 12])
def test_every_program_is_compiled_once_whatever_the_number_of_groups(evaluations):
    compiled = []
    listener = lambda event, duration, **_: compiled.append(event) if event == COMPILE_EVENT else None  # noqa: E731
    layout = over_agents(2)
    agents = jax.device_put(Agents(jax.random.split(jax.random.key(0)), {}), layout.sharding)
    plan = EvaluationPlan(corridor(), 3)
    group = 12 // evaluations
    learner = lambda floats: algorithm()  # noqa: E731
    programs = compile_programs(learner, agents, layout, iterations=12, group=group, plan=plan, fresh=True)
    training = programs.init(agents)
    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        for first in range(0, 12, group):
            training, _, _ = programs.advance({}, training, np.int32(first))
            programs.snapshots({}, programs.copy(training))
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    assert compiled == []


def test_the_step_is_traced_once_per_run():
    traced = []
    learner = algorithm()

    def step(state, time):
        traced.append(1)
        return learner.step(state, time)

    quiet_run(algorithm=learner._replace(step=step), iterations=40, evaluations=20)
    assert len(traced) == 1


def test_evaluation_does_not_change_the_training():
    assert_same(quiet_run(evaluations=0, episodes=0).training.state, quiet_run().training.state)


def test_each_seed_is_what_it_is_alone():
    together = quiet_run(seeds=3)
    alone = quiet_run(seeds=[2])
    assert_same(jax.tree.map(lambda x: x[2:], together.training.state), alone.training.state)


def test_divergence_is_reported_per_seed_and_stops_only_when_nobody_is_left(tmp_path):
    partly = quiet_run(algorithm=algorithm(explode_after=2, explode_above=0.5), seeds=6)
    unlucky = [i for i, seed in enumerate(np.isnan(partly.metrics["loss"]).any(axis=1)) if seed]
    assert 0 < len(unlucky) < 6
    assert partly.summary["diverged_seeds"] == unlucky
    assert partly.summary["status"] == "finished"
    assert np.array_equal(np.isnan(partly.training.state.weights["a/b"]).any(axis=1), [False] * 6)  # frozen
    assert partly.training.diverged.tolist() == [i in unlucky for i in range(6)]
    entirely = quiet_run(tmp_path, algorithm=algorithm(explode_after=2))
    assert entirely.summary["status"] == "diverged"
    assert entirely.metrics["loss"].shape[1] < 12
    line = run_directory.read_lines(tmp_path / "metrics.jsonl")[-1]
    assert line["loss"] == [None, None]
    assert line["diverged_seeds"] == [0, 1]


def test_ctrl_c_saves_and_resuming_gives_the_same_bits(tmp_path):
    whole = quiet_run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(algorithm(), directory=tmp_path / "cut", sinks=(interrupt_after(1),), checkpoint_every=100, **SMALL)
    assert run_directory.read_json(tmp_path / "cut" / "summary.json")["status"] == "interrupted"
    resumed = quiet_run(tmp_path / "cut", resume=True)
    assert resumed.metrics["loss"].shape[1] < 12
    assert_same(whole.training, resumed.training)
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_a_training_too_large_to_copy_is_saved_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("purerl.host.driver.COPY_LIMIT", 0)
    with pytest.raises(KeyboardInterrupt):
        run(algorithm(), directory=tmp_path, sinks=(interrupt_after(2),), **SMALL)
    assert_same(quiet_run(tmp_path, resume=True).training, quiet_run().training)


def test_resuming_in_a_fresh_process_gives_the_same_bits(tmp_path):
    whole = quiet_run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(algorithm(), directory=tmp_path / "cut", sinks=(interrupt_after(2),), **SMALL)
    script = "import sys; from tests import test_run; test_run.quiet_run(sys.argv[1], resume=True)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "cut")], check=True, env=environment)
    assert_same(whole.training, quiet_run(tmp_path / "cut", resume=True).training)
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_a_finished_run_is_not_run_again(tmp_path):
    first = quiet_run(tmp_path)
    heard = []
    sink = Sink(lambda information: heard.append("open"), heard.append, lambda summary: None, heard.append)
    again = run(algorithm(), directory=tmp_path, sinks=(sink,), resume=True, **SMALL)
    assert heard == [f"nothing to do: the run in {tmp_path} was already finished"]
    assert_same(first.training, again.training)
    assert again.summary["evaluation"] == first.summary["evaluation"]
    assert again.metrics == {}


def test_an_existing_run_is_overwritten_only_when_asked(tmp_path):
    quiet_run(tmp_path)
    with pytest.raises(FileExistsError, match="is not empty"):
        quiet_run(tmp_path)
    quiet_run(tmp_path, iterations=8, overwrite=True)
    assert run_directory.read_json(tmp_path / "summary.json")["iterations"] == 8
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="not a purerl run"):
        quiet_run(tmp_path / "elsewhere", overwrite=True)
    assert (tmp_path / "elsewhere" / "thesis.tex").exists()


def test_after_overwriting_nothing_of_the_old_run_is_left(tmp_path, monkeypatch):
    quiet_run(tmp_path)
    (tmp_path / "episode.gif").touch()
    deleted = []
    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda path, **k: deleted.append(path.name) or unlink(path, **k))
    with run_directory.claimed(tmp_path, resume=False, overwrite=True):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert deleted[-1] == "config.json"


def test_an_overwrite_that_fails_says_so_and_restores_nothing_old(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(path)

    quiet_run(tmp_path)
    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(PermissionError):
        quiet_run(tmp_path, overwrite=True)
    monkeypatch.undo()
    assert (tmp_path / "config.json").exists()
    assert not (tmp_path / "checkpoints").exists()
    assert quiet_run(tmp_path, overwrite=True).metrics["loss"].shape[1] == 12


def test_what_a_killed_beginning_leaves_can_be_overwritten(tmp_path):
    for name in ("metrics.jsonl", ".config.json.tmp", ".lock"):
        (tmp_path / name).touch()
    with pytest.raises(FileExistsError, match="is not empty"):
        quiet_run(tmp_path)
    quiet_run(tmp_path, overwrite=True)


def test_two_processes_do_not_work_on_one_directory(tmp_path):
    with run_directory.claimed(tmp_path, resume=True, overwrite=False):
        for arguments in ({"resume": True}, {"overwrite": True}, {}):
            with pytest.raises(FileExistsError, match="another process is at work"):
                quiet_run(tmp_path, **arguments)


def test_another_run_is_not_resumed(tmp_path):
    quiet_run(tmp_path)
    with pytest.raises(CheckpointError, match=r"config.learning_rate: saved 0.1, now 0.2"):
        quiet_run(tmp_path, algorithm=algorithm(learning_rate=0.2), resume=True)
    with pytest.raises(CheckpointError, match=r"environment.parameters.length: saved 4, now 5"):
        quiet_run(tmp_path, algorithm=toy_learner.make(corridor(5), Config()), resume=True)
    with pytest.raises(CheckpointError, match=r"seeds: saved \[0, 1\], now \[0, 1, 2\]"):
        quiet_run(tmp_path, seeds=3, resume=True)
    with pytest.raises(CheckpointError, match=r"iterations: saved 12, now 16"):
        quiet_run(tmp_path, iterations=16, resume=True)
    with pytest.raises(CheckpointError, match=r"algorithm: saved 'toy', now 'other'"):
        quiet_run(tmp_path, algorithm=algorithm()._replace(name="other"), resume=True)


def test_what_cannot_fit_is_refused_before_compiling(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda devices: 1000)
    with pytest.raises(MemoryError, match=r"training state of 2 seeds needs .* KiB, but .* has 1000 B left"):
        quiet_run()
    monkeypatch.undo()
    with pytest.raises(MemoryError, match="TiB"):
        quiet_run(algorithm=algorithm(memory=10**13))


def test_memory_is_asked_for_before_a_checkpoint_is_restored(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(algorithm(), directory=tmp_path, sinks=(interrupt_after(1),), **SMALL)
    asked = []
    monkeypatch.setattr(memory, "require", lambda needed, devices, what: asked.append((needed, what)))
    restore = Checkpoints.restore
    monkeypatch.setattr(Checkpoints, "restore", lambda *a: asked.append("restore") or restore(*a))
    result = quiet_run(tmp_path, resume=True)
    (size, _), restored, (more, what) = asked
    assert (size, restored) == (trees.nbytes(result.training), "restore")
    assert more >= size  # the copy and the temporaries; the training itself is there already
    assert "copy for checkpoints" in what


def test_cached_files_are_not_counted_as_used(tmp_path, monkeypatch):
    for name, content in {"max": "1000\n", "current": "900\n", "stat": "anon 300\ninactive_file 500\n"}.items():
        (tmp_path / f"memory.{name}").write_text(content)
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    assert memory.available_bytes(jax.devices("cpu")) == 600


def test_a_run_that_diverged_stops_at_the_same_iteration_when_resumed(tmp_path):
    learner = algorithm(explode_after=4)
    whole = quiet_run(tmp_path / "whole", algorithm=learner)
    with pytest.raises(KeyboardInterrupt):
        run(learner, directory=tmp_path / "cut", sinks=(interrupt_after(1),), **SMALL)
    quiet_run(tmp_path / "cut", algorithm=learner, resume=True)
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()
    again = quiet_run(tmp_path / "cut", algorithm=learner, resume=True)
    assert (whole.summary["status"], again.summary["iterations"]) == ("diverged", whole.summary["iterations"])


def test_the_bytes_that_are_asked_for_are_those_that_are_used():
    agents = Agents(jax.random.split(jax.random.key(0)), {})
    assert trees.nbytes(training_shapes(lambda floats: algorithm(), agents)) == trees.nbytes(quiet_run().training)


def test_the_budget_is_rounded_up_to_whole_groups():
    learner = algorithm()._replace(env_steps_of_init=10)
    assert plan_groups(learner, 100, None, 20) == (15, 2)  # (100 - 10) / 3 = 30 iterations
    assert plan_groups(learner, None, 21, 20) == (11, 2)
    assert plan_groups(learner, None, 5, 20) == (5, 1)
    for arguments, message in [
        ((None, None, 20), "either total_steps=.* or iterations=.*, and not both"),
        ((10, None, 20), "an iteration takes 3 steps, after 10 of warm-up: give 13"),
        ((None, 0, 20), "at least one iteration"),
        ((None, 5, -1), "evaluations must be at least 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            plan_groups(learner, *arguments)
    with pytest.raises(ValueError, match="give iterations"):
        plan_groups(learner._replace(env_steps_per_iteration=0), 10, None, 1)


def test_seeds():
    assert seed_numbers(3, 5) == [5, 6, 7]
    assert seed_numbers([4, 9]) == [4, 9]
    assert seed_numbers(np.int64(2)) == [0, 1]  # pyright: ignore[reportArgumentType]
    assert seed_numbers(np.array([4, 9])) == [4, 9]  # pyright: ignore[reportArgumentType]
    assert seed_numbers(jax.numpy.array([4, 9])) == [4, 9]  # pyright: ignore[reportArgumentType]
    for bad in (0, [], [1, 1]):
        with pytest.raises(ValueError, match="seeds must be"):
            seed_numbers(bad)


def test_bad_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="need a directory"):
        quiet_run(resume=True)
    with pytest.raises(ValueError, match="checkpoint_every must be"):
        quiet_run(checkpoint_every=0)
    with pytest.raises(ValueError, match="contradict"):
        quiet_run(tmp_path, resume=True, overwrite=True)
    with pytest.raises(ValueError, match="no environment of its own"):
        quiet_run(algorithm=algorithm()._replace(environment=None))


def test_a_level_of_optimisation_in_the_environment_comes_first(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_parallel_codegen_split_count=1")
    assert compiler_options() == {"xla_backend_optimization_level": 1}
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=2")
    assert compiler_options() == {}
