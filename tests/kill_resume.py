"""Kill a training with SIGKILL at random moments, resume it each time, and compare with the uninterrupted run.

The moments are uniform over the life of a process, whatever it is doing: importing, writing the config, compiling,
training, saving its first checkpoint or its last. A run killed before its first checkpoint starts anew.

    python tests/kill_resume.py --kills 10 [--algorithm ppo --env CartPole-v1 --total-steps 200000] [--seed 0]

Without --algorithm it is the toy learner of the tests. Exits with 1 if one bit of the parameters or one byte of the
metrics differs.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent


def worker(arguments: argparse.Namespace) -> None:
    """Train, or resume, in this process, and leave the final training as plain arrays."""
    import jax
    import numpy as np

    from purerl import algorithms, environments
    from purerl.checkpoint import flatten
    from purerl.run import run
    from tests import toy_learner

    if arguments.algorithm:
        module = algorithms.load(arguments.algorithm)
        algorithm = module.make(environments.make(arguments.env), module.Config())
    else:
        algorithm = toy_learner.make(toy_learner.corridor(), toy_learner.Config(memory=20_000))
    result = run(
        algorithm,
        total_steps=arguments.total_steps,
        seeds=2,
        directory=arguments.worker,
        evaluations=arguments.evaluations,
        episodes=8,
        resume=True,
        sinks=(),
    )
    np.savez(arguments.worker / "final.npz", **jax.device_get(flatten(result.training)))


def start(arguments: argparse.Namespace, directory: Path) -> subprocess.Popen:
    """A fresh process that trains in `directory`, or goes on there."""
    words = ["--algorithm", arguments.algorithm, "--env", arguments.env, "--total-steps", str(arguments.total_steps)]
    words += ["--evaluations", str(arguments.evaluations), "--worker", str(directory)]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen([sys.executable, str(HERE / "kill_resume.py"), *words], env=environment)


def kill_after(process: subprocess.Popen, seconds: float) -> bool:
    """Wait so long, then kill. False if the process finished before."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    if process.returncode:
        raise RuntimeError(f"a resumed run failed with {process.returncode}")
    return False


def progress(directory: Path) -> str:
    """What a kill left behind."""
    metrics, checkpoints = directory / "metrics.jsonl", directory / "checkpoints"
    config = "a" if (directory / "config.json").exists() else "no"
    lines = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
    complete = [path.name for path in checkpoints.iterdir() if path.name.isdigit()] if checkpoints.exists() else []
    return f"{config} config, {lines} lines, checkpoints {', '.join(complete) or 'none'}"


def same(whole: Path, killed: Path) -> bool:
    """Whether parameters, metrics and evaluations are identical to the last bit."""
    import numpy as np

    files = ("metrics.jsonl", "evaluations.jsonl")
    equal = all((whole / name).read_bytes() == (killed / name).read_bytes() for name in files)
    a, b = np.load(whole / "final.npz"), np.load(killed / "final.npz")
    return equal and a.files == b.files and all(a[name].tobytes() == b[name].tobytes() for name in a.files)


def kill_and_compare(arguments: argparse.Namespace, directory: Path) -> tuple[int, bool]:
    """How many kills hit, and whether the result is the same."""
    whole, killed = directory / "whole", directory / "killed_0"
    began = time.perf_counter()
    if start(arguments, whole).wait():
        raise RuntimeError("the uninterrupted run failed")
    life = time.perf_counter() - began
    chance, hits, equal = random.Random(arguments.seed), 0, True
    while hits < arguments.kills:
        moment = chance.uniform(0.0, life)
        if kill_after(start(arguments, killed), moment):
            hits += 1
            print(f"killed after {moment:.2f} s: {progress(killed)}", flush=True)
        else:  # it came to its end: another one
            equal &= same(whole, killed)
            killed = directory / f"killed_{hits}"
    if start(arguments, killed).wait():
        raise RuntimeError("the last resume failed")
    return hits, equal and same(whole, killed)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--kills", type=int, default=10)
    result.add_argument("--seed", type=int, default=0)
    result.add_argument("--algorithm", default="")
    result.add_argument("--env", default="")
    result.add_argument("--total-steps", type=int, default=1200)
    result.add_argument("--evaluations", type=int, default=100)
    result.add_argument("--worker", type=Path, default=None, help=argparse.SUPPRESS)
    return result


if __name__ == "__main__":
    options = parser().parse_args()
    if options.worker is not None:
        worker(options)
        sys.exit(0)
    with tempfile.TemporaryDirectory() as temporary:
        hit, equal = kill_and_compare(options, Path(temporary))
    print(f"{hit} kills; {'bit-identical' if equal else 'DIFFERENT'}")
    sys.exit(0 if equal else 1)
