"""Tree search that a prior and a value guide, on exact models, many roots at once (through the library `mctx`).

A network proposes actions and judges states; the environment itself says where actions lead. There are no playouts: a
new node is worth V. A simulation walks down by one of

    puct     argmax_a  Q(s, a) + c(s) P(a | s) sqrt(N(s)) / (1 + N(s, a)),    c(s) = c + log((1 + N(s) + 19652) / 19652)
             with Q scaled to [0, 1] (Silver et al., 2018): from the smallest to the largest in the tree
             (Schrittwieser et al., 2020), in a `Game` from -1 to 1; that of an action which was not tried yet is the
             value of its parent. Scaled among siblings, actions that are equally good would be told apart by the noise
             of their values: on CartPole that taught the prior noise
    gumbel   at the root sequential halving among actions drawn without replacement by Gumbel-top-k, below it so that
             visits follow softmax(log P + Q) (Danihelka et al., 2022)

and averages `v_parent = r + discount (1 - terminated) v` on its way up, in a `Game` `r - discount (1 - terminated) v`.
Nothing happens after an end: a terminal node is worth 0, one that a time limit cut is worth V of what is observed
there, however often a walk comes by.

Where the model is stochastic, a node holds the one draw with which it was made: the search then knows more of the
future than can be known, and its values are too high (of many draws it prefers the lucky ones). `uct_search` has chance
nodes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import mctx

from purerl import trees
from purerl.environments.games import Game
from purerl.types import Array, Discrete, Environment, EnvState, Key, Observation

search: Any = mctx  # its annotations are chex's, of which type checkers make nothing

Evaluate = Callable[[Observation], tuple[Array, Array]]  # observations [B, ...] to prior logits [B, A] and values [B]
Kind = Literal["puct", "gumbel"]
ILLEGAL = float(jnp.finfo(jnp.float32).min)  # the logit of an illegal action: finite, since mctx adds to it


class GuidedSearch(NamedTuple):
    """What a search found at B roots with A actions."""

    action: Array  # int32 [B]: what it would do
    weights: Array  # [B, A]: puct: shares of the visits; gumbel: the improved policy, softmax(log P + completed Q)
    value: Array  # [B]: of the root; puct: the mean over V and what every simulation earned; gumbel: sum_a weights Q
    visits: Array  # int32 [B, A]; they sum to the number of simulations
    action_values: Array  # [B, A]: Q, for whoever moves at the root; 0 without visits


class _Node(NamedTuple):
    """What is kept with every node."""

    state: EnvState  # where an episode has ended, the last one
    ended: Array  # bool [B]
    worth: Array  # [B]: V of the first observation there; what has terminated is discounted by 0


def guided_search(
    problem: Environment | Game,
    key: Key,
    state: EnvState,
    observation: Observation,
    evaluate: Evaluate,
    *,
    simulations: int = 32,
    kind: Kind = "puct",
    discount: float | Array = 1.0,
    exploration: float | Array = 1.25,
    dirichlet_fraction: float | Array = 0.0,
    dirichlet_alpha: float | Array = 0.3,
    temperature: float | Array = 0.0,
    gumbel_scale: float | Array = 0.0,
    considered_actions: int = 16,
) -> GuidedSearch:
    """Search from B states at once. With the defaults it does its best; a learner adds noise.

    Args:
        problem: the model, with discrete actions. In a `Game` the players take turns, each for itself: values are those
            of whoever is to move, and illegal actions are neither tried nor given weight.
        key: of chances, noise and ties.
        state: `[B, ...]`, the roots.
        observation: `[B, ...]`, what is observed there.
        evaluate: the prior and the value of observations.
        simulations: per root; each makes one node.
        kind: how to walk.
        discount: of every step, in [0, 1].
        exploration: c of puct.
        dirichlet_fraction: puct: share of Dirichlet noise in the prior of the root, in [0, 1].
        dirichlet_alpha: its concentration, > 0: the smaller, the more it prefers single actions.
        temperature: puct: `action` is drawn in proportion to visits^(1 / temperature); 0 is the most visited.
        gumbel_scale: gumbel: of the noise that draws actions at the root; 1 draws by the prior, 0 takes the likeliest.
        considered_actions: gumbel: at most so many are tried at the root.

    Raises TypeError unless actions are discrete.
    """
    model, game = (problem.environment, problem) if isinstance(problem, Game) else (problem, None)
    if not isinstance(model.action_space, Discrete):
        raise TypeError(f"guided search is among discrete actions, and those of {model.name} are {model.action_space}")
    step_discount = -discount if game else discount
    pack, unpack = _keys_as_numbers(state)

    def illegal(state: EnvState) -> Array | None:
        return None if game is None else ~jax.vmap(game.legal)(state)

    def prior(logits: Array, state: EnvState) -> Array:
        forbidden = illegal(state)
        return logits if forbidden is None else jnp.where(forbidden, ILLEGAL, logits)

    def expand(_: Any, key: Key, action: Array, node: _Node) -> tuple[Any, _Node]:
        """Where an action leads; from an end nowhere, for nothing."""
        before = unpack(node.state)
        after, timestep = jax.vmap(model.step)(jax.random.split(key, action.shape[0]), before, action)
        logits, value = evaluate(timestep.observation)
        over = node.ended
        after = trees.where(over, before, after)
        worth = jnp.where(over, node.worth, value)
        found = search.RecurrentFnOutput(
            reward=jnp.where(over, 0.0, timestep.reward),
            discount=jnp.where(over, 1.0, jnp.where(timestep.terminated, 0.0, step_discount)),
            prior_logits=prior(logits, after),
            value=worth,
        )
        return found, _Node(pack(after), over | timestep.terminated | timestep.truncated, worth)

    logits, value = evaluate(observation)
    root = search.RootFnOutput(
        prior_logits=prior(logits, state),
        value=value,
        embedding=_Node(pack(state), jnp.zeros(value.shape, bool), value),
    )
    if kind == "puct":
        found = search.muzero_policy(
            (), key, root, expand, simulations, illegal(state), dirichlet_fraction=dirichlet_fraction,
            dirichlet_alpha=dirichlet_alpha, pb_c_init=exploration, temperature=temperature,
            qtransform=_from_outcomes if game else _within_tree,
        )  # fmt: skip
    else:
        found = search.gumbel_muzero_policy(
            (), key, root, expand, simulations, illegal(state), gumbel_scale=gumbel_scale,
            max_num_considered_actions=considered_actions,
            qtransform=partial(mctx.qtransform_completed_by_mix_value, rescale_values=game is None),
        )  # fmt: skip
    summary = found.search_tree.summary()
    visits, weights = summary.visit_counts, found.action_weights
    action_values = jnp.where(visits > 0, summary.qvalues, 0.0)
    root_value = summary.value
    if kind == "gumbel":  # its visits try what is no good as often as what is
        tried = jnp.where(visits > 0, weights, 0.0)
        root_value = jnp.sum(tried * action_values, axis=-1) / jnp.sum(tried, axis=-1)
    return GuidedSearch(found.action, weights, root_value, visits, action_values)


def _from_outcomes(tree: Any, node: Array) -> Array:
    """Q(node, .), `[A]`, from -1 .. 1 to 0 .. 1; that of an action not tried yet is V(node)."""
    q = jnp.where(tree.children_visits[node] > 0, tree.qvalues(node), tree.raw_values[node])
    return (q + 1.0) / 2.0


def _within_tree(tree: Any, node: Array) -> Array:
    """Q(node, .), `[A]`, from the least to the largest value in the tree to 0 .. 1.

    Values are the means of the nodes that were made, and Q of the actions tried; that of one not tried is the node's.
    """
    made, tried = tree.node_visits > 0, tree.children_visits > 0
    q = tree.children_rewards + tree.children_discounts * tree.children_values
    values = jnp.concatenate([tree.node_values, q.ravel()])
    known = jnp.concatenate([made, tried.ravel()])
    low = jnp.min(values, initial=jnp.inf, where=known)
    high = jnp.max(values, initial=-jnp.inf, where=known)
    here = jnp.where(tried[node], q[node], tree.node_values[node])
    return (here - low) / jnp.maximum(high - low, 1e-8)


def _keys_as_numbers(example: EnvState) -> tuple[Callable[[EnvState], EnvState], Callable[[EnvState], EnvState]]:
    """States with their random keys as numbers, and back: the tables of `mctx` hold numbers only."""
    kinds = [jax.random.key_impl(x) if trees.is_key(x) else None for x in jax.tree.leaves(example)]

    def pack(state: EnvState) -> EnvState:
        return jax.tree.map(lambda x: jax.random.key_data(x) if trees.is_key(x) else x, state)

    def unpack(state: EnvState) -> EnvState:
        leaves, structure = jax.tree.flatten(state)
        pairs = zip(leaves, kinds, strict=True)
        return jax.tree.unflatten(
            structure, [x if k is None else jax.random.wrap_key_data(x, impl=k) for x, k in pairs]
        )

    return pack, unpack
