"""Board games for two: as plies for planners (`tic_tac_toe()`), and against an opponent for learners.

`make("game/tic_tac_toe", opponent="perfect")` and `make("game/connect_four")` are environments like all others.
"""

from typing import Any

from purerl.environments.games.connect_four import connect_four, random_connect_four_player
from purerl.environments.games.game import Game, Match, against, random_player
from purerl.environments.games.tic_tac_toe import (
    perfect_tic_tac_toe_player,
    random_tic_tac_toe_player,
    tic_tac_toe,
)
from purerl.types import Environment, Policy

__all__ = [
    "Game",
    "Match",
    "against",
    "connect_four",
    "perfect_tic_tac_toe_player",
    "random_connect_four_player",
    "random_player",
    "random_tic_tac_toe_player",
    "tic_tac_toe",
]

OPPONENTS = {
    "tic_tac_toe": {"random": random_tic_tac_toe_player, "perfect": perfect_tic_tac_toe_player},
    "connect_four": {"random": random_connect_four_player},
}
GAMES = {"tic_tac_toe": tic_tac_toe, "connect_four": connect_four}
NAMES = tuple(GAMES)


def make(name: str, opponent: str | Policy = "random") -> Environment:
    """A game against `opponent`: "random", for tic-tac-toe also "perfect", or any policy on the game's observations.

    Raises ValueError for an opponent that the game does not have.
    """
    parameters: dict[str, Any] = {"opponent": opponent}
    if isinstance(opponent, str):
        if opponent not in OPPONENTS[name]:
            raise ValueError(f"{name} has no opponent {opponent!r}; give one of {sorted(OPPONENTS[name])} or a Policy")
        opponent = OPPONENTS[name][opponent]()
    return against(GAMES[name](), opponent, f"game/{name}", parameters)
