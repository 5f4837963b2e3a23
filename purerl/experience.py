"""What an off-policy learner remembers, and the transitions it reads from it.

Single steps are stored; transitions over n steps are put together when they are read. Uniform and prioritised sampling,
one step or many, with the successor stored or shared with the next step: all of them give the same `Batch`. Where the
observation holds a goal, transitions may be read with another one in hindsight.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from purerl import trees
from purerl.operators.returns import n_step_return
from purerl.replay import Replay, ReplayState, importance_weights, proportional, rank_based, uniform_replay
from purerl.replay.priorities import PriorityState
from purerl.types import Array, Environment, EnvState, Goals, Key, Observation

Sampling = Literal["uniform", "proportional", "rank"]


class Step(NamedTuple):
    """One step as it is stored."""

    observation: Observation
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    successor: Observation | None  # the true successor; None where it is read from the next step
    mask: Array | None = None  # bool [members]: which members of an ensemble learn from the step
    episode_step: Array | None = None  # int32, steps of the episode before it; None where nobody asks
    state: EnvState | None = None  # of the environment before the step; None where nobody asks


class Batch(NamedTuple):
    """Transitions over up to n steps, `[N, ...]`."""

    slots: Array  # where they lie
    observation: Observation
    action: Array
    reward: Array  # sum_k discount^k r_k over the steps of the transition
    discount: Array  # discount^steps, 0 if they ended in a terminal state
    successor: Observation
    weight: Array | None  # of their losses; None means 1
    mask: Array | None


class Hindsight(NamedTuple):
    """Hindsight experience replay (Andrychowicz et al., 2017), strategy "future": learn from goals reached later on.

    A share of the sampled transitions gets the goal that the successor of a step of the same episode achieved, and the
    reward that goes with it. The step is drawn uniformly from the transition itself and the later ones, as far as they
    have been written. An episode that ended before `max_steps` may make that draw miss; then it is the transition's
    own successor. A draw costs one more trip to the replay, whatever its capacity.
    """

    goals: Goals
    fraction: float | Array  # of the transitions, in [0, 1]; k / (k + 1) for k new goals per old one
    max_steps: int  # no episode is longer


class Experience(NamedTuple):
    """The replay and, if it is prioritised, the priorities, which change at every update and are kept apart from it."""

    init: Callable[[], tuple[ReplayState, PriorityState | None]]
    add: Callable[..., tuple[ReplayState, PriorityState | None]]  # add(replay, priorities, steps [block], written)
    sample: Callable[..., Batch]  # sample(replay, priorities, key, written, size, importance_exponent)
    update: Callable[..., PriorityState | None]  # update(priorities, slots, surprise)
    replay: Replay  # where the single steps lie


def example_step(
    environment: Environment,
    share_observations: bool = False,
    members: int = 1,
    episode_steps: bool = False,
    states: bool = False,
) -> Step:
    """One step of zeros: its shapes and types are what the replay stores."""
    first = jax.eval_shape(environment.reset, jax.eval_shape(lambda: jax.random.key(0)))[0] if states else None
    observation = jnp.zeros(environment.observation_space.shape, environment.observation_space.dtype)
    no = jnp.zeros((), bool)
    return Step(
        observation=observation,
        action=jnp.zeros(environment.action_space.shape, environment.action_space.dtype),
        reward=jnp.zeros(()),
        terminated=no,
        truncated=no,
        successor=None if share_observations else observation,
        mask=None if members == 1 else jnp.zeros(members, bool),
        episode_step=jnp.zeros((), jnp.int32) if episode_steps else None,
        state=jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), first),
    )


def experience(
    example: Step,
    *,
    capacity: int,
    block: int,
    num_envs: int,
    discount: float | Array,
    n_step: int = 1,
    sampling: Sampling = "uniform",
    priority_exponent: float | Array = 0.6,
    priority_epsilon: float | Array = 1e-6,
    hindsight: Hindsight | None = None,
) -> Experience:
    """The experience of `num_envs` environments, written a block of steps at a time (time first), read n steps long.

    With successors stored (`example.successor`), a transition ends after n steps, or earlier where the episode ends; a
    truncated step bootstraps from its true successor. Without, an observation is stored once and the successor is the
    observation of the next step: half the memory. Then the true successor of a truncated step is not known: a
    transition that runs into one ends just before it and bootstraps from the truncated step's own observation, and the
    transition that begins with it weighs 0.

    Steps whose transition is not complete yet, the newest, are not sampled.

    Args:
        example: one step of zeros, see `example_step`.
        capacity: steps kept, a multiple of `block`.
        block: steps written at a time, a multiple of `num_envs`.
        num_envs: environments that take steps side by side.
        discount: in [0, 1].
        n_step: n, the steps of a transition, at least 1 (Sutton, 1988).
        sampling: uniform, or by priority: proportional to it or by its rank (Schaul et al., 2016).
        priority_exponent: alpha of `P(i) = p_i^alpha / sum_j p_j^alpha`, in [0, 1].
        priority_epsilon: added to |error|, so that nothing is never sampled, > 0.
        hindsight: read a share of the transitions with other goals; `example` must have `successor` and `episode_step`.

    Raises ValueError if the transitions are longer than what is kept, or if hindsight lacks what it needs: single steps
    with their successors and places in the episode.
    """
    shared = example.successor is None
    ahead = n_step - 1 + shared  # steps beyond the first that must have been stored
    if (ahead + 1) * num_envs > capacity:
        raise ValueError(
            f"transitions over {ahead + 1} steps of {num_envs} environments do not fit a replay of {capacity} steps; "
            f"raise its capacity or lower n_step"
        )
    if hindsight is not None and (n_step != 1 or shared or example.episode_step is None):
        raise ValueError(
            f"hindsight changes the goal of single steps, whose successor and episode_step are stored, but here n_step "
            f"is {n_step}, successor {'missing' if shared else 'stored'} and episode_step "
            f"{'missing' if example.episode_step is None else 'stored'}"
        )
    replay = uniform_replay(capacity, block, example, num_envs)
    priorities = None
    if sampling != "uniform":
        kind = proportional if sampling == "proportional" else rank_based
        priorities = kind(capacity, block, priority_exponent, priority_epsilon, ahead_slots=ahead * num_envs)

    def init() -> tuple[ReplayState, PriorityState | None]:
        return replay.init(), priorities.init() if priorities else None

    def add(
        stored: ReplayState, priority: PriorityState | None, steps: Step, written: Array
    ) -> tuple[ReplayState, PriorityState | None]:
        return replay.add(stored, steps, written), priorities.enter(priority, written) if priorities else None

    def sample(
        stored: ReplayState,
        priority: PriorityState | None,
        key: Key,
        written: Array,
        size: int,
        importance_exponent: float | Array = 1.0,
    ) -> Batch:
        """`size` transitions from what `written` blocks have left."""
        slots_key, goals_key = (key, key) if hindsight is None else jax.random.split(key)
        if priorities is None:
            first, batch = read(stored, replay.slots(slots_key, written, size, ahead), weight=None)
        else:
            slots, probability = priorities.sample(priority, slots_key, size)
            filled = jnp.minimum(written * block, capacity) - ahead * num_envs
            first, batch = read(stored, slots, importance_weights(probability, filled, importance_exponent))
        return batch if hindsight is None else relabel(hindsight, stored, first, batch, goals_key, written)

    def read(stored: ReplayState, slots: Array, weight: Array | None) -> tuple[Step, Batch]:
        window = replay.after(slots[:, None], jnp.arange(ahead + 1))
        steps: Step = replay.read(stored, window)  # [N, ahead + 1, ...]
        first = jax.tree.map(lambda x: x[:, 0], steps)
        ended = steps.truncated[:, :n_step]
        if shared:
            lost = steps.truncated & ~steps.terminated
            ended = ended | lost[:, 1:]  # n columns: the window has one step more
            valid = 1.0 - lost[:, 0]
            weight = valid if weight is None else weight * valid
        summed = jax.vmap(n_step_return, in_axes=(0, 0, 0, None))(
            steps.reward[:, :n_step], steps.terminated[:, :n_step], ended, discount
        )
        successors, last = (steps.observation, summed.steps) if shared else (steps.successor, summed.steps - 1)
        successor = jax.vmap(lambda observations, i: observations[i])(successors, last)
        return first, Batch(
            slots=slots,
            observation=first.observation,
            action=first.action,
            reward=summed.reward,
            discount=summed.discount,
            successor=successor,
            weight=weight,
            mask=first.mask,
        )

    def relabel(hindsight: Hindsight, stored: ReplayState, first: Any, batch: Batch, key: Key, written: Array) -> Batch:
        """A share of the batch, which begins with the steps `first`, with goals achieved later in the same episode."""
        goals, (steps_key, share_key) = hindsight.goals, jax.random.split(key)
        left = jnp.minimum(hindsight.max_steps - 1 - first.episode_step, replay.newer(batch.slots, written))
        onward = jax.random.randint(steps_key, left.shape, 0, left + 1)
        later = replay.read(stored, replay.after(batch.slots, onward))
        same_episode = later.episode_step == first.episode_step + onward
        goal = jax.vmap(goals.achieved)(trees.where(same_episode, later.successor, batch.successor))
        successor = jax.vmap(goals.replace)(batch.successor, goal)
        changed = batch._replace(
            observation=jax.vmap(goals.replace)(batch.observation, goal),
            reward=jax.vmap(goals.reward)(successor),
            successor=successor,
        )
        return trees.where(jax.random.bernoulli(share_key, hindsight.fraction, left.shape), changed, batch)

    def update(priority: PriorityState | None, slots: Array, surprise: Array) -> PriorityState | None:
        return priorities.update(priority, slots, surprise) if priorities else None

    return Experience(init, add, sample, update, replay)
