"""Sinks: what they are told arrives."""

import io
import json
import sys

import pytest
from rich.console import Console

from purerl.report import sinks
from purerl.report.console import clock, console
from purerl.report.records import Record, RunInformation
from purerl.report.run_directory import read_lines
from purerl.report.tables import number

METADATA = {"algorithm": "toy", "seeds": [0, 1], "iterations": 10}
SUMMARY = {
    "algorithm": "toy",
    "environment": "corridor",
    "status": "finished",
    "seeds": 2,
    "seed_list": [0, 1],
    "env_steps": 30,
    "env_steps_per_second": 15000.0,
    "train_seconds": 0.1,
    "compile_seconds": 0.2,
    "diverged_seeds": [1],
    "paths": {"run directory": "runs/toy"},
    "evaluation": {
        "return_per_seed": [1.0, None],
        "return_std_per_seed": [0.5, None],
        "best_return_per_seed": [2.0, 1.0],
    },
}


def information(directory=None, iteration=0):
    return RunInformation(METADATA, directory, iteration, 3 * iteration)


def record(iteration, evaluated=True):
    evaluation = {"return_per_seed": [1.0, 3.0]} if evaluated else None
    metrics = {"loss": [0.5, None], "episode_return": [4.0, 5.0]}
    return Record(iteration, 3 * iteration, metrics, evaluation, [1], train_seconds=float(iteration))


def listen(sink, directory=None):
    sink.open(information(directory))
    sink.note("a note")
    for iteration in (5, 10):
        sink.write(record(iteration))
    sink.close(SUMMARY)


def test_jsonl_forgets_what_came_after_the_checkpoint(tmp_path):
    listen(sinks.jsonl(tmp_path))
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 15, "lo')  # cut short by a kill
    assert [line["iteration"] for line in read_lines(tmp_path / "metrics.jsonl")] == [5, 10]
    resumed = sinks.jsonl(tmp_path)
    resumed.open(information(tmp_path, iteration=5))
    assert [line["iteration"] for line in read_lines(tmp_path / "evaluations.jsonl")] == [5]
    resumed.write(record(10))
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole
    line = {"iteration": 10, "env_steps": 30, "loss": [0.5, None], "episode_return": [4.0, 5.0], "diverged_seeds": [1]}
    assert json.loads(whole.splitlines()[-1]) == line


def test_a_torn_last_line_is_left_out_and_any_other_is_named(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"iteration": 1}\n\0\0\0\n')
    assert read_lines(file) == [{"iteration": 1}]
    file.write_text('{"iter\n{"iteration": 1}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 1 is not JSON"):
        read_lines(file)


def test_a_run_that_is_finished_already_closes_sinks_that_were_not_opened(tmp_path):
    for sink in (sinks.tensorboard(tmp_path), sinks.wandb()):
        assert sink.close(SUMMARY) is None
    assert list(tmp_path.iterdir()) == []


def test_the_console_without_a_terminal_prints_plain_lines():
    output = io.StringIO()
    listen(console(Console(file=output, width=100)))
    lines = output.getvalue().splitlines()
    assert lines[0] == "a note"
    assert (
        lines[1] == " 50% iteration 5/10 · 15 steps · 6 steps/s · return 1 (median of 1 seed, 1 diverged) · ETA 0:00:05"
    )
    assert "median of 1 seed, 1 diverged" in output.getvalue()
    assert "\x1b" not in output.getvalue()


def test_the_console_of_a_terminal_has_a_live_bar():
    output = io.StringIO()
    listen(console(Console(file=output, width=140, force_terminal=True)))
    text = output.getvalue()
    assert "iteration 10/10" in text
    assert "━" in text
    assert "\x1b[?25h" in text  # the cursor is back


def test_a_failed_run_leaves_the_terminal_usable():
    output = io.StringIO()
    sink = console(Console(file=output, width=100, force_terminal=True))
    sink.open(information())
    sink.close(None)
    assert "\x1b[?25h" in output.getvalue()


def test_without_evaluation_the_console_shows_training_returns():
    output = io.StringIO()
    sink = console(Console(file=output, width=100))
    sink.open(information())
    sink.write(record(5, evaluated=False))
    assert "training return 4 (median of 1 seed, 1 diverged)" in output.getvalue()


def test_tensorboard_writes_events(tmp_path):
    listen(sinks.tensorboard(tmp_path / "tensorboard"))
    (file,) = (tmp_path / "tensorboard").iterdir()
    content = file.read_bytes()
    assert b"evaluation/return_per_seed/median" in content
    assert b"train/loss/seed_0" in content
    assert b"train/loss/seed_1" not in content  # never a number


def test_wandb_is_offline_unless_logged_in(tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    (tmp_path / "config.json").write_text("{}")
    listen(sinks.wandb(project="test"), tmp_path)
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    assert list(run.glob("*.wandb"))


@pytest.mark.parametrize(("package", "make"), [("wandb", sinks.wandb), ("tensorboardX", sinks.tensorboard)])
def test_a_missing_package_is_named_with_its_pip_command(package, make, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    extra = {"wandb": "wandb", "tensorboardX": "tensorboard"}[package]
    with pytest.raises(ImportError, match=rf'pip install "purerl\[{extra}\]"'):
        make(tmp_path)


def test_numbers_for_people():
    assert [number(x) for x in (None, 3.0, 0.12345, 9999.0, 12500.0, 2.5e6)] == [
        "-",
        "3",
        "0.1235",
        "9999",
        "12.5k",
        "2.5M",
    ]
    assert [clock(x) for x in (None, 61, 3725)] == ["-:--:--", "0:01:01", "1:02:05"]
