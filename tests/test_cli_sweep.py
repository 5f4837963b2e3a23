"""`purerl sweep` and what follows it, as a user types it."""

import json
import os
import subprocess
import sys

import pytest

from purerl.cli import main
from purerl.cli.sweep import SweepOptions, parse_bytes, read
from purerl.sweep import load
from purerl.sweeps.space import grid, log_uniform, when

SMALL = ["num_envs=4", "rollout_length=16", "minibatches=2", "epochs=1", "widths=[8]", "--no-preset"]
QUICK = [
    "--chunk",
    "2",
    "--total-steps",
    "256",
    "--evaluations",
    "2",
    "--episodes",
    "4",
    "--seeds",
    "2",
    "--cores",
    "1",
]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of two learning rates and two seeds, made by the command line in a process of its own."""
    out = tmp_path_factory.mktemp("cli") / "sweep"
    words = ["sweep", "ppo", "--env", "CartPole-v1", "learning_rate=1e-3,1e-2", *SMALL, *QUICK, "--out", str(out)]
    ended = subprocess.run([sys.executable, "-m", "purerl", *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return out, ended.stdout


def test_it_says_what_it_will_do_how_it_goes_and_what_was_best(swept):
    out, said = swept
    assert "1 program: 2 settings x 2 seeds = 4 agents, 1,024 environment steps" in said
    assert "in one program: learning_rate" in said
    assert "100% program 1/1, chunk 2/2 · 4/4 agents" in said
    assert "interquartile mean over 2 seeds" in said
    assert f"purerl plot {out}" in said
    assert (out / "table.csv").exists()
    assert len(json.loads((out / "summary.json").read_text())["best_trials"]["CartPole-v1"]) == 2


def test_the_sweep_can_be_plotted_evaluated_and_filmed(swept, capsys):
    out, _ = swept
    assert main(["plot", str(out), "--format", "png"]) == 0
    assert (out / "figures" / "learning_curves.png").read_bytes()[:4] == b"\x89PNG"
    capsys.readouterr()
    assert main(["evaluate", str(out), "--agent", "3", "--episodes", "4", "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert (evaluated["agent"], evaluated["seeds"], list(evaluated)[-1]) == (3, [1], "best")
    assert evaluated["environment"] == "CartPole-v1"
    assert main(["render", str(out), "--max-steps", "5"]) == 0
    best = load(out).best().trial.number * 2
    assert (out / "figures" / f"agent_{best}.gif").exists()
    capsys.readouterr()
    assert main(["render", str(out), "--agents", "3,0", "--max-steps", "3"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in printed[:2]] == ["agent 3", "agent 0"]
    assert (out / "figures" / "agents.gif").exists()
    assert main(["render", str(out), "--grid", "2", "--max-steps", "3"]) == 0
    assert capsys.readouterr().out.startswith(f"agent {best}: ")
    assert main(["render", str(out), "--seed-index", "0"]) == 2
    assert "is a sweep: give --agent" in capsys.readouterr().err
    assert main(["evaluate", str(out), "--agent", "4"]) == 2
    assert "agents are numbered 0 to 3" in capsys.readouterr().err


def test_going_on_with_a_finished_sweep_changes_nothing(swept, capsys):
    out, _ = swept
    before = (out / "table.csv").read_bytes()
    assert main(["sweep", "--resume", str(out), "--quiet"]) == 0
    assert main(["sweep", "--quiet", f"--resume={out}"]) == 0
    assert (out / "table.csv").read_bytes() == before
    words = ["sweep", "ppo", "--env", "CartPole-v1", "learning_rate=1e-3,1e-2", *SMALL, *QUICK, "--out", str(out)]
    assert main(words) == 2
    assert "is not empty: resume it, overwrite it" in capsys.readouterr().err


def test_mistakes_are_one_clear_line(capsys, tmp_path):
    for words, message in [
        (["sweep", "pp", "--env", "CartPole-v1"], "did you mean ppo"),
        (["sweep", "ppo"], "the space has no env: --env NAME"),
        (["sweep", "--env", "CartPole-v1"], "the space has no algorithm"),
        (["sweep", "ppo", "--env", "CartPole-v1", "clip"], "must look like FIELD=VALUES, got 'clip'"),
        (["sweep", "ppo", "--env", "CartPole-v1", "clip=uniform(1)"], "clip: uniform(1)"),
        (["sweep", "ppo", "--env", "CartPole-v1", "clip=-1"], "clip must be > 0"),
        (["sweep", "ppo", "--env", "CartPole-v1", "--memory", "8 giga"], "--memory must be a number of bytes"),
        (["sweep", "ppo", "--env", "CartPole-v1", "--memory", "inf"], "--memory must be a number of bytes"),
        (["sweep", "ppo", "--env", "CartPole-v1", "--memory", "1kB"], "one agent of ppo on CartPole-v1 needs"),
        (["sweep", "ppo", "--env", "CartPole-v1", "--resume"], "--resume needs the directory"),
        (["sweep", "ppo", "--env", "CartPole-v1", "--process", "1"], "give all of coordinator"),
        (["sweep", "--resume", str(tmp_path / "none")], "not the directory of a purerl sweep"),
        (["search", "--quiet", "--resume", str(tmp_path / "none")], "not the directory of a purerl search"),
        (["evaluate", str(tmp_path), "--agent", "1"], "--agent is for sweeps"),
    ]:
        assert main(words) == 2, words
        assert message in capsys.readouterr().err


def test_help_answers_without_importing_jax(capsys):
    assert main(["sweep", "--help"]) == 0
    assert "float fields vary inside one compiled program" in capsys.readouterr().out


def test_a_space_from_a_file_where_flags_win(tmp_path):
    file = tmp_path / "sweep.toml"
    file.write_text(
        """
        seeds = 4
        samples = 3
        preset = false
        [space]
        algorithm = ["dqn", "ppo"]
        env = "CartPole-v1"
        learning_rate = { log_uniform = [1e-4, 1e-2] }
        clip = { grid = [0.1, 0.2], when = { algorithm = "ppo" } }
        """
    )
    words = ["--file", str(file), "--seeds", "2", "clip=0.3"]
    space, options = read("", SweepOptions(file=file, seeds=2, fields=("clip=0.3",)), words)
    assert (options.seeds, options.samples, options.preset) == (2, 3, False)
    assert space == {
        "algorithm": ["dqn", "ppo"],
        "env": "CartPole-v1",
        "learning_rate": log_uniform(1e-4, 1e-2),
        "clip": 0.3,
    }
    space, _ = read("ppo", SweepOptions(file=file), [])
    assert space["algorithm"] == "ppo"
    assert space["clip"] == when(grid(0.1, 0.2), algorithm="ppo")
    file.write_text("total_steps = 1e6\nseeds = 2.0")
    _, options = read("ppo", SweepOptions(file=file, env="CartPole-v1"), [])
    assert (options.total_steps, options.seeds) == (1_000_000, 2)
    assert isinstance(options.total_steps, int)
    file.write_text("total_steps = 0.5")
    with pytest.raises(ValueError, match=r"total_steps must be a whole number, got 0\.5"):
        read("ppo", SweepOptions(file=file), [])
    file.write_text("sedes = 4")
    with pytest.raises(ValueError, match="no option 'sedes': did you mean seeds"):
        read("ppo", SweepOptions(file=file), [])
    file.write_text("seeds = ")
    with pytest.raises(ValueError, match="is not TOML"):
        read("ppo", SweepOptions(file=file), [])


def test_bytes():
    assert parse_bytes("512MiB") == 512 * 2**20
    assert parse_bytes("8GB") == 8 * 10**9
    assert parse_bytes("2e6") == 2_000_000
    assert parse_bytes("1.5 k") == 1500


def test_the_seeds_of_a_run_are_spread_over_the_cores(tmp_path):
    words = ["train", "ppo", "--env", "CartPole-v1", "--num-envs", "4", "--rollout-length", "16", "--minibatches", "2"]
    words += ["--no-preset", "--total-steps", "256", "--evaluations", "1", "--episodes", "4", "--seeds", "2"]
    words += ["--cores", "2", "--out", str(tmp_path / "run")]
    command, environment = [sys.executable, "-m", "purerl", *words], os.environ | {"JAX_PLATFORMS": "cpu"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert "on 2 cpu devices" in ended.stdout
    numerics = json.loads((tmp_path / "run" / "config.json").read_text())["numerics"]
    assert (numerics["devices"], numerics["split"]) == (2, "agents")
    again = [sys.executable, "-W", "error::UserWarning", "-m", "purerl", "train", "--resume", str(tmp_path / "run")]
    resumed = subprocess.run(again, capture_output=True, text=True, check=False, env=environment)
    assert (resumed.returncode, resumed.stderr) == (0, "")  # on as many devices as before, without a warning
    assert "already finished" in resumed.stdout
