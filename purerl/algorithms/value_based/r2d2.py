"""R2D2: recurrent replay distributed DQN (Kapturowski et al., 2019), in one program.

Every environment acts with an epsilon of its own and a memory that lasts an episode. The replay holds sequences, each
with the memory it began with. An update unrolls the online and the target network from there: first over `burn_in`
steps, without gradient, which only make up for the memory being that of older parameters; then over the steps learned
from, whose values follow n-step double Q-learning in rescaled units,

    y_t = h(sum_{k<m} discount^k r_{t+k} + discount^m (1 - terminated) h^-1(Q_target(s', argmax_a Q(s', a)))),

with h of `purerl.operators.value_rescaling`, and m = n steps or fewer where the episode ends. Sequences are drawn with
probability ~ p^priority_exponent, where p mixes the largest and the mean |y_t - Q(s_t, a_t)| of the sequence.

Where an episode ends inside a sequence, the memory starts again from zero. s' is the true successor: each is stored and
shown to the network with the memory its step has left, so that a truncated episode bootstraps from what came next. That
value is a guess where time is always up after the same few steps: nobody has ever acted there and nothing is learned
about it, for a history is not a state that comes back.

`share_observations` stores every observation once, and lets the value of the next step in the sequence be that of s',
which needs half the memory and less computing. What came after a truncated step is not known then: a window that runs
into one stops before it and bootstraps from the truncated step's own observation, and the truncated step itself is not
learned from. Nothing is lost where episodes only terminate.

Kapturowski, S. et al. (2019), "Recurrent experience replay in distributed reinforcement learning", ICLR.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import trees
from purerl.action_values import ExpectedReturn
from purerl.algorithms.config import check_config, require_discrete
from purerl.environments.vectorize import VectorState, vectorize
from purerl.experience import Step, example_step
from purerl.exploration import epsilon_greedy
from purerl.networks.recurrent import RecurrentQNetwork
from purerl.networks.torsos import Activation
from purerl.operators.sequence_returns import sequence_returns, without_truncated_successors
from purerl.operators.temporal_difference import half_square
from purerl.operators.value_rescaling import rescale_value, unscale_value
from purerl.optimizers import annealing, clipped_adam, descend
from purerl.replay import importance_weights, proportional
from purerl.replay.priorities import PriorityState
from purerl.replay.sequences import SequenceState, sequence_replay
from purerl.types import Algorithm, Array, Environment, Key, Memory, Metrics, Observation, Policy, Time

Params = Any


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    learning_rate: float = 1e-3
    """Step size of Adam, > 0."""
    anneal_learning_rate: bool = False
    """Let the step size fall linearly to 0 over the run."""
    adam_epsilon: float = 1e-8
    """Added to Adam's denominator, > 0. The 1e-3 of the paper stifles the small gradients of a mean over sequences."""
    max_gradient_norm: float = 40.0
    """Gradients are scaled down to this global norm, > 0; inf is off."""
    discount: float = 0.997
    """Weight of the next step's reward, in [0, 1]."""
    n_step: int = 5
    """Steps of reward in a target."""
    double: bool = True
    """Let the online network choose the action that the target network values."""
    rescale_values: bool = True
    """Learn h(Q) instead of Q."""
    num_envs: int = 16
    """Environments stepped side by side."""
    period: int = 20
    """Steps of every environment in an iteration, and between the beginnings of two sequences."""
    burn_in: int = 20
    """First steps of a sequence, which only bring the memory up to date; 0 is off."""
    sequence_length: int = 40
    """Steps of a sequence that are learned from; n_step - 1 more are read for their targets."""
    stored_state: bool = True
    """Begin sequences with the memory that was stored, not with zeros (which is there for comparison)."""
    share_observations: bool = False
    """Store every observation once, not its successor too; truncated steps are then not learned from."""
    updates_per_iteration: int = 4
    """Gradient updates in each iteration."""
    batch_size: int = 32
    """Sequences per update."""
    replay_capacity: int = 64_000
    """Steps kept; a multiple of num_envs x period."""
    warm_up_steps: int = 1_600
    """Environment steps of random actions before the first update (rounded up to iterations and to one sequence)."""
    priority_exponent: float = 0.9
    """How much priorities count, in [0, 1]; 0 draws uniformly."""
    priority_mixture: float = 0.9
    """Share of the largest error, not of the mean one, in the priority of a sequence, in [0, 1]."""
    importance_exponent: float = 0.6
    """How far the weights of the losses make up for the unequal probabilities, in [0, 1]."""
    epsilon_base: float = 0.4
    """Environment i of N takes random actions with probability epsilon_base^(1 + epsilon_exponent i / (N - 1))."""
    epsilon_exponent: float = 7.0
    """How far the environments differ, >= 0. The policy with greedy=False acts like the greediest of them."""
    target_period: int = 1_600
    """Environment steps between two updates of the target network."""
    target_rate: float = 1.0
    """How far the target moves towards the parameters at an update, in [0, 1]: 1 copies."""
    core: Literal["gru", "lstm"] = "gru"
    """The recurrent core."""
    core_width: int = 64
    """Units of the core."""
    dueling: bool = True
    """Split the head into a state value and advantages."""
    widths: tuple[int, ...] = (64,)
    """Units of the layers between the observation and the core (after the convolution, for images)."""
    activation: Activation = "relu"
    """Nonlinearity after every such layer."""
    layer_norm: bool = False
    """LayerNorm before every activation."""


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    params: Params
    target_params: Params
    optimizer: optax.OptState
    environments: VectorState
    memory: Memory  # [num_envs, ...] before the next step: zero where an episode begins
    replay: SequenceState
    priorities: PriorityState
    key: Key


def make(environment: Environment, config: Config) -> Algorithm:
    """R2D2 on `environment`, which must have discrete actions.

    Raises TypeError for continuous actions or a traced static field, ValueError for a value out of range, or a replay
    that is not a multiple of an iteration's steps or too small for a sequence.
    """
    check(config, environment)
    environments = vectorize(environment, config.num_envs)
    network = q_network(environment, config)
    apply: Callable[..., Any] = network.apply
    optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)
    rescale, unscale = (rescale_value, unscale_value) if config.rescale_values else (lambda x: x, lambda x: x)
    block = config.num_envs * config.period
    learned = config.sequence_length
    length = config.burn_in + learned + config.n_step - 1 + config.share_observations  # steps of a sequence in all
    replay = sequence_replay(
        config.replay_capacity,
        config.period,
        config.num_envs,
        length,
        example_step(environment, config.share_observations),
        network.initial_memory(()),
    )
    priorities = proportional(
        replay.sequences, config.num_envs, config.priority_exponent, ahead_slots=replay.incomplete
    )
    warm_up_blocks = max(-(-config.warm_up_steps // block), -(-length // config.period))
    spread = jnp.linspace(0.0, 1.0, config.num_envs)
    epsilons = config.epsilon_base ** (1.0 + config.epsilon_exponent * spread)

    def look(params: Params, memory: Memory, observation: Observation) -> tuple[Memory, Array]:
        """The memory after one more observation of the same episode, and Q `[..., A]`; `...` are any batch axes."""
        within = jnp.zeros((1, *jax.tree.leaves(memory)[0].shape[:-1]), bool)
        memory, values = apply(params, memory, observation[None], within)
        return memory, values[0]

    def collect(state: State, keys: Key, written: Array, epsilon: Array) -> State:
        """`period` steps of every environment, written to the replay as block number `written`.

        `keys` `[1 + period]`: one for all the exploration, one for each step; `epsilon` `[num_envs]`.
        """

        def body(carry: tuple[VectorState, Memory], inputs: tuple[Key, Array]):
            environments_state, memory = carry
            key, draw = inputs
            observation = environments_state.observation
            memory, values = look(state.params, memory, observation)
            action = epsilon_greedy(draw, values, epsilon)
            environments_state, timestep = environments.step(key, environments_state, action)
            done = timestep.terminated | timestep.truncated
            memory = trees.where(done, jax.tree.map(jnp.zeros_like, memory), memory)
            successor = None if config.share_observations else timestep.observation
            step = Step(observation, action, timestep.reward, timestep.terminated, timestep.truncated, successor)
            return (environments_state, memory), step

        draws = jax.random.uniform(keys[0], (config.period, config.num_envs))
        (environments_state, memory), steps = jax.lax.scan(body, (state.environments, state.memory), (keys[1:], draws))
        return state.replace(
            environments=environments_state,
            memory=memory,
            replay=replay.add(state.replay, steps, state.memory, written),
            priorities=priorities.enter(state.priorities, written),
        )

    def unroll(params: Params, memory: Memory, steps: Step) -> tuple[Array, Array]:
        """Q(s_t, .) and Q(s'_t, .) of the steps after the burn-in, both `[T, B, A]`, from the memory before it."""
        done = steps.terminated | steps.truncated
        resets = jnp.concatenate([jnp.zeros_like(done[:1]), done[:-1]])  # the first memory has been reset already
        observation, burn_in = steps.observation, config.burn_in
        if burn_in:
            memory, _ = apply(params, memory, observation[:burn_in], resets[:burn_in])
            memory = jax.lax.stop_gradient(memory)
        observation, resets = observation[burn_in:], resets[burn_in:]
        if steps.successor is None:
            _, values = apply(params, memory, observation, resets)
            return values[:-1], values[1:]

        def body(memory: Memory, inputs: tuple[Observation, Array]) -> tuple[Memory, tuple[Memory, Array]]:
            observation, reset = inputs
            memory, values = apply(params, memory, observation[None], reset[None])
            return memory, (memory, values[0])

        _, (memories, values) = jax.lax.scan(body, memory, (observation, resets))
        _, successor_values = look(params, memories, steps.successor[burn_in:])
        return values, successor_values

    def targets(steps: Step, successor_value: Array) -> tuple[Array, Array]:
        """The targets of the steps learned from, and which of them are valid; the arguments begin after the burn-in."""
        reward, terminated, truncated, valid = steps.reward, steps.terminated, steps.truncated, None
        if steps.successor is None:
            truncated, valid = without_truncated_successors(terminated, truncated)
            reward, terminated, valid = reward[:-1], terminated[:-1], valid[:learned]
        over_batch = jax.vmap(sequence_returns, in_axes=(1, 1, 1, 1, None, None), out_axes=1)
        returns = over_batch(reward, terminated, truncated, unscale(successor_value), config.n_step, config.discount)
        return rescale(returns), jnp.ones_like(returns, bool) if valid is None else valid

    def loss(params: Params, target_params: Params, memory: Memory, steps: Step, weight: Array):
        """The loss of a batch of sequences, their new priorities `[B]` and the metrics."""
        values, successor_values = unroll(params, memory, steps)
        _, target_values = unroll(target_params, memory, steps)
        choice = jnp.argmax(successor_values if config.double else target_values, axis=-1)
        steps = jax.tree.map(lambda x: x[config.burn_in :], steps)
        target, valid = targets(steps, ExpectedReturn(target_values).of(choice).values)
        chosen = ExpectedReturn(values[:learned]).of(steps.action[:learned]).values
        error = jnp.where(valid, jax.lax.stop_gradient(target) - chosen, 0.0)
        size, mixture = jnp.abs(error), config.priority_mixture
        priority = mixture * jnp.max(size, axis=0) + (1.0 - mixture) * jnp.mean(size, axis=0)
        mean_loss = jnp.mean(weight * jnp.mean(half_square(error), axis=0))
        return mean_loss, (priority, {"loss": mean_loss, "q_value": jnp.mean(unscale(chosen))})

    def update(learner: State, key: Key, replayed: SequenceState, written: Array, rate: Array) -> tuple[State, Metrics]:
        sequences, probability = priorities.sample(learner.priorities, key, config.batch_size)
        weight = importance_weights(probability, replay.complete(written), config.importance_exponent)
        memory, steps = replay.read(replayed, sequences)
        if not config.stored_state:
            memory = jax.tree.map(jnp.zeros_like, memory)
        gradients, (priority, metrics) = jax.grad(loss, has_aux=True)(
            learner.params, learner.target_params, memory, steps, weight
        )
        params, optimizer_state = descend(optimizer, learner.params, learner.optimizer, gradients, rate)
        updated = priorities.update(learner.priorities, sequences, priority)
        return learner.replace(params=params, optimizer=optimizer_state, priorities=updated), metrics

    def init(key: Key) -> State:
        network_key, reset_key, warm_up_key, key = jax.random.split(key, 4)
        environments_state = environments.reset(reset_key)
        memory = network.initial_memory((config.num_envs,))
        starts = jnp.ones((1, config.num_envs), bool)
        params = network.init(network_key, memory, environments_state.observation[None], starts)
        state = State(
            params=params,
            target_params=jax.tree.map(jnp.copy, params),
            optimizer=optimizer.init(params),
            environments=environments_state,
            memory=memory,
            replay=replay.init(),
            priorities=priorities.init(),
            key=key,
        )
        keys = jax.random.split(warm_up_key, (warm_up_blocks, 1 + config.period))

        def warm_up(state: State, inputs: tuple[Key, Array]) -> tuple[State, None]:
            return collect(state, *inputs, epsilon=jnp.ones(config.num_envs)), None

        state, _ = jax.lax.scan(warm_up, state, (keys, jnp.arange(warm_up_blocks)))
        return state

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        keys = jax.random.split(jax.random.fold_in(state.key, time.iteration), 2 + config.period)
        sample_key, collect_keys = keys[0], keys[1:]
        written = warm_up_blocks + time.iteration
        state = state.replace(environments=state.environments.clear_statistics())
        state = collect(state, collect_keys, written, epsilons)

        rate = annealing(time, config.anneal_learning_rate)
        one_update = partial(update, replayed=state.replay, written=written + 1, rate=rate)
        learner = state.replace(replay=None, environments=None, memory=None)  # the loop carries what it changes
        learner, metrics = jax.lax.scan(one_update, learner, jax.random.split(sample_key, config.updates_per_iteration))

        target_rate = jnp.where(time.crosses(config.target_period, block), config.target_rate, 0.0)
        target_params = optax.incremental_update(learner.params, state.target_params, target_rate)
        state = state.replace(
            params=learner.params,
            target_params=target_params,
            optimizer=learner.optimizer,
            priorities=learner.priorities,
        )
        return state, jax.tree.map(jnp.mean, metrics) | state.environments.statistics.metrics()

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, memory: Memory, observation: Observation) -> tuple[Memory, Array]:
            memory, values = look(state.params, memory, observation)
            epsilon = 0.0 if greedy else epsilons[-1]
            return memory, epsilon_greedy(jax.random.uniform(key), values, epsilon)

        return Policy(init=lambda key: network.initial_memory(()), act=act)

    def snapshot(state: State) -> State:
        return trees.keep(state, "params")

    return Algorithm(
        name="r2d2",
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=snapshot,
        env_steps_per_iteration=block,
        env_steps_of_init=warm_up_blocks * block,
    )


def q_network(environment: Environment, config: Config) -> RecurrentQNetwork:
    """What R2D2 learns with, h(Q(history, .)); its parameters are those of the state."""
    return RecurrentQNetwork(
        environment.observation_space,
        require_discrete("r2d2", environment).n,
        config.widths,
        config.activation,
        config.layer_norm,
        config.core,
        config.core_width,
        config.dueling,
    )


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    check_config(
        config,
        positive=(
            "learning_rate",
            "adam_epsilon",
            "max_gradient_norm",
            "n_step",
            "num_envs",
            "period",
            "sequence_length",
            "updates_per_iteration",
            "batch_size",
            "target_period",
            "core_width",
        ),
        non_negative=("burn_in", "warm_up_steps", "epsilon_exponent"),
        fraction=(
            "discount",
            "priority_exponent",
            "priority_mixture",
            "importance_exponent",
            "epsilon_base",
            "target_rate",
        ),
        infinite=("max_gradient_norm",),
    )
    steps = config.num_envs * config.period
    if config.target_period * steps >= 2**31:
        raise ValueError(f"r2d2: target_period x steps per iteration ({config.target_period} x {steps}) exceeds 2^31")
    if config.warm_up_steps > config.replay_capacity:
        raise ValueError(
            f"r2d2: warm_up_steps ({config.warm_up_steps}) exceed replay_capacity ({config.replay_capacity}); "
            f"what does not fit would be overwritten before it is used"
        )
