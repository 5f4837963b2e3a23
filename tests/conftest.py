"""Set-up of the whole suite: the CPU unless told otherwise, cheap compilations, and one cache of them for all runs.

What is set is set in the environment, so that subprocesses share it.
"""

import os
import sys
from functools import partial
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("PURERL_RENDERER", "outlines")  # the same pictures everywhere; OpenGL has tests of its own
CACHE = Path(__file__).parent.parent / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
# Most of the suite is compiling, so that as little as possible of it is done; learning runs that take minutes are
# compiled at the level that `run` compiles with, too. Workers find it set by the process that started them.
QUICK = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
    slow = any("slow" in argument.replace("not slow", "") for argument in sys.argv)
    flags = "--xla_backend_optimization_level=1" if slow else QUICK
    os.environ["XLA_FLAGS"] = f"{flags} {os.environ.get('XLA_FLAGS', '')}"


@pytest.fixture
def compiled_as_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test passes to `jax.jit` is compiled as `AS_USERS`: it runs for longer than it compiles."""
    import jax

    from tests.compilation import AS_USERS

    monkeypatch.setattr(jax, "jit", partial(jax.jit, compiler_options=AS_USERS))
