"""What `brax.training` 0.14.2 needs of jax and current versions no longer have."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def restore_device_put_replicated() -> None:
    """Give jax back the function by which brax places its state on devices."""

    def replicate(tree: Any, devices: list[Any]) -> Any:
        sharding = NamedSharding(Mesh(np.array(devices), ("i",)), PartitionSpec("i"))
        return jax.tree.map(lambda x: jax.device_put(jnp.stack([x] * len(devices)), sharding), tree)

    if not hasattr(jax, "device_put_replicated"):
        setattr(jax, "device_put_replicated", replicate)  # noqa: B010
