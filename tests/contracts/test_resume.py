"""N + M iterations are N, a save, a load in another process, and M: bit for bit, for every algorithm in the table."""

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
import traceback

import jax
import numpy as np
import pytest

from purerl import run
from tests.conftest import make_room
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


def serve() -> None:
    """Resume runs: a line with the case and the directory of each comes in, a digest or what went wrong goes out."""
    for line in sys.stdin:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                answer = {"digest": train(*json.loads(line), resume=True)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)
        make_room()


@pytest.fixture(scope="session")
def resume_elsewhere():
    """Resumes a run in another process: the same one for all runs, as importing takes longer than to resume."""
    command = [sys.executable, "-c", "from tests.contracts.test_resume import serve; serve()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def resume(name: str, directory: str) -> str:
            print(json.dumps([name, directory]), file=process.stdin, flush=True)
            answer = json.loads(process.stdout.readline())
            assert "error" not in answer, answer["error"]
            return answer["digest"]

        yield resume


@pytest.mark.parametrize("name", DIFFERENT_LOOPS)
def test_a_resumed_run_is_the_uninterrupted_one(name, tmp_path, resume_elsewhere):
    directory = tmp_path / "run"
    expected = train(name, str(directory), resume=False)
    lines = {file: (directory / file).read_bytes() for file in ("metrics.jsonl", "evaluations.jsonl")}
    saved = sorted(
        (directory / "checkpoints").iterdir(), key=lambda path: int(path.name) if path.name.isdigit() else -1
    )
    assert len(saved) >= 2
    shutil.rmtree(saved[-1])  # as if killed before the last checkpoint was there
    (directory / "summary.json").unlink()
    assert resume_elsewhere(name, str(directory)) == expected
    for file, content in lines.items():
        assert (directory / file).read_bytes() == content
    assert json.loads((directory / "summary.json").read_text())["algorithm"] == CASES[name].algorithm
