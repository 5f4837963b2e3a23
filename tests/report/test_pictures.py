"""Learning curves and films."""

import imageio.v3 as imageio
import numpy as np
import pytest

from purerl.report import run_directory
from purerl.report.pictures.learning_curve import learning_curve, read_curve

CONFIG = {"algorithm": "toy", "environment": {"name": "corridor"}, "evaluation": None}


def metrics_line(iteration, diverged=(), **metrics):
    return {"iteration": iteration, "env_steps": 10 * iteration, "diverged_seeds": list(diverged), **metrics}


def fake_run(directory, lines, file=run_directory.EVALUATIONS):
    directory.mkdir()
    count = max([len(line.get("return_per_seed", [1])) for line in lines], default=1)
    run_directory.write_config(directory, {**CONFIG, "seeds": list(range(count))}, 1)
    for line in lines:
        run_directory.append_line(directory / file, line)
    return directory


def test_curves_are_read_with_gaps(tmp_path):
    lines = [{"iteration": i, "env_steps": 10 * i, "return_per_seed": [i, None]} for i in (1, 2)]
    curve = read_curve(fake_run(tmp_path / "a", lines))
    assert curve.env_steps.tolist() == [10, 20]
    np.testing.assert_array_equal(curve.returns, [[1, np.nan], [2, np.nan]])
    training = [metrics_line(1, episode_return=[None])]
    assert "training" in read_curve(fake_run(tmp_path / "b", training, run_directory.METRICS)).quantity
    with pytest.raises(ValueError, match="no returns to plot"):
        read_curve(fake_run(tmp_path / "c", []))


def test_diverged_seeds_leave_the_curve_and_are_counted(tmp_path):
    lines = [{"iteration": i, "env_steps": 10 * i, "return_per_seed": [1.0, 9.0]} for i in (1, 2)]
    directory = fake_run(tmp_path / "a", lines)
    for line in (metrics_line(1), metrics_line(2, diverged=[1])):
        run_directory.append_line(directory / run_directory.METRICS, line)
    curve = read_curve(directory)
    np.testing.assert_array_equal(curve.returns, [[1, 9], [1, np.nan]])
    assert curve.diverged == 1
    learning_curve([directory], tmp_path / "curve.svg")
    assert "median of 1 seed, 1 diverged" in (tmp_path / "curve.svg").read_text()


def test_a_curve_is_drawn_even_where_nothing_is_a_number(tmp_path):
    runs = [
        fake_run(tmp_path / str(n), [{"iteration": i, "env_steps": i, "return_per_seed": [n] * n} for i in range(3)])
        for n in (1, 4)
    ]
    nothing = fake_run(tmp_path / "n", [{"iteration": 1, "env_steps": 1, "return_per_seed": [None, None]}])
    picture = imageio.imread(learning_curve([*runs, nothing], tmp_path / "curve.png"))
    assert picture.shape[:2] == (660, 1080)
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 10
    assert not list(tmp_path.glob(".*"))
