"""Advantage actor-critic, synchronous or with stale gradients (Mnih et al., 2016).

After every few steps of many environments, one gradient step on

    loss = mean -log pi(a_t | s_t) A_t  +  value_coefficient (V(s_t) - R_t)^2 / 2  -  entropy_coefficient H

where R_t = A_t + V(s_t) is the lambda-return of the short rollout; with `trace_decay` 1 it is the n-step return of as
many steps as are left. One environment and `rollout_length` 1 make it the online one-step actor-critic; a long rollout,
the batch one.

A3C is this with time made explicit. `workers` take turns: each acts with parameters that are `staleness` updates old,
computes its gradient *there*, and applies it to the newest parameters through one shared optimiser. The whole run is
one deterministic program, in which the staleness is a number to be swept.

Mnih, V. et al. (2016), "Asynchronous methods for deep reinforcement learning".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl.algorithms.config import check_config, is_concrete, name_of
from purerl.algorithms.policy_gradient.checks import check_actor, check_standardization
from purerl.networks.heads import PolicyKind, actor_critic
from purerl.networks.recurrent import Core
from purerl.networks.torsos import Activation
from purerl.operators.policy_gradient import standardize, value_loss
from purerl.optimizers import annealing, clipped_adam, clipped_rmsprop, descend
from purerl.rollout import CollectorState, Params, Sequences, advantages, as_sequences, collector, what_acts
from purerl.types import Algorithm, Array, Environment, Key, Memory, Metrics, Policy, Time


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    learning_rate: float = 7e-4
    """Step size, > 0."""
    anneal_learning_rate: bool = True
    """Let the step size fall linearly to 0 over the run."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """What turns gradients into steps."""
    rmsprop_decay: float = 0.99
    """Memory of RMSProp's mean square, in [0, 1]."""
    optimizer_epsilon: float = 1e-5
    """Added to the mean square of RMSProp, or to the denominator of Adam, > 0."""
    max_gradient_norm: float = 0.5
    """Gradients are scaled down to this global norm, > 0; inf is off."""
    discount: float = 0.99
    """Weight of the next step's reward, in [0, 1]."""
    trace_decay: float = 1.0
    """Lambda of the returns, in [0, 1]: 0 trusts the next value, 1 the rewards of the rollout."""
    value_coefficient: float = 0.5
    """Weight of the value loss, >= 0."""
    entropy_coefficient: float = 0.01
    """Weight of the entropy bonus, >= 0."""
    standardize_advantage: bool = False
    """Zero mean and unit deviation of the advantages of each update."""
    num_envs: int = 16
    """Environments stepped side by side, those of all workers together."""
    rollout_length: int = 5
    """Steps of every environment per update."""
    workers: int = 1
    """Who take turns at updating, each with num_envs / workers environments; 1 is synchronous."""
    max_staleness: int = 0
    """How many old versions of the parameters are kept."""
    staleness: float = 0.0
    """Age of the parameters a worker acts with, in updates, in [0, max_staleness]; between integers, by chance."""
    normalize_observations: bool = False
    """Shift and scale observations by their running mean and deviation, clipped to 10 (with one worker)."""
    scale_rewards: bool = False
    """Divide rewards by the running deviation of the discounted return (with one worker)."""
    reward_clip: float = float("inf")
    """Rewards, after scaling, are clipped to this magnitude, > 0; inf is off."""
    core: Core = "none"
    """What remembers earlier observations."""
    core_width: int = 64
    """Units of the recurrent core."""
    widths: tuple[int, ...] = (64, 64)
    """Units of the hidden layers before the core (after the convolution, for images)."""
    activation: Activation = "tanh"
    """Nonlinearity after every hidden layer."""
    layer_norm: bool = False
    """LayerNorm before every activation."""
    orthogonal_init: bool = True
    """Orthogonal kernels with gains sqrt(2), 0.01 for the policy, 1 for the value; else LeCun's normal ones."""
    shared_torso: bool = False
    """One torso, and one core, for policy and value instead of two."""
    policy: PolicyKind = "gaussian"
    """The distribution of continuous actions; discrete ones are categorical."""


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    params: Params
    old_params: Params  # [max_staleness, ...], the newest first; () if none are kept
    optimizer: optax.OptState
    collector: CollectorState  # [workers, ...]
    key: Key


class Shared(struct.PyTreeNode):
    """What the workers read and write in turn."""

    params: Params
    old_params: Params
    optimizer: optax.OptState


def make(environment: Environment, config: Config) -> Algorithm:
    """A2C on `environment`, with discrete actions, several discrete ones at once, or a vector of continuous ones.

    Raises TypeError for actions of another shape or a traced static field, ValueError for a value out of range or
    workers that do not divide the environments.
    """
    check(config, environment)
    network = actor_critic(environment, config, config.shared_torso)
    apply: Callable[..., Any] = network.apply
    worker = collector(
        environment,
        network,
        num_envs=config.num_envs // config.workers,
        rollout_length=config.rollout_length,
        discount=config.discount,
        normalize_observations=config.normalize_observations,
        scale_rewards=config.scale_rewards,
        reward_clip=config.reward_clip,
    )
    if config.optimizer == "adam":
        optimizer = clipped_adam(config.learning_rate, config.optimizer_epsilon, config.max_gradient_norm)
    else:
        optimizer = clipped_rmsprop(
            config.learning_rate, config.rmsprop_decay, config.optimizer_epsilon, config.max_gradient_norm
        )

    def loss(params: Params, batch: Sequences, memory: Memory) -> tuple[Array, Metrics]:
        _, distribution, value = apply(params, batch.observation, memory, batch.reset)
        log_probability = distribution.log_probability(batch.action).reshape(-1)
        advantage = batch.advantage.reshape(-1)
        advantage = standardize(advantage) if config.standardize_advantage else advantage
        policy_loss = -jnp.mean(log_probability * advantage)
        error = value_loss(value.reshape(-1), batch.target.reshape(-1))
        entropy = jnp.mean(distribution.entropy())
        total = policy_loss + config.value_coefficient * error - config.entropy_coefficient * entropy
        return total, {"loss": total, "policy_loss": policy_loss, "value_loss": error, "entropy": entropy}

    def aged(shared: Shared, age: Array) -> Params:
        """The parameters of `age` updates ago."""
        if not config.max_staleness:
            return shared.params
        return jax.tree.map(lambda new, old: jnp.concatenate([new[None], old])[age], shared.params, shared.old_params)

    def remember(params: Params, old: Params) -> Params:
        if not config.max_staleness:
            return ()
        return jax.tree.map(lambda new, old: jnp.concatenate([new[None], old[:-1]]), params, old)

    def turn(shared: Shared, inputs: tuple[CollectorState, Key, Array], rate: Array) -> tuple[Shared, tuple]:
        """One worker: act, differentiate at the parameters that acted, and step from the newest ones."""
        state, key, age = inputs
        params, memory = aged(shared, age), state.memory
        state, rollout = worker.collect(params, state, key)
        advantage = advantages(rollout, config.discount, config.trace_decay)
        batch = as_sequences(rollout, advantage, config.core != "none")
        gradients, metrics = jax.grad(loss, has_aux=True)(params, batch, memory)
        newest, optimizer_state = descend(optimizer, shared.params, shared.optimizer, gradients, rate)
        return Shared(newest, remember(shared.params, shared.old_params), optimizer_state), (state, metrics)

    def init(key: Key) -> State:
        key, *worker_keys = jax.random.split(key, 1 + config.workers)
        params, collectors = jax.vmap(worker.init)(jnp.stack(worker_keys))
        params = jax.tree.map(lambda x: x[0], params)
        old = ()
        if config.max_staleness:
            old = jax.tree.map(lambda x: jnp.broadcast_to(x, (config.max_staleness, *x.shape)), params)
        return State(params, old, optimizer.init(params), collectors, key)

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        act_key, age_key = jax.random.split(jax.random.fold_in(state.key, time.iteration))
        rate = annealing(time, config.anneal_learning_rate)
        age = ages(age_key, config.workers, config.staleness, config.max_staleness)
        shared, (collectors, metrics) = jax.lax.scan(
            lambda shared, inputs: turn(shared, inputs, rate),
            Shared(state.params, state.old_params, state.optimizer),
            (state.collector, jax.random.split(act_key, config.workers), age),
        )
        state = State(shared.params, shared.old_params, shared.optimizer, collectors, state.key)
        episodes = jax.tree.map(jnp.sum, collectors.environments.statistics).metrics()
        return state, jax.tree.map(jnp.mean, metrics) | episodes

    def policy(state: State, greedy: bool = True) -> Policy:
        return worker.policy(state.params, jax.tree.map(lambda x: x[0], state.collector), greedy)

    return Algorithm(
        name=name_of(config),
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=what_acts,
        env_steps_per_iteration=config.num_envs * config.rollout_length,
    )


def ages(key: Key, workers: int, staleness: float | Array, max_staleness: int) -> Array:
    """How old the parameters are with which each worker acts, int32 `[workers]`: `staleness`, rounded by chance."""
    drawn = jnp.floor(staleness + jax.random.uniform(key, (workers,)))
    return jnp.clip(drawn, 0, max_staleness).astype(jnp.int32)


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    check_config(
        config,
        positive=(
            "learning_rate",
            "optimizer_epsilon",
            "max_gradient_norm",
            "num_envs",
            "rollout_length",
            "workers",
            "reward_clip",
            "core_width",
        ),
        non_negative=("value_coefficient", "entropy_coefficient", "staleness", "max_staleness"),
        fraction=("discount", "trace_decay", "rmsprop_decay"),
        infinite=("max_gradient_norm", "reward_clip"),
    )
    name = name_of(config)
    if config.num_envs % config.workers:
        raise ValueError(f"{name}: workers ({config.workers}) must divide num_envs ({config.num_envs})")
    if is_concrete(config.staleness) and config.staleness > config.max_staleness:
        raise ValueError(
            f"{name}: staleness ({config.staleness}) must not exceed max_staleness ({config.max_staleness}), the "
            f"number of old parameters that are kept; raise that"
        )
    for field in ("normalize_observations", "scale_rewards"):
        if getattr(config, field) and config.workers > 1:
            raise ValueError(f"{name}: {field} needs workers=1: several would each have statistics of their own")
    check_standardization(config, config.num_envs // config.workers * config.rollout_length)
    check_actor(config, environment)
