"""How a learner takes fiction beside what it remembers: as a share of its batches, and in batches of their own."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from purerl import trees
from purerl.experience import Batch
from purerl.models.imagination import Imagination, ImaginationState, Imagining
from purerl.types import Array, Key, Metrics, Time


def blended(dreams: Imagining | None, state: ImaginationState, key: Key, time: Time, batch: Batch) -> Batch:
    """The batch `[N]` with its share of fiction, while anything is imagined; `key` may have drawn the batch."""
    if dreams is None or not dreams.plan.rollouts:
        return batch
    fiction_key, choice_key = jax.random.split(jax.random.fold_in(key, 1))
    fiction = dreams.fiction(state, fiction_key, time, batch.reward.shape[0])
    if batch.weight is None:
        batch = batch._replace(weight=jnp.ones_like(batch.reward))
    real_ratio = jnp.where(dreams.active(time), dreams.plan.real_ratio, 1.0)
    return trees.where(jax.random.bernoulli(choice_key, real_ratio, batch.reward.shape), batch, fiction)


def learn_in_turns(
    dreams: Imagining | None,
    state: ImaginationState,
    key: Key,
    time: Time,
    body: Callable[[Any, Any], tuple[Any, Metrics]],
    carry: Any,
    drawn: Any,
    keys_of: Callable[[int], tuple],
) -> tuple[Any, Metrics]:
    """`scan` of `body(carry, (batch, *keys))` over G batches, behind each as many of fiction as the plan has `updates`.

    Those are skipped, at no cost, when nothing is imagined any more.

    Args:
        dreams, state: the imagination, if there is one.
        key: may have drawn the batches.
        time: of the iteration.
        body: makes an update.
        carry: what it changes.
        drawn: `Batch` `[G, ..., N]`; without an imagination whatever `body` takes in its place.
        keys_of: what else it takes, for that many updates.

    Returns the last carry and the means of the metrics.
    """
    if dreams is None or not dreams.plan.updates:
        carry, metrics = jax.lax.scan(body, carry, (drawn, *keys_of(jax.tree.leaves(drawn)[0].shape[0])))
        return carry, jax.tree.map(jnp.mean, metrics)
    shape, updates = drawn.reward.shape, dreams.plan.updates
    more = dreams.fiction(state, jax.random.fold_in(key, 2), time, drawn.reward.size * updates)
    more = jax.tree.map(lambda x: x.reshape(shape[0], updates, *shape[1:], *x.shape[1:]), more)
    drawn = drawn._replace(weight=jnp.ones(shape) if drawn.weight is None else drawn.weight)
    both = jax.tree.map(lambda x, y: jnp.concatenate([x[:, None], y], 1), drawn, more)
    turns = shape[0] * (1 + updates)
    inputs = jax.tree.map(lambda x: x.reshape(turns, *x.shape[2:]), both), *keys_of(turns)
    return _every(jnp.where(dreams.active(time), 1, 1 + updates), turns, body, carry, inputs)


def _every(stride: Array, turns: int, body: Callable, carry: Any, inputs: Any) -> tuple[Any, Metrics]:
    """`scan` over every `stride`-th of so many inputs: the last carry and the means of the outputs."""
    count = turns // stride

    def at(index: Array) -> Any:
        return jax.tree.map(lambda x: x[index], inputs)

    def turn(index: Array, state: tuple[Any, Metrics]) -> tuple[Any, Metrics]:
        carry, total = state
        carry, metrics = body(carry, at(index * stride))
        return carry, jax.tree.map(jnp.add, total, metrics)

    shapes = jax.eval_shape(lambda: body(carry, at(jnp.zeros((), jnp.int32)))[1])
    total = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    carry, total = jax.lax.fori_loop(0, count, turn, (carry, total))
    return carry, jax.tree.map(lambda x: x / count, total)


def check_imagination(config: Any, hindsight: bool, imagination: Imagination | None) -> None:
    """Raise ValueError for an imagination together with what it cannot be combined with."""
    if imagination is None:
        return
    if config.sampling != "uniform":
        raise ValueError(f"imagination needs sampling 'uniform', got {config.sampling!r}: fiction has no priorities")
    if hindsight:
        raise ValueError("imagination and hindsight cannot be combined: fiction has no later goals to replace its own")
    if imagination.expansion and config.n_step != 1:
        raise ValueError(
            f"an expansion of targets begins with single steps, but n_step is {config.n_step}; set it to 1"
        )
    if imagination.expansion and (imagination.updates or imagination.rollouts):
        raise ValueError(
            "targets are expanded from remembered steps, which fiction is not: set either expansion or rollouts to 0"
        )
