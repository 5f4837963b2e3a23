"""Board games: their rules against play on paper, their opponents, and the learner's view of them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import evaluate, make
from purerl.environments.games import (
    against,
    connect_four,
    perfect_tic_tac_toe_player,
    random_connect_four_player,
    random_tic_tac_toe_player,
    tic_tac_toe,
)
from purerl.environments.games.connect_four import LINES
from purerl.environments.games.tic_tac_toe import solve
from purerl.types import Policy

KEY = jax.random.key(0)


def played(game, moves):
    """The last timestep after these moves."""
    state, _ = game.environment.reset(KEY)
    step = jax.jit(game.environment.step)
    for move in moves[:-1]:
        state, timestep = step(KEY, state, jnp.asarray(move))
        assert not timestep.terminated
    return step(KEY, state, jnp.asarray(moves[-1]))[1]


def test_tic_tac_toe_is_won_drawn_and_forfeited():
    won = played(tic_tac_toe(), [0, 3, 1, 4, 2])  # the top row of the one who began
    assert (float(won.reward), bool(won.terminated)) == (1.0, True)
    np.testing.assert_array_equal(won.observation, [-1, -1, -1, 1, 1, 0, 0, 0, 0])  # as the loser sees it
    drawn = played(tic_tac_toe(), [0, 1, 2, 4, 3, 5, 7, 6, 8])
    assert (float(drawn.reward), bool(drawn.terminated)) == (0.0, True)
    forfeited = played(tic_tac_toe(), [4, 4])
    assert (float(forfeited.reward), bool(forfeited.terminated)) == (-1.0, True)


@pytest.mark.parametrize(
    ("moves", "reward"),
    [
        ([0, 1, 0, 1, 0, 1, 0], 1.0),  # a column
        ([0, 0, 1, 1, 2, 2, 3], 1.0),  # a row
        ([0, 1, 1, 2, 2, 3, 2, 3, 3, 6, 3], 1.0),  # a diagonal
        ([6, 5, 5, 4, 4, 3, 4, 3, 3, 0, 3], 1.0),  # the other one
        ([0, 0, 0, 0, 0, 0, 0], -1.0),  # a full column
    ],
)
def test_connect_four_is_won_in_every_direction(moves, reward):
    last = played(connect_four(), moves)
    assert (float(last.reward), bool(last.terminated)) == (reward, True)
    assert LINES.shape == (69, 4)


def test_what_is_legal():
    game = connect_four()
    state, _ = game.environment.reset(KEY)
    for move in (2, 2, 2, 2, 2, 2):
        state, _ = game.environment.step(KEY, state, jnp.asarray(move))
    np.testing.assert_array_equal(game.legal(state), [True, True, False, True, True, True, True])


def test_solved_tic_tac_toe_is_a_draw_and_agrees_with_its_own_moves():
    values = solve()
    code = lambda board: int(np.dot(np.array(board) + 1, 3 ** np.arange(9)))  # noqa: E731
    assert values[code([0] * 9)] == 0
    assert values[code([1, 1, 0, -1, -1, 0, 0, 0, 0])] == 1  # to win at once
    assert values[code([1, 0, 0, -1, -1, 0, 0, 0, 0])] == 0  # to block in time
    assert values[code([-1, -1, 0, -1, 1, 0, 0, 1, 0])] == -1  # two threats
    assert np.count_nonzero(values == 1) > np.count_nonzero(values == -1)


def test_the_perfect_player_never_loses_and_wins_against_chance():
    game = tic_tac_toe()
    seen = {}
    for mine, theirs in itertools.product(("perfect", "random"), repeat=2):
        players = {"perfect": perfect_tic_tac_toe_player, "random": random_tic_tac_toe_player}
        environment = against(game, players[theirs](), "match", {})
        seen[mine, theirs] = np.asarray(evaluate(players[mine](), environment, KEY, episodes=400).returns)
    assert np.all(seen["perfect", "perfect"] == 0)
    assert np.all(seen["perfect", "random"] >= 0)
    assert np.mean(seen["perfect", "random"]) > 0.8
    assert np.all(seen["random", "perfect"] <= 0)
    assert abs(np.mean(seen["random", "random"])) < 0.15  # who begins is tossed


def test_an_opponent_remembers():
    """Its memory is made at the reset and carried from ply to ply: this one takes the squares in turn."""
    in_turn = Policy(init=lambda key: jnp.zeros((), jnp.int32), act=lambda key, memory, seen: (memory + 1, memory))
    environment = against(tic_tac_toe(), in_turn, "match", {})
    for seed in range(4):
        state, board = environment.reset(jax.random.key(seed))
        begun = int(jnp.sum(board != 0))  # 1 if the opponent has begun
        assert int(state.opponent) == begun
        _, timestep = environment.step(KEY, state, jnp.asarray(8))
        np.testing.assert_array_equal(timestep.observation[: begun + 1], -np.ones(begun + 1))


def test_games_are_environments_by_name():
    environment = make("game/tic_tac_toe", opponent="perfect")
    assert environment.name == "game/tic_tac_toe"
    assert environment.parameters == {"opponent": "perfect"}
    assert np.all(evaluate(random_connect_four_player(), make("game/connect_four"), KEY, episodes=8).lengths <= 21)
    with pytest.raises(ValueError, match="no opponent 'perfect'"):
        make("game/connect_four", opponent="perfect")
    with pytest.raises(ValueError, match="has no parameter level"):
        make("game/connect_four", level=3)
