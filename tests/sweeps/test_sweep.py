"""Sweeps end to end with the toy learner: compiles, tables, divergence, kills, resumes, refusals."""

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

from purerl import run, sweep, uniform
from purerl.checkpoint import CheckpointError
from purerl.cli.agents import of_best_settings
from purerl.evaluate import evaluate
from purerl.host import driver
from purerl.report.sweep_console import silent
from purerl.report.sweep_films import play_agents
from purerl.sweep import load, resume
from purerl.sweeps import directory as files
from purerl.sweeps.summary import report
from purerl.train import advance
from tests import toy_learner
from tests.sweeps.worker import OWN, SPACE, WORKER, quiet_sweep
from tests.test_run import COMPILE_EVENT, assert_same


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Six settings of two programs times three seeds, trained in one go."""
    return quiet_sweep(tmp_path_factory.mktemp("whole") / "sweep")


def test_the_table_has_every_agent_and_iteration_with_its_labels(whole):
    table, agents = whole.table(), whole.agents()
    assert len(agents) == 6 * 3
    assert len(table) == 6 * 3 * 4
    assert table.groupby("agent").iteration.apply(list).map(tuple).nunique() == 1
    expected = {(n, rate, seed) for n in (2, 3) for rate in (0.1, 0.2, 0.3) for seed in range(3)}
    assert {(row.num_envs, row.learning_rate, row.seed) for row in agents.itertuples()} == expected
    last = table.groupby("agent").last()
    np.testing.assert_array_equal(last["return"], agents.set_index("agent").final_return)
    np.testing.assert_array_equal(table.groupby("agent")["return"].max(), agents.best_return)


def test_each_agent_is_what_a_run_of_its_own_is(whole):
    for number in (0, 5, 17):
        agent = whole.agent(number)
        algorithm = toy_learner.make(toy_learner.corridor(), agent.trial.config)
        alone = run(algorithm, iterations=12, evaluations=4, episodes=3, seeds=[agent.seed], sinks=())
        assert_same(jax.tree.map(lambda x: x[0], alone.training), agent.load_training())
        rows = whole.table().query("agent == @number")
        np.testing.assert_array_equal(rows["return"], alone.evaluations.returns[0].mean(-1))
        np.testing.assert_array_equal(rows["loss"].to_numpy()[-1], alone.metrics["loss"][0, -3:].astype(float).mean())


def test_xarray_is_the_same_table(whole):
    dataset, table = whole.xarray(), whole.table()
    assert dict(dataset.sizes) == {"trial": 6, "seed": 3, "iteration": 4}
    for row in table.sample(10, random_state=0).itertuples():
        cell = dataset.sel(trial=row.trial, seed=row.seed, iteration=row.iteration)
        assert float(cell["length"]) == row.length
        assert float(cell["loss"]) == row.loss
        assert float(cell["learning_rate"]) == row.learning_rate


def test_a_program_is_compiled_once_however_many_chunks(tmp_path):
    compiled = []
    listener = lambda event, duration, **_: compiled.append(event) if event == COMPILE_EVENT else None  # noqa: E731
    programs = []
    original = driver.compile_programs

    def counting(*arguments, **options):
        programs.append(1)
        return original(*arguments, **options)

    driver.compile_programs = counting
    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        quiet_sweep(tmp_path / "sweep", chunk=2)
    finally:
        driver.compile_programs = original
        jax.monitoring.unregister_event_duration_listener(listener)
    assert len(programs) == 2  # nine agents each, in five chunks


def test_chunks_change_nothing(whole, tmp_path):
    cut = quiet_sweep(tmp_path / "sweep", chunk=2)
    assert cut.sizes == (2, 2)
    pd.testing.assert_frame_equal(cut.table(), whole.table(), check_exact=True)


def test_what_memory_cannot_hold_is_chunked_without_asking(whole, tmp_path):
    (program, _) = whole.programs
    small = quiet_sweep(tmp_path / "sweep", memory=16 * program.agent_bytes)
    assert max(small.sizes) < 9
    pd.testing.assert_frame_equal(small.table(), whole.table(), check_exact=True)


def test_chunks_shrink_when_the_compiler_says_that_they_do_not_fit(tmp_path, monkeypatch):
    original = driver.compile_programs

    def hungry(learner, agents, *arguments, **options):
        programs = original(learner, agents, *arguments, **options)
        return programs._replace(working_bytes=len(agents.keys) * 100_000)

    monkeypatch.setattr(driver, "compile_programs", hungry)
    result = quiet_sweep(tmp_path / "sweep", memory=500_000)
    assert all(size <= 4 for size in result.sizes)
    assert tuple(p["chunk"] for p in files.read(tmp_path / "sweep")["programs"]) == result.sizes
    assert len(result.agents()) == 18


def test_the_size_of_chunks_stays_once_they_are_begun(tmp_path, monkeypatch):
    directory = tmp_path / "sweep"
    quiet_sweep(directory, chunk=3)
    (chunk,) = directory.glob("programs/1/0002")
    shutil.rmtree(chunk)  # as if it had not begun yet
    original = driver.compile_programs

    def hungry(*arguments, **options):
        return original(*arguments, **options)._replace(working_bytes=10**6)

    monkeypatch.setattr(driver, "compile_programs", hungry)
    with pytest.raises(MemoryError, match=r"a chunk of 3 agents needs .*: give it more memory"):
        quiet_sweep(directory, memory=500_000, resume=True)
    monkeypatch.undo()
    assert len(quiet_sweep(directory, resume=True).agents()) == 18


def test_an_agent_that_cannot_fit_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "compile_programs", None)
    with pytest.raises(MemoryError, match=r"one agent of toy on corridor needs 621 B, but the sweep may use 600 B"):
        quiet_sweep(tmp_path / "sweep", memory=600)
    assert not (tmp_path / "sweep").exists()


def test_a_diverged_agent_is_frozen_and_its_neighbours_do_not_notice(tmp_path):
    space = {"algorithm": "toy", "env": "corridor", "explode_after": 6}
    calm = quiet_sweep(tmp_path / "calm", {**space, "explode_above": [2.0, 3.0]}, seeds=6)
    mixed = quiet_sweep(tmp_path / "mixed", {**space, "explode_above": [0.5, 3.0]}, seeds=6)
    agents = mixed.agents()
    lost = agents[agents.diverged]
    assert 0 < len(lost) < 6
    assert (lost.explode_above == 0.5).all()
    assert (lost.diverged_at == 9).all()
    rest = agents[~agents.diverged].agent
    calm_table, mixed_table = (r.table().drop(columns="explode_above").set_index("agent") for r in (calm, mixed))
    pd.testing.assert_frame_equal(mixed_table.loc[rest], calm_table.loc[rest], check_exact=True)
    for number in lost.agent:
        frozen, free = mixed.agent(int(number)), calm.agent(int(number))
        assert np.isfinite(np.asarray(frozen.last.weights["a/b"])).all()
        assert not np.array_equal(frozen.last.weights["a/b"], free.last.weights["a/b"])
        config = toy_learner.Config()
        six = run(
            toy_learner.make(toy_learner.corridor(), config), iterations=6, evaluations=0, seeds=[frozen.seed], sinks=()
        )
        drift = np.abs(np.asarray(six.training.state.weights["a/b"][0]) - np.asarray(frozen.last.weights["a/b"]))
        assert drift.max() < 1e-6  # what it was after the last finite iteration
    summary = json.loads((tmp_path / "mixed" / "summary.json").read_text())
    assert summary["diverged_agents"] == lost.agent.tolist()
    assert mixed.best().diverged == 0
    said = "\n".join(report(mixed, {"corridor": mixed.ranking()}, lost))
    assert f"{len(lost)} agents diverged" in said
    assert all(f"agent {row.agent}: explode_above=0.5 (seed {row.seed}, " in said for row in lost.itertuples())


def test_what_a_diverged_agent_reports_does_not_depend_on_its_company(tmp_path):
    space = {"algorithm": "toy", "env": "corridor", "explode_after": 2, "explode_above": [0.0, 2.0]}
    whole, cut = quiet_sweep(tmp_path / "whole", space), quiet_sweep(tmp_path / "cut", space, chunk=1)
    assert whole.agents().diverged.sum() == 3
    pd.testing.assert_frame_equal(cut.table(), whole.table(), check_exact=True)


def test_a_metric_does_not_hide_a_field_of_its_name(whole, tmp_path):
    named = dataclasses.replace(
        whole, trials=tuple(t._replace(settings={**t.settings, "loss": 1}) for t in whole.trials)
    )
    assert "metric_loss" in named.table()
    np.testing.assert_array_equal(named.table().metric_loss, whole.table().loss)


def test_infinity_can_be_swept_and_written(tmp_path):
    space = {"algorithm": "toy", "env": "corridor", "explode_above": [0.5, math.inf]}
    result = quiet_sweep(tmp_path / "sweep", space, seeds=1)
    assert load(tmp_path / "sweep", **OWN).trials[1].config.explode_above == math.inf
    assert result.agents().explode_above.tolist() == [0.5, math.inf]


def test_ranking_is_by_the_interquartile_mean_over_seeds(whole):
    ranking = whole.ranking()
    values = [one.estimate.value for one in ranking]
    assert values == sorted(values, reverse=True)
    per_trial = whole.agents().groupby("trial").final_return
    assert values[0] == pytest.approx(max(np.mean(np.sort(x)[0:]) for _, x in per_trial))  # 3 seeds: none is trimmed
    assert (
        whole.best(by="best_return").scores.tolist()
        == whole.agents().query("trial == @whole.best(by='best_return').trial.number").best_return.tolist()
    )
    with pytest.raises(ValueError, match="cannot rank by 'retrun': choose one of"):
        whole.best(by="retrun")
    here, there = whole.trials[:3], [t._replace(environment="elsewhere") for t in whole.trials[3:]]
    mixed = dataclasses.replace(whole, trials=(*here, *there))
    with pytest.raises(ValueError, match="env = 'corridor' or 'elsewhere'"):
        mixed.best()
    assert [one.trial.number for one in mixed.ranking(env="corridor")] == [
        one.trial.number for one in ranking if one.trial.number < 3
    ]


def test_an_agent_can_be_evaluated_and_trained_on(whole):
    agent = whole.agent(7)
    evaluation = jax.jit(lambda key: evaluate(agent.policy(best=False), agent.environment, key, 4))(jax.random.key(0))
    assert evaluation.returns.shape == (4,)
    training = agent.load_training()
    on, metrics, _ = jax.jit(
        lambda t: advance(agent.algorithm, t, np.int32(agent.iteration), iterations=2, total_iterations=14)
    )(training)
    assert metrics["loss"].shape == (2,)
    assert not np.array_equal(on.state.weights["a/b"], training.state.weights["a/b"])
    with pytest.raises(IndexError, match="numbered 0 to 17"):
        whole.agent(18)


def test_absolute_scores_are_of_fresh_episodes_with_the_best_parameters(whole):
    scores = whole.absolute_scores(episodes=16)
    assert scores.shape == (18,)
    agent = whole.agent(4)
    many = jax.jit(lambda key: evaluate(agent.policy(), agent.environment, key, 512))(jax.random.key(1)).returns
    assert abs(scores[4] - many.mean()) < 4 * many.std() / 4 + 1e-6


def test_what_was_never_evaluated_has_no_best_parameters(tmp_path):
    one = {**SPACE, "num_envs": 3, "learning_rate": 0.1}
    blind = quiet_sweep(tmp_path / "blind", one, seeds=1, evaluations=0)
    key, nothing = jax.random.key(0), "was never evaluated during training: there are no best parameters"
    with pytest.raises(ValueError, match=nothing):
        play_agents(blind, [0], key, 3, best=True)
    with pytest.raises(ValueError, match=nothing):
        blind.agent(0).policy(best=True)
    with pytest.raises(ValueError, match=nothing):
        blind.absolute_scores(episodes=2)
    [by_default], [last] = (play_agents(blind, [0], key, 3, **which) for which in ({}, {"best": False}))
    np.testing.assert_array_equal(np.stack(by_default.pictures), np.stack(last.pictures))


def test_agents_of_several_environments_are_chosen_by_number(whole):
    trials = (*whole.trials[:3], *(trial._replace(environment="elsewhere") for trial in whole.trials[3:]))
    mixed = dataclasses.replace(whole, trials=trials)
    with pytest.raises(ValueError, match=r"several environments: choose agents by number \(agents.csv\), --agent N"):
        of_best_settings(mixed, 1)
    assert of_best_settings(whole, 2) == [3 * one.trial.number for one in whole.ranking()[:2]]


def test_policies_alone_can_be_kept(tmp_path, whole):
    result = quiet_sweep(tmp_path / "sweep", keep="policy")
    assert_same(result.agent(3).last, whole.agent(3).last)
    with pytest.raises(FileNotFoundError, match="keep='policy'"):
        result.agent(3).load_training()
    assert not list((tmp_path / "sweep").rglob("training"))
    pd.testing.assert_frame_equal(load(tmp_path / "sweep", **OWN).table(), whole.table(), check_exact=True)


def test_a_sweep_is_read_back_by_its_directory(whole):
    again = load(whole.directory, **OWN)
    assert [t._replace(settings={}) for t in again.trials] == [t._replace(settings={}) for t in whole.trials]
    pd.testing.assert_frame_equal(again.table(), whole.table(), check_exact=True)
    assert_same(again.agent(11).load_training(), whole.agent(11).load_training())
    assert pd.read_csv(whole.directory / "table.csv")["return"].tolist() == whole.table()["return"].tolist()
    with pytest.raises(ValueError, match="unknown algorithm 'toy'"):
        load(whole.directory)
    with pytest.raises(FileNotFoundError, match="not the directory of a purerl sweep"):
        load(whole.directory.parent)


def test_nothing_is_overwritten_and_another_sweep_is_not_resumed(tmp_path):
    directory = tmp_path / "sweep"
    small = {"algorithm": "toy", "env": "corridor", "learning_rate": [0.1, 0.2]}
    quiet_sweep(directory, small, seeds=1)
    before = (directory / "table.csv").read_bytes()
    with pytest.raises(FileExistsError, match="is not empty: resume it"):
        quiet_sweep(directory, small, seeds=1)
    with pytest.raises(CheckpointError, match=r"trials.1.config.learning_rate: saved 0.2, now 0.3"):
        quiet_sweep(directory, {**small, "learning_rate": [0.1, 0.3]}, seeds=1, resume=True)
    with pytest.raises(CheckpointError, match=r"seeds: saved \[0\], now \[0, 1\]"):
        quiet_sweep(directory, small, seeds=2, resume=True)
    with pytest.raises(ValueError, match="contradict"):
        quiet_sweep(directory, small, seeds=1, resume=True, overwrite=True)
    with (
        files.claimed(directory, resume=True, overwrite=False),
        pytest.raises(FileExistsError, match="another process"),
    ):
        quiet_sweep(directory, small, seeds=1, resume=True)
    quiet_sweep(directory, small, seeds=1, resume=True)
    assert (directory / "table.csv").read_bytes() == before
    quiet_sweep(directory, {**small, "learning_rate": 0.3}, seeds=1, overwrite=True)
    assert (directory / "table.csv").read_bytes() != before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="not a purerl sweep"):
        quiet_sweep(tmp_path / "mine", small, overwrite=True)


def test_a_killed_sweep_goes_on_to_the_same_bits(whole, tmp_path):
    directory = tmp_path / "sweep"
    words = [sys.executable, WORKER, "sweep", str(directory), "--chunk", "2", "--kill-after"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    kills = 0
    for reports in (2, 7, 9):  # in the first chunk, at the end of a later one, in the other program
        ended = subprocess.run([*words, str(reports)], env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        kills += 1
    finished = {chunk: chunk.stat().st_mtime_ns for chunk in directory.rglob("summary.json")}
    assert len(finished) >= 2
    resumed = resume(directory, display=silent(), **OWN)
    assert kills == 3
    assert all(chunk.stat().st_mtime_ns == moment for chunk, moment in finished.items())  # none was trained again
    pd.testing.assert_frame_equal(resumed.table(), whole.table(), check_exact=True)
    assert (directory / "table.csv").read_bytes() == (whole.directory / "table.csv").read_bytes()
    assert_same(resumed.agent(13).load_training(), whole.agent(13).load_training())


def test_bad_arguments_are_refused(tmp_path):
    for arguments, message in [
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"memory": -1}, "memory must be at least 1"),
        ({"episodes": 0}, "episodes must be at least 1"),
        ({"checkpoint_minutes": -1.0}, "checkpoint_minutes"),
        ({"keep": "everything"}, "keep must be"),
        ({"seeds": 0}, "seeds must be"),
        ({"evaluations": -1}, "evaluations must be"),
        ({"directory": None, "resume": True}, "need a directory"),
    ]:
        with pytest.raises(ValueError, match=message):
            quiet_sweep(**{"directory": tmp_path / "sweep"} | arguments)
    assert not (tmp_path / "sweep").exists()


def test_random_axes_reach_the_agents(tmp_path):
    space = {"algorithm": "toy", "env": "corridor", "learning_rate": uniform(0.1, 0.3)}
    result = sweep(space, samples=3, seeds=1, total_steps=30, evaluations=1, episodes=2, directory=tmp_path / "s",
                   display=silent(), **OWN)  # fmt: skip
    assert result.agents().learning_rate.nunique() == 3
