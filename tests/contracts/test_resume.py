"""N + M iterations are N, a save, a load in a fresh process, and M: bit for bit, for every algorithm in the table."""

import hashlib
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from purerl import run
from tests.contracts.cases import CASES, DIFFERENT_LOOPS, algorithm


def train(name: str, directory: str, resume: bool) -> str:
    """Train the case of an algorithm, two seeds, and return a digest of every bit of the final training."""
    iterations = CASES[name].iterations
    result = run(
        algorithm(name),
        iterations=iterations,
        evaluations=iterations,
        episodes=2,
        seeds=2,
        directory=directory,
        resume=resume,
        sinks=(),
    )
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(result.training):
        is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        digest.update(np.asarray(jax.random.key_data(leaf) if is_key else leaf).tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("name", DIFFERENT_LOOPS)
def test_a_resumed_run_is_the_uninterrupted_one(name, tmp_path):
    directory = tmp_path / "run"
    expected = train(name, str(directory), resume=False)
    lines = {file: (directory / file).read_bytes() for file in ("metrics.jsonl", "evaluations.jsonl")}
    saved = sorted(
        (directory / "checkpoints").iterdir(), key=lambda path: int(path.name) if path.name.isdigit() else -1
    )
    assert len(saved) >= 2
    shutil.rmtree(saved[-1])  # as if killed before the last checkpoint was there
    (directory / "summary.json").unlink()
    script = f"from tests.contracts.test_resume import train; print(train({name!r}, {str(directory)!r}, resume=True))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == expected
    for file, content in lines.items():
        assert (directory / file).read_bytes() == content
    assert json.loads((directory / "summary.json").read_text())["algorithm"] == CASES[name].algorithm
