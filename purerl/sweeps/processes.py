"""Several processes, on one host or many, that share a sweep.

Agents are independent, so the processes share nothing but the plan: each trains chunks of its own on its own devices
and writes them itself. They meet at the beginning and at the end only; a process that dies takes no other with it.
"""

import jax
import numpy as np


def connect(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """`jax.distributed.initialize`: call it before anything else; without arguments it reads SLURM's variables.

    Args:
        coordinator: HOST:PORT of process 0.
        processes: how many there are.
        process: which of them this is, from 0.

    Raises ValueError if only some of the arguments are given.
    """
    given = [x is not None for x in (coordinator, processes, process)]
    if any(given) and not all(given):
        raise ValueError("give all of coordinator (HOST:PORT), processes and process, or none of them under SLURM")
    jax.distributed.initialize(coordinator, processes, process)


def index() -> int:
    """Which process this is, from 0."""
    return jax.process_index()


def count() -> int:
    """How many processes share the sweep; 1 without `connect`."""
    return jax.process_count()


def meet(name: str) -> None:
    """Wait until every process has come here."""
    if count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def agree(numbers: list[int]) -> list[int]:
    """Those of process 0, for everybody."""
    if count() == 1:
        return numbers
    from jax.experimental import multihost_utils

    return [int(x) for x in multihost_utils.broadcast_one_to_all(np.asarray(numbers, np.int32))]
