"""The command line, from the user's side: what is printed, what is written, and the exit code."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from purerl import algorithms, presets
from purerl.algorithms import ALGORITHMS
from purerl.cli import main, runs
from purerl.cli.options import join_resume
from purerl.cli.train import describe_preset, parse, parse_parameters
from purerl.environments import names
from purerl.report import run_directory
from tests.toy_learner import Config

TOY = ["toy", "--env", "RoboParking", "--seeds", "2", "--total-steps", "36", "--evaluations", "4", "--episodes", "3"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}


@pytest.fixture(scope="module", autouse=True)
def toy():
    """The toy learner in the table of algorithms, while this module is tested."""
    ALGORITHMS["toy"] = "tests.toy_learner"
    yield
    del ALGORITHMS["toy"]


@pytest.fixture(scope="module")
def trained(toy, tmp_path_factory) -> Path:
    """The directory of a small run."""
    out = tmp_path_factory.mktemp("runs") / "toy"
    assert main(["train", *TOY, "--out", str(out), "--env-param", "push=2.0"]) == 0
    return out


def fails(capsys, words: list[str]) -> str:
    """The one line that a mistake prints."""
    assert main(words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_help_needs_nothing_heavy():
    heavy = {"tyro", "orbax", "matplotlib", "gymnax", "brax", "mujoco", "wandb"}
    script = f"import sys; from purerl.cli import main; main(['--help']); print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=ENVIRONMENT)
    assert "train ALGORITHM --env NAME" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"


def test_python_m_purerl_is_the_same_program():
    words = [sys.executable, "-m", "purerl", "--version"]
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.stdout.startswith("purerl 0.")


@pytest.mark.parametrize("name", ["dqn", "ppo"])
def test_every_field_of_the_config_is_a_documented_flag(name, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["train", name, "--env", "CartPole-v1", "--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    for field in dataclasses.fields(algorithms.load(name).Config):
        flag = f"--{field.name.replace('_', '-')}"
        assert flag in text
        line = next(line for line in text.splitlines() if f"{flag} " in line or f"{flag}," in line)
        following = text.splitlines()[text.splitlines().index(line) + 1]
        assert len(line.split("  ")) > 2 or following.strip("│ "), f"{flag} has no documentation"


def test_training_writes_a_run_directory(trained):
    for name in run_directory.FILES:
        assert (trained / name).exists(), name
    config = run_directory.read_json(trained / "config.json")
    assert config["environment"]["name"] == "RoboParking"
    assert config["environment"]["parameters"] == {"push": 2.0}
    assert config["seeds"] == [0, 1]


def test_what_exists_is_neither_overwritten_nor_trained_again(trained, capsys):
    assert "is not empty: resume it, overwrite it" in fails(capsys, ["train", *TOY, "--out", str(trained)])
    assert main(["train", "--resume", str(trained), "--tensorboard"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    message = main(["train", *TOY, "--out", str(trained), "--resume", "--env-param", "push=2.0", "--seeds", "3"])
    assert message == 2
    assert "seeds: saved [0, 1], now [0, 1, 2]" in capsys.readouterr().err


def test_evaluating_needs_the_directory_only(trained, capsys):
    for which in ("--last", "--best"):
        assert main(["evaluate", str(trained), "--episodes", "4", which, "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result.keys() == {"seeds", "environment", "episodes", which.removeprefix("--")}
        assert result["environment"] == "RoboParking"
        assert len(result[which.removeprefix("--")]["return_per_seed"]) == 2
    assert main(["evaluate", str(trained), "--episodes", "4"]) == 0
    printed = capsys.readouterr().out
    assert "best parameters" in printed
    assert "last parameters" in printed
    assert "contradict" in fails(capsys, ["render", str(trained), "--best", "--last"])


def test_evaluation_draws_from_no_stream_of_a_training():
    def numbers(key):
        return tuple(jax.random.key_data(key).tolist())

    trainings = {numbers(key) for seed in range(4) for key in jax.random.split(jax.random.key(seed))}
    evaluations = {numbers(key) for seed in range(4) for key in jax.random.split(runs.own_stream(seed), 4)}
    assert not trainings & evaluations


def test_only_an_unexpected_error_says_how_to_see_where(capsys, monkeypatch):
    def broken(words):
        raise TypeError("strange")

    monkeypatch.setattr(runs, "plot", broken)
    assert fails(capsys, ["plot"]) == "purerl plot: error: strange (TypeError; PURERL_TRACEBACK=1 shows where)"
    assert "PURERL_TRACEBACK" not in fails(capsys, ["evaluate", "/nowhere"])


def test_rendering_makes_a_film(trained, tmp_path, capsys):
    out = tmp_path / "film.gif"
    assert main(["render", str(trained), "--out", str(out), "--seed-index", "1", "--max-steps", "5"]) == 0
    assert out.read_bytes()[:6] == b"GIF89a"
    assert "frames, return" in capsys.readouterr().out
    assert "between 0 and 1" in fails(capsys, ["render", str(trained), "--seed-index", "2"])
    assert main(["render", str(trained), "--grid", "5", "--max-steps", "3", "--every", "2"]) == 0
    assert (trained / "agents.gif").exists()
    assert "3 frames, return" in (printed := capsys.readouterr().out)  # states 0, 2 and 3
    assert "seed 0, seed 1" in printed


def test_what_was_never_evaluated_has_no_best_parameters(toy, tmp_path, capsys):
    out = tmp_path / "toy"
    assert main(["train", *TOY[:-4], "--evaluations", "0", "--out", str(out)]) == 0
    capsys.readouterr()
    for command in ("evaluate", "render"):
        line = fails(capsys, [command, str(out), "--best"])
        assert "was never evaluated during training: there are no best parameters" in line
    assert not list(out.glob("*.gif"))


def test_rendering_random_actions(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["render", "--env", "RoboParking", "--env-param", "push=2.0", "--max-steps", "2", "--grid", "3"]) == 0
    assert (tmp_path / "RoboParking.gif").exists()
    assert "RoboParking, random actions" in capsys.readouterr().out
    assert main(["render", "--env", "RoboParking", "--max-steps", "2", "--out", "film.mp4"]) == 0
    assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give the directory of a run or a sweep, or --env NAME"),
        (["DIR", "--env", "CartPole-v1"], "(not both)"),
        (["DIR", "--env-param", "push=2"], "--env-param is for --env NAME"),
        (["DIR", "--grid", "2", "--agents", "0,1"], "--agents and --grid contradict each other"),
        (["DIR", "--agents", "0;1"], "--agents must look like 0,1,2,3 or 0-3 or all, got '0;1'"),
        (["DIR", "--agents", "²"], "--agents must look like 0,1,2,3 or 0-3 or all, got '²'"),
        (["DIR", "--agents", "0,1-0"], "--agents must look like 0,1,2,3 or 0-3 or all, got '0,1-0'"),
        (["DIR", "--agents", "1-2"], "--agents must be between 0 and 1, got 2"),
        (["DIR", "--agents", "0-999999999999"], "--agents must be between 0 and 1, got 999999999999"),
        (["DIR", "--agent", "1"], "--agent is for sweeps"),
        (["DIR", "--grid", "0"], "--grid must be at least 1, got 0"),
        (["DIR", "--out", "film.avi"], "saved as a .gif or an .mp4, got film.avi"),
        (["DIR", "--frames-per-second", "100"], "at most 50 frames per second"),
        (["--env", "RoboParkin"], "Did you mean RoboParking"),
        (["--env", "RoboParking", "--best"], "--env films random actions"),
        (["--env", "RoboParking", "--sampled"], "--env films random actions"),
    ],
)
def test_mistakes_of_rendering(trained, capsys, words, message):
    words = [str(trained) if word == "DIR" else word for word in words]
    assert message in fails(capsys, ["render", *words])


def test_plotting_one_run_and_several(trained, tmp_path):
    for directories in ([trained], [trained, trained]):
        out = tmp_path / f"{len(directories)}.png"
        assert main(["plot", *map(str, directories), "--out", str(out)]) == 0
        assert out.read_bytes().startswith(b"\x89PNG")


def test_listing(capsys, monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "with_a_very_long_name_of_its_own", "tests.toy_learner")
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert set(names()) | {"ppo", "dqn"} <= set(printed.split())
    algorithms_listed = printed.partition("environments\n")[0].splitlines()[1:]
    columns = {line.index(line.split(maxsplit=1)[1]) for line in algorithms_listed}
    assert len(columns) == 1


def test_no_help_says_that_a_default_is_none(capsys):
    for command in (["evaluate"], ["render"], ["plot"], ["sweep", "--options"], ["search", "--options"]):
        with pytest.raises(SystemExit):
            main([*command, *(["--help"] if len(command) == 1 else [])])
        assert "None" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "did you mean train?"),
        (["train", "ppoo", "--env", "CartPole-v1"], "did you mean ppo or trpo"),
        (["train", "toy", "--env", "RoboParkin"], "RoboParking"),
        (["train", "toy", "--env", "RoboParking", "--env-param", "wheels=4"], "no parameter wheels"),
        (["train", "toy", "--env", "RoboParking", "--env-param", "wheels"], "must look like NAME=VALUE"),
        (["train", "toy", "--env", "RoboParking", "--env-params", "[1]"], "must be a JSON object"),
        (["train", "toy", "--env", "RoboParking", "--learning-rate", "0"], "learning_rate must be > 0"),
        (["train", "toy", "--env", "RoboParking", "--total-steps", "0"], "at least one iteration"),
        (["train", "toy", "--env", "RoboParking", "--threads", "0"], "--threads must be at least 1"),
        (["train", "toy", "--env", "RoboParking", "--resume"], "needs the run directory"),
        (["train", "dqn", "--env", "probe/continuous_action"], "needs discrete actions"),
        (["train", "--env", "RoboParking", "toy"], "the algorithm comes first"),
        (["train", "--resume", "/nowhere"], "not the directory of a purerl run"),
        (["evaluate", "/nowhere"], "not the directory of a purerl run"),
        (["plot", "/nowhere"], "not the directory of a purerl run"),
    ],
)
def test_mistakes_get_one_clear_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in fails(capsys, words)


@pytest.mark.parametrize("words", [["train", "toy", "--env"], ["train", "toy", "--env", "x", "--learning-rate", "a"]])
def test_mistaken_values_of_flags_exit_with_2(words, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(words)
    assert leaving.value.code == 2


def test_ctrl_c_saves_and_exits_with_130(tmp_path):
    out = tmp_path / "run"
    script = (
        "import sys; from purerl.algorithms import ALGORITHMS; ALGORITHMS['toy'] = 'tests.toy_learner';"
        "from purerl.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = [
        "train",
        "toy",
        "--env",
        "RoboParking",
        "--total-steps",
        "300000",
        "--evaluations",
        "1000",
        "--episodes",
        "3",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *words, "--out", str(out)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    while process.poll() is None and not (out / "metrics.jsonl").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert f"go on with: purerl train --resume {out}" in printed
    done = run_directory.read_lines(out / "metrics.jsonl")[-1]["iteration"]
    assert [int(path.name) for path in (out / "checkpoints").iterdir() if path.name == str(done)] == [done]


def test_resume_may_be_followed_by_the_directory():
    assert join_resume(["--env", "x", "--resume", "d"]) == ["--env", "x", "--resume", "--out", "d"]
    assert join_resume(["--resume", "--env", "x"]) == ["--resume", "--env", "x"]


def test_parameters_of_the_environment():
    text = '{"mass": 2, "table": [1]}'
    expected = {"mass": 2.5, "table": [1], "backend": "spring", "wind": True}
    assert parse_parameters(("mass=2.5", "backend=spring", "wind=true"), text) == expected


def test_a_preset_is_the_default_and_a_flag_wins():
    preset = {"learning_rate": 0.3, "total_steps": 77}
    options, config = parse("toy", Config, preset, ["--env", "x"])
    assert (options.total_steps, config) == (77, Config(learning_rate=0.3))
    options, config = parse("toy", Config, preset, ["--env", "x", "--learning-rate", "0.1", "--total-steps", "5"])
    assert (options.total_steps, config) == (5, Config(learning_rate=0.1))
    said = describe_preset("toy", options, config, {"learning_rate": 0.3, "num_envs": 3})
    assert said == "preset for toy on x: learning_rate=0.1 (yours; preset 0.3), num_envs=3"


def test_presets_are_checked(tmp_path):
    (tmp_path / "toy.toml").write_text(
        '["A"]\nlearning_rate = 1\ntotal_steps = 10\n["B"]\nrate = 1\n["C"]\nnum_envs = 0.5'
    )
    assert presets.load("toy", "A", tmp_path) == {"learning_rate": 1.0, "total_steps": 10}
    assert presets.load("toy", "other", tmp_path) == {}
    assert presets.load("unheard", "A", tmp_path) == {}
    with pytest.raises(ValueError, match=r"toy.toml, preset for B: toy has no field 'rate': .*learning_rate"):
        presets.load("toy", "B", tmp_path)
    with pytest.raises(ValueError, match="num_envs: expected an integer"):
        presets.load("toy", "C", tmp_path)


def test_every_preset_that_is_shipped_fits_an_algorithm_and_an_environment():
    import tomllib

    for file in presets.DIRECTORY.glob("*.toml"):
        assert file.stem in ALGORITHMS
        for environment in tomllib.loads(file.read_text()):
            assert environment in names()
            assert "total_steps" in presets.load(file.stem, environment)
