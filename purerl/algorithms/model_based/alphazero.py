"""AlphaZero: search with what has been learned, learn what the search has found (Silver et al., 2018).

A network gives a prior p(a | s) and a value v(s). In every state the true model is searched with both
(`guided_search`), the action is drawn from what the search prefers, and the search is the teacher of the network:

    loss = (z - v(s))^2 - sum_a pi(a) log p(a | s) + weight_decay |params|^2 / 2

    pi   the shares of the visits at the root (puct), or the improved policy (gumbel, Danihelka et al., 2022)
    z    r + discount (1 - terminated) [lambda z' + (1 - lambda) v_search(s')]: the return of what was played, with
         lambda < 1 bootstrapped by the values that the searches have found; at the end of a block by v

Exploration is Dirichlet noise in the prior of the root and the draw of the action (puct), or Gumbel noise (gumbel), in
training only.

One player: `make(environment, config)` with discrete actions, whose `step` is the model. Two players who take turns:
`make(game, config)` with a `Game` plays both sides of it. Values are those of whoever is to move, so the discount is
negative, `z = r - discount z'`, and with lambda = 1 and a discount of 1 z is the outcome of the game. By name,
`make("game/tic_tac_toe")` is a match against an opponent. AlphaZero can learn it as it is (the opponent is a part of a
stochastic world), or with `self_play` plays both sides and is only evaluated in that match.

`policy` is the prior without a search: it acts on observations, and of illegal moves it knows what it has learned.
`search_policy` searches, and needs the state too:

    evaluate(search_policy(problem, config, state), reveal_state(algorithm.environment), key)
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import trees
from purerl.algorithms.config import check_config, name_of, require_discrete
from purerl.environments.games import GAMES, Game, Match, against, random_player
from purerl.environments.vectorize import VectorState, vectorize
from purerl.networks.heads import ActorCritic
from purerl.networks.torsos import Activation
from purerl.operators.returns import generalized_advantage
from purerl.optimizers import annealing, clipped_adam, descend
from purerl.planning.policy_guided_search import Evaluate, GuidedSearch, Kind, guided_search
from purerl.replay import Replay, ReplayState, uniform_replay
from purerl.types import Algorithm, Array, Environment, Key, Memory, Metrics, Observation, Policy, Time

Params = Any


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    search: Kind = "puct"
    """How to search, and what of it is learned."""
    simulations: int = 32
    """Per move."""
    exploration: float = 1.25
    """Weight of the prior against values scaled to [0, 1] (puct), > 0."""
    dirichlet_fraction: float = 0.25
    """Share of noise in the prior of the root (puct), in [0, 1]."""
    dirichlet_alpha: float = 0.3
    """Concentration of that noise (puct), > 0; about ten by the number of actions."""
    temperature: float = 1.0
    """Actions are drawn in proportion to visits^(1 / temperature) (puct), >= 0; 0 is the most visited."""
    gumbel_scale: float = 1.0
    """Noise that draws actions at the root (gumbel), >= 0."""
    considered_actions: int = 16
    """At most so many are tried at the root (gumbel)."""
    self_play: bool = False
    """Of a game by name ("game/..."), play both sides; the match against its opponent is for evaluation only."""
    discount: float = 0.99
    """Weight of the next step's reward, in [0, 1]."""
    trace_decay: float = 0.95
    """Lambda of the targets of v, in [0, 1]: 0 trusts the next search's value, 1 what was earned."""
    learning_rate: float = 1e-3
    """Step size of Adam, > 0."""
    anneal_learning_rate: bool = True
    """Let the step size fall linearly to 0 over the run."""
    adam_epsilon: float = 1e-8
    """Added to Adam's denominator, > 0."""
    max_gradient_norm: float = float("inf")
    """Gradients are scaled down to this global norm, > 0; inf is off."""
    weight_decay: float = 1e-4
    """Of the networks' weights, >= 0."""
    value_coefficient: float = 1.0
    """Weight of the value's loss against the prior's, > 0."""
    num_envs: int = 32
    """Environments stepped, or games played, side by side."""
    steps_per_iteration: int = 16
    """Moves in each of them per iteration; what is not over by then is bootstrapped by v."""
    updates_per_iteration: int = 16
    """Gradient steps per iteration."""
    batch_size: int = 128
    """Moves per gradient step."""
    replay_capacity: int = 8192
    """Moves remembered; a multiple of num_envs x steps_per_iteration."""
    widths: tuple[int, ...] = (64, 64)
    """Units of the hidden layers of prior and value, which share none."""
    activation: Activation = "tanh"
    """Nonlinearity after every hidden layer."""
    layer_norm: bool = False
    """LayerNorm before every activation."""


class Lesson(NamedTuple):
    """What is remembered of a move."""

    observation: Observation
    policy: Array  # [A]: pi
    value: Array  # z


class Move(NamedTuple):
    """What playing leaves behind, `[T, B, ...]`."""

    observation: Observation
    policy: Array
    search_value: Array  # v_search(s)
    reward: Array
    terminated: Array
    truncated: Array
    successor: Observation  # the true one


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    params: Params
    optimizer: optax.OptState
    environments: VectorState
    replay: ReplayState
    key: Key


def make(problem: Environment | Game, config: Config) -> Algorithm:
    """AlphaZero on an environment with discrete actions, or on both sides of a game.

    The `environment` of the algorithm is `problem`, or the game against a random player (whose moves are legal: its
    observation must be its state, as in the games here). In self-play the sum of rewards in the metrics is that of both
    sides: the share of games that somebody won.

    Raises TypeError for other actions or a traced static field, ValueError for a value out of range, sizes that do not
    go together, or `self_play` of what is not a game.
    """
    environment = match_of(problem)
    check(config, environment)
    game = game_of(problem, config)
    played = game.environment if game else environment
    environments = vectorize(played, config.num_envs)
    network, replay = prior_and_value(environment, config), memory(environment, config)
    optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm, config.weight_decay)
    search = partial(searched, game or environment, config)
    sign = -1.0 if game else 1.0

    def play(state: State, key: Key) -> tuple[VectorState, Move]:
        """`steps_per_iteration` moves in every environment, each found by a search with noise."""

        def body(running: VectorState, keys: Key) -> tuple[VectorState, Move]:
            observation = running.observation
            found = search(network_of(network, state.params), keys[0], running.environment, observation, greedy=False)
            running, timestep = environments.step(keys[1], running, found.action)
            move = Move(
                observation, found.weights, found.value, timestep.reward, timestep.terminated, timestep.truncated,
                successor=timestep.observation,
            )  # fmt: skip
            return running, move

        keys = jax.random.split(key, (config.steps_per_iteration, 2))
        return jax.lax.scan(body, state.environments.clear_statistics(), keys)

    def lessons(params: Params, moves: Move) -> Lesson:
        """What the moves teach, `[T x B, ...]`."""
        _, successor_value = network_of(network, params)(moves.successor)
        target = value_target(moves, successor_value, sign * config.discount, config.trace_decay)
        taught = Lesson(moves.observation, moves.policy, target)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), taught)

    def loss(params: Params, batch: Lesson) -> tuple[Array, Metrics]:
        logits, value = network_of(network, params)(batch.observation)
        value_loss = jnp.mean(jnp.square(batch.value - value))
        policy_loss = jnp.mean(optax.losses.softmax_cross_entropy(logits, batch.policy))
        total = config.value_coefficient * value_loss + policy_loss
        return total, {"loss": total, "value_loss": value_loss, "policy_loss": policy_loss}

    def init(key: Key) -> State:
        network_key, reset_key, key = jax.random.split(key, 3)
        running = environments.reset(reset_key)
        params = network.init(network_key, running.observation)
        return State(params, optimizer.init(params), running, replay.init(), key)

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        play_key, sample_key = jax.random.split(jax.random.fold_in(state.key, time.iteration))
        rate = annealing(time, config.anneal_learning_rate)
        running, moves = play(state, play_key)
        stored = replay.add(state.replay, lessons(state.params, moves), time.iteration)
        drawn = replay.sample(stored, sample_key, time.iteration + 1, config.updates_per_iteration * config.batch_size)
        shape = config.updates_per_iteration, config.batch_size
        batches = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), drawn)

        def update(carry: tuple[Params, optax.OptState], batch: Lesson) -> tuple[tuple[Params, Any], Metrics]:
            gradients, metrics = jax.grad(loss, has_aux=True)(carry[0], batch)
            return descend(optimizer, *carry, gradients, rate), metrics

        (params, optimizer_state), metrics = jax.lax.scan(update, (state.params, state.optimizer), batches)
        state = State(params, optimizer_state, running, stored, state.key)
        metrics = jax.tree.map(jnp.mean, metrics) | {"search_value": jnp.mean(moves.search_value)}
        return state, metrics | running.statistics.metrics()

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, memory: Memory, observation: Observation) -> tuple[Memory, Array]:
            logits, _ = network_of(network, state.params)(observation)
            return memory, jnp.argmax(logits) if greedy else jax.random.categorical(key, logits)

        return Policy(init=lambda key: (), act=act)

    return Algorithm(
        name=name_of(config),
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=lambda state: trees.keep(state, "params"),
        env_steps_per_iteration=config.num_envs * config.steps_per_iteration,
    )


def search_policy(
    problem: Environment | Game, config: Config, state: State, greedy: bool = True, simulations: int | None = None
) -> Policy:
    """The policy that searches with the network of `state`, on `Revealed` observations (see `reveal_state`).

    Args:
        problem, config: what `state` was learned with, as passed to `make`. In self-play the search is for whoever is
            to move; the state of a match against an opponent shows the game that is played in it.
        state: of the learner; its snapshot is enough.
        greedy: without noise.
        simulations: per move; None is as many as in training.
    """
    game, environment = game_of(problem, config), match_of(problem)
    evaluate = network_of(prior_and_value(environment, config), state.params)

    def act(key: Key, memory: Memory, revealed: Any) -> tuple[Memory, Array]:
        root = revealed.state.game if game and isinstance(revealed.state, Match) else revealed.state
        roots, seen = jax.tree.map(lambda x: x[None], (root, revealed.observation))
        found = searched(game or environment, config, evaluate, key, roots, seen, greedy, simulations)
        return memory, found.action[0]

    return Policy(init=lambda key: (), act=act)


def searched(
    problem: Environment | Game,
    config: Config,
    evaluate: Evaluate,
    key: Key,
    state: Any,
    observation: Observation,
    greedy: bool,
    simulations: int | None = None,
) -> GuidedSearch:
    """The search that `config` describes, from `[B, ...]` states: with its noise, or `greedy` without."""
    return guided_search(
        problem,
        key,
        state,
        observation,
        evaluate,
        simulations=simulations or config.simulations,
        kind=config.search,
        discount=config.discount,
        exploration=config.exploration,
        dirichlet_fraction=0.0 if greedy else config.dirichlet_fraction,
        dirichlet_alpha=config.dirichlet_alpha,
        temperature=0.0 if greedy else config.temperature,
        gumbel_scale=0.0 if greedy else config.gumbel_scale,
        considered_actions=config.considered_actions,
    )


def value_target(moves: Move, successor_value: Array, discount: float | Array, trace_decay: float | Array) -> Array:
    """z, `[T, B]`: lambda-returns that bootstrap from the value which the search in the next state has found.

    After the last step of an episode or of the block no search has been made: there `successor_value`, v of the true
    successor, stands in, `[T, B]`. `discount` is negative where the next state is the other player's.
    """
    last = jnp.zeros_like(moves.terminated).at[-1].set(True)
    unsearched = moves.terminated | moves.truncated | last
    following = jnp.where(unsearched, successor_value, jnp.roll(moves.search_value, -1, axis=0))
    advantage = generalized_advantage(
        moves.reward, moves.search_value, following, moves.terminated, moves.truncated, discount, trace_decay
    )
    return advantage + moves.search_value


def prior_and_value(environment: Environment, config: Config) -> ActorCritic:
    """The network: two torsos, a prior and a value."""
    return ActorCritic(
        environment.observation_space, environment.action_space, config.widths, config.activation, config.layer_norm
    )


def network_of(network: ActorCritic, params: Params) -> Evaluate:
    """The network with these parameters, as a function of observations `[..., *space]`: logits and values."""

    def evaluate(observation: Observation) -> tuple[Array, Array]:
        outputs: Any = network.apply(params, observation)
        _, prior, value = outputs
        return prior.logits, value

    return evaluate


def memory(environment: Environment, config: Config) -> Replay:
    """What the lessons are remembered in; ValueError unless its capacity is a multiple of an iteration's moves."""
    space = environment.observation_space
    actions = require_discrete(name_of(config), environment)
    example = Lesson(jnp.zeros(space.shape, space.dtype), jnp.zeros(actions.n), jnp.zeros(()))
    block = config.num_envs * config.steps_per_iteration
    return uniform_replay(config.replay_capacity, block, example, config.num_envs)


def game_of(problem: Environment | Game, config: Config) -> Game | None:
    """The game that is played from both sides, if any; ValueError if `self_play` is asked of what is none."""
    if isinstance(problem, Game) or not config.self_play:
        return problem if isinstance(problem, Game) else None
    family, _, name = problem.name.partition("/")
    if family != "game" or problem.wrappers:
        raise ValueError(
            f"{name_of(config)}: self_play needs a Game or a game by name ({' or '.join(f'game/{n}' for n in GAMES)}, "
            f"without wrappers), but got {problem.name}"
        )
    return GAMES[name]()


def match_of(problem: Environment | Game) -> Environment:
    """What the prior is evaluated on: the environment itself, or a game against a random player."""
    if not isinstance(problem, Game):
        return problem
    return against(problem, random_player(problem, problem.legal), f"{problem.environment.name} against chance", {})


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges or the environment."""
    check_config(
        config,
        positive=(
            "simulations", "exploration", "dirichlet_alpha", "considered_actions", "learning_rate", "adam_epsilon",
            "max_gradient_norm", "value_coefficient", "num_envs", "steps_per_iteration", "updates_per_iteration",
            "batch_size", "replay_capacity",
        ),
        non_negative=("temperature", "gumbel_scale", "weight_decay"),
        fraction=("dirichlet_fraction", "discount", "trace_decay"),
        infinite=("max_gradient_norm",),
    )  # fmt: skip
    require_discrete(name_of(config), environment)
