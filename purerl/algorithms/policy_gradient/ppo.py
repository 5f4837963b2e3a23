"""Proximal policy optimisation with a clipped objective (Schulman et al., 2017).

Collect a rollout with the current policy, estimate its advantages A with GAE, then take several epochs of minibatch
steps that improve the policy only as long as it stays close to the one that acted:

    maximise  mean min(rho A, clip(rho, 1 - clip, 1 + clip) A) - value_coefficient value_loss + entropy_coefficient H

with rho = pi(a | s) / pi_old(a | s). The details that matter are those of Huang et al. (2022).

Schulman, J. et al. (2017), "Proximal policy optimization algorithms". Huang, S. et al. (2022), "The 37 implementation
details of proximal policy optimization".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import trees
from purerl.algorithms.config import check_config, require_real_observations, require_vector_actions
from purerl.devices import split
from purerl.environments.vectorize import VectorState, vectorize
from purerl.environments.wrappers import rescale_actions, unscale_action
from purerl.networks.heads import ActorCritic
from purerl.networks.torsos import Activation
from purerl.normalization import RunningStatistics, init_statistics, normalize, update_statistics
from purerl.operators.policy_gradient import (
    approximate_kl,
    clipped_surrogate,
    clipped_value_loss,
    standardize,
    value_loss,
)
from purerl.operators.returns import generalized_advantage, running_discounted_return
from purerl.optimizers import annealing, clipped_adam, descend
from purerl.types import Action, Algorithm, Array, Environment, Key, Metrics, Observation, Policy, Time

Params = Any


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    learning_rate: float = 2.5e-4
    """Step size of Adam, > 0."""
    anneal_learning_rate: bool = True
    """Let the step size fall linearly to 0 over the run."""
    adam_epsilon: float = 1e-5
    """Added to Adam's denominator, > 0."""
    max_gradient_norm: float = 0.5
    """Gradients are scaled down to this global norm, > 0; inf is off."""
    discount: float = 0.99
    """Weight of the next step's reward, in [0, 1]."""
    trace_decay: float = 0.95
    """Lambda of GAE, in [0, 1]: 0 trusts the value, 1 the returns."""
    clip: float = 0.2
    """How far the probability ratio may move from 1 and still be rewarded, > 0; inf is off."""
    clip_value: bool = False
    """Clip the value's movement as well, by the same amount."""
    value_coefficient: float = 0.5
    """Weight of the value loss, >= 0."""
    entropy_coefficient: float = 0.01
    """Weight of the entropy bonus, >= 0."""
    standardize_advantage: bool = True
    """Zero mean and unit deviation of the advantages of each minibatch."""
    num_envs: int = 8
    """Environments stepped side by side."""
    rollout_length: int = 128
    """Steps of every environment per iteration."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatches: int = 4
    """Gradient updates per pass; divides num_envs x rollout_length."""
    normalize_observations: bool = False
    """Shift and scale observations by their running mean and deviation, clipped to 10."""
    scale_rewards: bool = False
    """Divide rewards by the running deviation of the discounted return, clipped to 10."""
    widths: tuple[int, ...] = (64, 64)
    """Units of the hidden layers (after the convolution, for images)."""
    activation: Activation = "tanh"
    """Nonlinearity after every hidden layer."""
    layer_norm: bool = False
    """LayerNorm before every activation."""
    shared_torso: bool = False
    """One torso for policy and value instead of two."""


class Rollout(NamedTuple):
    """What acting leaves behind, `[T, B, ...]`; observations are raw."""

    observation: Observation
    action: Action
    log_probability: Array
    reward: Array
    terminated: Array
    truncated: Array
    successor: Observation


class Sample(NamedTuple):
    """What the loss needs, `[N, ...]`; observations are as the network sees them."""

    observation: Observation
    action: Action
    log_probability: Array
    value: Array
    advantage: Array
    target: Array


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    params: Params
    optimizer: optax.OptState
    environments: VectorState
    observation_statistics: RunningStatistics
    reward_statistics: RunningStatistics
    discounted_return: Array  # [B] running, of past rewards; its deviation is the rewards' scale
    key: Key


def make(environment: Environment, config: Config) -> Algorithm:
    """PPO on `environment`, with discrete actions or a vector of continuous ones.

    Bounded continuous actions are rescaled: the policy acts in [-1, 1], clipped there, and the log-probability is that
    of the unclipped action. `policy` gives the actions that `environment` itself expects.

    Raises TypeError for actions of another shape or a traced static field, ValueError for a value out of range or a
    rollout that the minibatches do not divide.
    """
    check(config, environment)
    require_vector_actions("ppo", environment)
    environments = vectorize(rescale_actions(environment), config.num_envs)
    network = ActorCritic(
        environment.observation_space,
        environment.action_space,
        config.widths,
        config.activation,
        config.layer_norm,
        config.shared_torso,
    )
    apply: Callable[..., Any] = network.apply
    optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)
    batch_size = config.num_envs * config.rollout_length
    minibatch_size = batch_size // config.minibatches

    def prepare(statistics: RunningStatistics, observation: Observation) -> Array:
        return normalize(statistics, observation) if config.normalize_observations else observation

    def collect(state: State, key: Key) -> tuple[VectorState, Rollout]:
        """Act for `rollout_length` steps with the parameters and statistics of `state`."""

        def body(environments_state: VectorState, keys: Key) -> tuple[VectorState, Rollout]:
            raw = environments_state.observation
            observation = prepare(state.observation_statistics, raw)
            distribution = apply(state.params, observation, method=network.policy)
            action = distribution.sample(keys[0])
            environments_state, timestep = environments.step(keys[1], environments_state, action)
            return environments_state, Rollout(
                observation=raw,
                action=action,
                log_probability=distribution.log_probability(action),
                reward=timestep.reward,
                terminated=timestep.terminated,
                truncated=timestep.truncated,
                successor=timestep.observation,
            )

        keys = jax.random.split(key, (config.rollout_length, 2))
        return jax.lax.scan(body, state.environments.clear_statistics(), keys)

    def scale(state: State, rollout: Rollout) -> tuple[Array, RunningStatistics, Array]:
        """The rewards to learn from, the statistics behind their scale, and the running discounted return."""
        if not config.scale_rewards:
            return rollout.reward, state.reward_statistics, state.discounted_return
        done = rollout.terminated | rollout.truncated
        running, returns = running_discounted_return(state.discounted_return, rollout.reward, done, config.discount)
        statistics = update_statistics(state.reward_statistics, returns)
        reward = rollout.reward / jnp.sqrt(statistics.variance + 1e-8)
        return jnp.clip(reward, -10.0, 10.0), statistics, running

    def estimate(state: State, rollout: Rollout, reward: Array) -> Sample:
        """Advantages and value targets of the rollout, flattened to `[T B, ...]`."""
        observation = prepare(state.observation_statistics, rollout.observation)
        successor = prepare(state.observation_statistics, rollout.successor)
        value = apply(state.params, observation, method=network.value)
        successor_value = apply(state.params, successor, method=network.value)
        advantage = generalized_advantage(
            reward,
            value,
            successor_value,
            rollout.terminated,
            rollout.truncated,
            config.discount,
            config.trace_decay,
        )
        sample = Sample(observation, rollout.action, rollout.log_probability, value, advantage, advantage + value)
        return jax.tree.map(lambda x: x.reshape(batch_size, *x.shape[2:]), sample)

    def loss(params: Params, batch: Sample) -> tuple[Array, Metrics]:
        distribution, value = apply(params, batch.observation)
        log_probability = distribution.log_probability(batch.action)
        advantage = standardize(batch.advantage) if config.standardize_advantage else batch.advantage
        objective = clipped_surrogate(log_probability, batch.log_probability, advantage, config.clip)
        if config.clip_value:
            error = clipped_value_loss(value, batch.value, batch.target, config.clip)
        else:
            error = value_loss(value, batch.target)
        entropy = jnp.mean(distribution.entropy())
        total = -objective + config.value_coefficient * error - config.entropy_coefficient * entropy
        ratio = jnp.exp(log_probability - batch.log_probability)
        return total, {
            "loss": total,
            "policy_loss": -objective,
            "value_loss": error,
            "entropy": entropy,
            "approximate_kl": approximate_kl(log_probability, batch.log_probability),
            "clip_fraction": jnp.mean((jnp.abs(ratio - 1.0) > config.clip).astype(jnp.float32)),
        }

    def update(carry: tuple[Params, optax.OptState], batch: Sample, rate: Array):
        gradients, metrics = jax.grad(loss, has_aux=True)(carry[0], batch)
        return descend(optimizer, *carry, gradients, rate), metrics

    def epoch(carry: tuple[Params, optax.OptState], key: Key, samples: Sample, rate: Array):
        """One pass over the samples in random order, minibatch by minibatch."""
        order = jax.random.permutation(key, batch_size)
        shape = (config.minibatches, minibatch_size)
        minibatches = jax.tree.map(lambda x: x[order].reshape(*shape, *x.shape[1:]), samples)
        return jax.lax.scan(lambda c, batch: update(c, batch, rate), carry, split(minibatches, axis=1))

    def init(key: Key) -> State:
        network_key, reset_key, key = jax.random.split(key, 3)
        states = environments.reset(reset_key)
        params = network.init(network_key, states.observation)
        return State(
            params=params,
            optimizer=optimizer.init(params),
            environments=states,
            observation_statistics=init_statistics(environment.observation_space.shape),
            reward_statistics=init_statistics(()),
            discounted_return=jnp.zeros(config.num_envs),
            key=key,
        )

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        act_key, update_key = jax.random.split(jax.random.fold_in(state.key, time.iteration))
        rate = annealing(time, config.anneal_learning_rate)
        environments_state, rollout = collect(state, act_key)
        reward, reward_statistics, discounted_return = scale(state, rollout)
        samples = estimate(state, rollout, reward)
        keys = jax.random.split(update_key, config.epochs)
        (params, optimizer_state), metrics = jax.lax.scan(
            lambda carry, key: epoch(carry, key, samples, rate), (state.params, state.optimizer), keys
        )
        observation_statistics = state.observation_statistics
        if config.normalize_observations:
            observation_statistics = update_statistics(observation_statistics, rollout.observation)
        state = State(
            params=params,
            optimizer=optimizer_state,
            environments=environments_state,
            observation_statistics=observation_statistics,
            reward_statistics=reward_statistics,
            discounted_return=discounted_return,
            key=state.key,
        )
        return state, jax.tree.map(jnp.mean, metrics) | environments_state.statistics.metrics()

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, memory: tuple, observation: Observation) -> tuple[tuple, Action]:
            observation = prepare(state.observation_statistics, observation)
            distribution = apply(state.params, observation, method=network.policy)
            action = distribution.mode() if greedy else distribution.sample(key)
            return memory, unscale_action(environment.action_space, action)

        return Policy(init=lambda key: (), act=act)

    def snapshot(state: State) -> State:
        return trees.keep(state, "params", "observation_statistics")

    return Algorithm(
        name="ppo",
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=snapshot,
        env_steps_per_iteration=batch_size,
    )


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    check_config(
        config,
        positive=(
            "learning_rate",
            "adam_epsilon",
            "max_gradient_norm",
            "clip",
            "num_envs",
            "rollout_length",
            "epochs",
            "minibatches",
        ),
        non_negative=("value_coefficient", "entropy_coefficient"),
        fraction=("discount", "trace_decay"),
        infinite=("max_gradient_norm", "clip"),
    )
    if config.num_envs * config.rollout_length % config.minibatches:
        raise ValueError(
            f"ppo: minibatches ({config.minibatches}) must divide num_envs x rollout_length "
            f"({config.num_envs} x {config.rollout_length} = {config.num_envs * config.rollout_length})"
        )
    if config.normalize_observations:
        require_real_observations("ppo", environment)
