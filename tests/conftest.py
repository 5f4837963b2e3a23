"""Set-up of the whole suite: the CPU unless told otherwise, cheap compilations, and one cache of them for all runs.

What is set is set in the environment, so that subprocesses share it.
"""

import contextlib
import ctypes
import gc
import os
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.compilation import AS_USERS, QUICK

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("PURERL_RENDERER", "outlines")  # the same pictures everywhere; OpenGL has tests of its own
CACHE = Path(__file__).parent.parent / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
# Most of the suite is compiling, so that as little as possible of it is done; learning runs that take minutes are
# compiled at the level that `run` compiles with, too. Workers find it set by the process that started them.
if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
    slow = any("slow" in argument.replace("not slow", "") for argument in sys.argv)
    flags = "--xla_backend_optimization_level=1" if slow else QUICK
    os.environ["XLA_FLAGS"] = f"{flags} {os.environ.get('XLA_FLAGS', '')}"
# Tracing makes objects by the hundred thousand that stay; looking for garbage among them is a tenth of its time.
gc.set_threshold(50_000, 20, 20)
MEMORY = 3e9  # bytes that a process may hold before it drops what jax has compiled: it keeps all of it, for ever


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Drop compiled programs where they take too much memory, but not between tests of a group: those share them."""
    groups = [one and one.get_closest_marker("xdist_group") for one in (item, nextitem)]
    if not groups[0] or groups[0] != groups[1]:
        make_room()


def make_room() -> None:
    """Drop what jax has compiled in this process, if it holds too much memory."""
    if memory() < MEMORY:
        return
    import jax

    jax.clear_caches()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # where there is no glibc, it stays with the process
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def memory() -> int:
    """Bytes of memory that this process holds; 0 where nobody can say."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages.exists() else 0


@pytest.fixture
def compiled_as_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test passes to `jax.jit` is compiled as `AS_USERS`: it runs for longer than it compiles."""
    import jax

    monkeypatch.setattr(jax, "jit", partial(jax.jit, compiler_options=AS_USERS))
