"""Q-Prop (Gu et al., 2017): TRPO whose gradient has less variance, thanks to a critic that is learned off policy.

The critic's first-order advantage around the mean of the Gaussian policy is subtracted from the estimated advantage and
its contribution added back in closed form,

    A_bar(s, a) = grad_a Q_w(s, a)|_{a = mu(s)} . (a - mu(s))
    grad J = E[grad log pi(a | s) (A_hat - eta A_bar)] + E[eta grad_a Q_w(s, a)|_{a = mu(s)} grad mu(s)]

so that a wrong critic costs variance and not correctness; eta (`control_variate`, see
`purerl.operators.control_variate`) says how far it is trusted. The step is that of a trust region
(`purerl.trust_region`) for the objective with this gradient,

    L(theta) = mean pi(a | s) / pi_old(a | s) (A_hat - eta A_bar) + mean eta A_bar(s, mu_theta(s)),

whose second term is what A_bar is on average under the new policy. A_hat, by GAE, is divided by its deviation, and so
is A_bar wherever it occurs: in different units the two terms would not cancel. Without a control variate the algorithm
is TRPO, bit by bit.

The critic learns like DDPG's from all that was ever met, Q_w(s, a) towards r + discount Q_target(s', mu_target(s')),
after the policy's step: what it subtracts from a rollout it has learned from earlier ones. The replay holds raw
observations and rewards, every observation once, and drawn actions; what is read is normalised and scaled by the
statistics of now, those with which the policy acts next.

Gu, S. et al. (2017), "Q-Prop: sample-efficient policy gradient with an off-policy critic".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl.algorithms.config import check_config, name_of, require_continuous
from purerl.algorithms.policy_gradient import trpo
from purerl.experience import Batch, Step, example_step, experience
from purerl.networks.critics import Critics
from purerl.networks.heads import actor_critic, join_parameters, split_parameters
from purerl.networks.torsos import Activation
from purerl.operators.continuous_control import critics_loss
from purerl.operators.control_variate import Covariance, Kind, control_variate, controlled_surrogate
from purerl.operators.policy_gradient import clipped_surrogate, standardize
from purerl.optimizers import clipped_adam, descend
from purerl.replay import ReplayState
from purerl.rollout import CollectorState, Params, Rollout, Sequences, advantages, as_sequences, collector, what_acts
from purerl.trust_region import trust_region_step, value_fit
from purerl.types import Algorithm, Array, Environment, Key, Metrics, Policy, Time


@dataclass(frozen=True)
class Config(trpo.Config):
    """That of `trpo`, for a memoryless Gaussian policy, and what its critic needs."""

    control_variate: Kind = "conservative"
    """How far the critic is trusted: not at all, fully, where it agrees, by sign, or as much as varies least."""
    covariance: Covariance = "sample"
    """Whether it agrees is asked of every sample, as in the paper, or of the batch, which brings no bias."""
    critic_learning_rate: float = 1e-3
    """Step size of Adam for the critic, > 0."""
    target_rate: float = 0.005
    """How far the targets move to what they follow at every update of the critic, in [0, 1]."""
    update_to_data: tuple[int, int] = (1, 1)
    """Updates of the critic, and the environment steps they are for: (1, 1) is one per step, (1, 8) one in eight."""
    batch_size: int = 64
    """Transitions per update of the critic."""
    replay_capacity: int = 2**20
    """Steps remembered; a multiple of num_envs x rollout_length."""
    critic_widths: tuple[int, ...] = (64, 64)
    """Units of the critic's hidden layers."""
    critic_activation: Activation = "relu"
    """Nonlinearity after each of them."""
    critic_layer_norm: bool = False
    """LayerNorm before it."""


class Learner(struct.PyTreeNode):
    """What an update of the critic changes."""

    critic: Params
    target_critic: Params
    target_actor: Params
    optimizer: optax.OptState


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's. Without a control variate there is neither a critic nor a replay."""

    params: Params
    optimizer: optax.OptState  # of the value
    collector: CollectorState
    learner: Learner | None
    replay: ReplayState | None
    key: Key


def make(environment: Environment, config: Config) -> Algorithm:
    """Q-Prop on `environment`, whose actions must be a vector of continuous ones.

    Raises TypeError for other actions or a traced static field, ValueError for a value out of range, another policy
    than a memoryless Gaussian one, or sizes that do not go together.
    """
    check(config, environment)
    network = actor_critic(environment, config)
    apply: Callable[..., Any] = network.apply
    actor = collector(
        environment,
        network,
        num_envs=config.num_envs,
        rollout_length=config.rollout_length,
        discount=config.discount,
        normalize_observations=config.normalize_observations,
        scale_rewards=config.scale_rewards,
        reward_clip=config.reward_clip,
    )
    optimizer = clipped_adam(config.value_learning_rate, config.adam_epsilon, jnp.inf)
    fit_value = value_fit(network, optimizer, config)
    block = config.num_envs * config.rollout_length
    learns = config.control_variate != "none"
    memory = experience(
        example_step(environment, share_observations=True),
        capacity=config.replay_capacity if learns else block,
        block=block,
        num_envs=config.num_envs,
        discount=config.discount,
    )
    critic_network = Critics(
        environment.observation_space, 1, config.critic_widths, config.critic_activation, config.critic_layer_norm
    )
    critic_optimizer = clipped_adam(config.critic_learning_rate, config.adam_epsilon, jnp.inf)

    def q(critic: Params, observation: Array, action: Array) -> Array:
        values: Any = critic_network.apply(critic, observation, action)
        return values[0]

    def distribution(actor_params: Params, observation: Array) -> Any:
        return apply(join_parameters(actor_params, {}), observation, method=network.policy)[1]

    def slope(critic: Params, samples: Sequences, mean: Array) -> Array:
        """`grad_a Q_w(s, a)` at a = mu(s), `[N, A]`."""
        observation = samples.observation.reshape(-1, *samples.observation.shape[2:])
        return jax.grad(lambda action: jnp.sum(q(critic, observation, action)))(mean)

    def improve_policy(params: Params, learner: Learner | None, samples: Sequences) -> tuple[Params, Metrics]:
        """One step within the trust region."""
        old_params, value_params = split_parameters(params)
        estimated = samples.advantage.reshape(-1)
        advantage = standardize(estimated)
        old = jax.lax.stop_gradient(distribution(old_params, samples.observation))
        old_mean = flat(old.mean)
        metrics = {"entropy": jnp.mean(old.entropy())}
        control = None
        if learner is not None:
            rise = slope(learner.critic, samples, old_mean) / (jnp.std(estimated) + 1e-8)
            action = flat(samples.action)
            control = control_variate(rise, action, old_mean, advantage, config.control_variate, config.covariance)
            metrics |= {"eta": jnp.mean(control.eta), "correlation": correlation(advantage, control.advantage)}

        def objective(actor_params: Params) -> Array:
            new = distribution(actor_params, samples.observation)
            log_probability = new.log_probability(samples.action).reshape(-1)
            old_log_probability = samples.log_probability.reshape(-1)
            if control is None:
                total = clipped_surrogate(log_probability, old_log_probability, advantage, jnp.inf)
            else:
                mean = flat(new.mean)
                total = controlled_surrogate(log_probability, old_log_probability, advantage, control, mean)
            return total + config.entropy_coefficient * jnp.mean(new.entropy())

        def mean_kl(actor_params: Params) -> Array:
            return jnp.mean(old.kl(distribution(actor_params, samples.observation)))

        actor_params, found = trust_region_step(old_params, objective, mean_kl, config)
        return join_parameters(actor_params, value_params), metrics | found

    def fit_critic(learner: Learner, batch: Batch, actor_params: Params) -> tuple[Learner, Metrics]:
        """One step of the critic towards its target, then the targets follow."""
        action = distribution(learner.target_actor, batch.successor).mean
        y = batch.reward + batch.discount * q(learner.target_critic, batch.successor, action)

        def loss(critic: Params) -> tuple[Array, Array]:
            value = q(critic, batch.observation, batch.action)
            return critics_loss(value[None], y, batch.weight), jnp.mean(value)

        (error, value), gradients = jax.value_and_grad(loss, has_aux=True)(learner.critic)
        critic, optimizer = descend(critic_optimizer, learner.critic, learner.optimizer, gradients)
        learner = Learner(
            critic=critic,
            target_critic=optax.incremental_update(critic, learner.target_critic, config.target_rate),
            target_actor=optax.incremental_update(actor_params, learner.target_actor, config.target_rate),
            optimizer=optimizer,
        )
        return learner, {"critic_loss": error, "q_value": value}

    def learn(state: State, learner: Learner, rollout: Rollout, key: Key, time: Time) -> tuple[State, Metrics]:
        """The rollout is remembered, and the critic makes the updates that it allots."""
        steps = Step(
            observation=rollout.raw_observation,
            action=rollout.action,
            reward=rollout.raw_reward,
            terminated=rollout.terminated,
            truncated=rollout.truncated,
            successor=None,
        )
        steps = jax.tree.map(lambda x: x.reshape(block, *x.shape[2:]), steps)
        replay, _ = memory.add(state.replay, None, steps, time.iteration)
        updates = block * config.update_to_data[0] // config.update_to_data[1]
        batch = memory.sample(replay, None, key, time.iteration + 1, updates * config.batch_size)
        batch = batch._replace(
            observation=actor.prepare(state.collector, batch.observation),
            reward=actor.rescale(state.collector, batch.reward),
            successor=actor.prepare(state.collector, batch.successor),
        )
        batches = jax.tree.map(lambda x: x.reshape(updates, config.batch_size, *x.shape[1:]), batch)
        actor_params = split_parameters(state.params)[0]
        learner, metrics = jax.lax.scan(lambda carry, batch: fit_critic(carry, batch, actor_params), learner, batches)
        return state.replace(learner=learner, replay=replay), jax.tree.map(jnp.mean, metrics)

    def init(key: Key) -> State:
        actor_key, key, critic_key = jax.random.split(key, 3)
        params, collector_state = actor.init(actor_key)
        actor_params, value_params = split_parameters(params)
        learner = replay = None
        if learns:
            observation = actor.prepare(collector_state, collector_state.environments.observation)
            action = distribution(actor_params, observation).mean
            critic = critic_network.init(critic_key, observation, action)
            target_critic, target_actor = jax.tree.map(jnp.copy, (critic, actor_params))
            learner = Learner(critic, target_critic, target_actor, critic_optimizer.init(critic))
            replay = memory.init()[0]
        return State(params, optimizer.init(value_params), collector_state, learner, replay, key)

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        act_key, value_key, critic_key = jax.random.split(jax.random.fold_in(state.key, time.iteration), 3)
        collector_state, rollout = actor.collect(state.params, state.collector, act_key)
        advantage = advantages(rollout, config.discount, config.trace_decay)
        samples = as_sequences(rollout, advantage, recurrent=False)
        params, metrics = improve_policy(state.params, state.learner, samples)
        params, optimizer_state, fit = fit_value(params, state.optimizer, value_key, samples, ())
        metrics |= fit | collector_state.environments.statistics.metrics()
        state = state.replace(params=params, optimizer=optimizer_state, collector=collector_state)
        if state.learner is not None:
            state, more = learn(state, state.learner, rollout, critic_key, time)
            metrics |= more
        return state, metrics

    def policy(state: State, greedy: bool = True) -> Policy:
        return actor.policy(state.params, state.collector, greedy)

    return Algorithm(
        name=name_of(config),
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=what_acts,
        env_steps_per_iteration=block,
    )


def flat(x: Array) -> Array:
    """`[..., A]` as `[N, A]`."""
    return x.reshape(-1, x.shape[-1])


def correlation(a: Array, b: Array) -> Array:
    """Of two `[N]`, of which a is standardised and b has mean 0 in expectation."""
    return jnp.mean(a * b) / jnp.sqrt(jnp.mean(jnp.square(b)) + 1e-12)


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    name = name_of(config)
    require_continuous(name, environment)
    trpo.check(config, environment)
    check_config(
        config, positive=("critic_learning_rate", "batch_size"), fraction=("target_rate",), infinite=("reward_clip",)
    )
    if config.policy not in ("gaussian", "state_gaussian") or config.core != "none":
        raise ValueError(
            f"{name}: the control variate is that of a memoryless Gaussian policy; policy={config.policy!r} with "
            f"core={config.core!r} is not, use policy='gaussian' or 'state_gaussian' and core='none'"
        )
    steps = config.num_envs * config.rollout_length
    updates, data = config.update_to_data if len(config.update_to_data) == 2 else (0, 0)
    if updates < 1 or data < 1 or steps * updates % data:
        raise ValueError(
            f"{name}: update_to_data={config.update_to_data} must be two positive numbers, updates and the environment "
            f"steps they are for, and give a whole number of updates for the {config.num_envs} x "
            f"{config.rollout_length} steps of an iteration"
        )
    if config.rollout_length < 2:
        raise ValueError(f"{name}: rollout_length must be at least 2: the last step of a rollout has no successor yet")
