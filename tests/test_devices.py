"""Agents on several devices, one agent on several devices, several processes: the same numbers every time."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

from purerl.algorithms import load as load_algorithm
from purerl.cli.threads import computes_little
from purerl.devices import (
    THREADS,
    chosen_threads,
    idle_cores,
    over_agents,
    over_data,
    split,
    use_all_cores,
    use_threads,
)
from purerl.sweep import load
from tests.sweeps.worker import OWN, WORKER, quiet_sweep
from tests.test_run import assert_same

ROOT = Path(__file__).parent.parent
MINIBATCH = 8 * 12 // 3  # num_envs x rollout_length / minibatches of the worker's PPO


def environment(devices: int) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": str(devices)}


def on_devices(devices: int, what: str) -> dict:
    """What `tests/devices_worker.py` prints in a process with so many devices."""
    words = [sys.executable, str(ROOT / "tests" / "devices_worker.py"), what]
    ended = subprocess.run(words, env=environment(devices), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
def test_agents_are_the_same_on_any_number_of_devices(algorithm):
    one, two, four = (on_devices(devices, algorithm) for devices in (1, 2, 4))
    assert (one["devices"], two["devices"], four["devices"]) == (1, 2, 4)
    for several in (two, four):
        np.testing.assert_allclose(several["params"], one["params"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(several["loss"], one["loss"], rtol=1e-4)
        assert not several["communicates"]  # agents are independent: no device waits for another
    assert len(np.unique(np.round(one["params"], 6))) == len(one["params"])  # and each agent is another


def test_one_agent_is_the_same_on_any_number_of_devices():
    one, two, four = (on_devices(devices, "data_parallel") for devices in (1, 2, 4))
    for several, devices in ((two, 2), (four, 4)):
        assert several["devices"] == devices
        np.testing.assert_allclose(several["params"], one["params"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(several["loss"], one["loss"], rtol=1e-4)
        assert several["communicates"]  # gradients are summed over the devices
        assert MINIBATCH // devices in several["rows"]  # each works on its share only
        assert MINIBATCH not in several["rows"]
    assert not one["communicates"]
    assert MINIBATCH in one["rows"]


def test_batches_that_the_devices_do_not_divide_are_refused():
    refused = on_devices(4, "indivisible")
    assert "multiples of the 4 devices, but one of them is 6" in refused["error"]


def two_processes(directory: Path, *options: str) -> list[tuple[int, str]]:
    """Exit status and errors of two processes that share the sweep of the tests."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    words = [sys.executable, WORKER, "sweep", str(directory), *options]
    words += ["--coordinator", f"localhost:{port}", "--processes", "2", "--process"]
    both = [subprocess.Popen([*words, str(i)], env=environment(1), stderr=subprocess.PIPE, text=True) for i in range(2)]
    errors = [process.communicate(timeout=300)[1] for process in both]
    return [(process.returncode, error) for process, error in zip(both, errors, strict=True)]


def test_two_processes_make_the_table_that_one_makes(tmp_path):
    whole = quiet_sweep(tmp_path / "one", chunk=2)
    ended = two_processes(tmp_path / "two", "--chunk", "2")
    assert [status for status, _ in ended] == [0, 0], ended
    together = load(tmp_path / "two", **OWN)
    pd.testing.assert_frame_equal(together.table(), whole.table(), check_exact=True)
    for number in (1, 16):  # each process has written its share of the states
        assert_same(together.agent(number).load_training(), whole.agent(number).load_training())
    assert (tmp_path / "two" / "table.csv").read_bytes() == (tmp_path / "one" / "table.csv").read_bytes()


def test_what_the_first_process_refuses_ends_the_others_too(tmp_path):
    (tmp_path / "thesis.tex").touch()
    (first, said), (second, also) = two_processes(tmp_path, "--fresh")
    assert first != 0
    assert "is not empty" in said
    assert second != 0
    assert "the first process has refused" in also


def test_layouts():
    assert over_agents(7).mesh.size == 1
    assert over_data(1).mesh.axis_names == ("data",)
    with pytest.raises(ValueError, match=r"9999 devices were asked for, but this host has \d+; on a CPU"):
        over_data(9999)
    assert split({"x": jax.numpy.arange(3)})["x"].tolist() == [0, 1, 2]  # nothing happens outside of a mesh
    with pytest.warns(UserWarning, match="use_all_cores came too late: .* call it first"):
        assert use_all_cores(64) == jax.local_device_count()
    idle = jax.local_device_count() == 1 and len(os.sched_getaffinity(0)) > 1
    assert [("purerl.use_all_cores()" in line) for line in idle_cores()] == [True] * idle
    with pytest.raises(ValueError, match="cores must be at least 1"):
        use_all_cores(0)


def test_threads_are_chosen_before_anything_is_computed_or_not_at_all(monkeypatch):
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    jax.devices()  # from here on it is too late
    with pytest.warns(UserWarning, match="use_threads came too late: .* call it first"):
        use_threads(1)
    assert chosen_threads() is None
    assert "threads" not in over_agents(1).described()
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        use_threads(0)
    monkeypatch.setenv("NPROC", "3")
    use_threads(1)  # what is there already stays
    assert chosen_threads() == 3
    assert over_agents(1).described()["threads"] == 3


@pytest.mark.parametrize(("words", "threads"), [([], 1), (["--threads", "2"], 2), (["--widths", "512"], None)])
def test_a_single_agent_of_small_networks_is_trained_by_one_thread(tmp_path, words, threads):
    directory, others = tmp_path / "run", {name: value for name, value in os.environ.items() if name not in THREADS}
    sizes = ["--env", "CartPole-v1", "--total-steps", "2048", "--evaluations", "1", "--episodes", "2", *words]
    command = [sys.executable, "-m", "purerl", "train", "ppo", *sizes, "--out", str(directory)]
    ended = subprocess.run(command, env=others, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads((directory / "config.json").read_text())["numerics"].get("threads") == threads
    command = [sys.executable, "-m", "purerl", "train", "--resume", str(directory)]
    resumed = subprocess.run(command, env=others, capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert "bit-identical results are not promised" not in resumed.stderr  # it has as many threads again


def test_what_computes_little():
    ppo, sac, pets = (load_algorithm(name).Config() for name in ("ppo", "sac", "pets"))
    assert computes_little("ppo", ppo, "brax/halfcheetah")
    assert not computes_little("ppo", ppo, "Breakout-MinAtar")
    assert not computes_little("ppo", ppo, "gymnasium/CartPole-v1")  # simulated on the host, which needs a thread
    assert not computes_little("sac", sac, "Pendulum-v1")  # 256 units
    assert not computes_little("pets", pets, "Pendulum-v1")  # plans in large batches; not measured
