"""Grid worlds from maps of text. Every cell is a state, `row * columns + column`, so that values reshape to the grid.

The actions of all grids are left, down, right, up (0, 1, 2, 3), as in FrozenLake. A move against the edge or a wall
stays where it is. Walls are states that nobody enters and count as terminal.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from purerl.environments.finite.mdp import FiniteMDP, finite_mdp

DIRECTIONS = ((0, -1), (1, 0), (0, 1), (-1, 0))  # left, down, right, up: (rows, columns)
ARROWS = "←↓→↑"
WALL, START, FREE = "#", "S", "."


def from_map(
    rows: Sequence[str],
    rewards: Mapping[str, float] | None = None,
    terminal: str = "G",
    back_to_start: str = "",
    success_rate: Any = 1.0,
    discount: Any = 1.0,
) -> FiniteMDP:
    """The MDP of a map such as `("S.#", "..G")`.

    Args:
        rows: strings of equal length. `#` is a wall, `S` a start (several are equally likely; without any, every cell
            that is not terminal is); all others are names of kinds of cells.
        rewards: kind of cell -> reward of every step that ends in such a cell, also by staying there; 0 for others.
        terminal: the kinds of cells at which the episode ends.
        back_to_start: the kinds of cells that one leaves in the same step for the only start.
        success_rate: probability that the agent moves as it wants; otherwise it moves at a right angle to that, both
            sides being equally likely. May be traced.
        discount: in [0, 1]; may be traced.

    Raises ValueError for rows of unequal length, for `back_to_start` without exactly one start, and for a success rate
    outside [0, 1].
    """
    if not rows or len({len(row) for row in rows}) != 1:
        raise ValueError(f"a map needs rows of equal length, got lengths {[len(row) for row in rows]}")
    cells = np.array([list(row) for row in rows])
    kinds = cells.ravel()
    starts = np.flatnonzero(kinds == START)
    if back_to_start and len(starts) != 1:
        raise ValueError(f"back_to_start needs exactly one start (S) on the map, got {len(starts)}")
    entered = _neighbours(cells)  # [S, 4]
    rewards = {} if rewards is None else rewards
    reward = np.vectorize(lambda kind: float(rewards.get(kind, 0.0)))(kinds[entered])
    successor = np.where(np.isin(kinds[entered], list(back_to_start)), starts[0], entered) if back_to_start else entered

    # Three outcomes of every action: as wanted, and to both sides.
    chances = jnp.stack([jnp.asarray(x, jnp.zeros(()).dtype) for x in _chances(success_rate)])
    turns = np.stack([np.roll(successor, -k, axis=1) for k in (0, 1, -1)])  # [3, S, 4]
    earned = np.stack([np.roll(reward, -k, axis=1) for k in (0, 1, -1)])
    outcome = np.eye(len(kinds))[turns]  # [3, S, 4, S]
    transition = jnp.einsum("k,ksat->sat", chances, outcome)
    total = jnp.einsum("k,ksat,ksa->sat", chances, outcome, earned)
    ends = np.isin(kinds, [*terminal, WALL])
    begins = (kinds == START) if len(starts) else ~ends
    return finite_mdp(
        transition=transition,
        reward=jnp.where(transition > 0, total / jnp.where(transition > 0, transition, 1.0), 0.0),
        discount=discount,
        terminal=ends,
        initial=begins / begins.sum(),
    )


def _chances(success_rate: Any) -> tuple[Any, Any, Any]:
    """Probabilities of going as wanted, and to either side."""
    if isinstance(success_rate, int | float) and not 0 <= success_rate <= 1:
        raise ValueError(f"success_rate must be in [0, 1], got {success_rate}")
    return success_rate, (1 - success_rate) / 2, (1 - success_rate) / 2


def _neighbours(cells: np.ndarray) -> np.ndarray:
    """Where each of the four moves ends, `[S, 4]`, before anything special happens there."""
    rows, columns = cells.shape
    row, column = np.divmod(np.arange(rows * columns), columns)
    entered = []
    for down, right in DIRECTIONS:
        to_row, to_column = np.clip(row + down, 0, rows - 1), np.clip(column + right, 0, columns - 1)
        blocked = cells[to_row, to_column] == WALL
        entered.append(np.where(blocked, row * columns + column, to_row * columns + to_column))
    return np.stack(entered, axis=1)
