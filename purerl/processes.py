"""Several processes, on one host or many, that train together: one program over all their devices.

Every process makes the same calls with the same arguments. Agents lie on the devices of all processes, each of which
writes its own share of every checkpoint; the first one keeps the directory, the numbers and the console. They need a
file system that all of them see.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np


def connect(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """`jax.distributed.initialize`: call it before anything else; without arguments it reads SLURM's variables.

    Args:
        coordinator: HOST:PORT of the first process, seen from all.
        processes: how many there are.
        process: which of them this is, from 0.

    Raises ValueError if only some of the arguments are given.
    """
    given = [x is not None for x in (coordinator, processes, process)]
    if any(given) and not all(given):
        raise ValueError("give all of coordinator (HOST:PORT), processes and process, or none of them under SLURM")
    jax.distributed.initialize(coordinator, processes, process)


def several() -> bool:
    """Whether there is more than this process."""
    return jax.process_count() > 1


def first() -> bool:
    """Whether this is the process that writes and talks."""
    return jax.process_index() == 0


def meet(name: str) -> None:
    """Wait until every process has come here."""
    if several():
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def agree(numbers: list[int]) -> list[int]:
    """Those of the first process, for everybody."""
    if not several() or not numbers:
        return numbers
    from jax.experimental import multihost_utils

    return [int(x) for x in multihost_utils.broadcast_one_to_all(np.asarray(numbers, np.int32))]


def gather(tree: Any) -> Any:
    """Arrays that lie on the devices of all processes, whole and on the host of each."""
    if not several():
        return jax.device_get(tree)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(tree, tiled=True)


@contextlib.contextmanager
def refused_together() -> Iterator[None]:
    """What the first process does in this context, for all: if it fails, every process raises instead of waiting."""
    error: Exception | None = None
    try:
        yield
    except (OSError, ValueError) as raised:
        error = raised
    all_well = agree([int(error is None)])[0]
    if error is not None:
        raise error
    if not all_well:
        raise RuntimeError("the first process has refused to begin: its message says why")
