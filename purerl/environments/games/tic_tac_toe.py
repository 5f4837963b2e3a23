"""Tic-tac-toe, and the player who cannot lose it: all 5478 positions are solved backwards."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from purerl.environments import drawing
from purerl.environments.games.game import Game, ply, random_player
from purerl.types import Action, Array, Box, Discrete, Environment, Key, Observation, Policy, Timestep

LINES = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]])
PLACES = 3 ** np.arange(9)


def tic_tac_toe() -> Game:
    """Three in a row on a board of nine.

    State and observation are the board `[9]`: 1 where the player to move has a stone, -1 where the other has, else 0.
    """

    def reset(key: Key) -> tuple[Array, Observation]:
        board = jnp.zeros(9)
        return board, board

    def step(key: Key, board: Array, action: Action) -> tuple[Array, Timestep]:
        allowed = board[action] == 0
        placed = board.at[action].set(1.0)
        won = allowed & jnp.any(jnp.all(placed[LINES] == 1, axis=1))
        after = jnp.where(allowed, placed, board)
        return ply(after, allowed, won, full=jnp.all(after != 0))

    def render(board: Array) -> np.ndarray:
        return drawing.board(np.asarray(board).reshape(3, 3))

    plies = Environment(
        name="tic_tac_toe",
        reset=reset,
        step=step,
        observation_space=Box(-1.0, 1.0, (9,)),
        action_space=Discrete(9),
        max_steps=9,
        render=render,
    )
    return Game(plies, legal)


def legal(board: Array) -> Array:
    """Which squares are free."""
    return board == 0


def random_tic_tac_toe_player() -> Policy:
    """Any free square."""
    return random_player(tic_tac_toe(), legal)


def perfect_tic_tac_toe_player() -> Policy:
    """One of the best squares, uniformly: a win if there is one, a draw if there is one, in no hurry."""
    values = jnp.asarray(solve())
    places = jnp.asarray(PLACES)

    def act(key: Key, memory: tuple[()], board: Observation) -> tuple[tuple[()], Action]:
        placed = jnp.where(jnp.eye(9, dtype=bool), 1.0, board)  # [9 squares, board]
        won = jnp.any(jnp.all(placed[:, LINES] == 1, axis=2), axis=1)
        code = ((1 - placed).astype(jnp.int32) * places).sum(1)  # of the board as the other sees it: -placed + 1
        worth = jnp.where(won, 1, -values[code])
        worth = jnp.where(legal(board), worth, -2)
        return memory, jax.random.categorical(key, jnp.where(worth == worth.max(), 0.0, -jnp.inf))

    return Policy(init=lambda key: (), act=act)


@cache
def solve() -> np.ndarray:
    """What every board is worth to the player to move, by `sum_i (board_i + 1) 3^i`: 1, 0 or -1 (int8 `[3^9]`)."""
    values = np.zeros(3**9, np.int8)

    @cache
    def worth(board: tuple[int, ...]) -> int:
        if any(all(board[i] == -1 for i in line) for line in LINES):
            result = -1  # the other has just won
        elif 0 not in board:
            result = 0
        else:
            free = [i for i in range(9) if board[i] == 0]
            result = max(-worth(tuple(-s for s in (*board[:i], 1, *board[i + 1 :]))) for i in free)
        values[int(np.dot(np.array(board) + 1, PLACES))] = result
        return result

    worth((0,) * 9)
    return values
