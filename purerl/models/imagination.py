"""What an off-policy learner imagines beside what it lives through: short futures under a model of the dynamics.

Three uses of one model, in any combination, for every learner whose interaction is `purerl.interaction` (the first also
for `dqn`, which has a loop of its own):

    fiction     the policy is followed for some steps from remembered states, and the learner updates on these steps as
                well: Dyna (Sutton, 1990), imagination rollouts (Gu et al., 2016), MBPO (Janner et al., 2019)
    expansion   a target looks H imagined steps ahead before it bootstraps (MVE; Feinberg et al., 2018),

                    y_t = sum_{i = t}^{H} discount^{i - t} r_i + discount^{H + 1 - t} V(s_{H+1}),   t = 0 ... H

                where step 0 is the remembered one, and Q learns at every s_t, also the imagined ones
    weighting   or mixes the targets of all H with the inverse of their variance over models and critics (STEVE; Buckman
                et al., 2018), so that a bad model is not believed

Imagined steps after a termination weigh 0, and so does what is not finite: in an expansion the whole transition.

Sutton, R. (1990), "Integrated architectures for learning, planning, and reacting". Gu, S. et al. (2016), "Continuous
deep Q-learning with model-based acceleration". Feinberg, V. et al. (2018), "Model-based value expansion". Buckman, J.
et al. (2018), "Sample-efficient reinforcement learning with stochastic ensemble value expansion". Janner, M. et al.
(2019), "When to trust your model: model-based policy optimization".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from purerl import trees
from purerl.experience import Batch, Step
from purerl.models.dynamics import DynamicsModel, ModelState
from purerl.models.learned_environment import UNDECIDED
from purerl.operators.returns import backward_recurrence
from purerl.replay import Replay, ReplayState, uniform_replay
from purerl.types import Array, Environment, Key, Observation, Time

Act = Callable[[Key, Observation], Array]  # act(key, observations [N, ...]) -> actions [N, ...]
Targets = Callable[[Batch, Key], Array]  # r + discount V(s') of every critic, [K, N]


@dataclass(frozen=True)
class Imagination:
    """What is imagined, how far and how often; floats may be traced."""

    model: Callable[[Environment], DynamicsModel]
    """Of an environment whose actions are those of the replay, in [-1, 1]."""
    fit_period: int = 250
    """Environment steps between two fits."""
    until: int = 0
    """Environment steps after which nothing is imagined any more; 0 is never."""
    rollouts: int = 0
    """Imagined futures of every iteration; 0 for none."""
    length: int = 1
    """Their steps, at most."""
    first_length: int = 0
    """Their steps at the beginning; 0 means `length`."""
    lengthen_from: float = 0.0
    """Share of the run after which they grow longer, in [0, 1)."""
    lengthen_until: float = 1.0
    """Share of the run at which they have their full length, in (0, 1]."""
    recent: int = 0
    """They begin in one of so many newest steps; 0 means any that is remembered."""
    remembered: int = 1
    """Iterations whose fiction is kept."""
    updates: int = 0
    """On fiction alone, for each of the learner's own updates."""
    real_ratio: float = 1.0
    """Share of what really happened in the batches of these, in [0, 1]; the rest is fiction."""
    control_probability: float = 0.0
    """Of an episode to be acted in by the model's controller, if it has one, instead of the learner."""
    expansion: int = 0
    """H, imagined steps before the bootstrap; 0 is off."""
    weighting: Literal["last", "inverse_variance"] = "last"
    """Bootstrap after all H steps, or after each, weighted by how far models and critics agree."""
    learn_imagined: bool = True
    """Whether Q learns at the imagined states of an expansion as well; not with weighting."""


class ImaginationState(struct.PyTreeNode):
    """The model, and what was imagined with it."""

    model: ModelState
    fiction: Any  # what the replay of imagined steps holds, or None
    error: Array  # of the last fit: what it leaves unexplained of the observations' changes, 1 is everything


class Fiction(NamedTuple):
    """One imagined step as it is stored."""

    observation: Observation
    action: Array
    reward: Array
    terminated: Array
    successor: Observation
    weight: Array  # 0 after the end


class Imagining(NamedTuple):
    """The functions of an `Imagination` for one learner; `written` counts the blocks of its replay."""

    plan: Imagination
    init: Callable[[Key], ImaginationState]
    dream: Callable[..., ImaginationState]  # dream(state, key, time, replay, written, act)
    fiction: Callable[[ImaginationState, Key, Time, int], Batch]  # fiction(state, key, time, size)
    expand: Callable[..., Batch]  # expand(state, key, batch, replay, act, targets)
    active: Callable[[Time], Array]  # whether anything is imagined at that time
    control: Any  # control(state, key, observations [N, O], times [N]) -> actions, or None


def imagining(
    plan: Imagination,
    environment: Environment,
    model: DynamicsModel,
    replay: Replay,
    capacity: int,
    block: int,
    discount: float | Array,
) -> Imagining:
    """The functions of `plan` with the `model` of `environment`, from a replay of `capacity` steps, `block` at a time.

    `act` and `targets` see observations as the replay holds them; the learner normalises inside, if it does.

    Raises ValueError for numbers that do not go together.
    """
    check(plan)
    if plan.weighting == "inverse_variance" and plan.expansion and model.members == 1:
        raise ValueError("weighting by inverse variance compares the members of a model, but this model has one only")
    memory = fictional_replay(plan, environment) if plan.rollouts else None
    blocks = capacity // block

    def active(time: Time) -> Array:
        return jnp.ones((), bool) if plan.until == 0 else time.iteration < -(-plan.until // block)

    def init(key: Key) -> ImaginationState:
        return ImaginationState(model.init(key), memory.init() if memory else None, jnp.zeros(()))

    def fit(state: ImaginationState, key: Key, stored: ReplayState, written: Array) -> ImaginationState:
        filled = jnp.minimum(written, blocks) * block
        order = jnp.arange(min(model.newest or capacity, capacity))
        slots = newest(written, order) if model.newest else order
        fitted, error = model.fit(state.model, key, replay.read(stored, slots), order < filled)
        return state.replace(model=fitted, error=error)

    def newest(written: Array, order: Array) -> Array:
        """Where the step lies that has `order` newer ones."""
        return ((written % blocks) * block - 1 - order) % capacity

    def length(time: Time) -> Array:
        """How long a rollout is now."""
        first = plan.first_length or plan.length
        grown = (time.progress - plan.lengthen_from) / (plan.lengthen_until - plan.lengthen_from)
        return jnp.floor(first + jnp.clip(grown, 0.0, 1.0) * (plan.length - first)).astype(jnp.int32)

    def dream(
        state: ImaginationState, key: Key, time: Time, stored: ReplayState, written: Array, act: Act
    ) -> ImaginationState:
        """Fit the model if it is time, and imagine what the policy would do from remembered states."""
        fit_key, start_key, roll_key = jax.random.split(key, 3)
        due = active(time) & (time.crosses(plan.fit_period, block) | (time.iteration == 0))
        state = jax.lax.cond(due, lambda: fit(state, fit_key, stored, written), lambda: state)
        if memory is None:
            return state
        filled = jnp.minimum(jnp.minimum(written, blocks) * block, plan.recent or capacity)
        order = jax.random.bits(start_key, (plan.rollouts,)) % filled.astype(jnp.uint32)
        starts: Step = replay.read(stored, newest(written, order.astype(jnp.int32)))
        world = model.environment(state.model)
        steps_now = length(time)

        follow = follower(world, act, plan.rollouts)

        def one_step(carry: tuple, inputs: tuple[Array, Key]) -> tuple[tuple, Fiction]:
            index, key = inputs
            nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(follow, carry, key)[1])
            return jax.lax.cond(
                active(time) & (index < steps_now), lambda: follow(carry, key), lambda: (carry, nothing)
            )

        carry = jax.vmap(model.before)(starts), starts.observation, jnp.ones(plan.rollouts, bool)
        inputs = jnp.arange(plan.length), jax.random.split(roll_key, plan.length)
        _, rows = jax.lax.scan(one_step, carry, inputs)
        rows = jax.tree.map(lambda x: x.reshape(plan.length * plan.rollouts, *x.shape[2:]), rows)
        return state.replace(fiction=memory.add(state.fiction, rows, time.iteration))

    def fiction(state: ImaginationState, key: Key, time: Time, size: int) -> Batch:
        """Imagined transitions, from as many steps of a rollout as it has now."""
        assert memory is not None
        block_key, step_key, rollout_key = jax.random.split(key, 3)
        blocks = jnp.minimum(time.iteration + 1, plan.remembered)
        which = jax.random.randint(block_key, (size,), 0, blocks) * plan.length
        which = (which + jax.random.randint(step_key, (size,), 0, length(time))) * plan.rollouts
        row: Fiction = memory.read(state.fiction, which + jax.random.randint(rollout_key, (size,), 0, plan.rollouts))
        return Batch(
            slots=jnp.zeros(size, jnp.int32),
            observation=row.observation,
            action=row.action,
            reward=row.reward,
            discount=discount * (1.0 - row.terminated),
            successor=row.successor,
            weight=row.weight,
            mask=None,
        )

    def futures(state: ImaginationState, key: Key, step: Step, act: Act, member: Array) -> Fiction:
        """What follows on remembered steps `[N]` for H steps, as a member sees it: `[H, N]`."""
        size = step.reward.shape[0]
        after_key, roll_key = jax.random.split(key)
        keys = jax.random.split(after_key, size)
        places = jax.vmap(model.after, (None, 0, 0, None))(state.model, keys, step, member)
        follow = follower(model.environment(state.model), act, size)
        carry = places, step.successor, ~step.terminated
        return jax.lax.scan(follow, carry, jax.random.split(roll_key, plan.expansion))[1]

    def expand(
        state: ImaginationState, key: Key, batch: Batch, stored: ReplayState, act: Act, targets: Targets | None
    ) -> Batch:
        """The batch of single steps with targets that look `expansion` steps ahead."""
        step: Step = replay.read(stored, batch.slots)
        if plan.weighting == "last":
            later = futures(state, key, step, act, jnp.full((), UNDECIDED, jnp.int32))
            return expanded(batch, step.terminated, later, discount, plan.learn_imagined)
        assert targets is not None
        roll_key, target_key = jax.random.split(key)
        later = jax.vmap(lambda member: futures(state, roll_key, step, act, member))(jnp.arange(model.members))
        return weighted(batch, step.terminated, later, discount, lambda batch: targets(batch, target_key))

    def control(state: ImaginationState, key: Key, observation: Observation, time: Array) -> Array:
        assert model.control is not None
        keys = jax.random.split(key, time.shape[0])
        return jax.vmap(model.control, (None, 0, 0, 0))(state.model, keys, observation, time)

    return Imagining(plan, init, dream, fiction, expand, active, control if model.control else None)


def follower(world: Environment, act: Act, count: int) -> Callable[[tuple, Key], tuple[tuple, Fiction]]:
    """A step of `count` imagined episodes; carried are their places, what is observed there and who has not ended."""

    def follow(carry: tuple, key: Key) -> tuple[tuple, Fiction]:
        places, observation, alive = carry
        act_key, step_key = jax.random.split(key)
        action = act(act_key, observation)
        places, timestep = jax.vmap(world.step)(jax.random.split(step_key, count), places, action)
        alive = alive & finite(timestep.observation) & jnp.isfinite(timestep.reward)
        row = Fiction(
            observation, action, timestep.reward, timestep.terminated, timestep.observation, alive.astype(float)
        )
        row = trees.where(alive, row, jax.tree.map(jnp.zeros_like, row))
        return (places, timestep.observation, alive & ~timestep.terminated), row

    return follow


def expanded(batch: Batch, terminated: Array, later: Fiction, discount: float | Array, learn_imagined: bool) -> Batch:
    """Single steps `[N]`, some of which `terminated`, and H imagined ones after each, `[H, N]`, to the last successor.

    They become (H + 1) N transitions, or without `learn_imagined` the first N of these.
    """
    weight = jnp.ones_like(batch.reward) if batch.weight is None else batch.weight
    weight = weight * sound(terminated, later)
    reward, goes_on, successor = joined(batch, later, discount)
    last = jnp.broadcast_to(successor[-1], successor.shape)
    rows = Batch(
        slots=jnp.broadcast_to(batch.slots, reward.shape),
        observation=jnp.concatenate([batch.observation[None], later.observation]),
        action=jnp.concatenate([batch.action[None], later.action]),
        reward=backward_recurrence(reward, goes_on),
        discount=jax.lax.cumprod(goes_on, reverse=True),
        successor=last,
        weight=jnp.concatenate([weight[None], weight * later.weight]),
        mask=None,
    )
    if not learn_imagined:
        rows = jax.tree.map(lambda x: x[:1], rows)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)


def weighted(
    batch: Batch, terminated: Array, later: Fiction, discount: float | Array, targets: Callable[[Batch], Array]
) -> Batch:
    """Single steps `[N]` with one target: those of h = 0 ... H imagined steps, by the inverse of their variance.

    `later` is what every member imagines, `[M, H, N]`; the variance is over members and critics (`targets`: `[K, N]`).
    """
    reward, goes_on, successor = jax.vmap(joined, (None, 0, None))(batch, later, discount)  # [M, H + 1, N]
    remains = jnp.cumprod(goes_on, axis=1)
    so_far = jnp.concatenate([jnp.ones_like(remains[:, :1]), remains[:, :-1]], axis=1)
    earned = jnp.cumsum(so_far * reward, axis=1)

    def of_horizon(earned: Array, remains: Array, successor: Array) -> Array:
        return targets(batch._replace(reward=earned, discount=remains, successor=successor))

    y = jax.vmap(jax.vmap(of_horizon))(earned, remains, successor)  # [M, H + 1, K, N]
    mean, variance = jnp.mean(y, (0, 2)), jnp.var(y, (0, 2))  # [H + 1, N]
    trust = 1.0 / (variance + 1e-8)
    target = jnp.sum(trust * mean, axis=0) / jnp.sum(trust, axis=0)
    believed = jnp.min(jax.vmap(sound, (None, 0))(terminated, later), axis=0)
    weight = believed if batch.weight is None else batch.weight * believed
    return batch._replace(reward=target, discount=jnp.zeros_like(batch.discount), weight=weight)


def joined(batch: Batch, later: Fiction, discount: float | Array) -> tuple[Array, Array, Array]:
    """Rewards, discounts (0 after a termination) and successors of a step and of the imagined ones: `[H + 1, N]`."""
    onward = discount * (1.0 - later.terminated)
    return (
        jnp.concatenate([batch.reward[None], later.reward]),
        jnp.concatenate([batch.discount[None], onward]),
        jnp.concatenate([batch.successor[None], later.successor]),
    )


def sound(terminated: Array, later: Fiction) -> Array:
    """1 where all that is imagined is finite up to its end, else 0, `[N]`: such steps weigh 0 after an end only."""
    goes_on = jnp.concatenate([~terminated[None], ~later.terminated[:-1]])
    return jnp.all(later.weight == jnp.cumprod(goes_on, axis=0), axis=0).astype(jnp.float32)


def fictional_replay(plan: Imagination, environment: Environment) -> Replay:
    """What the imagined steps of the last iterations are kept in, ordered by iteration, step and rollout."""
    observation = jnp.zeros(environment.observation_space.shape, environment.observation_space.dtype)
    action = jnp.zeros(environment.action_space.shape, environment.action_space.dtype)
    example = Fiction(observation, action, jnp.zeros(()), jnp.zeros((), bool), observation, jnp.zeros(()))
    block = plan.rollouts * plan.length
    return uniform_replay(block * plan.remembered, block, example, plan.rollouts)


def finite(observation: Observation) -> Array:
    """Whether all coordinates are, `[N]`."""
    return jnp.all(jnp.isfinite(observation), axis=range(1, observation.ndim))


def check(plan: Imagination) -> None:
    """Raise ValueError for numbers that do not go together."""
    for name in ("fit_period", "length", "remembered"):
        if getattr(plan, name) < 1:
            raise ValueError(f"imagination: {name} must be at least 1, got {getattr(plan, name)}")
    for name in ("until", "rollouts", "recent", "updates", "expansion"):
        if getattr(plan, name) < 0:
            raise ValueError(f"imagination: {name} must be at least 0, got {getattr(plan, name)}")
    if not 0 <= plan.first_length <= plan.length:
        raise ValueError(
            f"imagination: first_length ({plan.first_length}) must be between 0 (for length) and length ({plan.length})"
        )
    if plan.updates and not plan.rollouts:
        raise ValueError(f"imagination: {plan.updates} updates on fiction need rollouts to take it from")
