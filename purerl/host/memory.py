"""How much memory there is for a training, before any of it is spent."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

WAYS_OUT = "use fewer seeds, a smaller replay or fewer environments"
CONTROL_GROUP = Path("/sys/fs/cgroup")


def available_bytes(devices: Sequence[Any]) -> int | None:
    """Bytes that can still be allocated where `devices` keep their arrays in equal shares; None where nobody can say.

    Devices that are CPUs share the memory of the host.
    """
    if devices[0].platform == "cpu":
        return _of_device(devices[0])
    left = [_of_device(device) for device in devices]
    known = [x for x in left if x is not None]
    return len(devices) * min(known) if len(known) == len(left) else None


def _of_device(device: Any) -> int | None:
    statistics: dict[str, Any] | None = device.memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics.get("bytes_in_use", 0)
    if device.platform != "cpu":
        return None
    limits = [x for x in (_host_available(), _control_group_available()) if x is not None]
    return min(limits) if limits else None


def require(needed: int, devices: Sequence[Any], what: str) -> None:
    """Raise MemoryError, naming the numbers, if `needed` bytes exceed what the devices have left."""
    available = available_bytes(devices)
    if available is not None and needed > available:
        raise MemoryError(
            f"{what} needs {human(needed)}, but {in_words(devices)} {'has' if len(devices) == 1 else 'have'} "
            f"{human(available)} left: {WAYS_OUT}"
        )


@contextlib.contextmanager
def explained(what: str, devices: Sequence[Any]) -> Iterator[None]:
    """Turn the backend's RESOURCE_EXHAUSTED into a MemoryError that names what was trained, and what may help."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "Out of memory" not in str(error):
            raise
        said = str(error).partition("\n")[0][:200]
        raise MemoryError(f"{what} ran out of memory on {in_words(devices)}: {WAYS_OUT} ({said})") from error


def in_words(devices: Sequence[Any]) -> str:
    """'TFRT_CPU_0', '2 cpu devices'."""
    return str(devices[0]) if len(devices) == 1 else f"{len(devices)} {devices[0].platform} devices"


def human(count: float) -> str:
    """Bytes for people: 1536 -> '1.5 KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _host_available() -> int | None:
    table = Path("/proc/meminfo")
    if not table.exists():
        return None
    fields = dict(line.split(":", 1) for line in table.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def _control_group_available() -> int | None:
    """The limit of the control group less what is used, where cached files that can be dropped at once do not count."""
    limit, used = CONTROL_GROUP / "memory.max", CONTROL_GROUP / "memory.current"
    if not (limit.exists() and used.exists()) or limit.read_text().strip() == "max":
        return None
    statistics = CONTROL_GROUP / "memory.stat"
    lines = statistics.read_text().splitlines() if statistics.exists() else []
    reclaimable = next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    return int(limit.read_text()) - int(used.read_text()) + reclaimable
