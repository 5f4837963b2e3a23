"""The interaction of off-policy actors and critics: act, remember every step, learn from what is remembered.

An iteration collects `steps_per_iteration` steps of `num_envs` environments, writes them to the replay as one block,
and then makes the updates that the ratio `update_to_data` allots to them. Before the first iteration `init` fills the
replay with `warm_up_steps` steps of uniform actions. With an `Imagination` it also learns a model of the environment
and from what it imagines with it (`purerl.models.imagination`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import struct

from purerl import trees
from purerl.environments.vectorize import VectorState, vectorize
from purerl.environments.wrappers import rescale_actions, unscale_action
from purerl.experience import Batch, Hindsight, Step, example_step, experience
from purerl.models.fiction import blended, check_imagination, learn_in_turns
from purerl.models.imagination import Imagination, imagining
from purerl.normalization import RunningStatistics, init_statistics, normalize, update_statistics
from purerl.replay import ReplayState
from purerl.replay.priorities import PriorityState
from purerl.types import Action, Array, Environment, Key, Metrics, Observation, Policy, Time

Tree = TypeVar("Tree", bound=Any)
Learner = TypeVar("Learner", bound=Any)
Act = Callable[[Key, Array, Array], tuple[Array, Array]]  # act(key, observation, noise) -> (action, noise), [B, ...]
Update = Callable[[Learner, Batch, Key], tuple[Learner, Array, Metrics]]  # -> what it changed, surprise [N], metrics
Improve = Callable[[Learner, Batch, Key], tuple[Learner, Metrics]]


class InteractionState(struct.PyTreeNode):
    """The running episodes and what is remembered."""

    environments: VectorState
    noise: Array  # [B, *action shape] of the exploration, 0 where an episode begins
    observation_statistics: RunningStatistics
    replay: ReplayState
    priorities: PriorityState | None
    imagination: Any  # an ImaginationState, or None
    controlled: Any  # bool [B]: episodes in which the model's controller acts, or None if it has none


class Interaction(NamedTuple):
    """How to act, remember and learn; `time` is the clock of an iteration."""

    environment: Environment  # with actions in [-1, 1]
    init: Callable[[Key], InteractionState]
    collect: Callable[[InteractionState, Key, Time, Act], InteractionState]
    learn: Callable[..., tuple[InteractionState, Any, Metrics]]  # learn(state, key, time, learner, update, improve)
    policy: Callable[[InteractionState, Callable[[Key, Array], Array]], Policy]  # of act(key, observation) -> action
    block: int  # environment steps per iteration
    warm_up_steps: int  # environment steps of init


def interaction(
    environment: Environment,
    config: Any,
    hindsight: float | Array | None = None,
    imagination: Imagination | None = None,
) -> Interaction:
    """The interaction that the fields of a learner's `config` describe.

    `hindsight` is the share of the transitions that are learned from with a goal that was achieved later on (see
    `Hindsight`), which needs an environment with goals; None for none.

    The agent acts in [-1, 1] (see `rescale_actions`), which is also what the replay holds. Raw observations are stored
    and normalised when they are read, with the statistics of everything seen so far, as they are for acting.

    `learn(state, key, time, learner, update, improve, act, targets)` draws one batch for every update and calls
    `update(learner, batch, key)`, and after every `policy_delay` of them `improve(learner, batch, key)` with the last
    batch (of an expanded one with its own steps, not with those that were imagined after them). What is passed as
    `learner` should hold what they change and nothing else. `act(learner, key, observation)` and
    `targets(learner, batch, key)` (`r + discount V(s')` of every critic, `[K, N]`) are read by the expansion of targets
    alone.

    Raises ValueError for an imagination together with what it cannot be combined with: prioritised sampling, hindsight,
    or an expansion of transitions that are several steps long.
    """
    actions = environment.action_space
    environment = rescale_actions(environment)
    environments = vectorize(environment, config.num_envs)
    block = config.num_envs * config.steps_per_iteration
    warm_up_blocks = -(-config.warm_up_steps // block)
    updates = block * config.update_to_data[0] // config.update_to_data[1]
    relabelling = None
    if hindsight is not None:
        if environment.goals is None:
            raise ValueError(f"hindsight needs an environment with goals, but {environment.name} has none")
        relabelling = Hindsight(environment.goals, hindsight, environment.max_steps)
    check_imagination(config, hindsight is not None, imagination)
    model = imagination.model(environment) if imagination else None
    stores_time = relabelling is not None or imagination is not None
    memory = experience(
        example_step(environment, episode_steps=stores_time, states=model is not None and model.remembers_states),
        capacity=config.replay_capacity,
        block=block,
        num_envs=config.num_envs,
        discount=config.discount,
        n_step=config.n_step,
        sampling=config.sampling,
        priority_exponent=config.priority_exponent,
        priority_epsilon=config.priority_epsilon,
        hindsight=relabelling,
    )
    dreams = None
    if imagination is not None and model is not None:
        dreams = imagining(
            imagination, environment, model, memory.replay, config.replay_capacity, block, config.discount
        )

    def prepare(state: InteractionState, observation: Observation) -> Array:
        return normalize(state.observation_statistics, observation) if config.normalize_observations else observation

    def write(
        state: InteractionState, keys: Key, written: Array, act: Act, controls: float | Array = 0.0
    ) -> InteractionState:
        """`steps_per_iteration` steps of every environment, written to the replay as block number `written`.

        In an episode that begins here the model's controller, if there is one, acts with probability `controls`.
        """

        def body(carry: tuple[VectorState, Array, Any], keys: Key) -> tuple[tuple[VectorState, Array, Any], Step]:
            running, noise, controlled = carry
            before, observation, episode_step = running.environment, running.observation, running.episode_length
            action, noise = act(keys[0], prepare(state, observation), noise)
            if dreams and dreams.control:
                planned = dreams.control(state.imagination, jax.random.fold_in(keys[0], 1), observation, episode_step)
                action = trees.where(controlled, planned, action)
            running, timestep = environments.step(keys[1], running, action)
            done = timestep.terminated | timestep.truncated
            step = Step(
                observation=observation,
                action=action,
                reward=timestep.reward,
                terminated=timestep.terminated,
                truncated=timestep.truncated,
                successor=timestep.observation,
                episode_step=episode_step if stores_time else None,
                state=before if model is not None and model.remembers_states else None,
            )
            if dreams and dreams.control:
                drawn = jax.random.bernoulli(jax.random.fold_in(keys[0], 2), controls, done.shape)
                controlled = jnp.where(done, drawn, controlled)
            return (running, trees.where(done, jnp.zeros_like(noise), noise), controlled), step

        (running, noise, controlled), steps = jax.lax.scan(
            body, (state.environments, state.noise, state.controlled), keys
        )
        steps = jax.tree.map(lambda x: x.reshape(block, *x.shape[2:]), steps)
        statistics = state.observation_statistics
        if config.normalize_observations:
            statistics = update_statistics(statistics, steps.observation)
        replay, priorities = memory.add(state.replay, state.priorities, steps, written)
        return state.replace(
            environments=running,
            noise=noise,
            observation_statistics=statistics,
            replay=replay,
            priorities=priorities,
            controlled=controlled,
        )

    def init(key: Key) -> InteractionState:
        reset_key, warm_up_key = jax.random.split(key)
        replay, priorities = memory.init()
        state = InteractionState(
            environments=environments.reset(reset_key),
            noise=jnp.zeros((config.num_envs, *environment.action_space.shape)),
            observation_statistics=init_statistics(environment.observation_space.shape),
            replay=replay,
            priorities=priorities,
            imagination=dreams.init(jax.random.fold_in(key, 1)) if dreams else None,
            controlled=jnp.zeros(config.num_envs, bool) if dreams and dreams.control else None,
        )

        def at_random(key: Key, observation: Array, noise: Array) -> tuple[Array, Array]:
            return jax.vmap(environment.action_space.sample)(jax.random.split(key, config.num_envs)), noise

        def warm_up(state: InteractionState, inputs: tuple[Key, Array]) -> tuple[InteractionState, None]:
            return write(state, *inputs, at_random), None

        keys = jax.random.split(warm_up_key, (warm_up_blocks, config.steps_per_iteration, 2))
        state, _ = jax.lax.scan(warm_up, state, (keys, jnp.arange(warm_up_blocks)))
        return state

    def collect(state: InteractionState, key: Key, time: Time, act: Act) -> InteractionState:
        keys = jax.random.split(key, (config.steps_per_iteration, 2))
        state = state.replace(environments=state.environments.clear_statistics())
        if dreams is None:
            return write(state, keys, warm_up_blocks + time.iteration, act)
        controls = jnp.where(dreams.active(time), dreams.plan.control_probability, 0.0)
        state = write(state, keys, warm_up_blocks + time.iteration, act, controls)

        def as_now(key: Key, observation: Observation) -> Array:
            observation = prepare(state, observation)
            noise = jnp.zeros((observation.shape[0], *environment.action_space.shape))
            return act(key, observation, noise)[0]

        written = warm_up_blocks + time.iteration + 1
        dream_key = jax.random.fold_in(key, 1)
        return state.replace(
            imagination=dreams.dream(state.imagination, dream_key, time, state.replay, written, as_now)
        )

    def learn(
        state: InteractionState,
        key: Key,
        time: Time,
        learner: Learner,
        update: Update,
        improve: Improve,
        act: Any = None,
        targets: Any = None,
    ) -> tuple[InteractionState, Learner, Metrics]:
        """All the updates of an iteration. Their loops carry what they change: the replay is not among it."""
        groups, delay, size = updates // config.policy_delay, config.policy_delay, config.batch_size
        written = warm_up_blocks + time.iteration + 1
        importance = config.importance_start + (1.0 - config.importance_start) * time.progress
        sample_key, update_key, improve_key = jax.random.split(key, 3)

        def prepared(batch: Batch) -> Batch:
            return batch._replace(
                observation=prepare(state, batch.observation), successor=prepare(state, batch.successor)
            )

        def batches(priorities: PriorityState | None, key: Key, size: int) -> Batch:
            batch = memory.sample(state.replay, priorities, key, written, size, importance)
            return blended(dreams, state.imagination, key, time, batch)

        def expanded(learner: Learner, batch: Batch, key: Key) -> Batch:
            """The batch with targets that look ahead, where that is asked for."""
            if dreams is None or not dreams.plan.expansion:
                return prepared(batch)
            if targets is None and dreams.plan.weighting == "inverse_variance":
                raise ValueError("this learner does not tell its critics' targets apart; use weighting 'last'")
            batch = dreams.expand(
                state.imagination,
                jax.random.fold_in(key, 1),
                batch,
                state.replay,
                lambda key, observation: act(learner, key, prepare(state, observation)),
                None if targets is None else lambda batch, key: targets(learner, prepared(batch), key),
            )
            return prepared(batch)

        if config.sampling == "uniform":  # nothing that an update changes decides what the next one reads
            whole = batches(None, sample_key, updates * size)
            drawn: Any = jax.tree.map(lambda x: x.reshape(groups, delay, size, *x.shape[1:]), whole)
        else:
            drawn = jax.random.split(sample_key, (groups, delay))

        def one(carry: tuple[Learner, Any], inputs: tuple) -> tuple[tuple[Learner, Any], tuple[Batch, Metrics]]:
            (learner, priorities), (batch, key) = carry, inputs
            if config.sampling != "uniform":
                batch = batches(priorities, batch, size)
            batch = expanded(learner, batch, key)
            learner, surprise, metrics = update(learner, batch, key)
            return (learner, memory.update(priorities, batch.slots, surprise)), (batch, metrics)

        def group(carry: tuple[Learner, Any], inputs: tuple) -> tuple[tuple[Learner, Any], Metrics]:
            drawn, keys, key = inputs
            (learner, priorities), (seen, metrics) = jax.lax.scan(one, carry, (drawn, keys))
            learner, more = improve(learner, jax.tree.map(lambda x: x[-1][:size], seen), key)
            return (learner, priorities), jax.tree.map(jnp.mean, metrics) | more

        def keys_of(groups: int) -> tuple[Key, Key]:
            return jax.random.split(update_key, (groups, delay)), jax.random.split(improve_key, groups)

        carry: Any = learner, state.priorities
        (learner, priorities), metrics = learn_in_turns(
            dreams, state.imagination, sample_key, time, group, carry, drawn, keys_of
        )
        metrics = metrics | state.environments.statistics.metrics()
        if dreams is not None:
            metrics["model_error"] = state.imagination.error
        return state.replace(priorities=priorities), learner, metrics

    def policy(state: InteractionState, act: Callable[[Key, Array], Array]) -> Policy:
        def act_on(key: Key, memory: tuple, observation: Observation) -> tuple[tuple, Action]:
            return memory, unscale_action(actions, act(key, prepare(state, observation)))

        return Policy(init=lambda key: (), act=act_on)

    return Interaction(environment, init, collect, learn, policy, block, warm_up_blocks * block)


def what_acts(state: Tree, *fields: str) -> Tree:
    """A learner's state with only what its policy reads: these fields, and of its `interaction` the statistics."""
    statistics = trees.keep(state.interaction, "observation_statistics")
    return trees.keep(state.replace(interaction=statistics), *fields, "interaction")
