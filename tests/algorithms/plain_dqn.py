"""Deep Q-learning (Mnih et al., 2015) and nothing else: what `purerl.dqn` must be, bit for bit, with every switch off.

Act epsilon-greedily, remember every transition, and regress Q on its own bootstrapped target over replayed ones:

    y = r + discount (1 - terminated) max_a' Q_target(s', a'),    minimise  loss(Q(s, a) - y)

where no gradient flows through y and Q_target is a copy of Q that follows it slowly. An iteration is
`steps_per_iteration` steps of every environment, one block written to the replay, then `updates_per_iteration` updates.

Mnih, V. et al. (2015), "Human-level control through deep reinforcement learning", Nature 518.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import trees
from purerl.algorithms.config import check_config, require_discrete, require_real_observations
from purerl.environments.vectorize import VectorState, vectorize
from purerl.exploration import epsilon_greedy, linear_schedule
from purerl.networks.q_network import QNetwork
from purerl.networks.torsos import Activation
from purerl.normalization import RunningStatistics, init_statistics, normalize, update_statistics
from purerl.operators.temporal_difference import half_square, huber, q_learning_target
from purerl.optimizers import annealing, clipped_adam, descend
from purerl.replay import ReplayState, uniform_replay
from purerl.types import Algorithm, Array, Environment, Key, Metrics, Observation, Policy, Time

Params = Any


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    learning_rate: float = 2.5e-4
    """Step size of Adam, > 0."""
    anneal_learning_rate: bool = False
    """Let the step size fall linearly to 0 over the run."""
    adam_epsilon: float = 1e-8
    """Added to Adam's denominator, > 0."""
    max_gradient_norm: float = 10.0
    """Gradients are scaled down to this global norm, > 0; inf is off."""
    discount: float = 0.99
    """Weight of the next step's reward, in [0, 1]."""
    loss: Literal["huber", "squared"] = "squared"
    """Loss on the TD error; huber (delta 1) is the paper's error clipping and wants rewards clipped to [-1, 1] too."""
    num_envs: int = 10
    """Environments stepped side by side."""
    steps_per_iteration: int = 1
    """Steps of every environment between two rounds of updates."""
    updates_per_iteration: int = 1
    """Gradient updates in each round."""
    batch_size: int = 128
    """Transitions per update."""
    replay_capacity: int = 10_000
    """Transitions kept; a multiple of num_envs x steps_per_iteration."""
    warm_up_steps: int = 1_000
    """Environment steps of random actions before the first update, at least batch_size (rounded up to iterations)."""
    epsilon_start: float = 1.0
    """Probability of a random action at the beginning, in [0, 1]."""
    epsilon_end: float = 0.05
    """Probability of a random action in the end, in [0, 1]; also of the policy with greedy=False."""
    exploration_fraction: float = 0.5
    """Share of the run over which epsilon falls linearly, in (0, 1]."""
    target_period: int = 500
    """Environment steps between two updates of the target network."""
    target_rate: float = 1.0
    """How far the target moves towards the parameters at an update, in [0, 1]: 1 copies, 0.005 is Polyak averaging."""
    normalize_observations: bool = False
    """Shift and scale observations by the running mean and deviation of all that were stored, clipped to 10."""
    widths: tuple[int, ...] = (120, 84)
    """Units of the hidden layers (after the convolution, for images)."""
    activation: Activation = "relu"
    """Nonlinearity after every hidden layer."""
    layer_norm: bool = False
    """LayerNorm before every activation."""


class Transition(NamedTuple):
    """One step; a truncated one is not terminated, so its target bootstraps from the true successor."""

    observation: Observation
    action: Array
    reward: Array
    terminated: Array
    successor: Observation


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    params: Params
    target_params: Params
    optimizer: optax.OptState
    environments: VectorState
    observation_statistics: RunningStatistics
    replay: ReplayState  # raw observations
    key: Key


def make(environment: Environment, config: Config) -> Algorithm:
    """DQN on `environment`, which must have discrete actions.

    Raises TypeError for continuous actions or a traced static field, ValueError for a value out of range, a replay that
    is not a multiple of the block, or a batch or warm-up that does not fit the replay.
    """
    check(config, environment)
    actions = require_discrete("dqn", environment)
    environments = vectorize(environment, config.num_envs)
    network = QNetwork(environment.observation_space, actions.n, config.widths, config.activation, config.layer_norm)
    apply: Callable[..., Any] = network.apply
    optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)
    block = config.num_envs * config.steps_per_iteration
    warm_up_blocks = max(1, -(-config.warm_up_steps // block))
    replay = uniform_replay(config.replay_capacity, block, example_transition(environment))
    error_loss = huber if config.loss == "huber" else half_square

    def q_values(params: Params, state: State, observation: Observation) -> Array:
        """Q(s, .), `[..., A]`, of raw observations."""
        if config.normalize_observations:
            observation = normalize(state.observation_statistics, observation)
        return apply(params, observation).mean()

    def collect(state: State, keys: Key, written: Array, epsilon: Array) -> State:
        """`steps_per_iteration` steps of every environment, written to the replay as block number `written`.

        `keys` `[1 + steps_per_iteration]`: one for all the exploration, one for each step of the environments.
        """

        def body(environments_state: VectorState, inputs: tuple[Key, Array]) -> tuple[VectorState, Transition]:
            key, draw = inputs
            observation = environments_state.observation
            action = epsilon_greedy(draw, q_values(state.params, state, observation), epsilon)
            environments_state, timestep = environments.step(key, environments_state, action)
            return environments_state, Transition(
                observation, action, timestep.reward, timestep.terminated, successor=timestep.observation
            )

        draws = jax.random.uniform(keys[0], (config.steps_per_iteration, config.num_envs))
        environments_state, transitions = jax.lax.scan(body, state.environments, (keys[1:], draws))
        transitions = jax.tree.map(lambda x: x.reshape(block, *x.shape[2:]), transitions)
        statistics = state.observation_statistics
        if config.normalize_observations:
            statistics = update_statistics(statistics, transitions.observation)
        return state.replace(
            environments=environments_state,
            observation_statistics=statistics,
            replay=replay.add(state.replay, transitions, written),
        )

    def loss(params: Params, state: State, batch: Transition) -> tuple[Array, Metrics]:
        successor_values = q_values(state.target_params, state, batch.successor)
        targets = jax.vmap(q_learning_target, in_axes=(0, 0, 0, None))
        target = targets(batch.reward, batch.terminated, successor_values, config.discount)
        values = q_values(params, state, batch.observation)
        chosen = jnp.sum(jnp.where(jax.nn.one_hot(batch.action, actions.n, dtype=bool), values, 0.0), axis=-1)
        mean_loss = jnp.mean(error_loss(chosen - target))
        return mean_loss, {"loss": mean_loss, "q_value": jnp.mean(chosen)}

    def update(state: State, batch: Transition, rate: Array) -> tuple[State, Metrics]:
        gradients, metrics = jax.grad(loss, has_aux=True)(state.params, state, batch)
        params, optimizer_state = descend(optimizer, state.params, state.optimizer, gradients, rate)
        return state.replace(params=params, optimizer=optimizer_state), metrics

    def init(key: Key) -> State:
        network_key, reset_key, warm_up_key, key = jax.random.split(key, 4)
        environments_state = environments.reset(reset_key)
        params = network.init(network_key, environments_state.observation)
        state = State(
            params=params,
            target_params=jax.tree.map(jnp.copy, params),
            optimizer=optimizer.init(params),
            environments=environments_state,
            observation_statistics=init_statistics(environment.observation_space.shape),
            replay=replay.init(),
            key=key,
        )
        keys = jax.random.split(warm_up_key, (warm_up_blocks, 1 + config.steps_per_iteration))

        def warm_up(state: State, inputs: tuple[Key, Array]) -> tuple[State, None]:
            return collect(state, *inputs, epsilon=jnp.ones(())), None

        state, _ = jax.lax.scan(warm_up, state, (keys, jnp.arange(warm_up_blocks)))
        return state

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        keys = jax.random.split(jax.random.fold_in(state.key, time.iteration), 2 + config.steps_per_iteration)
        sample_key, collect_keys = keys[0], keys[1:]
        epsilon = linear_schedule(time.progress, config.epsilon_start, config.epsilon_end, config.exploration_fraction)
        rate = annealing(time, config.anneal_learning_rate)
        written = warm_up_blocks + time.iteration
        state = state.replace(environments=state.environments.clear_statistics())
        state = collect(state, collect_keys, written, epsilon)

        sizes = (config.updates_per_iteration, config.batch_size)
        batches = replay.sample(state.replay, sample_key, written + 1, sizes[0] * sizes[1])
        batches = jax.tree.map(lambda x: x.reshape(*sizes, *x.shape[1:]), batches)
        learner = state.replace(replay=None, environments=None)  # the loop of updates carries what it changes
        learner, metrics = jax.lax.scan(lambda s, batch: update(s, batch, rate), learner, batches)

        target_rate = jnp.where(time.crosses(config.target_period, block), config.target_rate, 0.0)
        target_params = optax.incremental_update(learner.params, state.target_params, target_rate)
        state = learner.replace(target_params=target_params, environments=state.environments, replay=state.replay)
        return state, jax.tree.map(jnp.mean, metrics) | {"epsilon": epsilon} | state.environments.statistics.metrics()

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, memory: tuple, observation: Observation) -> tuple[tuple, Array]:
            values = q_values(state.params, state, observation)
            epsilon = 0.0 if greedy else config.epsilon_end
            return memory, epsilon_greedy(jax.random.uniform(key), values, epsilon)

        return Policy(init=lambda key: (), act=act)

    def snapshot(state: State) -> State:
        return trees.keep(state, "params", "observation_statistics")

    return Algorithm(
        name="dqn",
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=snapshot,
        env_steps_per_iteration=block,
        env_steps_of_init=warm_up_blocks * block,
    )


def example_transition(environment: Environment) -> Transition:
    """One transition of zeros: its shapes and types are what the replay stores."""
    observation = jnp.zeros(environment.observation_space.shape, environment.observation_space.dtype)
    action = jnp.zeros((), environment.action_space.dtype)
    return Transition(observation, action, jnp.zeros(()), jnp.zeros((), bool), successor=observation)


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    check_config(
        config,
        positive=(
            "learning_rate",
            "adam_epsilon",
            "max_gradient_norm",
            "num_envs",
            "steps_per_iteration",
            "updates_per_iteration",
            "batch_size",
            "exploration_fraction",
            "target_period",
        ),
        non_negative=("warm_up_steps",),
        fraction=("discount", "epsilon_start", "epsilon_end", "exploration_fraction", "target_rate"),
        infinite=("max_gradient_norm",),
    )
    if config.normalize_observations:
        require_real_observations("dqn", environment)
    steps = config.num_envs * config.steps_per_iteration
    if config.target_period * steps >= 2**31:
        raise ValueError(f"dqn: target_period x steps per iteration ({config.target_period} x {steps}) exceeds 2^31")
    if config.batch_size > config.replay_capacity:
        raise ValueError(
            f"dqn: batch_size ({config.batch_size}) is larger than replay_capacity ({config.replay_capacity}); "
            f"raise replay_capacity or lower batch_size"
        )
    if config.batch_size > config.warm_up_steps:
        raise ValueError(
            f"dqn: batch_size ({config.batch_size}) exceeds warm_up_steps ({config.warm_up_steps}): the first batches "
            f"would repeat the same transitions; raise warm_up_steps"
        )
    if config.warm_up_steps > config.replay_capacity:
        raise ValueError(
            f"dqn: warm_up_steps ({config.warm_up_steps}) exceed replay_capacity ({config.replay_capacity}); "
            f"what does not fit would be overwritten before it is used"
        )
