"""Checkpoints: exact, never half, never the wrong one."""

import pickle
import random
import shutil
import warnings
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import checkpoint
from purerl.checkpoint import CheckpointError, Progress
from purerl.environments import time_limit
from purerl.types import Environment
from tests import kill_resume, toy_learner

SHARDING = jax.sharding.SingleDeviceSharding(jax.devices()[0])
METADATA = {"format": checkpoint.FORMAT, "config": {"a": 1}, "numerics": {"jax": "1"}}


class Pair(NamedTuple):
    first: jax.Array
    second: dict[str, jax.Array]


def tree(seed: int = 0):
    """One leaf of every kind."""
    key = jax.random.key(seed)
    numbers = jnp.array([jnp.nan, -jnp.inf, -0.0, 1e-45])
    leaves = {"a/b.c": numbers, "bf16": jnp.ones(3, jnp.bfloat16), "int8": jnp.arange(3, dtype=jnp.int8)}
    others = {"bool": jnp.array([True, False]), "none": jnp.zeros((0, 2)), "keys": jax.random.split(key, 3), "key": key}
    return Pair(jax.random.normal(key, (2, 3)), leaves | others)


def save(directory: Path, iteration: int, seed: int = 0, metadata=METADATA) -> None:
    with checkpoint.opened(directory) as checkpoints:
        checkpoints.save(Progress(iteration, 1.5, 2.5), tree(seed), {"last": tree(seed + 1)}, metadata)


def load(directory: Path, item: str = "training"):
    template = tree() if item == "training" else {"last": tree()}
    with checkpoint.opened(directory, read_only=True) as checkpoints:
        return checkpoints.restore(item, jax.eval_shape(lambda: template), SHARDING)[2]


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for name, x in checkpoint.flatten(a).items():
        assert np.asarray(x).tobytes() == np.asarray(checkpoint.flatten(b)[name]).tobytes(), name


def test_every_kind_of_leaf_comes_back_to_the_bit_and_committed(tmp_path):
    save(tmp_path, 7)
    restored = load(tmp_path)
    assert_same(restored, tree())
    assert all(x.committed for x in jax.tree.leaves(restored))
    assert not any(x.weak_type for x in checkpoint.flatten(restored).values())
    assert_same(load(tmp_path, "policy"), {"last": tree(1)})
    with checkpoint.opened(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.restore("training", tree(), SHARDING)[:2] == (METADATA, Progress(7, 1.5, 2.5))


def test_two_checkpoints_are_kept_and_the_newest_is_read(tmp_path):
    for iteration in (1, 2, 10):
        save(tmp_path, iteration, seed=iteration)
    assert {path.name for path in tmp_path.iterdir()} == {"2", "10"}
    assert_same(load(tmp_path), tree(10))


def test_what_a_killed_writer_left_is_ignored_and_cleared(tmp_path):
    save(tmp_path, 1)
    half = tmp_path / "2.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "1" / "training", half / "training")
    assert_same(load(tmp_path), tree())
    assert half.exists()  # a reader changes nothing: a writer may be at work
    save(tmp_path, 3, seed=3)
    assert not half.exists()
    assert_same(load(tmp_path), tree(3))


def test_missing_and_damaged_checkpoints_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no complete checkpoint"):
        load(tmp_path / "empty")
    save(tmp_path / "damaged", 1)
    shutil.rmtree(tmp_path / "damaged" / "1" / "training")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(tmp_path / "damaged")


def test_a_damaged_checkpoint_is_passed_over_and_replaced(tmp_path):
    for iteration in (1, 2):
        save(tmp_path, iteration, seed=iteration)
    shutil.rmtree(tmp_path / "2" / "training")
    with checkpoint.opened(tmp_path) as checkpoints:
        with pytest.warns(UserWarning, match="2 cannot be read.*falling back to the one before"):
            _, progress, restored = checkpoints.restore("training", tree(), SHARDING)
        assert progress.iteration == 1
        assert_same(restored, tree(1))
        checkpoints.forget_after(1)
        checkpoints.save(Progress(2, 1.5, 2.5), tree(3), {"last": tree(4)}, METADATA)
    assert_same(load(tmp_path), tree(3))


def test_another_shape_is_refused(tmp_path):
    save(tmp_path, 1)
    template = tree()._replace(first=jnp.zeros((3, 3)))
    with checkpoint.opened(tmp_path) as checkpoints, pytest.raises(CheckpointError, match=r"\(3, 3\)"):
        checkpoints.restore("training", template, SHARDING)


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def refuse(*arguments, **keywords):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    assert_same(load(tmp_path), tree())


def test_every_difference_is_listed():
    now = METADATA | {"config": {"a": 2, "b": [1]}, "seeds": [0]}
    with pytest.raises(CheckpointError) as refusal:
        checkpoint.check(METADATA, now, Path("run"))
    assert str(refusal.value).splitlines()[1:] == [
        "  config.a: saved 1, now 2",
        "  config.b: saved 'nothing', now [1]",
        "  seeds: saved 'nothing', now [0]",
    ]
    with pytest.raises(CheckpointError, match="format 0, this purerl reads"):
        checkpoint.check(METADATA | {"format": 0}, METADATA, Path("run"))
    with pytest.raises(CheckpointError, match=r"purerl: saved '0.0.1', now '0.1.0'"):
        checkpoint.check(METADATA | {"purerl": "0.0.1"}, METADATA | {"purerl": "0.1.0"}, Path("run"))


def test_another_jax_warns_and_goes_on():
    with pytest.warns(UserWarning, match="bit-identical results are not promised"):
        checkpoint.check(METADATA, METADATA | {"numerics": {"jax": "2"}}, Path("run"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkpoint.check(METADATA, METADATA, Path("run"))


def test_environments_are_described_as_json():
    environment: Environment = toy_learner.corridor(5)
    assert checkpoint.describe_environment(environment) == {
        "name": "corridor",
        "parameters": {"length": 5, "limit": 12},
        "not_in_json": [],
        "wrappers": [],
        "max_steps": 12,
        "observation_space": {"kind": "Box", "shape": [1], "dtype": "float32"},
        "action_space": {"kind": "Discrete", "n": 2},
    }
    strange = checkpoint.describe_environment(environment._replace(parameters={"f": print, "x": jnp.arange(2)}))
    assert strange["parameters"] == {"f": "<builtins.print>", "x": [0, 1]}
    assert strange["not_in_json"] == ["f", "x"]
    wrapped = checkpoint.describe_environment(time_limit(environment, 7))
    assert (wrapped["wrappers"], wrapped["max_steps"]) == (["time_limit(7)"], 7)
    assert checkpoint.describe_environment(None) is None


def kill_and_compare(tmp_path: Path, kills: int, **arguments) -> None:
    defaults = {"kills": kills, "seed": random.randrange(10**6), "algorithm": "", "env": ""}
    options = Namespace(**(defaults | {"total_steps": 1200, "evaluations": 100} | arguments))
    hits, same = kill_resume.kill_and_compare(options, tmp_path)
    assert (hits, same) == (kills, True), f"seed {options.seed}"


def test_sigkill_at_random_moments_changes_no_bit(tmp_path):
    kill_and_compare(tmp_path, kills=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "env", "total_steps"),
    [("", "", 1200), ("ppo", "CartPole-v1", 150_000), ("dqn", "CartPole-v1", 20_000)],
)
def test_ten_sigkills_change_no_bit(tmp_path, algorithm, env, total_steps):
    kill_and_compare(tmp_path, 10, algorithm=algorithm, env=env, total_steps=total_steps)


def test_the_killing_script_notices_a_difference(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("{}\n")
        (tmp_path / name / "evaluations.jsonl").write_text("{}\n")
        np.savez(tmp_path / name / "final.npz", x=np.array([0.0 if name == "a" else -0.0]))
    assert kill_resume.same(tmp_path / "a", tmp_path / "a")
    assert not kill_resume.same(tmp_path / "a", tmp_path / "b")
