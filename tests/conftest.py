"""Set-up of the whole suite: the CPU unless told otherwise, cheap compilations, and one cache of them for all runs.

What is set is set in the environment, so that subprocesses share it.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
CACHE = Path(__file__).parent.parent / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
# Most of the suite is compiling, so that as little as possible of it is done; learning runs that take minutes are
# compiled at the level that `run` compiles with, too.
QUICK = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
FLAGS = "--xla_backend_optimization_level=1" if "slow" in sys.argv else QUICK
os.environ["XLA_FLAGS"] = f"{FLAGS} {os.environ.get('XLA_FLAGS', '')}"
