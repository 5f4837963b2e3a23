"""Connect four: four in a row, column or diagonal on a board of six by seven, on which stones fall down."""

import jax.numpy as jnp
import numpy as np

from purerl.environments import drawing
from purerl.environments.games.game import Game, ply, random_player
from purerl.types import Action, Array, Box, Discrete, Environment, Key, Observation, Policy, Timestep

ROWS, COLUMNS = 6, 7


def _lines() -> np.ndarray:
    """The squares of every four in a row, `[69, 4]`."""
    lines = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                squares = [(row + i * down, column + i * right) for i in range(4)]
                if all(0 <= r < ROWS and 0 <= c < COLUMNS for r, c in squares):
                    lines.append([r * COLUMNS + c for r, c in squares])
    return np.array(lines)


LINES = _lines()


def connect_four() -> Game:
    """A step drops a stone into one of seven columns.

    State and observation are the board `[6, 7]`, row 0 at the top: 1 where the player to move has a stone, -1 where the
    other has, else 0.
    """

    def reset(key: Key) -> tuple[Array, Observation]:
        board = jnp.zeros((ROWS, COLUMNS))
        return board, board

    def step(key: Key, board: Array, action: Action) -> tuple[Array, Timestep]:
        allowed = board[0, action] == 0
        row = jnp.sum(board[:, action] == 0) - 1
        placed = jnp.where(allowed, board.at[row, action].set(1.0), board)
        won = allowed & jnp.any(jnp.all(placed.reshape(-1)[LINES] == 1, axis=1))
        return ply(placed, allowed, won, full=jnp.all(placed[0] != 0))

    def render(board: Array) -> np.ndarray:
        return drawing.board(np.asarray(board))

    plies = Environment(
        name="connect_four",
        reset=reset,
        step=step,
        observation_space=Box(-1.0, 1.0, (ROWS, COLUMNS)),
        action_space=Discrete(COLUMNS),
        max_steps=ROWS * COLUMNS,
        render=render,
    )
    return Game(plies, legal)


def legal(board: Array) -> Array:
    """Which columns are not full."""
    return board[0] == 0


def random_connect_four_player() -> Policy:
    """Any column that is not full."""
    return random_player(connect_four(), legal)
