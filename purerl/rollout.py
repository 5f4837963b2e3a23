"""One rollout for every on-policy learner: act for a while, note what the losses need, pass over it in minibatches.

Time comes first, `[T, B, ...]`. An episode runs on from rollout to rollout, and so does the memory of a recurrent
policy; what happened before a rollout is no longer differentiated through.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import struct

from purerl import trees
from purerl.devices import split
from purerl.environments.vectorize import VectorState, vectorize
from purerl.environments.wrappers import rescale_actions, unscale_action
from purerl.networks.heads import ActorCritic
from purerl.normalization import RunningStatistics, init_statistics, normalize, update_statistics
from purerl.operators.returns import generalized_advantage, running_discounted_return
from purerl.types import Action, Array, Environment, Key, Memory, Metrics, Observation, Policy

Params = Any
Tree = TypeVar("Tree", bound=Any)
Carry = TypeVar("Carry", bound=Any)


class Rollout(NamedTuple):
    """What acting leaves behind, `[T, B, ...]`: observations as the network sees them, rewards as they are learned."""

    observation: Array
    reset: Array  # bool: an episode begins with this step
    action: Array  # as it was drawn: before clipping or squashing
    log_probability: Array  # of that
    value: Array  # V(s_t)
    reward: Array
    terminated: Array
    truncated: Array
    successor: Array  # the true one, also where an episode was cut
    successor_value: Array  # V of it
    raw_observation: Array  # as the environment gave it, for what remembers it longer than the statistics last
    raw_reward: Array


class Sequences(NamedTuple):
    """What losses are computed on, `[length, N, ...]`: single steps; with a memory, rollouts of N environments."""

    observation: Array
    reset: Array
    action: Array
    log_probability: Array
    value: Array
    advantage: Array
    target: Array  # of the value


class CollectorState(struct.PyTreeNode):
    """The running episodes and the statistics of what was seen."""

    environments: VectorState
    memory: Memory  # [B, ...] of the running episodes
    reset: Array  # bool [B]: the next step begins an episode
    observation_statistics: RunningStatistics
    reward_statistics: RunningStatistics
    discounted_return: Array  # [B] running, of past rewards; its deviation is the rewards' scale


class Collector(NamedTuple):
    """How to act with an `ActorCritic`."""

    init: Callable[[Key], tuple[Params, CollectorState]]
    restart: Callable[[Key, CollectorState], CollectorState]  # begin new episodes everywhere
    collect: Callable[[Params, CollectorState, Key], tuple[CollectorState, Rollout]]
    revalue: Callable[[Params, Rollout], Rollout]  # with the values of other parameters; not with a memory
    policy: Callable[[Params, CollectorState, bool], Policy]
    prepare: Callable[[CollectorState, Observation], Array]  # raw observations as the network sees them now
    rescale: Callable[[CollectorState, Array], Array]  # raw rewards as they are learned now


def collector(
    environment: Environment,
    network: ActorCritic,
    *,
    num_envs: int,
    rollout_length: int,
    discount: float | Array,
    normalize_observations: bool = False,
    scale_rewards: bool = False,
    reward_clip: float | Array = jnp.inf,
) -> Collector:
    """Act in `num_envs` copies of `environment` for `rollout_length` steps at a time.

    Bounded continuous actions are rescaled: the policy acts in [-1, 1], and the log-probability is that of the action
    as drawn, before it is clipped. Observations are normalised with the statistics of the *raw* observations of past
    rollouts, so that acting and the losses see the same; rewards are divided by the running deviation of the discounted
    return (without its mean), then clipped to `reward_clip`.
    """
    environments = vectorize(rescale_actions(environment), num_envs)
    apply: Callable[..., Any] = network.apply
    recurrent = network.core != "none"

    def prepare(statistics: RunningStatistics, observation: Observation) -> Array:
        return normalize(statistics, observation) if normalize_observations else observation

    def rescale(statistics: RunningStatistics, reward: Array) -> Array:
        if scale_rewards:
            deviation = jnp.sqrt(statistics.variance)
            reward = reward / jnp.where(deviation > 1e-4, deviation, 1.0)  # until returns differ they have no scale
        return jnp.clip(reward, -reward_clip, reward_clip)

    def evaluate(params: Params, observation: Array, memory: Memory, reset: Array) -> tuple[Memory, Any, Array | None]:
        """One step of the network, `[B, ...]`; without a memory, values are left for later: all at once."""
        if not recurrent:
            return *apply(params, observation, method=network.policy), None
        memory, distribution, value = apply(params, observation[None], memory, reset[None])
        return memory, *jax.tree.map(lambda x: x[0], (distribution, value))

    def act(params: Params, statistics: RunningStatistics, carry: tuple, keys: Key) -> tuple[tuple, tuple]:
        environments_state, memory, reset = carry
        raw = environments_state.observation
        observation = prepare(statistics, raw)
        memory, distribution, value = evaluate(params, observation, memory, reset)
        action = distribution.sample(keys[0])
        environments_state, timestep = environments.step(keys[1], environments_state, distribution.action(action))
        acted = (raw, observation, reset, action, distribution.log_probability(action), value, memory, timestep)
        return (environments_state, memory, timestep.terminated | timestep.truncated), acted

    def values(params: Params, observation: Array, successor: Array, value: Any, memory: Memory) -> tuple[Array, Array]:
        """V(s_t) and V(s'_t), `[T, B]`; a successor is seen from the memory after step t, its episode going on."""
        if not recurrent:
            return apply(params, observation, method=network.value), apply(params, successor, method=network.value)
        goes_on = jnp.zeros((1, *successor.shape[:2]), bool)
        return value, apply(params, successor[None], memory, goes_on, method=network.value)[0]

    def scale(state: CollectorState, reward: Array, done: Array) -> tuple[Array, RunningStatistics, Array]:
        """The rewards to learn from, the statistics behind their scale, and the running discounted return."""
        statistics, running = state.reward_statistics, state.discounted_return
        if scale_rewards:
            running, returns = running_discounted_return(running, reward, done, discount)
            statistics = update_statistics(statistics, returns)
        return rescale(statistics, reward), statistics, running

    def collect(params: Params, state: CollectorState, key: Key) -> tuple[CollectorState, Rollout]:
        carry = (state.environments.clear_statistics(), state.memory, state.reset)
        keys = jax.random.split(key, (rollout_length, 2))
        carry, acted = jax.lax.scan(lambda c, k: act(params, state.observation_statistics, c, k), carry, keys)
        raw, observation, reset, action, log_probability, value, memory, timestep = acted
        successor = prepare(state.observation_statistics, timestep.observation)
        value, successor_value = values(params, observation, successor, value, memory)
        done = timestep.terminated | timestep.truncated
        reward, reward_statistics, discounted_return = scale(state, timestep.reward, done)
        observation_statistics = state.observation_statistics
        if normalize_observations:
            observation_statistics = update_statistics(observation_statistics, raw)
        rollout = Rollout(
            observation=observation,
            reset=reset,
            action=action,
            log_probability=log_probability,
            value=value,
            reward=reward,
            terminated=timestep.terminated,
            truncated=timestep.truncated,
            successor=successor,
            successor_value=successor_value,
            raw_observation=raw,
            raw_reward=timestep.reward,
        )
        state = CollectorState(*carry, observation_statistics, reward_statistics, discounted_return)
        return state, rollout

    def revalue(params: Params, rollout: Rollout) -> Rollout:
        value, successor_value = values(params, rollout.observation, rollout.successor, None, ())
        return rollout._replace(value=value, successor_value=successor_value)

    def begin(key: Key) -> tuple[VectorState, Memory, Array]:
        return environments.reset(key), network.initial_memory((num_envs,)), jnp.ones(num_envs, bool)

    def init(key: Key) -> tuple[Params, CollectorState]:
        network_key, reset_key = jax.random.split(key)
        environments_state, memory, reset = begin(reset_key)
        observation = environments_state.observation
        params = network.init(network_key, observation[None], memory, reset[None])
        state = CollectorState(
            environments=environments_state,
            memory=memory,
            reset=reset,
            observation_statistics=init_statistics(environment.observation_space.shape),
            reward_statistics=init_statistics(()),
            discounted_return=jnp.zeros(num_envs),
        )
        return params, state

    def restart(key: Key, state: CollectorState) -> CollectorState:
        environments_state, memory, reset = begin(key)
        discounted_return = jnp.zeros_like(state.discounted_return)
        return state.replace(
            environments=environments_state, memory=memory, reset=reset, discounted_return=discounted_return
        )

    def policy(params: Params, state: CollectorState, greedy: bool) -> Policy:
        def act(key: Key, memory: Memory, observation: Observation) -> tuple[Memory, Action]:
            observation = prepare(state.observation_statistics, observation)[None]
            memory, distribution = apply(params, observation, memory, jnp.zeros(1, bool), method=network.policy)
            action = distribution.action(distribution.mode() if greedy else distribution.sample(key))[0]
            return memory, unscale_action(environment.action_space, action)

        return Policy(init=lambda key: network.initial_memory(()), act=act)

    return Collector(
        init,
        restart,
        collect,
        revalue,
        policy,
        prepare=lambda state, observation: prepare(state.observation_statistics, observation),
        rescale=lambda state, reward: rescale(state.reward_statistics, reward),
    )


def what_acts(state: Tree) -> Tree:
    """A learner's state with only what its policy reads: `params`, and of its `collector` the statistics."""
    statistics = trees.keep(state.collector, "observation_statistics")
    return trees.keep(state.replace(collector=statistics), "params", "collector")


def advantages(rollout: Rollout, discount: float | Array, trace_decay: float | Array) -> Array:
    """GAE of the rollout, `[T, B]`."""
    return generalized_advantage(
        rollout.reward,
        rollout.value,
        rollout.successor_value,
        rollout.terminated,
        rollout.truncated,
        discount,
        trace_decay,
    )


def as_sequences(rollout: Rollout, advantage: Array, recurrent: bool) -> Sequences:
    """The rollout to learn from, `[1, T B, ...]`; where there is a memory, `[T, B, ...]`."""
    sequences = Sequences(
        rollout.observation,
        rollout.reset,
        rollout.action,
        rollout.log_probability,
        rollout.value,
        advantage,
        advantage + rollout.value,
    )
    if recurrent:
        return sequences
    return jax.tree.map(lambda x: x.reshape(1, -1, *x.shape[2:]), sequences)


def random_order(key: Key, count: int) -> Array:
    """The numbers 0 to `count - 1` in random order, int32 `[count]`.

    Single words are sorted, random bits above and a position below, which is cheaper than the pairs that
    `jax.random.permutation` sorts. Positions whose random bits agree stay as they were, and are shuffled
    again until less than one pair is expected to have agreed every time: from 1,025 on.
    """
    low = (count - 1).bit_length()
    rounds = math.ceil(2 * low / (32 - low))
    positions, order = jnp.arange(count, dtype=jnp.uint32), jnp.arange(count)
    for bits in jax.random.bits(key, (rounds, count), jnp.uint32):
        order = order[jnp.sort((bits >> low << low) | positions) & ((1 << low) - 1)]
    return order


def pass_over(
    update: Callable[[Carry, Tree, Memory], tuple[Carry, Metrics]],
    carry: Carry,
    key: Key,
    samples: Tree,
    memory: Memory,
    epochs: int,
    minibatches: int,
    renew: Callable[[Carry, Tree], Tree] = lambda carry, samples: samples,
) -> tuple[Carry, Metrics]:
    """Several passes over the sequences `[length, N, ...]` in random order, minibatch by minibatch.

    `update(carry, batch, memory)` sees `[length, N / minibatches, ...]` and the memories `[N / minibatches, ...]`;
    `renew(carry, samples)` is what an epoch that begins with `carry` passes over. Returns the last carry and the
    metrics `[epochs, minibatches]`.
    """
    sequences = jax.tree.leaves(samples)[0].shape[1]

    def epoch(carry: Carry, key: Key) -> tuple[Carry, Metrics]:
        renewed = renew(carry, samples)

        def one(carry: Carry, chosen: Array) -> tuple[Carry, Metrics]:
            batch = split(jax.tree.map(lambda x: x[:, chosen], renewed), axis=1)
            return update(carry, batch, split(jax.tree.map(lambda x: x[chosen], memory)))

        order = random_order(key, sequences).reshape(minibatches, -1)
        return jax.lax.scan(one, carry, order)

    return jax.lax.scan(epoch, carry, jax.random.split(key, epochs))
