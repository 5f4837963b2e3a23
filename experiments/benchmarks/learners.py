"""The least that a learner must compute: the acting and the updates of an iteration, on data that is already there.

Written by hand, without replay, sampling, advantages, shuffling or statistics, for the default Config of an algorithm
or one like it. Every function gives a program and its arguments, the first of which the program gives back.

Optimisers have the form that is fastest here. On one vector XLA takes three times as long for this SAC and half as long
again for this TD3, whatever their size: what joins their gradients it makes a slow loop of (`purerl/optimizers.py`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from purerl.algorithms.continuous_control import sac, td3
from purerl.algorithms.policy_gradient import ppo
from purerl.algorithms.value_based import dqn, pqn
from purerl.networks.critics import critics
from purerl.networks.heads import ActorCritic, PolicyNetwork, Readout
from purerl.networks.q_network import QNetwork
from purerl.operators.selection import at_action
from purerl.optimizers import clipped, clipped_adam, descend

KEY = jax.random.key(0)


def learner_only(act: Callable, update: Callable, num_envs: int, iterations: int, acts: int, updates: int) -> Callable:
    """A program of `acts` times `act(carry, data, observation, key)`, then `updates` times `update(carry, data, key)`,
    `iterations` times; `data[0]` are the observations of a batch, of which the first `num_envs` are acted on.
    """

    def program(carry, data, key):
        def iteration(carry, keys):
            acting, first = partial(act, carry, data), data[0][:num_envs]
            acted = jax.lax.scan(acting, first, jax.random.split(keys[0], acts))
            carry, _ = jax.lax.scan(
                lambda carry, key: (update(carry, data, key), None), carry, jax.random.split(keys[1], updates)
            )
            return carry, jax.tree.map(jnp.sum, acted)

        return jax.lax.scan(iteration, carry, jax.random.split(key, (iterations, 2)))

    return program


def ppo_learner_only(config: ppo.Config, environment: Any, iterations: int) -> tuple[Callable, tuple]:
    """Act and value `rollout_length` times, then `epochs x minibatches` updates, `iterations` times, on fixed data."""
    network = ActorCritic(environment.observation_space, environment.action_space, config.widths)
    optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)
    size = config.num_envs * config.rollout_length // config.minibatches
    observation = jax.random.normal(KEY, (size, *environment.observation_space.shape))
    params = network.init(KEY, observation)
    data = (observation, jnp.zeros(size, jnp.int32), -jnp.ones(size), jnp.ones(size), jnp.ones(size))

    def loss(params, batch):
        observation, action, old, advantage, target = batch
        _, distribution, value = network.apply(params, observation)
        ratio = jnp.exp(distribution.log_probability(action) - old)
        clipped = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
        surrogate = jnp.mean(jnp.minimum(ratio * advantage, clipped * advantage))
        error = 0.5 * jnp.mean((value - target) ** 2)
        entropy = jnp.mean(distribution.entropy())
        return -surrogate + config.value_coefficient * error - config.entropy_coefficient * entropy

    def act(carry, data, observation, key):
        _, distribution, value = network.apply(carry[0], observation)
        action = distribution.sample(key)
        return observation + 1e-6 * value[:, None], (action, value, distribution.log_probability(action))

    def update(carry, data, key):
        return descend(optimizer, *carry, jax.grad(loss)(carry[0], data))

    updates = config.epochs * config.minibatches
    program = learner_only(act, update, config.num_envs, iterations, config.rollout_length, updates)
    return program, ((params, optimizer.init(params)), data, KEY)


def greedy(network: QNetwork) -> Callable:
    """The `act` of a Q network: the best action of every environment."""

    def act(carry, data, observation, key):
        values = network.apply(carry[0], observation).mean()
        return observation + 1e-6 * values[:, :1], jnp.argmax(values, axis=-1)

    return act


def dqn_learner_only(config: dqn.Config, environment: Any, iterations: int) -> tuple[Callable, tuple]:
    """One greedy action per environment and `updates_per_iteration` updates on a fixed batch, `iterations` times."""
    network = QNetwork(environment.observation_space, environment.action_space.n, config.widths)
    optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)
    size = config.batch_size
    observation = jax.random.normal(KEY, (size, *environment.observation_space.shape))
    params = network.init(KEY, observation)
    action = jnp.zeros(size, jnp.int32)

    def loss(params, target_params, observation):
        target = 1.0 + config.discount * jnp.max(network.apply(target_params, observation).mean(), axis=-1)
        chosen = at_action(network.apply(params, observation).mean(), action)
        return jnp.mean(0.5 * (chosen - target) ** 2)

    def update(carry, data, key):
        (params, _), (observation, target_params) = carry, data
        # A batch that changes with the parameters: else XLA takes the target's values out of the loop.
        batch = observation + 1e-6 * jax.tree.leaves(params)[0].ravel()[0]
        return descend(optimizer, *carry, jax.grad(loss)(params, target_params, batch))

    acts, updates = config.steps_per_iteration, config.updates_per_iteration
    program = learner_only(greedy(network), update, config.num_envs, iterations, acts, updates)
    return program, ((params, optimizer.init(params)), (observation, jax.tree.map(jnp.copy, params)), KEY)


def pqn_learner_only(config: pqn.Config, environment: Any, iterations: int) -> tuple[Callable, tuple]:
    """Act greedily `rollout_length` times, then `epochs x minibatches` updates, `iterations` times, on fixed data."""
    network = QNetwork(
        environment.observation_space, environment.action_space.n, config.widths, config.activation, config.layer_norm
    )
    optimizer = clipped(config.max_gradient_norm, optax.radam(config.learning_rate, eps=config.adam_epsilon))
    size = config.num_envs * config.rollout_length // config.minibatches
    observation = jax.random.normal(KEY, (max(size, config.num_envs), *environment.observation_space.shape))
    params = network.init(KEY, observation)
    action, target = jnp.zeros(size, jnp.int32), jnp.ones(size)

    def loss(params, observation):
        chosen = at_action(network.apply(params, observation).mean(), action)
        return jnp.mean(0.5 * (chosen - target) ** 2)

    def update(carry, data, key):
        return descend(optimizer, *carry, jax.grad(loss)(carry[0], data[0][:size]))

    updates = config.epochs * config.minibatches
    program = learner_only(greedy(network), update, config.num_envs, iterations, config.rollout_length, updates)
    return program, ((params, optimizer.init(params)), (observation,), KEY)


def sac_learner_only(config: sac.Config, environment: Any, iterations: int) -> tuple[Callable, tuple]:
    """Act for `steps_per_iteration` steps, then the updates of an iteration on a fixed batch, `iterations` times."""
    size, (wide,) = config.batch_size, environment.action_space.shape
    actor = PolicyNetwork(
        environment.observation_space, environment.action_space, config.widths, config.activation, False, config.policy
    )
    q = critics(environment, config)
    optimizer = optax.adam(config.learning_rate)  # see the module
    observation = jax.random.normal(KEY, (size, *environment.observation_space.shape))
    action = jnp.zeros((size, wide))
    params = [actor.init(KEY, observation), q.init(KEY, observation, action), jnp.zeros(())]
    updates = config.num_envs * config.steps_per_iteration * config.update_to_data[0] // config.update_to_data[1]

    def soft_value(actor_params, q_params, observation, key):
        policy = actor.apply(actor_params, observation)
        draw = policy.sample(key)
        values = q.apply(q_params, observation, policy.action(draw))
        return jnp.min(values, axis=0), -policy.log_probability(draw)

    def q_loss(q_params, observation, target):
        return 0.5 * jnp.mean(jnp.square(q.apply(q_params, observation, action) - target))

    def actor_loss(actor_params, q_params, observation, alpha, key):
        value, entropy = soft_value(actor_params, q_params, observation, key)
        return -jnp.mean(value + alpha * entropy), jnp.mean(entropy)

    def update(carry, data, key):
        (pi, critic, log_alpha), target, states = carry
        target_key, actor_key = jax.random.split(key)
        batch = data[0] + 1e-6 * log_alpha  # that changes: else XLA takes what it can out of the loop
        value, entropy = soft_value(pi, target, batch, target_key)
        y = 1.0 + config.discount * (value + jnp.exp(log_alpha) * entropy)
        slope = jax.grad(q_loss)(critic, batch, y)
        gradient, entropy = jax.grad(actor_loss, has_aux=True)(pi, critic, batch, jnp.exp(log_alpha), actor_key)
        gradients = (gradient, slope, entropy + wide)
        moved, states = zip(*map(partial(descend, optimizer), carry[0], states, gradients), strict=True)
        return list(moved), optax.incremental_update(moved[1], target, config.target_rate), list(states)

    def act(carry, data, observation, key):
        policy = actor.apply(carry[0][0], observation)
        action = policy.action(policy.sample(key))
        return observation + 1e-6 * action[:, :1], action

    carry = params, jax.tree.map(jnp.copy, params[1]), [optimizer.init(one) for one in params]
    program = learner_only(act, update, config.num_envs, iterations, config.steps_per_iteration, updates)
    return program, (carry, (observation,), KEY)


def td3_learner_only(config: td3.Config, environment: Any, iterations: int) -> tuple[Callable, tuple]:
    """Act for `steps_per_iteration` steps, then the updates of an iteration on a fixed batch, `iterations` times."""
    size, (wide,) = config.batch_size, environment.action_space.shape
    actor = Readout(environment.observation_space, wide, (), config.widths, config.activation, config.layer_norm)
    q = critics(environment, config)
    optimizer = optax.adam(config.learning_rate)  # see the module
    observation = jax.random.normal(KEY, (size, *environment.observation_space.shape))
    action = jnp.zeros((size, wide))
    params = [actor.init(KEY, observation), q.init(KEY, observation, action)]
    updates = config.num_envs * config.steps_per_iteration * config.update_to_data[0] // config.update_to_data[1]

    def mu(params, observation):
        return jnp.tanh(actor.apply(params, observation))

    def q_loss(q_params, observation, target):
        return 0.5 * jnp.mean(jnp.square(q.apply(q_params, observation, action) - target))

    def actor_loss(actor_params, q_params, observation):
        one = q.clone(members=1)
        return -jnp.mean(one.apply(jax.tree.map(lambda x: x[:1], q_params), observation, mu(actor_params, observation)))

    def update(carry, data, key):
        (pi, critic), (target_pi, target), (pi_state, q_state) = carry

        def update_critics(learning, key):
            critic, q_state = learning
            # A batch that changes with the parameters: else XLA takes what it can out of the loop.
            batch = data[0] + 1e-6 * jax.tree.leaves(critic)[0].ravel()[0]
            noise = jnp.clip(config.target_noise * jax.random.normal(key, action.shape), -0.5, 0.5)
            values = q.apply(target, batch, jnp.clip(mu(target_pi, batch) + noise, -1.0, 1.0))
            y = 1.0 + config.discount * jnp.min(values, axis=0)
            return descend(optimizer, critic, q_state, jax.grad(q_loss)(critic, batch, y)), None

        keys = jax.random.split(key, config.policy_delay)
        (critic, q_state), _ = jax.lax.scan(update_critics, (critic, q_state), keys)
        batch = data[0] + 1e-6 * jax.tree.leaves(pi)[0].ravel()[0]
        pi, pi_state = descend(optimizer, pi, pi_state, jax.grad(actor_loss)(pi, critic, batch))
        targets = optax.incremental_update([pi, critic], [target_pi, target], config.target_rate)
        return [pi, critic], targets, [pi_state, q_state]

    def act(carry, data, observation, key):
        action = mu(carry[0][0], observation)
        return observation + 1e-6 * action[:, :1], action

    carry = params, jax.tree.map(jnp.copy, params), [optimizer.init(one) for one in params]
    rounds = updates // config.policy_delay
    program = learner_only(act, update, config.num_envs, iterations, config.steps_per_iteration, rounds)
    return program, (carry, (observation,), KEY)
