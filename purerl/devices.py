"""Devices: the cores of the host as devices or threads, agents spread over them, or one agent's batches.

Agents are independent, so every device runs the same program on agents of its own and no device waits for another
(`over_agents`). A single large agent is split along its environments and minibatches instead, and the compiler adds the
sums over devices that its gradients need (`over_data`).
"""

import contextlib
import importlib.metadata
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar

import jax
import jax.extend
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from purerl import processes, trees

Tree = TypeVar("Tree", bound=Any)
AGENTS, DATA = "agents", "data"
THREADS = ("PJRT_NPROC", "NPROC")  # what XLA's CPU reads, the first one first
HINT = "; on a CPU, purerl.use_all_cores() makes every core a device if it is called before anything is computed"


class Layout(NamedTuple):
    """How the agents of one program lie on the devices."""

    mesh: Mesh  # one axis, AGENTS or DATA

    @property
    def devices(self) -> list[Any]:
        """The devices in use, of this process."""
        return [device for device in self.mesh.devices.flat if device.process_index == jax.process_index()]

    def described(self) -> dict[str, Any]:
        """How many devices there are, what is split over them, and their threads if these were chosen.

        Other sums over devices or threads have other last bits.
        """
        chosen = chosen_threads()
        threads = {} if chosen is None or self.mesh.devices.flat[0].platform != "cpu" else {"threads": chosen}
        return {"devices": self.mesh.size, "split": self.mesh.axis_names[0], **threads}

    def share(self, size: int) -> int:
        """How many of `size` bytes spread over all devices lie on those of this process."""
        return -(-size * len(self.devices) // self.mesh.size)

    def put(self, tree: Tree) -> Tree:
        """Arrays of this host, the same in every process, on the devices."""
        if not processes.several():
            return jax.device_put(tree, self.sharding)

        def place(x: Any) -> jax.Array:
            if trees.is_key(x):
                return jax.random.wrap_key_data(place(jax.random.key_data(x)), impl=jax.random.key_impl(x))
            whole = np.asarray(x)
            return jax.make_array_from_callback(whole.shape, self.sharding, lambda index: whole[index])

        return jax.tree.map(place, tree)

    @property
    def sharding(self) -> NamedSharding:
        """Of every array whose first axis is the agents'."""
        spec = PartitionSpec(AGENTS) if AGENTS in self.mesh.axis_names else PartitionSpec()
        return NamedSharding(self.mesh, spec)

    @property
    def shared(self) -> NamedSharding:
        """Of what all agents share, such as the clock."""
        return NamedSharding(self.mesh, PartitionSpec())

    def vmap(self, function: Callable, in_axes: Sequence[int | None]) -> Callable:
        """`jax.vmap` over the agents; on several devices each maps over its own and none talks to another."""
        batched = jax.vmap(function, in_axes=tuple(in_axes))
        if self.mesh.size == 1 or DATA in self.mesh.axis_names:
            return batched

        def mapped(*arguments: Any) -> Any:
            shares = [arg if axis is None else self._share(arg) for arg, axis in zip(arguments, in_axes, strict=True)]
            traced, result = jax.make_jaxpr(batched, return_shape=True)(*shares)  # where there is no mesh in sight
            run, structure = jax.extend.core.jaxpr_as_fun(traced), jax.tree.structure(result)

            def one_device(*share: Any) -> Any:
                return jax.tree.unflatten(structure, run(*jax.tree.leaves(share)))

            specs = tuple(PartitionSpec() if axis is None else PartitionSpec(AGENTS) for axis in in_axes)
            out = PartitionSpec(AGENTS)
            spread = jax.shard_map(one_device, mesh=self.mesh, in_specs=specs, out_specs=out, check_vma=False)
            return spread(*arguments)

        return mapped

    def lowering(self) -> AbstractContextManager:
        """The context to trace and lower in: `split` finds the devices of `over_data` there."""
        return jax.set_mesh(self.mesh) if DATA in self.mesh.axis_names else contextlib.nullcontext()

    def _share(self, tree: Tree) -> Tree:
        """The shapes of what one device gets."""

        def share(x: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((x.shape[0] // self.mesh.size, *x.shape[1:]), x.dtype)

        return jax.tree.map(share, tree)


def over_agents(agents: int) -> Layout:
    """Spread `agents` agents over as many devices of this host as divide their number.

    Where several processes train together, over all devices of all of them; ValueError if those do not divide it.
    """
    if processes.several():
        everywhere = jax.devices()
        if agents % len(everywhere):
            raise ValueError(f"{agents} agents cannot be spread evenly over {len(everywhere)} devices of all processes")
        return Layout(_mesh(everywhere, AGENTS))
    local = jax.local_devices()
    count = max(n for n in range(1, len(local) + 1) if agents % n == 0)
    return Layout(_mesh(local[:count], AGENTS))


def over_data(devices: int | None = None) -> Layout:
    """Split the batches of every agent over the devices of this host (or the first so many of them).

    Raises ValueError if there are fewer.
    """
    local = jax.local_devices()
    count = len(local) if devices is None else devices
    if not 1 <= count <= len(local):
        raise ValueError(f"{count} devices were asked for, but this host has {len(local)}{HINT}")
    return Layout(_mesh(local[:count], DATA))


def splits() -> bool:
    """Whether `split` does something, here where a program is traced."""
    mesh = jax.sharding.get_abstract_mesh()
    return DATA in mesh.axis_names and mesh.size > 1


def split(tree: Tree, axis: int = 0) -> Tree:
    """Spread the arrays of a tree along `axis` over the devices of `over_data`; outside of it, do nothing.

    Learners call this on what is large: environments, minibatches. It changes where numbers are computed and not which,
    up to the order of sums. Raises ValueError if the devices do not divide the axis.
    """
    if not splits():
        return tree
    mesh = jax.sharding.get_abstract_mesh()
    spec = PartitionSpec(*[None] * axis, DATA)

    def place(x: jax.Array) -> jax.Array:
        if x.shape[axis] % mesh.size:
            raise ValueError(
                f"data parallelism needs num_envs and the minibatch size to be multiples of the {mesh.size} devices, "
                f"but one of them is {x.shape[axis]}"
            )
        return jax.lax.with_sharding_constraint(x, spec)

    return jax.tree.map(place, tree)


def use_all_cores(cores: int | None = None) -> int:
    """Make every core of this host (or so many) a JAX device and return how many devices there are.

    Without it, JAX takes a whole CPU for one device, and agents share its cores badly. Changes nothing where the
    devices are not CPUs, or where `JAX_NUM_CPU_DEVICES` or `XLA_FLAGS` has chosen their number. It must come before
    JAX computes anything, `make` included: afterwards it changes nothing, and warns if that leaves cores idle.
    """
    require_gpu_build()
    wanted = len(os.sched_getaffinity(0)) if cores is None else cores
    if wanted < 1:
        raise ValueError(f"cores must be at least 1, got {cores}")
    chosen = jax.config.jax_num_cpu_devices != -1  # pyright: ignore[reportAttributeAccessIssue]
    if chosen or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return jax.local_device_count()
    try:
        jax.config.update("jax_num_cpu_devices", wanted)
    except RuntimeError:  # the devices have been made already
        if jax.default_backend() == "cpu" and jax.local_device_count() < wanted:
            warnings.warn(
                f"use_all_cores came too late: JAX has computed something, and stays with {jax.local_device_count()} "
                f"of {wanted} devices; call it first, before environments are made",
                stacklevel=2,
            )
    return jax.local_device_count()


def use_threads(threads: int = 1) -> None:
    """Let the CPU compute a single agent with so many threads, instead of one for each of its cores.

    Small matrix products are handed to other threads for longer than they take. With batches of 256 and two layers of
    64 units one thread is 6 % (SAC) to 49 % (PPO on brax) faster than two, with 256 units two are 50 % faster than one
    (`experiments/benchmarks/threads.py`). It must come before JAX computes anything, `make` included: afterwards it
    changes nothing, and warns. Agents on devices of their own (`use_all_cores`) gain little or nothing by it.

    It sets `PJRT_NPROC`, which XLA reads; where that, or `NPROC`, has been set, it stays. Raises ValueError for less
    than one thread.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    if chosen_threads() is not None:
        return
    if computing():
        message = "use_threads came too late: JAX has computed something, and keeps a thread for every core"
        warnings.warn(f"{message}; call it first, before environments are made", stacklevel=2)
        return
    os.environ[THREADS[0]] = str(threads)


def chosen_threads() -> int | None:
    """How many threads XLA has been told to compute with on a CPU; None: one for every core."""
    chosen = [os.environ[name] for name in THREADS if os.environ.get(name, "").isdigit()]
    return int(chosen[0]) if chosen else None


def computing() -> bool:
    """Whether JAX has made its devices, whose number and threads are fixed since."""
    before = jax.config.jax_num_cpu_devices  # pyright: ignore[reportAttributeAccessIssue]
    try:
        jax.config.update("jax_num_cpu_devices", before + 1 if before > 0 else 1)
    except RuntimeError:
        return True
    jax.config.update("jax_num_cpu_devices", before)
    return False


def require_gpu_build() -> None:
    """Raise ImportError if JAX is told to use a GPU (`JAX_PLATFORMS=cuda` or `gpu`) and has no build for one."""
    wanted = (jax.config.jax_platforms or "").split(",")  # pyright: ignore[reportAttributeAccessIssue]
    missing = ("cuda" in wanted and not _has_build("cuda")) or ("gpu" in wanted and not _has_build("cuda", "rocm"))
    if missing and "cpu" not in wanted:
        raise ImportError(
            f"JAX is told to use a GPU (JAX_PLATFORMS={','.join(wanted)}), but it has no build for one: "
            f'pip install "purerl[gpu]", or JAX_PLATFORMS=cpu to use the CPU'
        )


def idle_gpu() -> list[str]:
    """A sentence if there is an NVIDIA GPU that this JAX cannot use, and nobody has said that the CPU is meant."""
    chosen = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
    if chosen or jax.default_backend() != "cpu" or shutil.which("nvidia-smi") is None or _has_build("cuda"):
        return []
    return ['training on the CPU: there is nvidia-smi, but JAX has no build for a GPU (pip install "purerl[gpu]")']


def has_gpu_build() -> bool:
    """Whether JAX has a build for a GPU, and has not been told to leave it alone."""
    return jax.config.jax_platforms != "cpu" and _has_build("cuda", "rocm")  # pyright: ignore[reportAttributeAccessIssue]


def _has_build(*kinds: str) -> bool:
    """Whether a plugin of JAX for one of these kinds of GPUs is installed."""
    names = [point.name for point in importlib.metadata.entry_points(group="jax_plugins")]
    return any(kind in name for kind in kinds for name in names)


def idle_cores() -> list[str]:
    """A sentence if the CPU is one device though it has several cores."""
    cores = len(os.sched_getaffinity(0))
    if jax.default_backend() != "cpu" or jax.local_device_count() > 1 or cores == 1 or processes.several():
        return []
    return [f"one device for {cores} cores{HINT}"]


def _mesh(devices: Sequence[Any], axis: str) -> Mesh:
    return jax.make_mesh((len(devices),), (axis,), axis_types=(AxisType.Auto,), devices=devices)
