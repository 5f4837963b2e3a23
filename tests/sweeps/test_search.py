"""Search end to end with the toy learner: generations, rungs, compiles, kills, Optuna's studies, refusals."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optuna
import pandas as pd
import pytest

from purerl import choice, log_uniform, run, uniform, when
from purerl.checkpoint import CheckpointError
from purerl.cli import main
from purerl.evaluate import evaluate
from purerl.host import driver
from purerl.report.statistics import interquartile_mean
from purerl.report.sweep_console import silent
from purerl.search import Halving, load, resume, search
from purerl.sweeps.search import directory as files
from purerl.sweeps.search import proposals
from purerl.sweeps.search.halving import Rung, ladder, promoted
from purerl.sweeps.search.proposals import Told
from purerl.train import advance
from tests import toy_learner
from tests.sweeps.search_worker import SEARCHED, WORKER, quiet_search
from tests.sweeps.worker import OWN
from tests.test_run import COMPILE_EVENT, assert_same

COMPLETE, PRUNED = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two generations of six settings with two seeds, halved twice, trained in one go."""
    return quiet_search(tmp_path_factory.mktemp("whole") / "search", keep="training")


def test_every_generation_climbs_its_rungs(whole):
    trials, table = whole.trials(), whole.table()
    assert trials.trial.tolist() == list(range(12))
    for _, generation in trials.groupby("generation"):
        assert sorted(generation.iterations) == [3, 3, 3, 6, 6, 12]
        assert sorted(generation.state) == ["complete"] + ["pruned"] * 5
    assert (trials.env_steps == 3 * trials.iterations).all()
    rows = table.groupby("agent").iteration.apply(list)
    for one in trials.itertuples():
        for agent in (2 * one.trial, 2 * one.trial + 1):
            assert rows[agent] == list(range(3, one.iterations + 1, 3))
    assert not table.duplicated(["agent", "iteration"]).any()
    rates = trials.set_index("trial").learning_rate
    assert (table.learning_rate == rates[table.trial].to_numpy()).all()
    assert rates.nunique() == 12
    assert rates.between(1e-3, 1.0).all()


def test_those_that_go_on_are_the_best_of_their_rung(whole):
    table = whole.table()
    for generation in (0, 1):
        for iteration, count in ((3, 3), (6, 1)):
            at = table[(table.generation == generation) & (table.iteration == iteration)]
            values = at.groupby("trial")["return"].mean()  # of two seeds nothing is trimmed
            expected = sorted(values.sort_values(ascending=False, kind="stable").index[:count])
            later = table[(table.generation == generation) & (table.iteration == iteration + 3)]
            assert sorted(later.trial.unique()) == expected


def test_every_agent_is_what_a_run_of_its_own_is_until_it_is_pruned(whole):
    """Also its schedule: the toy's actions depend on the progress, which stays that of the whole budget."""
    trials, table = whole.trials(), whole.table()
    for rung in (0, 1, 2):
        one = trials[trials.rung == rung].iloc[-1]
        algorithm = toy_learner.make(toy_learner.corridor(), toy_learner.Config(learning_rate=one.learning_rate))
        alone = run(algorithm, iterations=12, evaluations=4, episodes=3, seeds=[1], sinks=())
        rows = table[table.agent == 2 * one.trial + 1]
        np.testing.assert_array_equal(rows["return"], alone.evaluations.returns[0].mean(-1)[: len(rows)])
        loss = alone.metrics["loss"].astype(float).reshape(4, 3).mean(-1)
        np.testing.assert_array_equal(rows["loss"], loss[: len(rows)])
        agent = whole.agent(int(one.trial), 1)
        assert (agent.seed, agent.iteration, agent.iterations) == (1, one.iterations, 12)
        if rung == 2:
            assert_same(jax.tree.map(lambda x: x[0], alone.training), agent.load_training())


def test_the_best_trial_has_its_interval_and_its_agents(whole):
    best, trials = whole.best(), whole.trials()
    complete = trials[trials.state == "complete"]
    assert best.estimate.value == complete.value.max()
    assert best.estimate.low <= best.estimate.value <= best.estimate.high
    agent = whole.agent(best.trial.number)
    returns = jax.jit(lambda key: evaluate(agent.policy(best=False), agent.environment, key, 4))(jax.random.key(0))
    assert returns.returns.shape == (4,)
    _, metrics, _ = jax.jit(lambda t: advance(agent.algorithm, t, np.int32(12), iterations=2, total_iterations=14))(
        agent.load_training()
    )
    assert metrics["loss"].shape == (2,)
    with pytest.raises(IndexError, match="trials 0 to 11 with 2 seeds"):
        whole.agent(12)
    summary = json.loads((whole.directory / "summary.json").read_text())
    assert summary["states"] == {"complete": 2, "pruned": 10}
    assert summary["best_trials"][0]["trial"] == best.trial.number
    steps = 3 * 2 * 2 * (6 * 3 + 3 * 3 + 1 * 6)  # environments, seeds, generations, iterations
    assert summary["env_steps"] == steps


def test_the_studies_are_optuna_studies_of_what_was_told(whole):
    (study,) = whole.studies
    trials = whole.trials()
    assert [t.user_attrs["trial"] for t in study.trials] == trials.trial.tolist()
    assert [t.params["learning_rate"] for t in study.trials] == trials.learning_rate.tolist()
    assert [t.state for t in study.trials] == [COMPLETE if s == "complete" else PRUNED for s in trials.state]
    table = whole.table()
    for trial in study.trials:
        per_rung = {n: v for n, v in trial.intermediate_values.items()}
        at = table[(table.trial == trial.number) & table.iteration.isin([3, 6, 12])]
        assert per_rung == at.groupby("iteration")["return"].mean().to_dict()
    assert study.best_value == whole.best().estimate.value
    two = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    two.add_trials(study.trials)  # a study to go on with
    assert 1e-3 <= two.ask(study.best_trial.distributions).params["learning_rate"] <= 1.0


def test_a_rung_size_is_compiled_once_however_many_generations(tmp_path, monkeypatch):
    compiled, programs = [], []
    original = driver.compile_programs

    def counting(*arguments, **options):
        programs.append(1)
        return original(*arguments, **options)

    def count(generations):
        compiled.clear()
        programs.clear()
        quiet_search(tmp_path / str(generations), trials=2 * generations, generation=2, halving=Halving(2, 2))
        return len(compiled), len(programs)

    monkeypatch.setattr(driver, "compile_programs", counting)
    listener = lambda event, duration, **_: compiled.append(event) if event == COMPILE_EVENT else None  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        count(1)  # what is compiled once in a process
        assert count(3) == (5, 2)  # init, and for each rung size advance and snapshots; `copy` is that of count(1)
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)


def test_a_killed_search_goes_on_to_the_same_bits(whole, tmp_path):
    directory = tmp_path / "search"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    for reports in (1, 3, 4):  # a generation reports 4 times: kills on the first rung, on the last, in the next one
        words = [sys.executable, WORKER, str(directory), str(reports)]
        ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    finished = {path: path.stat().st_mtime_ns for path in directory.rglob("generations/*/*/summary.json")}
    assert len(finished) >= 3
    assert not (directory / files.TABLE).exists()
    part = load(directory, **OWN)
    assert 0 < len(part.table()) < len(whole.table())
    resumed = resume(directory, display=silent(), **OWN)
    assert all(path.stat().st_mtime_ns == moment for path, moment in finished.items())  # none was trained again
    pd.testing.assert_frame_equal(resumed.table(), whole.table(), check_exact=True)
    for name in (files.TABLE, files.TRIALS, files.SUMMARY):
        assert (directory / name).read_bytes() == (whole.directory / name).read_bytes()
    best = whole.best().trial.number
    assert_same(resumed.agent(best, 1).last, whole.agent(best, 1).last)
    assert not list(directory.rglob("checkpoints/*/training"))  # keep="policy"
    with pytest.raises(FileNotFoundError, match="policies only: search with keep='training'"):
        resumed.agent(best).load_training()


def test_a_search_can_grow_but_nothing_else_of_it_changes(whole, tmp_path):
    directory = tmp_path / "search"
    quiet_search(directory, trials=6)
    with pytest.raises(FileExistsError, match="is not empty: resume it"):
        quiet_search(directory)
    with pytest.raises(CheckpointError, match=r"studies.0.axes.learning_rate.log_uniform: saved \[0.001, 1.0\]"):
        quiet_search(directory, {**SEARCHED, "learning_rate": log_uniform(1e-3, 0.5)}, resume=True)
    with pytest.raises(CheckpointError, match=r"sample_seed: saved 0, now 1"):
        quiet_search(directory, sample_seed=1, resume=True)
    grown = resume(directory, trials=12, display=silent(), **OWN)
    pd.testing.assert_frame_equal(grown.table(), whole.table(), check_exact=True)
    with pytest.raises(CheckpointError, match="there may be more, not fewer"):
        quiet_search(directory, trials=6, resume=True)
    with pytest.raises(ValueError, match="contradict"):
        quiet_search(directory, resume=True, overwrite=True)
    with files.claimed(directory, resume=True, overwrite=False), pytest.raises(FileExistsError, match="at work"):
        quiet_search(directory, resume=True)
    quiet_search(directory, trials=2, generation=2, halving=None, overwrite=True)
    assert len(load(directory, **OWN).trials()) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="not a purerl search"):
        quiet_search(tmp_path / "mine", overwrite=True)
    with pytest.raises(FileNotFoundError, match="not the directory of a purerl search"):
        load(tmp_path / "mine")


def test_every_combination_of_lists_is_a_study_with_its_own_axes(tmp_path):
    space = {
        "algorithm": "toy",
        "env": "corridor",
        "num_envs": [2, 3],
        "learning_rate": uniform(0.1, 0.3),
        "explode_above": when(uniform(0.5, 1.0), num_envs=3),
    }
    options = {"trials": 4, "generation": 1, "seeds": 1, "halving": None, "evaluations": 2}
    options["evaluate_on"] = toy_learner.corridor(limit=1)
    result = quiet_search(tmp_path / "search", space, **options)
    trials = result.trials()
    assert trials.num_envs.tolist() == [2, 3, 2, 3]
    assert trials.study.tolist() == [0, 1, 0, 1]
    assert (trials.state == "complete").all()
    assert [len(study.trials) for study in result.studies] == [2, 2]
    assert set(result.studies[0].trials[0].params) == {"learning_rate"}
    assert set(result.studies[1].trials[0].params) == {"learning_rate", "explode_above"}
    assert trials.explode_above[trials.num_envs == 2].tolist() == [0.0, 0.0]
    assert result.table()["length"].eq(1).all()  # evaluated where an episode takes one step
    again = load(tmp_path / "search", **OWN)
    pd.testing.assert_frame_equal(again.table(), result.table(), check_exact=True)
    assert again.agent(3).environment.max_steps == 1
    with pytest.raises(CheckpointError, match="evaluate_on"):
        quiet_search(tmp_path / "search", space, **{**options, "evaluate_on": None}, resume=True)


def test_a_trial_with_a_diverged_seed_has_failed_and_is_never_told_a_nan(tmp_path):
    space = {**SEARCHED, "explode_after": 2, "explode_above": uniform(0.0, 1.0)}
    result = quiet_search(tmp_path / "some", space, trials=8, generation=8, halving=Halving(2, 2))
    trials = result.trials()
    failed = trials[trials.state == "failed"]
    assert 0 < len(failed) < 8
    assert (failed.diverged > 0).all()
    assert failed.value.isna().all()
    assert trials[trials.state != "failed"].value.notna().all()
    first = result.table().query("iteration == 6")
    survived = set(first[~first.trial.isin(first[first.diverged].trial)].trial)
    went_on = set(trials[trials.rung == 1].trial)
    assert survived <= went_on or went_on <= survived  # those that failed come last
    for number in failed.trial:
        told = result.studies[0].trials[number]
        assert (told.state, told.value, told.intermediate_values) == (PRUNED, None, {})
        assert told.user_attrs["diverged"]
    assert result.best().trial.number not in set(failed.trial)


def test_a_generation_of_which_nobody_is_left_ends(tmp_path):
    space = {**SEARCHED, "explode_after": 0, "explode_above": -1.0}
    result = quiet_search(tmp_path / "all", space, trials=4, generation=4, halving=Halving(2, 2))
    assert (result.trials().state == "failed").all()
    assert (result.trials().rung == 0).all()
    assert not result.trials().value.notna().any()
    with pytest.raises(ValueError, match=r"no complete trial yet \(4 failed: a seed diverged\)"):
        result.best()


def test_a_sampler_of_ones_own_is_made_anew_for_every_generation(tmp_path):
    seeds = []

    def quasi_random(seed):
        seeds.append(seed)
        return optuna.samplers.RandomSampler(seed=seed)

    small = {"trials": 4, "generation": 2, "halving": None, "seeds": 1, "evaluations": 1}
    first = quiet_search(tmp_path / "search", sampler=quasi_random, **small)
    assert seeds == [proposals.seed_of(0, 0, 0), proposals.seed_of(0, 0, 1)]
    pd.testing.assert_frame_equal(load(tmp_path / "search", **OWN).trials(), first.trials())
    with pytest.raises(ValueError, match=r"a sampler of your own, <tests.*quasi_random>: give it again"):
        resume(tmp_path / "search", display=silent(), **OWN)
    again = resume(tmp_path / "search", display=silent(), sampler=quasi_random, **OWN)
    pd.testing.assert_frame_equal(again.trials(), first.trials())
    same = quiet_search(tmp_path / "named", sampler="random", **small)
    assert same.trials().learning_rate.tolist() == first.trials().learning_rate.tolist()
    trials = files.generation(tmp_path / "named", 1) / files.PROPOSALS
    trials.write_text(trials.read_text().replace("0.", "0.0", 1))
    with pytest.raises(CheckpointError, match="does not propose again what it proposed for generation 1"):
        quiet_search(tmp_path / "named", sampler="random", resume=True, **small)


AXES = {"a": log_uniform(1e-5, 1e-1), "b": uniform(-1.0, 1.0), "c": uniform(0.0, 1.0)}


def curve(parameters, groups):
    """A learning curve whose end is best at a = 1e-3, b = 0.3, c = 0.6, and which ranks well from early on."""
    end = -(((np.log10(parameters["a"]) + 3) / 2) ** 2) - (parameters["b"] - 0.3) ** 2 - (parameters["c"] - 0.6) ** 2
    return float(end - 1.0 / groups)


def searched(sampler, rungs, generations, sample_seed):
    """The best complete value of a search on `curve`, and the groups of iterations it took."""
    make = proposals.maker(sampler, rungs[0].trials, pruned=len(rungs) > 1, axes=3)
    study, best, spent = proposals.new_study("curve"), -np.inf, 0
    for generation in range(generations):
        asked = proposals.ask(study, make(proposals.seed_of(sample_seed, 0, generation)), AXES, rungs[0].trials)
        reports, left, done = {i: () for i in range(len(asked))}, list(range(len(asked))), 0
        for number, rung in enumerate(rungs):
            for i in left:
                reports[i] = (*reports[i], (rung.groups, curve(asked[i].params, rung.groups)))
            spent += len(left) * (rung.groups - done)
            done = rung.groups
            if number + 1 < len(rungs):
                left = [left[i] for i in promoted([reports[i][-1][1] for i in left], rungs[number + 1].trials)]
        states = {i: "complete" if i in left else "pruned" for i in reports}
        told = [Told(i, trial.params, reports[i], states[i]) for i, trial in enumerate(asked)]
        proposals.tell(study, asked, told)
        best = max(best, *(reports[i][-1][1] for i in left))
    return best, spent


def test_tpe_with_halving_beats_random_draws_of_the_same_cost():
    rungs = ladder(Halving(3, 3), 9, 9)
    guided = [searched("tpe", rungs, 6, seed) for seed in range(8)]
    drawn = [searched("random", (Rung(7, 9),), 2, seed) for seed in range(8)]
    assert {spent for _, spent in guided} == {spent for _, spent in drawn} == {126}
    regret = [-1.0 / 9 - np.array([best for best, _ in found]) for found in (guided, drawn)]
    assert regret[0].mean() < 0.5 * regret[1].mean()
    assert (regret[0] < regret[1]).sum() >= 7


def test_a_ladder_of_rungs():
    assert ladder(None, 5, 20) == (Rung(5, 20),)
    assert ladder(Halving(3, 3), 16, 20) == (Rung(16, 3), Rung(5, 7), Rung(1, 20))
    assert ladder(Halving(2, 1), 3, 4) == (Rung(3, 4),)
    with pytest.raises(ValueError, match="needs generations of at least 9 trials, got 8"):
        ladder(Halving(3, 3), 8, 20)
    with pytest.raises(ValueError, match="after 1, 1, 3 of the 3 evaluations"):
        ladder(Halving(3, 3), 9, 3)
    with pytest.raises(ValueError, match="a factor of at least 2"):
        ladder(Halving(1, 3), 9, 9)
    assert promoted([0.0, None, 3.0, -1.0, 3.0], 3) == [0, 2, 4]
    assert promoted([None, None, -5.0], 2) == [0, 2]
    assert promoted([1.0, 1.0, 1.0], 1) == [0]


def test_a_real_algorithm_by_the_command_line(tmp_path, capsys):
    out = tmp_path / "search"
    words = ["search", "ppo", "--env", "CartPole-v1", "learning_rate=log_uniform(1e-4, 1e-2)", "widths=[8]"]
    words += ["num_envs=2", "rollout_length=16", "minibatches=1", "epochs=1", "--total-steps", "128", "--episodes", "2"]
    words += ["--trials", "4", "--generation", "2", "--seeds", "2", "--halving", "2", "--rungs", "2"]
    words += ["--evaluations", "2", "--no-preset", "--cores", "1", "--out", str(out)]
    assert main(words) == 0, capsys.readouterr().err
    assert "4 trials (2 complete, 2 pruned)" in capsys.readouterr().out
    result = load(out)
    assert result.table()["return"].gt(0).all()
    assert result.best().estimate.value == result.studies[0].best_value
    assert interquartile_mean(result.best().scores[:, None]) == result.best().estimate.value
    before = (out / files.TABLE).read_bytes()
    assert main(["search", "--resume", str(out), "--quiet"]) == 0
    assert (out / files.TABLE).read_bytes() == before
    assert main(words) == 2
    assert "is not empty: resume it" in capsys.readouterr().err
    assert main(["search", "--help"]) == 0
    assert main(["search", "ppo", "learning_rate=uniform(0.1,0.2)"]) == 2
    assert "the search has no environment: --env NAME" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        ([SEARCHED], {}, "must be one mapping"),
        ({**SEARCHED, "learning_rate": 0.1}, {}, "there is nothing to search where .*use purerl.sweep"),
        ({**SEARCHED, "memory": uniform(32, 64)}, {}, "memory: no float.*give a list"),
        ({**SEARCHED, "total_steps": uniform(32, 64)}, {}, "total_steps: no float"),
        ({**SEARCHED, "explode_above": choice(0.1, 0.2)}, {}, "explode_above: a search cannot use choice"),
        ({**SEARCHED, "learning_rat": uniform(0.1, 0.2)}, {}, "no field 'learning_rat': did you mean learning_rate"),
        (
            {**SEARCHED, "num_envs": when([2, 3], learning_rate=0.1)},
            {},
            "on 'learning_rate', which is searched",
        ),
        ({**SEARCHED, "explode_above": when(uniform(0, 1), nothing=1)}, {}, "depends on 'nothing', which is not in"),
        ({**SEARCHED, "learning_rate": uniform(-0.1, 0.1)}, {}, "learning_rate must be > 0"),
        (SEARCHED, {"trials": 8}, r"trials \(8\) must be a multiple of 6 .*: give 6 or 12, or another generation"),
        ({**SEARCHED, "num_envs": [2, 3]}, {"trials": 6}, r"multiple of 12 \(2 studies.*give 12, or another"),
        (SEARCHED, {"trials": 0}, "trials must be at least 1"),
        (SEARCHED, {"evaluations": 0}, "evaluations must be at least 1: a search ranks its trials by them"),
        (SEARCHED, {"sampler": "tpee"}, "there is no sampler 'tpee': did you mean tpe"),
        (SEARCHED, {"sampler": "cmaes"}, "at least 2 axes"),
        (SEARCHED, {"aggregate": "median"}, "there is no aggregate 'median'"),
        (SEARCHED, {"keep": "everything"}, "keep must be"),
        (SEARCHED, {"sample_seed": -1}, "sample_seed must be at least 0"),
        (SEARCHED, {"halving": Halving(2, 4)}, "at least 8 trials, got 6"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(tmp_path, monkeypatch, space, options, message):
    monkeypatch.setattr(driver, "compile_programs", None)
    with pytest.raises(ValueError, match=message):
        quiet_search(tmp_path / "search", space, **options)
    assert not (tmp_path / "search").exists()


def test_a_generation_that_cannot_fit_is_refused(tmp_path):
    with pytest.raises(MemoryError, match=r"6 trials x 2 seeds of toy on corridor needs 6.0 TiB.*generation smaller"):
        quiet_search(tmp_path / "search", {**SEARCHED, "memory": 1 << 36})
    assert not (tmp_path / "search").exists()


def test_an_environment_that_must_see_a_number_is_refused_as_an_axis(tmp_path):
    def picky(goal=4.0):
        return toy_learner.corridor(length=int(goal))

    space = {"algorithm": "toy", "env": "picky", "env.goal": uniform(2.0, 6.0)}
    own = {"algorithms": {"toy": toy_learner}, "environments": {"picky": picky}}
    with pytest.raises(ValueError, match=r"picky must see the value of env.goal before it is compiled"):
        search(space, trials=2, generation=2, directory=tmp_path / "search", display=silent(), **own)


def test_without_optuna_it_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr(proposals.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "purerl\[search\]"'):
        quiet_search(tmp_path / "search")
