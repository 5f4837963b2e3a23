"""Soft actor-critic (Haarnoja et al., 2018a, b), for continuous and for discrete actions.

Q-learning where acting well includes acting at random: entropy H is a reward, worth a temperature alpha. Critics learn
the soft value of replayed transitions, and the policy, from which a' and a are drawn afresh, climbs it:

    V(s) = E_pi[min_k Q_k(s, a)] + alpha H(pi(. | s))
    critics: minimise (Q_k(s, a) - y)^2 / 2,  y = r + discount (1 - terminated) V_target(s')
    actor:   maximise mean V(s)
    alpha:   minimise log(alpha) (H(pi) - target entropy)

V_target is V with the targets' critics and the current policy. Continuous actions are one reparameterised draw per
state, with -log pi(a | s) for the entropy; discrete ones (Christodoulou, 2019) are summed over, exactly. With
`automatic_temperature` alpha rises while the policy is less random than wanted; without, it stays.

What can be switched on, as in DDPG: `critics` and `subset` (REDQ, Chen et al., 2021), `minimum`, `n_step` (entropy is
counted at the last state alone), `sampling`, `critic_layer_norm`, `weight_decay`, `update_to_data`, `policy_delay`,
`normalize_observations`, `hindsight` (goals achieved later; Andrychowicz et al., 2017), and, as an argument of `make`,
`imagination`: a model of the dynamics to learn in as well (`mbpo`). Bounded actions are scaled to
[-1, 1]; entropies are in these units.

Haarnoja, T. et al. (2018a), "Soft actor-critic: off-policy maximum entropy deep reinforcement learning with a
stochastic actor"; (2018b), "Soft actor-critic algorithms and applications". Christodoulou, P. (2019), "Soft
actor-critic for discrete action settings".
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl.algorithms.config import check_config, name_of, require_vector_actions
from purerl.algorithms.continuous_control.checks import (
    FRACTION,
    POSITIVE,
    check_critics,
    check_hindsight,
    check_interaction,
    require_bounded,
)
from purerl.configuration import UsageError
from purerl.experience import Batch, Sampling
from purerl.interaction import InteractionState, interaction, what_acts
from purerl.models.imagination import Imagination
from purerl.networks.critics import critics, discrete_critics
from purerl.networks.heads import PolicyNetwork
from purerl.networks.torsos import Activation
from purerl.operators.continuous_control import critics_loss, minimum_value
from purerl.operators.selection import at_action
from purerl.optimizers import annealing, clipped_adam, descend
from purerl.types import Algorithm, Array, Box, Discrete, Environment, Key, Metrics, MultiDiscrete, Policy, Time

Params = Any


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    learning_rate: float = 3e-4
    """Step size of Adam for the actor, > 0."""
    critic_learning_rate: float = 1e-3
    """Step size of Adam for the critics, > 0."""
    temperature_learning_rate: float = 1e-3
    """Step size of Adam for log(alpha), > 0."""
    anneal_learning_rate: bool = False
    """Let all step sizes fall linearly to 0 over the run."""
    adam_epsilon: float = 1e-8
    """Added to Adam's denominator, > 0."""
    max_gradient_norm: float = float("inf")
    """Gradients of actor and critics are scaled down to this global norm, > 0; inf is off."""
    weight_decay: float = 0.0
    """Weight of the critics' squared parameters (half of them) in their loss, >= 0."""
    discount: float = 0.99
    """Weight of the next step's reward, in [0, 1]."""
    target_rate: float = 0.005
    """How far the targets move to the critics, in [0, 1]."""
    automatic_temperature: bool = True
    """Learn alpha, so that the policy's entropy becomes the target entropy."""
    temperature: float = 0.2
    """Alpha, in units of reward per nat, > 0; where it is learned, what it begins with."""
    target_entropy: float = -1.0
    """Wanted of continuous actions, in nats per dimension."""
    discrete_target_entropy: float = 0.5
    """Wanted of discrete actions, as a share of the logarithm of their number, in [0, 1]."""
    critics: int = 2
    """Action values that learn side by side from the same targets."""
    minimum: bool = True
    """Targets take the least of the critics' values; else their mean."""
    subset: int = 0
    """The minimum is over so many critics, drawn anew for every update; 0 means all of them."""
    actor_climbs: Literal["mean", "minimum"] = "minimum"
    """Which of the critics' values the actor maximises."""
    policy_delay: int = 1
    """Updates of the critics per update of actor, temperature and targets; divides the updates of an iteration."""
    num_envs: int = 1
    """Environments stepped side by side."""
    steps_per_iteration: int = 2
    """Steps of every environment per iteration."""
    update_to_data: tuple[int, int] = (1, 1)
    """Updates of the critics, and the environment steps they are for: (1, 1) is one per step, (1, 8) one in eight."""
    batch_size: int = 256
    """Transitions per update."""
    replay_capacity: int = 1_000_000
    """Steps remembered; a multiple of num_envs x steps_per_iteration."""
    warm_up_steps: int = 1000
    """Environment steps of uniform actions before learning."""
    n_step: int = 1
    """Steps of reward before the bootstrap."""
    sampling: Sampling = "uniform"
    """How transitions are drawn: uniformly, by priority, or by the rank of their priority."""
    priority_exponent: float = 0.6
    """Alpha of prioritised sampling, in [0, 1]: 0 is uniform."""
    priority_epsilon: float = 1e-6
    """Added to a priority, > 0, so that no transition is never drawn."""
    importance_start: float = 0.4
    """Beta of the weights that correct prioritised sampling at the beginning, in [0, 1]; 1 at the end."""
    hindsight: bool = False
    """Learn from goals that were achieved later in the episode; needs an environment with goals and n_step 1."""
    hindsight_fraction: float = 0.8
    """Share of the transitions that get such a goal, in [0, 1]: k / (k + 1) for k of them per original goal."""
    normalize_observations: bool = False
    """Shift and scale observations by their running mean and deviation, clipped to 10."""
    widths: tuple[int, ...] = (256, 256)
    """Units of the actor's hidden layers."""
    critic_widths: tuple[int, ...] = (256, 256)
    """Units of every critic's hidden layers."""
    activation: Activation = "relu"
    """Nonlinearity after every hidden layer."""
    layer_norm: bool = False
    """LayerNorm before every activation of the actor."""
    critic_layer_norm: bool = False
    """LayerNorm before every activation of the critics."""
    policy: Literal["tanh_gaussian", "state_gaussian", "gaussian"] = "tanh_gaussian"
    """The distribution of continuous actions; without tanh they may be unbounded. Discrete ones are categorical."""


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    actor: Params
    critics: Params  # [K, ...]
    target_critics: Params
    log_temperature: Array
    actor_optimizer: optax.OptState
    critic_optimizer: optax.OptState
    temperature_optimizer: optax.OptState
    interaction: InteractionState
    key: Key


def make(environment: Environment, config: Config, imagination: Imagination | None = None) -> Algorithm:
    """SAC on `environment`, with a vector of continuous actions or with discrete ones, and perhaps in an imagination.

    Raises TypeError for other actions or a traced static field, ValueError for unbounded actions of a policy that
    squashes, a value out of range or sizes that do not go together.
    """
    check(config, environment)
    world = interaction(environment, config, config.hindsight_fraction if config.hindsight else None, imagination)
    actions = world.environment.action_space
    discrete = isinstance(actions, Discrete)
    actor_network = PolicyNetwork(
        environment.observation_space, actions, config.widths, config.activation, config.layer_norm, config.policy
    )
    critic_network: Any = discrete_critics(environment, actions.n, config) if discrete else critics(environment, config)
    target_entropy = (
        config.discrete_target_entropy * jnp.log(actions.n) if discrete else config.target_entropy * actions.shape[0]
    )
    actor_optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)
    critic_optimizer = clipped_adam(
        config.critic_learning_rate, config.adam_epsilon, config.max_gradient_norm, config.weight_decay
    )
    temperature_optimizer = clipped_adam(config.temperature_learning_rate, config.adam_epsilon, jnp.inf)

    def pi(params: Params, observation: Array) -> Any:
        return actor_network.apply(params, observation)

    def q(params: Params, observation: Array, action: Array) -> Array:
        """Q_k(s, a), `[K, N]`."""
        if discrete:
            return at_action(critic_network.apply(params, observation), action)
        return critic_network.apply(params, observation, action)

    def expected(actor: Params, critics: Params, observation: Array, key: Key, combine: Any) -> tuple[Array, Array]:
        """E_pi[Q(s, a)] and H(pi(. | s)), `[N]`: exact sums over discrete actions, else by one draw."""
        policy = pi(actor, observation)
        if discrete:
            values = combine(critic_network.apply(critics, observation))
            return jnp.sum(jax.nn.softmax(policy.logits) * values, axis=-1), policy.entropy()
        draw = policy.sample(key)
        return combine(q(critics, observation, policy.action(draw))), -policy.log_probability(draw)

    def draw(actor: Params, key: Key, observation: Array) -> Array:
        policy = pi(actor, observation)
        return policy.action(policy.sample(key))

    def targets(learner: State, batch: Batch, key: Key) -> Array:
        """`r + discount (Q_target,k + alpha H)` of every critic, `[K, N]`."""
        value, entropy = expected(learner.actor, learner.target_critics, batch.successor, key, lambda values: values)
        return batch.reward + batch.discount * (value + jnp.exp(learner.log_temperature) * entropy)

    def target(learner: State, batch: Batch, key: Key) -> Array:
        act_key, subset_key = jax.random.split(key)

        def combine(values: Array) -> Array:
            return minimum_value(values, subset_key, config.subset) if config.minimum else jnp.mean(values, axis=0)

        value, entropy = expected(learner.actor, learner.target_critics, batch.successor, act_key, combine)
        return batch.reward + batch.discount * (value + jnp.exp(learner.log_temperature) * entropy)

    def update_critics(learner: State, batch: Batch, key: Key, rate: Array) -> tuple[State, Array, Metrics]:
        y = target(learner, batch, key)

        def loss(params: Params) -> tuple[Array, Array]:
            values = q(params, batch.observation, batch.action)
            return critics_loss(values, y, batch.weight), values

        (error, values), gradients = jax.value_and_grad(loss, has_aux=True)(learner.critics)
        params, optimizer = descend(critic_optimizer, learner.critics, learner.critic_optimizer, gradients, rate)
        surprise = jnp.mean(jnp.abs(values - y), axis=0)
        learner = learner.replace(critics=params, critic_optimizer=optimizer)
        return learner, surprise, {"critic_loss": error, "q_value": jnp.mean(values)}

    def improve(learner: State, batch: Batch, key: Key, rate: Array) -> tuple[State, Metrics]:
        """One step of the actor up the soft value and one of the temperature, then the targets move."""
        temperature = jnp.exp(learner.log_temperature)
        combine = jnp.min if config.actor_climbs == "minimum" else jnp.mean

        def loss(params: Params) -> tuple[Array, Array]:
            value, entropy = expected(
                params, learner.critics, batch.observation, key, lambda values: combine(values, axis=0)
            )
            return -jnp.mean(value + temperature * entropy), jnp.mean(entropy)

        (error, entropy), gradients = jax.value_and_grad(loss, has_aux=True)(learner.actor)
        actor, optimizer = descend(actor_optimizer, learner.actor, learner.actor_optimizer, gradients, rate)
        learner = learner.replace(actor=actor, actor_optimizer=optimizer)
        if config.automatic_temperature:
            excess = entropy - target_entropy  # the derivative of log(alpha) (H - target)
            log_temperature, optimizer = descend(
                temperature_optimizer, learner.log_temperature, learner.temperature_optimizer, excess, rate
            )
            learner = learner.replace(log_temperature=log_temperature, temperature_optimizer=optimizer)
        followed = optax.incremental_update(learner.critics, learner.target_critics, config.target_rate)
        metrics = {"actor_value": -error, "entropy": entropy, "temperature": temperature}
        return learner.replace(target_critics=followed), metrics

    def init(key: Key) -> State:
        actor_key, critic_key, interaction_key, key = jax.random.split(key, 4)
        state = world.init(interaction_key)
        observation = state.environments.observation
        actor = actor_network.init(actor_key, observation)
        action_values = critic_network.init(critic_key, observation, *(() if discrete else (state.noise,)))
        log_temperature = jnp.log(jnp.asarray(config.temperature, jnp.float32))
        return State(
            actor=actor,
            critics=action_values,
            target_critics=jax.tree.map(jnp.copy, action_values),
            log_temperature=log_temperature,
            actor_optimizer=actor_optimizer.init(actor),
            critic_optimizer=critic_optimizer.init(action_values),
            temperature_optimizer=temperature_optimizer.init(log_temperature),
            interaction=state,
            key=key,
        )

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        collect_key, learn_key = jax.random.split(jax.random.fold_in(state.key, time.iteration))
        rate = annealing(time, config.anneal_learning_rate)

        def explore(key: Key, observation: Array, noise: Array) -> tuple[Array, Array]:
            return draw(state.actor, key, observation), noise

        collected = world.collect(state.interaction, collect_key, time, explore)
        collected, learner, metrics = world.learn(
            collected,
            learn_key,
            time,
            state.replace(interaction=None),
            lambda learner, batch, key: update_critics(learner, batch, key, rate),
            lambda learner, batch, key: improve(learner, batch, key, rate),
            act=lambda learner, key, observation: draw(learner.actor, key, observation),
            targets=targets,
        )
        return learner.replace(interaction=collected), metrics

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, observation: Array) -> Array:
            distribution = pi(state.actor, observation)
            return distribution.action(distribution.mode() if greedy else distribution.sample(key))

        return world.policy(state.interaction, act)

    return Algorithm(
        name=name_of(config),
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=lambda state: what_acts(state, "actor"),
        env_steps_per_iteration=world.block,
        env_steps_of_init=world.warm_up_steps,
    )


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    check_config(
        config,
        positive=(*POSITIVE, "temperature", "temperature_learning_rate"),
        non_negative=("weight_decay", "subset", "warm_up_steps"),
        fraction=(*FRACTION, "discrete_target_entropy", "hindsight_fraction"),
        infinite=("max_gradient_norm",),
    )
    space = require_vector_actions(name_of(config), environment)
    if isinstance(space, MultiDiscrete):
        raise UsageError(
            f"sac needs one discrete action or continuous ones, but those of {environment.name} are "
            f"{len(space.sizes)} choices at once; number their combinations in a wrapper, or use ppo"
        )
    if isinstance(space, Box) and config.policy == "tanh_gaussian":
        require_bounded(config, environment)
    check_critics(config)
    check_interaction(config, environment)
    check_hindsight(config, environment)
