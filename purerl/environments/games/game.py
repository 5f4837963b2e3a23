"""Games of two players who move in turn, and how one of them becomes an environment for a learner."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purerl import trees
from purerl.types import Action, Array, Discrete, Environment, EnvState, Key, Memory, Observation, Policy, Timestep


class Game(NamedTuple):
    """A zero-sum game. A step is a ply: whoever is to move acts, and then the other is to move.

    State and observation are those of the player who is to move, and a reward is of the player who moved: what is good
    for one is as bad for the other. An action that is not legal loses at once.
    """

    environment: Environment  # of plies; its `render` draws the player to move as the learner
    legal: Callable[[EnvState], Array]  # bool [A]: which actions are allowed


class Match(NamedTuple):
    """The state of a game against an opponent."""

    game: EnvState
    opponent: Memory
    learner: Array  # bool: whether `game` is as the learner sees it, not the opponent (after its last ply)


def ply(board: Array, allowed: Array, won: Array, full: Array) -> tuple[EnvState, Timestep]:
    """What a ply leads to: the board of the other player, who sees it with the signs turned, and the mover's reward."""
    return -board, Timestep(
        observation=-board,
        reward=jnp.where(won, 1.0, jnp.where(allowed, 0.0, -1.0)),
        terminated=won | ~allowed | full,
        truncated=jnp.zeros((), bool),
        info={},
    )


def against(game: Game, opponent: Policy, name: str, parameters: dict[str, Any]) -> Environment:
    """The game as its learner sees it: a step is its own ply and, if the game goes on, the opponent's answer.

    The reward is 1 for winning, -1 for losing, 0 for a draw and before the end. Who begins is a toss of a coin.

    Args:
        game: what is played.
        opponent: a policy on the observations of the game.
        name, parameters: of the environment, so that it can be made again.
    """
    plies = game.environment
    draw = plies.render

    def answer(key: Key, match: Match, observation: Observation) -> tuple[Match, Timestep]:
        act_key, step_key = jax.random.split(key)
        memory, action = opponent.act(act_key, match.opponent, observation)
        state, timestep = plies.step(step_key, match.game, action)
        return Match(state, memory, jnp.ones((), bool)), timestep

    def reset(key: Key) -> tuple[Match, Observation]:
        reset_key, memory_key, toss_key, answer_key = jax.random.split(key, 4)
        state, observation = plies.reset(reset_key)
        match = Match(state, opponent.init(memory_key), jnp.ones((), bool))
        answered, timestep = answer(answer_key, match, observation)
        begins = jax.random.bernoulli(toss_key)
        return trees.where(begins, match, answered), jnp.where(begins, observation, timestep.observation)

    def step(key: Key, match: Match, action: Action) -> tuple[Match, Timestep]:
        step_key, answer_key = jax.random.split(key)
        state, mine = plies.step(step_key, match.game, action)
        match = match._replace(game=state, learner=jnp.zeros((), bool))
        answered, theirs = answer(answer_key, match, mine.observation)
        over = mine.terminated
        return trees.where(over, match, answered), Timestep(
            observation=jnp.where(over, mine.observation, theirs.observation),
            reward=mine.reward - jnp.where(over, 0.0, theirs.reward),
            terminated=over | theirs.terminated,
            truncated=jnp.zeros((), bool),
            info={},
        )

    def render(match: Match) -> Any:
        assert draw is not None
        return draw(match.game if match.learner else jax.tree.map(lambda x: -x, match.game))

    own = render if draw is not None else None
    return plies._replace(name=name, reset=reset, step=step, parameters=parameters, render=own)


def random_player(game: Game, legal: Callable[[Observation], Array]) -> Policy:
    """A player who draws uniformly among the legal actions, which `legal` finds in an observation."""
    space = game.environment.action_space
    assert isinstance(space, Discrete)

    def act(key: Key, memory: tuple[()], observation: Observation) -> tuple[tuple[()], Action]:
        return memory, jax.random.categorical(key, jnp.where(legal(observation), 0.0, -jnp.inf))

    return Policy(init=lambda key: (), act=act)
