"""Policy gradients in a learned model: through the model by the chain rule, or by the likelihood ratio.

An iteration acts for a while, fits an ensemble to everything seen, and climbs what the policy earns in short imagined
episodes that branch off from remembered observations, where a learned value V of the last state stands for the rest:

    maximise  J = E [ sum_{t < H} discount^t r_t + discount^H V(s_H) ]

    pathwise           a_t = pi(s_t, noise), s_{t+1} = f(s_t, a_t, noise'), and dJ is the derivative of the sum itself,
                       through rewards, model and policy: backpropagation through time, SVG(H) (Heess et al., 2015)
    likelihood_ratio   dJ = E [ sum_t discount^t A_t d log pi(a_t | s_t) ], and the model is only asked for samples;
                       A by GAE(lambda) with V as the baseline (Williams, 1992; Schulman et al., 2016)

Both estimate the same gradient (the second with `trace_decay` 1; less trusts V more). The first has less variance as
long as the Jacobians of H steps multiply to something small, and needs a smooth model with right derivatives; the
second is not harmed by either (Parmas et al., 2018). V is regressed on the lambda-returns of the imagined episodes,
with a slowly moving copy of itself inside. Without `bootstrap` there is no V, J is the return of H steps, and the
baseline of the likelihood ratio is what the other imagined episodes of the batch earn from the same step on.

After a termination nothing is earned and nothing flows back. A termination function must be given where episodes end
early, and the moment of the end has no derivative: what a fall costs reaches the pathwise gradient only through V.

Heess, N. et al. (2015), "Learning continuous control policies by stochastic value gradients". Parmas, P. et al. (2018),
"PIPPS: Flexible model-based policy search robust to the curse of chaos". Branched rollouts: Janner, M. et al. (2019),
"When to trust your model". V on lambda-returns: Hafner, D. et al. (2020), "Dream to control".
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from purerl import trees
from purerl.algorithms.config import check_config, is_concrete, name_of, require_continuous
from purerl.data.transitions import Transitions, transitions_replay
from purerl.distributions import Distribution
from purerl.environments.vectorize import VectorState, vectorize
from purerl.environments.wrappers import rescale_actions, unscale_action
from purerl.models.ensemble import EnsembleConfig, EnsembleState, Fit, make_ensemble
from purerl.models.imagined_episodes import (
    Episodes,
    imagine,
    leave_one_out_advantage,
    likelihood_ratio_surrogate,
    pathwise_surrogate,
)
from purerl.models.learned_environment import Propagation, Reward, Termination, imagine_from, learned_environment
from purerl.networks.heads import PolicyNetwork, Readout
from purerl.networks.torsos import Activation
from purerl.operators.returns import generalized_advantage
from purerl.optimizers import clipped_adam, descend
from purerl.replay import ReplayState
from purerl.types import Action, Algorithm, Array, Environment, Key, Metrics, Observation, Policy, Time

Params = Any


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    gradient: Literal["pathwise", "likelihood_ratio"] = "pathwise"
    """How the gradient of an imagined return is estimated."""
    horizon: int = 10
    """H, steps of an imagined episode."""
    rollouts: int = 64
    """N, imagined episodes per update of the policy."""
    updates_per_iteration: int = 100
    """G, updates of policy and value between two fits of the model."""
    propagation: Propagation = "ts1"
    """Which member predicts: another at every step, one for an episode, or the mean of all."""
    discount: float = 0.99
    """Weight of the next step's reward, in [0, 1]."""
    bootstrap: bool = True
    """Learn a value of the state after H steps; without it nothing counts after them."""
    trace_decay: float = 0.95
    """Lambda of the value's targets and of the advantages, in [0, 1]: 0 trusts the value, 1 the imagined rewards."""
    target_rate: float = 0.02
    """How far the slow value moves to the learned one per update, in [0, 1]."""
    entropy_coefficient: float = 0.0
    """Weight of the policy's entropy in the states imagined, >= 0."""
    learning_rate: float = 1e-3
    """Step size of the policy's Adam, > 0."""
    critic_learning_rate: float = 1e-3
    """Step size of the value's Adam, > 0."""
    adam_epsilon: float = 1e-5
    """Added to Adam's denominator, > 0."""
    max_gradient_norm: float = 1.0
    """Gradients of policy and value are scaled down to this global norm, > 0; inf is off."""
    reward_scale: float = 1.0
    """What imagined rewards are multiplied by before anything is learned from them, > 0."""
    policy: Literal["tanh_gaussian", "state_gaussian", "gaussian"] = "tanh_gaussian"
    """The distribution of actions: squashed, or clipped with a deviation that depends on the state or does not."""
    widths: tuple[int, ...] = (64, 64)
    """Units of the hidden layers of policy and value each."""
    activation: Activation = "elu"
    """Nonlinearity after every hidden layer of these; a smooth one has useful derivatives."""
    layer_norm: bool = False
    """LayerNorm before every activation of these."""
    members: int = 5
    """Networks of the ensemble."""
    probabilistic: bool = True
    """Learn the noise as well; otherwise least squares."""
    model_widths: tuple[int, ...] = (200, 200)
    """Units of the hidden layers of every member."""
    model_activation: Activation = "swish"
    """Nonlinearity after every hidden layer of the members."""
    model_learning_rate: float = 1e-3
    """Step size of the ensemble's Adam, > 0."""
    weight_decay: float = 5e-5
    """Of the ensemble's weights, >= 0."""
    beta: float = 0.5
    """Weight of errors by the variance to this power, in [0, 1]; the likelihood is 0."""
    model_batch_size: int = 64
    """Transitions per update and member."""
    updates_per_round: int = 100
    """Updates of the ensemble between two looks at the held-out error."""
    max_rounds: int = 20
    """At most so many in one fit."""
    num_envs: int = 1
    """Environments stepped side by side."""
    steps_per_iteration: int = 100
    """Steps of every environment before model and policy are improved."""
    replay_capacity: int = 10_000
    """Transitions remembered; a multiple of num_envs x steps_per_iteration."""
    warm_up_steps: int = 200
    """Environment steps of uniform actions before the first fit."""


class Learners(struct.PyTreeNode):
    """What an update changes."""

    actor: Params
    critic: Params  # idle without `bootstrap`, like the next two
    target_critic: Params
    critic_optimizer: optax.OptState
    actor_optimizer: optax.OptState


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    learners: Learners
    model: EnsembleState
    environments: VectorState
    replay: ReplayState
    key: Key


def make(
    environment: Environment, config: Config, reward: Reward | None = None, termination: Termination | None = None
) -> Algorithm:
    """Policy gradients in a model of `environment`, whose observations and actions must be vectors.

    The policy acts in [-1, 1] and is rescaled to the bounds of the actions; `policy` gives the actions that
    `environment` itself expects, and `reward` and `termination` get them.

    Args:
        environment: what to learn.
        config: how.
        reward: r(o, a, o') if it is known, differentiable for the pathwise gradient; otherwise it is learned.
        termination: of (o, a, o') to bool, if episodes end; otherwise imagined ones never do.

    Raises TypeError for other spaces or a traced static field, ValueError for a squashed policy where actions
    have no finite bounds, a value out of range or sizes that do not go together.
    """
    check(config, environment)
    space = require_continuous(name_of(config), environment)
    environments = vectorize(environment, config.num_envs)
    ensemble = make_ensemble(environment, ensemble_config(config, learn_reward=reward is None))
    block = config.num_envs * config.steps_per_iteration
    warm_up_blocks = -(-config.warm_up_steps // block)
    replay = transitions_replay(environment, config.replay_capacity, block, config.num_envs)
    architecture = (config.widths, config.activation, config.layer_norm)
    actor = PolicyNetwork(environment.observation_space, space, *architecture, config.policy)
    critic = Readout(environment.observation_space, 1, (), *architecture, scale=1.0)
    actor_optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)
    critic_optimizer = clipped_adam(config.critic_learning_rate, config.adam_epsilon, config.max_gradient_norm)

    def pi(params: Params, observation: Observation) -> Distribution:
        distribution: Any = actor.apply(params, observation)
        return distribution

    def value(params: Params, observation: Observation) -> Array:
        values: Any = critic.apply(params, observation)
        return jnp.squeeze(values, -1)

    def episodes_of(params: Params, model: EnsembleState, starts: Observation, key: Key) -> Episodes:
        """H steps of the policy in the model from every one of the N starts, in units of the learners."""
        believed = learned_environment(environment, ensemble, model, starts, reward, termination, config.propagation)
        begin = jax.vmap(imagine_from)(starts)
        episodes = imagine(rescale_actions(believed), partial(pi, params), begin, starts, key, config.horizon)
        return episodes._replace(reward=config.reward_scale * episodes.reward)

    def advantages(episodes: Episodes, params: Params) -> tuple[Array, Array]:
        """Advantages and lambda-returns, `[H, N]`, with the value of these parameters."""
        ends = episodes.terminated, episodes.truncated
        if config.bootstrap:
            before, after = (value(params, x) for x in (episodes.observation, episodes.successor))
            steps = (episodes.reward, before, after, *ends)
            advantage = generalized_advantage(*steps, config.discount, config.trace_decay)
            return advantage, advantage + before
        zero = jnp.zeros_like(episodes.reward)
        reward_to_go = generalized_advantage(episodes.reward, zero, zero, *ends, config.discount, 1.0)
        return leave_one_out_advantage(reward_to_go), reward_to_go

    def loss(
        params: Params, learners: Learners, model: EnsembleState, starts: Observation, key: Key
    ) -> tuple[Array, tuple[Episodes, Metrics]]:
        """-J / H, or what has its gradient, and the entropy bonus."""
        episodes = episodes_of(params, model, starts, key)
        fixed = jax.lax.stop_gradient(episodes)
        last = value(learners.target_critic, episodes.successor) if config.bootstrap else jnp.zeros(fixed.reward.shape)
        objective = pathwise_surrogate(episodes, last, config.discount)
        distribution = pi(params, fixed.observation)
        entropy = jnp.mean(distribution.entropy(), where=fixed.alive)
        if config.gradient == "pathwise":
            surrogate = objective
        else:
            advantage, _ = advantages(fixed, learners.target_critic)
            log_probability = distribution.log_probability(fixed.action)
            surrogate = likelihood_ratio_surrogate(log_probability, advantage, fixed.alive, config.discount)
        metrics = {"objective": objective / config.horizon, "entropy": entropy}
        return -surrogate / config.horizon - config.entropy_coefficient * entropy, (fixed, metrics)

    def regress(learners: Learners, episodes: Episodes) -> tuple[Learners, Array]:
        """One step of V to the lambda-returns of the steps that were alive; then the slow copy follows."""
        _, target = advantages(episodes, learners.target_critic)

        def error(params: Params) -> Array:
            return 0.5 * jnp.mean(jnp.square(value(params, episodes.observation) - target), where=episodes.alive)

        missed, gradients = jax.value_and_grad(error)(learners.critic)
        params, optimizer = descend(critic_optimizer, learners.critic, learners.critic_optimizer, gradients)
        slow = optax.incremental_update(params, learners.target_critic, config.target_rate)
        return learners.replace(critic=params, critic_optimizer=optimizer, target_critic=slow), missed

    def update(learners: Learners, model: EnsembleState, starts: Observation, key: Key) -> tuple[Learners, Metrics]:
        """One step of the policy up the gradient, none if it is not finite, and one of the value."""
        gradients, (episodes, metrics) = jax.grad(loss, has_aux=True)(learners.actor, learners, model, starts, key)
        norm = optax.tree.norm(gradients)
        stepped = descend(actor_optimizer, learners.actor, learners.actor_optimizer, gradients)
        params, optimizer = trees.where(jnp.isfinite(norm), stepped, (learners.actor, learners.actor_optimizer))
        learners = learners.replace(actor=params, actor_optimizer=optimizer)
        metrics |= {
            "gradient_norm": jnp.where(jnp.isfinite(norm), norm, 0.0),
            "gradient_lost": 1.0 - jnp.isfinite(norm),
        }
        if config.bootstrap:
            learners, metrics["value_loss"] = regress(learners, episodes)
        return learners, metrics

    def improve(state: State, key: Key, written: Array) -> tuple[State, Metrics]:
        """G updates in the model as it is, from observations of the first `written` blocks."""
        start_key, update_key = jax.random.split(key)
        count = config.updates_per_iteration
        starts = replay.sample(state.replay, start_key, written, count * config.rollouts).observation
        starts = starts.reshape(count, config.rollouts, *starts.shape[1:])

        def body(learners: Learners, inputs: tuple[Observation, Key]) -> tuple[Learners, Metrics]:
            return update(learners, state.model, *inputs)

        learners, metrics = jax.lax.scan(body, state.learners, (starts, jax.random.split(update_key, count)))
        return state.replace(learners=learners), jax.tree.map(jnp.mean, metrics)

    def write(state: State, key: Key, written: Array, random: bool) -> State:
        """Act in every environment for `steps_per_iteration` steps and remember them as block number `written`."""

        def body(running: VectorState, key: Key) -> tuple[VectorState, Transitions]:
            act_key, step_key = jax.random.split(key)
            if random:
                action = jax.vmap(space.sample)(jax.random.split(act_key, config.num_envs))
            else:
                distribution = pi(state.learners.actor, running.observation)
                action = unscale_action(space, distribution.action(distribution.sample(act_key)))
            after, timestep = environments.step(step_key, running, action)
            return after, Transitions(
                running.observation,
                action,
                timestep.reward,
                timestep.terminated,
                timestep.truncated,
                timestep.observation,
            )

        running, rows = jax.lax.scan(body, state.environments, jax.random.split(key, config.steps_per_iteration))
        rows = jax.tree.map(lambda x: x.reshape(block, *x.shape[2:]), rows)
        return state.replace(environments=running, replay=replay.add(state.replay, rows, written))

    def learn(state: State, key: Key, written: Array) -> tuple[State, Fit]:
        """Fit the model to all that is remembered after `written` blocks."""
        data = replay.read(state.replay, jnp.arange(config.replay_capacity))
        model, report = ensemble.fit(state.model, key, data, jnp.minimum(written * block, config.replay_capacity))
        return state.replace(model=model), report

    def init(key: Key) -> State:
        actor_key, critic_key, model_key, reset_key, warm_up_key, fit_key, improve_key, key = jax.random.split(key, 8)
        running = environments.reset(reset_key)
        actor_params = actor.init(actor_key, running.observation)
        critic_params = critic.init(critic_key, running.observation)
        learners = Learners(
            actor=actor_params,
            critic=critic_params,
            target_critic=jax.tree.map(jnp.copy, critic_params),
            critic_optimizer=critic_optimizer.init(critic_params),
            actor_optimizer=actor_optimizer.init(actor_params),
        )
        state = State(learners, ensemble.init(model_key), running, replay.init(), key)

        def warm_up(state: State, inputs: tuple[Key, Array]) -> tuple[State, None]:
            return write(state, *inputs, random=True), None

        inputs = jax.random.split(warm_up_key, warm_up_blocks), jnp.arange(warm_up_blocks)
        state, _ = jax.lax.scan(warm_up, state, inputs)
        written = jnp.asarray(warm_up_blocks)
        state, _ = learn(state, fit_key, written)
        return trees.strongly_typed(improve(state, improve_key, written)[0])

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        act_key, fit_key, improve_key = jax.random.split(jax.random.fold_in(state.key, time.iteration), 3)
        written = warm_up_blocks + time.iteration
        state = state.replace(environments=state.environments.clear_statistics())
        state = write(state, act_key, written, random=False)
        state, report = learn(state, fit_key, written + 1)
        state, metrics = improve(state, improve_key, written + 1)
        metrics |= {
            "model_error": jnp.mean(report.held_out_error),
            "fit_rounds": report.rounds.astype(jnp.float32),
        }
        return state, metrics | state.environments.statistics.metrics()

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, memory: tuple, observation: Observation) -> tuple[tuple, Action]:
            distribution = pi(state.learners.actor, observation)
            drawn = distribution.mode() if greedy else distribution.sample(key)
            return memory, unscale_action(space, distribution.action(drawn))

        return Policy(init=lambda key: (), act=act)

    def snapshot(state: State) -> State:
        return trees.keep(state.replace(learners=trees.keep(state.learners, "actor")), "learners")

    return Algorithm(
        name=name_of(config),
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=snapshot,
        env_steps_per_iteration=block,
        env_steps_of_init=warm_up_blocks * block,
    )


def ensemble_config(config: Config, learn_reward: bool) -> EnsembleConfig:
    """The fields that describe the model."""
    return EnsembleConfig(
        members=config.members,
        widths=config.model_widths,
        activation=config.model_activation,
        probabilistic=config.probabilistic,
        learn_reward=learn_reward,
        beta=config.beta,
        learning_rate=config.model_learning_rate,
        weight_decay=config.weight_decay,
        batch_size=config.model_batch_size,
        updates_per_round=config.updates_per_round,
        max_rounds=config.max_rounds,
    )


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    check_config(
        config,
        positive=(
            "horizon", "rollouts", "updates_per_iteration", "learning_rate", "critic_learning_rate", "adam_epsilon",
            "max_gradient_norm", "reward_scale", "members", "model_learning_rate", "model_batch_size",
            "updates_per_round", "max_rounds", "num_envs", "steps_per_iteration",
        ),
        non_negative=("entropy_coefficient", "weight_decay"),
        fraction=("discount", "trace_decay", "target_rate", "beta"),
        infinite=("max_gradient_norm",),
    )  # fmt: skip
    name = name_of(config)
    space = require_continuous(name, environment)
    concrete = is_concrete(space.low) and is_concrete(space.high)
    unbounded = concrete and not np.all(np.isfinite(space.low) & np.isfinite(space.high))
    if unbounded and config.policy == "tanh_gaussian":
        raise ValueError(
            f"{name}: policy='tanh_gaussian' acts between finite bounds, which the actions of {environment.name} "
            f"do not have; use 'state_gaussian' or 'gaussian'"
        )
    if not 10 <= config.warm_up_steps <= config.replay_capacity:
        raise ValueError(
            f"{name}: warm_up_steps ({config.warm_up_steps}) must be at least 10, for a first fit, and fit into "
            f"replay_capacity ({config.replay_capacity})"
        )
    if config.gradient == "likelihood_ratio" and not config.bootstrap and config.rollouts < 2:
        raise ValueError(
            f"{name}: without bootstrap the baseline of a rollout is what the others earn, and rollouts is "
            f"{config.rollouts}; raise it"
        )
