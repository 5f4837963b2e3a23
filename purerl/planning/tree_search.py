"""Monte-Carlo tree search with UCB and random playouts (Kocsis and Szepesvari, 2006), for exact models of any game.

A tree grows from the state in question by one node per simulation. A simulation walks down by

    argmax_a  Q(s, a) + exploration sqrt(ln N(s) / N(s, a))      (actions not tried yet come first)

steps into a state that is new, plays at random from there to an end, and averages what it earned into every Q on its
way, `G_s = r + discount G_s'` (where players move in turn: `r - discount G_s'`). Where the model is stochastic, an
action leads to a chance node: its outcomes are told apart by their states, up to `outcomes` of them. States that are
met on many ways can be one node for all of them (`identity`): then what grows is a graph, and walks may go in circles.

What is averaged over includes what was earned while the walks did not know better. With `backup="max"` (MaxUCT and
DP-UCT, Keller and Helmert, 2013) every edge of the way is backed up by dynamic programming instead, on the model of
outcomes that its visits have counted:

    Q(s, a) = mean r + discount sum_s' N(s, a, s') / N(s, a) V(s'),    V(s') = max_a' Q(s', a') over what was tried,

or what the playout earned where nothing was tried yet.

In a `Game` what is decided is not averaged: a move that wins is a proven win, a state with one is a proven loss for the
move that led there, a state whose moves all lose a proven win (the solver of Winands, Bjornsson and Saito, 2008). Walks
avoid moves that are proven to lose.

The whole search is one compiled loop over arrays, and goes under `vmap`.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from purerl import trees
from purerl.environments.games import Game
from purerl.types import Action, Array, Discrete, Environment, EnvState, Key, Observation, Planner

Backup = Literal["mean", "max"]
ROOT, NONE = 0, -1
LEAST = float(jnp.finfo(jnp.float32).min)


class Search(NamedTuple):
    """What a search found out about the actions at its root, A of them."""

    visits: Array  # int32 [A]: how many simulations began with each; they sum to the number of simulations, and to
    # more on a graph, where walks come by again
    values: Array  # [A]: Q, as it was backed up (0 for actions without visits)
    proven: Array  # int32 [A]: 1 for a proven win, -1 for a proven loss, 0 for what is not proven
    nodes: Array  # int32: how many states the tree holds, the root included


class _Chances(NamedTuple):
    """What maximum backups need to know besides."""

    counts: Array  # int32 [N, A, outcomes]: how often each child was the outcome
    values: Array  # [N]: V


class _Tree(NamedTuple):
    """N nodes; what an edge knows is stored with the node it leaves from."""

    states: EnvState  # [N, ...]
    children: Array  # int32 [N, A, outcomes]: NONE where there is none
    visits: Array  # int32 [N, A]
    totals: Array  # [N, A]: sums of what was earned; with maximum backups of rewards, and of what no child stands for
    proven: Array  # int32 [N, A]: as of `Search`
    size: Array  # int32
    chances: _Chances | None  # None if means are backed up


class _Path(NamedTuple):
    """Edges in the order they were walked, D of them; those not walked leave from a node that does not exist."""

    node: Array  # int32 [D]
    action: Array  # int32 [D]
    reward: Array  # [D]


class _Walk(NamedTuple):
    """On the way down, after `steps` edges."""

    path: _Path
    steps: Array  # int32
    node: Array  # where the last edge led, NONE if that is new
    state: EnvState  # there
    observation: Observation
    ended: Array  # bool: the episode is over
    terminated: Array  # bool: and nothing can be earned any more


class _Climb(NamedTuple):
    """On the way up, with `left` edges to go."""

    left: Array  # int32
    worth: Array  # of the state that the next edge leads to, to whoever moves there
    proof: Array  # int32: what is proven of the next edge
    earned: Array  # [D]: by every edge and what came after it
    proofs: Array  # int32 [D]


def uct_search(
    environment: Environment | Game,
    key: Key,
    state: EnvState,
    simulations: int = 1000,
    exploration: float | Array = 1.4,
    discount: float | Array = 1.0,
    outcomes: int = 1,
    playout_steps: int | None = None,
    value: Callable[[Observation], Array] | None = None,
    identity: Callable[[EnvState], Any] | None = None,
    legal: Callable[[EnvState], Array] | None = None,
    backup: Backup = "mean",
) -> Search:
    """Search from `state` with as many simulations.

    Args:
        environment: the model, with discrete actions. In a `Game` the players take turns, each for itself, and only
            legal actions are tried.
        key: of chances and playouts.
        state: the root.
        simulations: walks, each with at most one new node.
        exploration: C, in units of return: the larger the spread of returns, the larger.
        discount: of every step, in [0, 1].
        outcomes: how many successors of one action in one state are told apart, 1 for deterministic models. Once they
            are all taken, a further one is played out and not remembered.
        playout_steps: at most so many random steps after the new node (default: `max_steps` of the environment).
        value: a value of observations for the new node, instead of a random playout; also where a time limit ends an
            episode, which a playout cannot go beyond.
        identity: what makes a state the state it is: those of equal identity are one node, on whatever way they are
            met. For finite problems, `lambda state: state.position`; each step is then compared with every node.
        legal: which actions are allowed in a state (bool `[A]`; default: all, or those of the `Game`).
        backup: "mean" or "max". The latter goes over all `max_steps` places of a walk, however short the walk was, and
            should tell all outcomes of an action apart: those beyond `outcomes` it averages.

    Raises TypeError unless actions are discrete, ValueError for another backup.
    """
    if backup not in ("mean", "max"):
        raise ValueError(f"backup must be 'mean' or 'max', got {backup!r}")
    model, alternating = (environment.environment, True) if isinstance(environment, Game) else (environment, False)
    if isinstance(environment, Game):
        legal = legal or environment.legal
    if not isinstance(model.action_space, Discrete):
        raise TypeError(f"uct searches among discrete actions, and those of {model.name} are {model.action_space}")
    number = model.action_space.n
    sign = -1.0 if alternating else 1.0
    allowed = legal or (lambda state: jnp.ones(number, bool))
    depth = min(simulations, model.max_steps)
    nodes = jnp.arange(simulations + 1)
    shape = jax.eval_shape(model.reset, key)[1]  # of an observation
    most = model.max_steps if playout_steps is None else playout_steps

    def action_values(tree: _Tree, node: Array) -> Array:
        """Q of a node, `[A]`, 0 for what was not tried."""
        totals = tree.totals[node]
        if tree.chances is not None:
            counts = tree.chances.counts[node]
            later = jnp.where(counts > 0, counts * tree.chances.values[tree.children[node]], 0.0)
            totals = totals + sign * discount * jnp.sum(later, axis=-1)
        return totals / jnp.maximum(tree.visits[node], 1)

    def choose(tree: _Tree, node: Array) -> Array:
        """The action that UCB walks along."""
        visits = tree.visits[node]
        bonus = exploration * jnp.sqrt(jnp.log(jnp.maximum(jnp.sum(visits), 1)) / jnp.maximum(visits, 1))
        bound = jnp.where(visits == 0, jnp.inf, action_values(tree, node) + bonus)
        bound = jnp.where(tree.proven[node] == 1, jnp.inf, jnp.where(tree.proven[node] == -1, LEAST, bound))
        return jnp.argmax(jnp.where(allowed(_state_at(tree, node)), bound, -jnp.inf))

    def find(tree: _Tree, node: Array, action: Array, state: EnvState) -> Array:
        """The node of the state that an edge has led to, NONE if there is none."""
        known = tree.children[node, action] if identity is None else nodes
        if identity is None and outcomes == 1:
            return known[0]
        who = identity or (lambda state: state)
        same = jax.vmap(lambda other: _equal(who(_state_at(tree, other)), who(state)))(known)
        same &= known != NONE if identity is None else known < tree.size
        return jnp.where(jnp.any(same), known[jnp.argmax(same)], NONE)

    def descend(key: Key, tree: _Tree) -> _Walk:
        """Walk until a state is new or the episode over."""

        def onwards(walk: _Walk) -> _Walk:
            action = choose(tree, walk.node)
            step_key = jax.random.fold_in(key, walk.steps)
            state, timestep = model.step(step_key, _state_at(tree, walk.node), action)
            edge = _Path(walk.node, action, timestep.reward)
            path = jax.tree.map(lambda x, new: x.at[walk.steps].set(new), walk.path, edge)
            child = find(tree, walk.node, action, state)
            ended = timestep.terminated | timestep.truncated
            return _Walk(path, walk.steps + 1, child, state, timestep.observation, ended, timestep.terminated)

        nowhere = jnp.full(depth, simulations + 1)
        path = _Path(nowhere, jnp.zeros(depth, jnp.int32), jnp.zeros(depth))
        no = jnp.zeros((), bool)
        root = jnp.full((), ROOT), state, jnp.zeros(shape.shape, shape.dtype), no, no
        start = trees.strongly_typed(_Walk(path, jnp.zeros((), jnp.int32), *root))
        return jax.lax.while_loop(lambda walk: (walk.node != NONE) & ~walk.ended & (walk.steps < depth), onwards, start)

    def play_out(key: Key, state: EnvState, ended: Array) -> Array:
        """What random actions earn from `state`, from the view of whoever moves there."""

        draws = jax.random.uniform(key, (most,))

        def onwards(carry: tuple[EnvState, Array, Array, Array, Array]) -> tuple[EnvState, Array, Array, Array, Array]:
            state, weight, total, _, i = carry
            count = jnp.cumsum(allowed(state))
            action = jnp.argmax(count > jnp.floor(draws[i] * count[-1]))  # the k-th that is allowed, k uniform
            state, timestep = model.step(jax.random.fold_in(key, i), state, action)
            total = total + weight * timestep.reward
            return state, weight * discount * sign, total, timestep.terminated | timestep.truncated, i + 1

        start = state, jnp.ones(()), jnp.zeros(()), ended, jnp.zeros((), jnp.int32)
        end = jax.lax.while_loop(lambda carry: ~carry[3] & (carry[4] < most), onwards, trees.strongly_typed(start))
        return end[2]

    def simulate(tree: _Tree, key: Key) -> tuple[_Tree, None]:
        walk_key, playout_key = jax.random.split(key)
        walk = descend(walk_key, tree)
        if value is None:
            worth = play_out(playout_key, walk.state, walk.ended)
        else:
            worth = jnp.where(walk.terminated, 0.0, value(walk.observation))
        node, action = walk.path.node[walk.steps - 1], walk.path.action[walk.steps - 1]
        free = tree.children[node, action] == NONE
        grows = (walk.node == NONE) & (jnp.any(free) if identity is None else True)
        place = jnp.where(grows, tree.size, simulations + 1)  # out of bounds: dropped
        parent = jnp.where(grows & jnp.any(free), node, simulations + 1)
        tree = tree._replace(
            states=jax.tree.map(lambda x, new: x.at[place].set(new, mode="drop"), tree.states, walk.state),
            children=tree.children.at[parent, action, jnp.argmax(free)].set(place, mode="drop"),
            size=tree.size + grows,
        )
        tree = back_up(tree, walk, worth)
        if tree.chances is None:
            return tree, None
        values = tree.chances.values.at[place].set(worth, mode="drop")
        tree = tree._replace(chances=tree.chances._replace(values=values))
        return maximize(tree, walk, jnp.where(grows, place, walk.node), worth), None

    def maximize(tree: _Tree, walk: _Walk, end: Array, worth: Array) -> _Tree:
        """Count the outcomes of every edge of the way and set V of the states it leaves from, the last one first.

        `end` is the node that the walk has ended in; if there is none, `worth` is all there is to know of it. A loop of
        fixed length: under vmap its tables are changed in place.
        """
        follows = jnp.roll(walk.path.node, -1).at[walk.steps - 1].set(end)

        def upwards(tree: _Tree, edge: tuple[_Path, Array]) -> tuple[_Tree, None]:
            (node, action, reward), child = edge
            assert tree.chances is not None
            counts, values = tree.chances
            row = tree.children[node, action]
            known, free = row == child, row == NONE
            told_apart = (child != NONE) & jnp.any(known | free)
            slot = jnp.where(jnp.any(known), jnp.argmax(known), jnp.argmax(free))
            lost = jnp.where(told_apart, 0.0, jnp.where(child == NONE, worth, values[child]))
            counted = jnp.where(told_apart, node, simulations + 1)  # out of bounds: dropped
            counts = counts.at[counted, action, slot].add(1, mode="drop")
            tree = tree._replace(
                children=tree.children.at[counted, action, slot].set(child, mode="drop"),
                totals=tree.totals.at[node, action].add(reward + sign * discount * lost, mode="drop"),
                chances=_Chances(counts, values),
            )
            best = jnp.max(jnp.where(tree.visits[node] > 0, action_values(tree, node), -jnp.inf))
            return tree._replace(chances=_Chances(counts, values.at[node].set(best, mode="drop"))), None

        return jax.lax.scan(upwards, tree, (walk.path, follows), reverse=True)[0]

    def back_up(tree: _Tree, walk: _Walk, worth: Array) -> _Tree:
        """Add what was earned to every edge of the way, and write down what it proves as far as it proves anything.

        The loop reads the tables, which are written once: as carries of a vmapped loop they would be copied in every
        turn of it.
        """

        def upwards(carry: _Climb) -> _Climb:
            i = carry.left - 1
            node, action, reward = jax.tree.map(lambda x: x[i], walk.path)
            earned = reward + sign * discount * carry.worth
            proof = carry.proof
            settled = proof
            if alternating:
                row = tree.proven[node].at[action].set(proof)
                loses = jnp.all((row == -1) | ~allowed(_state_at(tree, node)))
                settled = jnp.where(jnp.any(row == 1), -1, jnp.where(loses, 1, 0))
            return _Climb(i, earned, settled, carry.earned.at[i].set(earned), carry.proofs.at[i].set(proof))

        last = walk.path.reward[walk.steps - 1]
        proof = (jnp.sign(last) * walk.ended).astype(jnp.int32) if alternating else jnp.zeros((), jnp.int32)
        start = _Climb(walk.steps, worth, proof, jnp.zeros(depth), jnp.zeros(depth, jnp.int32))
        end = jax.lax.while_loop(lambda carry: carry.left > 0, upwards, trees.strongly_typed(start))
        edges = walk.path.node, walk.path.action
        return tree._replace(
            visits=tree.visits.at[edges].add(1, mode="drop"),
            totals=tree.totals.at[edges].add(end.earned, mode="drop") if backup == "mean" else tree.totals,
            proven=tree.proven.at[edges].set(end.proofs, mode="drop"),
        )

    tree = _plant(state, number, outcomes, simulations, backup)
    tree, _ = jax.lax.scan(simulate, tree, jax.random.split(key, simulations))
    visits = tree.visits[ROOT]
    return Search(visits, action_values(tree, jnp.asarray(ROOT)), tree.proven[ROOT], tree.size)


def uct(environment: Environment | Game, **settings: Any) -> Planner:
    """The planner that executes the `best_action` of `uct_search(environment, ..., **settings)`.

    It begins every search anew. In a `Game` it plays for whoever is to move.
    """

    def plan(key: Key, memory: tuple[()], state: EnvState) -> tuple[tuple[()], Action]:
        return memory, best_action(uct_search(environment, key, state, **settings))

    return Planner(init=lambda key: (), plan=plan)


def best_action(found: Search) -> Array:
    """What most simulations tried: of proven wins, else of what is not a proven loss, else of those (int32)."""
    return jnp.argmax(jnp.where(found.visits > 0, found.visits + found.proven * 2**30, -(2**31)))


def _state_at(tree: _Tree, node: Array) -> EnvState:
    """The state of one node."""
    return jax.tree.map(lambda x: x[node], tree.states)


def _plant(state: EnvState, actions: int, outcomes: int, simulations: int, backup: Backup) -> _Tree:
    """A tree of its root, with room for a node per simulation."""
    size = simulations + 1
    states = jax.tree.map(lambda x: jnp.broadcast_to(x, (size, *jnp.shape(x))), trees.strongly_typed(state))
    return _Tree(
        states=states,
        children=jnp.full((size, actions, outcomes), NONE, jnp.int32),
        visits=jnp.zeros((size, actions), jnp.int32),
        totals=jnp.zeros((size, actions)),
        proven=jnp.zeros((size, actions), jnp.int32),
        size=jnp.ones((), jnp.int32),
        chances=_Chances(jnp.zeros((size, actions, outcomes), jnp.int32), jnp.zeros(size)) if backup == "max" else None,
    )


def _equal(a: EnvState, b: EnvState) -> Array:
    """Whether two states are the same, number by number (random keys in them aside)."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return jnp.all(jnp.stack([jnp.all(x == y) for x, y in pairs if not trees.is_key(x)]))
