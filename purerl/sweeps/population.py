"""Population-based training (Jaderberg et al., 2017): learn and search for the hyperparameters in the same run.

A population of P members trains side by side, each with its own float hyperparameters h. After every `ready_after`
iterations the members are ranked by their greedy return; the worst copy the whole state of one of the best and go on
with hyperparameters near those of the one they copied:

    exploit:  rank(i) in the bottom share  ->  state_i, h_i <- state_j, h_j  with j drawn from the top share
    explore:  h_i <- h_i (1 + p) or h_i / (1 + p) on a log axis, h_i +- p (high - low) on a linear one, or a fresh draw

So a population finds a schedule of hyperparameters rather than one setting. It is an `Algorithm` itself, whose
iteration is one such round: `train`, `run`, checkpoints and plots serve it as any other, and several seeds are several
independent populations. Without exploit (`exploit_fraction=0`) it is random search.

    space = {"learning_rate": log_uniform(1e-5, 1e-1), "entropy_coefficient": log_uniform(1e-4, 1e-1)}
    pbt = population.make(lambda **floats: ppo.make(environment, ppo.Config(**floats)), space, population.Config())

The members' time is iteration `ready_after x round + i`; its progress is that of the population's run, constant within
a round.

Jaderberg, M. et al. (2017), "Population based training of neural networks".
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import jax
import jax.numpy as jnp
from flax import struct

from purerl import trees
from purerl.algorithms.config import check_config, is_concrete
from purerl.checkpoint import class_name
from purerl.configuration import nearest
from purerl.evaluate import evaluate
from purerl.sweeps.space import Uniform
from purerl.train import loss_names
from purerl.types import Algorithm, Array, Key, Metrics, Policy, Time
from purerl.types import State as MemberState

Learner = Callable[..., Algorithm]  # learner(learning_rate=..., ...) -> the algorithm with these (traced) floats
Floats = dict[str, Array]  # one value per hyperparameter, each [P] or scalar


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    population: int = 16
    """Members, at least 2."""
    ready_after: int = 10
    """Iterations of the members between two rounds of exploit and explore: one iteration of the population."""
    episodes: int = 16
    """Greedy episodes by which each member is ranked, the same starts and noise for all of a round."""
    exploit_fraction: float = 0.2
    """Share replaced, and share they copy from, in [0, 0.5]: rounded, at least one member; 0 is random search."""
    perturbation: float = 0.2
    """By how much exploring multiplies or divides (1 + this; log axes) or moves (this x range; linear axes), >= 0."""
    resample_probability: float = 0.25
    """Probability that exploring draws a hyperparameter anew from the space instead, in [0, 1]."""


@dataclass(frozen=True)
class Described:
    """The config of the whole: what a checkpoint must agree with."""

    config: Config
    """Of the population."""
    learner: str
    """The class of the members' Config."""
    inner: Mapping[str, Any]
    """The fields of the members' Config that do not vary."""
    space: Mapping[str, Uniform]
    """Those that do."""


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    members: MemberState  # [P, ...] of the inner algorithm
    hyperparameters: Floats  # name -> [P]
    scores: Array  # [P] at the last ranking, before anything was copied; -inf for lost members and before the first
    key: Key


def make(learner: Learner, space: Mapping[str, Uniform], config: Config) -> Algorithm:
    """Population-based training of the algorithms that `learner(**floats)` makes.

    Its policy is that of the member with the best last score. A member is lost when its score or one of its losses is
    not finite: it ranks last, is never copied, and is replaced at once, even if more are lost than the bottom share.
    Losses among the metrics are those of the best member, NaN only when all are lost. Who copies another member keeps
    its own random keys (typed ones). The copying costs one pass over the states, replay included, per round, and that
    much memory; the members' steps know nothing of it.

    `env_steps_per_iteration` counts the training of all members, not the episodes they are ranked by.

    Args:
        learner: makes the inner algorithm; its arguments are traced and may go nowhere but into its Config.
        space: the range of each hyperparameter, by the name of a float field of the inner Config.
        config: of the population.

    Raises TypeError or ValueError for an axis that is not `uniform` or `log_uniform`, a name that is no float field,
    bounds that the inner algorithm refuses, an inner algorithm without an environment, and a value out of range.
    """
    inner = check(learner, space, config)
    environment = inner.environment
    assert environment is not None
    space = dict(sorted(space.items()))  # the streams of the hyperparameters do not depend on the order they came in
    size = config.population

    def advance(state: State, time: Time) -> tuple[MemberState, Metrics]:
        """`ready_after` iterations of every member; the metrics are `[ready_after, P]`."""

        def one(floats: Floats, member: MemberState, inner_time: Time) -> tuple[MemberState, Metrics]:
            return learner(**floats).step(member, inner_time)

        def body(members: MemberState, i: Array) -> tuple[MemberState, Metrics]:
            inner_time = Time(time.iteration * config.ready_after + i, time.progress)
            return jax.vmap(one, in_axes=(0, 0, None))(state.hyperparameters, members, inner_time)

        return jax.lax.scan(body, state.members, jnp.arange(config.ready_after, dtype=jnp.int32))

    def rank(floats: Floats, members: MemberState, losses: Metrics, key: Key) -> Array:
        """The mean greedy return of every member `[P]`; -inf for those that are lost."""

        def one(floats: Floats, snapshot: MemberState, key: Key) -> Array:
            return jnp.mean(evaluate(learner(**floats).policy(snapshot), environment, key, config.episodes).returns)

        scores = jax.vmap(one, in_axes=(0, 0, None))(floats, jax.vmap(inner.snapshot)(members), key)
        for values in losses.values():
            scores = jnp.where(jnp.all(jnp.isfinite(values), axis=0), scores, -jnp.inf)
        return jnp.where(jnp.isfinite(scores), scores, -jnp.inf)

    def init(key: Key) -> State:
        floats_key, members_key, key = jax.random.split(key, 3)
        keys = jax.random.split(floats_key, len(space))
        floats = {name: draw(keys[i], axis, size) for i, (name, axis) in enumerate(space.items())}
        members = jax.vmap(lambda key, floats: learner(**floats).init(key))(jax.random.split(members_key, size), floats)
        return trees.strongly_typed(State(members, floats, jnp.full(size, -jnp.inf), key))

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        rank_key, exploit_key, explore_key = jax.random.split(jax.random.fold_in(state.key, time.iteration), 3)
        members, metrics = advance(state, time)
        losses = {name: metrics[name] for name in loss_names(metrics)}
        scores = rank(state.hyperparameters, members, losses, rank_key)
        parents = exploit(exploit_key, scores, config.exploit_fraction)
        copied = parents != jnp.arange(size)
        floats = {name: values[parents] for name, values in state.hyperparameters.items()}
        new = State(
            members=jax.tree.map(lambda x: x if trees.is_key(x) else x[parents], members),
            hyperparameters=explore(explore_key, floats, copied, space, config),
            scores=scores,
            key=state.key,
        )
        return new, {
            **best_losses(scores, losses),
            **episodes(scores, metrics),
            **summary(scores, state.hyperparameters),
            "copied": jnp.sum(copied).astype(jnp.float32),
        }

    def policy(state: State, greedy: bool = True) -> Policy:
        floats, member = jax.tree.map(lambda x: x[jnp.argmax(state.scores)], (state.hyperparameters, state.members))
        return learner(**floats).policy(member, greedy=greedy)

    def snapshot(state: State) -> State:
        return state.replace(members=jax.vmap(inner.snapshot)(state.members), key=None)

    fixed = {f.name: getattr(inner.config, f.name) for f in dataclasses.fields(inner.config) if f.name not in space}
    return Algorithm(
        name=f"pbt({inner.name})",
        config=Described(config, class_name(type(inner.config)), fixed, space),
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=snapshot,
        env_steps_per_iteration=size * config.ready_after * inner.env_steps_per_iteration,
        env_steps_of_init=size * inner.env_steps_of_init,
    )


def exploit(key: Key, scores: Array, fraction: float | Array) -> Array:
    """Truncation selection: whose state each member goes on with, `[P]` indices (its own where it goes on as it is).

    The bottom `fraction` of the members, and every one whose score is not finite, copy one drawn uniformly from the top
    `fraction`, lost ones excepted. Nobody does if `fraction` is 0 or all are lost. Nobody copies an equal, which the
    paper allows: as long as no member has found a reward, their differences are worth keeping.
    """
    size = scores.shape[0]
    lost = ~jnp.isfinite(scores)
    order = jnp.argsort(jnp.where(lost, jnp.inf, -scores))  # best first
    rank = jnp.argsort(order)
    share = jnp.clip(jnp.round(fraction * size), 1, size // 2)
    candidates = jnp.minimum(share, jnp.sum(~lost)).astype(jnp.int32)
    parents = order[jax.random.randint(key, (size,), 0, jnp.maximum(candidates, 1))]
    worse = lost | ((rank >= size - share) & (scores < scores[parents]))
    return jnp.where(worse & (fraction > 0) & (candidates > 0), parents, jnp.arange(size))


def explore(key: Key, floats: Floats, copied: Array, space: Mapping[str, Uniform], config: Config) -> Floats:
    """New hyperparameters for the `copied` members `[P]` bool, near those they copied or drawn anew, within bounds."""

    def one(key: Key, values: Array, axis: Uniform) -> Array:
        up_key, fresh_key, draw_key = jax.random.split(key, 3)
        up = jax.random.bernoulli(up_key, shape=values.shape)
        fresh = jax.random.bernoulli(fresh_key, config.resample_probability, values.shape)
        factor, move = 1.0 + config.perturbation, config.perturbation * (axis.high - axis.low)
        if axis.log:
            near = jnp.where(up, values * factor, values / factor)
        else:
            near = jnp.where(up, values + move, values - move)
        near = jnp.clip(near, axis.low, axis.high)
        return jnp.where(copied, jnp.where(fresh, draw(draw_key, axis, len(values)), near), values)

    keys = jax.random.split(key, len(space))
    return {name: one(keys[i], floats[name], axis) for i, (name, axis) in enumerate(space.items())}


def draw(key: Key, axis: Uniform, size: int) -> Array:
    """`size` values from an axis."""
    return jnp.clip(axis.at(jax.random.uniform(key, (size,))), axis.low, axis.high)


def summary(scores: Array, floats: Floats) -> Metrics:
    """Scores of the members that are not lost, how many are, and the hyperparameters that led to these scores."""
    finite = jnp.where(jnp.isfinite(scores), scores, jnp.nan)
    metrics = {
        "best_score": jnp.nanmax(finite),
        "median_score": jnp.nanmedian(finite),
        "worst_score": jnp.nanmin(finite),
        "lost": jnp.sum(~jnp.isfinite(scores)).astype(jnp.float32),
    }
    for name, values in floats.items():
        metrics[f"{name}_best"] = values[jnp.argmax(scores)]
        metrics[f"{name}_low"] = jnp.min(values)
        metrics[f"{name}_median"] = jnp.median(values)
        metrics[f"{name}_high"] = jnp.max(values)
    return metrics


def best_losses(scores: Array, losses: Metrics) -> Metrics:
    """The best member's last losses (of `[ready_after, P]`), NaN if all are lost: only then the population diverged."""
    alive = jnp.any(jnp.isfinite(scores))
    return {name: jnp.where(alive, values[-1, jnp.argmax(scores)], jnp.nan) for name, values in losses.items()}


def episodes(scores: Array, metrics: Metrics) -> Metrics:
    """The statistics of the training episodes `[ready_after, P]`, where there are any, summed over what is not lost."""
    names = ("episode_return_sum", "episode_length_sum", "episodes")
    alive = jnp.isfinite(scores)
    return {name: jnp.sum(jnp.where(alive, metrics[name], 0.0)) for name in names if name in metrics}


def check(learner: Learner, space: Mapping[str, Uniform], config: Config) -> Algorithm:
    """The inner algorithm in the middle of the space; raise if the parts do not fit one another."""
    check_config(
        config,
        positive=("population", "ready_after", "episodes"),
        non_negative=("perturbation",),
        fraction=("exploit_fraction", "resample_probability"),
    )
    if config.population < 2:
        raise ValueError(f"population: population must be at least 2 members, got {config.population}")
    if is_concrete(config.exploit_fraction) and config.exploit_fraction > 0.5:
        raise ValueError(
            f"population: exploit_fraction must be at most 0.5, got {config.exploit_fraction}: "
            f"nobody can be at the bottom and at the top"
        )
    if not space:
        raise ValueError('population-based training needs a space, such as {"learning_rate": log_uniform(1e-5, 1e-2)}')
    for name, axis in space.items():
        if not isinstance(axis, Uniform):
            raise TypeError(
                f"population-based training varies float fields only, by uniform(low, high) or log_uniform(low, high): "
                f"{name} is {axis!r}"
            )
    for bound in ("low", "high"):  # the inner algorithm must accept them: traced, they are not looked at any more
        _build(learner, {name: getattr(axis, bound) for name, axis in space.items()})
    inner = _build(learner, {name: float(axis.at(0.5)) for name, axis in space.items()})
    _check_names(inner, space)
    if inner.environment is None:
        raise ValueError(f"population-based training ranks by return, but {inner.name} has no environment to play in")
    return inner


def _build(learner: Learner, floats: Mapping[str, float]) -> Algorithm:
    given = ", ".join(f"{name}={value:g}" for name, value in floats.items())
    reason = f"population-based training varies float fields only, and the learner refuses {given}"
    try:
        return learner(**floats)
    except TypeError as error:
        raise TypeError(f"{reason}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{reason}: {error}") from error


def _check_names(inner: Algorithm, space: Mapping[str, Uniform]) -> None:
    """Every name is a float field of the inner Config, and what the learner was given has arrived there."""
    hints = get_type_hints(type(inner.config))
    floats = [name for name, kind in hints.items() if kind is float]
    for name, axis in space.items():
        if name not in floats:
            raise TypeError(
                f"population-based training varies float fields only: {name} is not one of {inner.name}'s; "
                f"{nearest(name, floats)}"
            )
        if getattr(inner.config, name) != float(axis.at(0.5)):
            raise ValueError(f"the learner was given {name} but does not pass it on to {inner.name}'s Config")
