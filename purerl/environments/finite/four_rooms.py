"""FourRooms as arrays: the walls and the slipping of gymnax's `FourRooms-misc`, with any rewards or features."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from purerl.environments.finite.grids import from_map
from purerl.environments.finite.mdp import FiniteMDP

FOUR_ROOMS = (
    *("#############", "#.....#.....#", "#.....#.....#", "#...........#", "#S....#.....#", "#.....#.....#"),
    *("##.####.....#", "#.....###.###", "#.....#.....#", "#.....#.....#", "#...........#", "#.....#.....#"),
    "#############",
)  # (Sutton, Precup & Singh, 1999), 104 free cells
COLUMNS = len(FOUR_ROOMS[0])
CORNERS = tuple(row * COLUMNS + column for row in (1, 11) for column in (1, 11))  # the outer ones, as states


def four_rooms(discount: Any = 0.95, fail_rate: Any = 1 / 3) -> FiniteMDP:
    """Four rooms without an end and without rewards; a state is `row * 13 + column`.

    Args:
        discount: in [0, 1]; may be traced.
        fail_rate: probability that one of the three other actions happens instead; may be traced.
    """
    mdp = from_map(FOUR_ROOMS, terminal="", discount=discount)
    uniform = jnp.mean(mdp.transition, axis=1, keepdims=True)
    slip = 4 / 3 * fail_rate  # an action drawn among all four is another one in three cases of four
    return mdp.replace(transition=(1 - slip) * mdp.transition + slip * uniform)


def corner_features() -> np.ndarray:
    """phi `[S, 4]`: one-hot where the state is an outer corner, 0 elsewhere."""
    return np.stack([np.arange(len(FOUR_ROOMS) * COLUMNS) == corner for corner in CORNERS], axis=1).astype(np.float32)
