"""Trust-region policy optimisation and the natural policy gradient (Schulman et al., 2015; Kakade, 2001).

Collect a rollout, estimate its advantages A with GAE, and change the policy by

    maximise L(theta) = mean pi(a | s) / pi_old(a | s) A    subject to    mean KL(pi_old || pi) <= max_kl

to first order in L and second order in the divergence: with gradient g of L and Fisher matrix F, the conjugate gradient
method solves F x = g from Fisher-vector products, and the step is sqrt(2 max_kl / x^T F x) x. The natural gradient
(`line_search` off) takes it. TRPO tries it, then ever smaller parts of it, until L is larger and the divergence within
its bound; where none will do, the policy stays as it is. The value is fitted to the lambda-returns by Adam.

Schulman, J. et al. (2015), "Trust region policy optimization". Kakade, S. (2001), "A natural policy gradient".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl.algorithms.config import check_config, name_of
from purerl.algorithms.policy_gradient.checks import check_actor, check_minibatches
from purerl.networks.heads import PolicyKind, actor_critic, join_parameters, split_parameters
from purerl.networks.recurrent import Core
from purerl.networks.torsos import Activation
from purerl.operators.policy_gradient import clipped_surrogate, standardize
from purerl.optimizers import clipped_adam
from purerl.rollout import CollectorState, Params, Sequences, advantages, as_sequences, collector, what_acts
from purerl.trust_region import trust_region_step, value_fit
from purerl.types import Algorithm, Array, Environment, Key, Memory, Metrics, Policy, Time


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    max_kl: float = 0.01
    """Bound of the mean divergence KL(pi_old || pi) of one update, in nats, > 0."""
    line_search: bool = True
    """Shorten the step until it keeps its promises; without, it is the natural policy gradient."""
    backtracks: int = 10
    """How many lengths of the step the line search tries."""
    backtrack_factor: float = 0.8
    """Each is this part of the one before, in [0, 1]."""
    conjugate_gradient_steps: int = 10
    """Iterations of the conjugate gradient method."""
    damping: float = 0.1
    """Added to the diagonal of the Fisher matrix, >= 0."""
    discount: float = 0.99
    """Weight of the next step's reward, in [0, 1]."""
    trace_decay: float = 0.97
    """Lambda of GAE, in [0, 1]: 0 trusts the value, 1 the returns."""
    entropy_coefficient: float = 0.0
    """Weight of an entropy bonus in L, >= 0."""
    value_learning_rate: float = 1e-3
    """Step size of Adam, which fits the value, > 0."""
    adam_epsilon: float = 1e-8
    """Added to Adam's denominator, > 0."""
    epochs: int = 10
    """Passes of the value's fit over each rollout."""
    minibatches: int = 8
    """Updates of the value per pass; divides num_envs x rollout_length, with a recurrent core num_envs."""
    num_envs: int = 8
    """Environments stepped side by side."""
    rollout_length: int = 256
    """Steps of every environment per iteration."""
    normalize_observations: bool = False
    """Shift and scale observations by their running mean and deviation, clipped to 10."""
    scale_rewards: bool = False
    """Divide rewards by the running deviation of the discounted return."""
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
    policy: PolicyKind = "gaussian"
    """The distribution of continuous actions; discrete ones are categorical."""


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    params: Params
    optimizer: optax.OptState  # of the value
    collector: CollectorState
    key: Key


def make(environment: Environment, config: Config) -> Algorithm:
    """TRPO on `environment`, with discrete actions, several discrete ones at once, or a vector of continuous ones.

    Raises TypeError for actions of another shape or a traced static field, ValueError for a value out of range or a
    rollout that the minibatches do not divide.
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

    def improve_policy(params: Params, samples: Sequences, memory: Memory) -> tuple[Params, Metrics]:
        """One step within the trust region."""
        old_params, critic_params = split_parameters(params)
        advantage = standardize(samples.advantage.reshape(-1))

        def distribution(actor_params: Params) -> Any:
            params = join_parameters(actor_params, {})
            return apply(params, samples.observation, memory, samples.reset, method=network.policy)[1]

        old = jax.lax.stop_gradient(distribution(old_params))

        def objective(actor_params: Params) -> Array:
            new = distribution(actor_params)
            log_probability = new.log_probability(samples.action).reshape(-1)
            surrogate = clipped_surrogate(log_probability, samples.log_probability.reshape(-1), advantage, jnp.inf)
            return surrogate + config.entropy_coefficient * jnp.mean(new.entropy())

        def mean_kl(actor_params: Params) -> Array:
            return jnp.mean(old.kl(distribution(actor_params)))

        actor_params, metrics = trust_region_step(old_params, objective, mean_kl, config)
        return join_parameters(actor_params, critic_params), metrics | {"entropy": jnp.mean(old.entropy())}

    def init(key: Key) -> State:
        actor_key, key = jax.random.split(key)
        params, collector_state = actor.init(actor_key)
        return State(params, optimizer.init(split_parameters(params)[1]), collector_state, key)

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        act_key, update_key = jax.random.split(jax.random.fold_in(state.key, time.iteration))
        memory = state.collector.memory
        collector_state, rollout = actor.collect(state.params, state.collector, act_key)
        advantage = advantages(rollout, config.discount, config.trace_decay)
        samples = as_sequences(rollout, advantage, config.core != "none")
        params, metrics = improve_policy(state.params, samples, memory)
        params, optimizer_state, fit = fit_value(params, state.optimizer, update_key, samples, memory)
        state = State(params, optimizer_state, collector_state, state.key)
        return state, metrics | fit | collector_state.environments.statistics.metrics()

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
        env_steps_per_iteration=config.num_envs * config.rollout_length,
    )


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    check_config(
        config,
        positive=(
            "max_kl",
            "backtracks",
            "conjugate_gradient_steps",
            "value_learning_rate",
            "adam_epsilon",
            "epochs",
            "minibatches",
            "num_envs",
            "rollout_length",
            "reward_clip",
            "core_width",
        ),
        non_negative=("damping", "entropy_coefficient"),
        fraction=("discount", "trace_decay", "backtrack_factor"),
        infinite=("reward_clip",),
    )
    check_minibatches(config)
    check_actor(config, environment)
