"""Deep Q-learning (Mnih et al., 2015) and, as fields of its Config, the improvements that became Rainbow.

Act epsilon-greedily, remember every step, and regress Q on its own bootstrapped target over replayed transitions:

    y = r + discount (1 - terminated) max_a' Q_target(s', a'),    minimise  loss(Q(s, a) - y)

where no gradient flows through y and Q_target is a copy of Q that follows it slowly. Three processes run at their own
rates: collecting (`num_envs` x `steps_per_iteration` steps), regression (`updates_per_iteration` updates of
`batch_size` transitions) and the target's update (every `target_period` environment steps). Online Q-learning is one
step and one update, fitted Q-iteration many updates between two targets.

What can be switched on, in any combination:

    double                double Q-learning: Q chooses a', Q_target values it (van Hasselt et al., 2016)
    dueling               Q = V + A - mean_a A (Wang et al., 2016)
    n_step                y = sum_k discount^k r_k + discount^n max_a' Q_target(s_n, a')
    sampling              prioritised replay, proportional or rank-based (Schaul et al., 2016)
    head                  a distribution of returns: categorical (C51, Bellemare et al., 2017), quantile (QR-DQN, Dabney
                          et al., 2018a) or implicit quantile (IQN, Dabney et al., 2018b), perhaps risk-averse
    exploration           epsilon-greedy, Boltzmann, or noisy networks (Fortunato et al., 2018)
    soft                  soft Q-learning: y = r + discount V(s'), V = T log sum_a exp(Q / T) (Haarnoja et al., 2017)
    members, prior_scale  bootstrapped DQN with randomised priors (Osband et al., 2016, 2018)
    imagination           an argument of `make`: learn from what a model imagines as well (Dyna; Sutton, 1990)

Rainbow (Hessel et al., 2018) is `double`, `dueling`, `n_step=3`, `sampling="proportional"`, `head="categorical"` and
`exploration="noisy"` together: `purerl.algorithms.value_based.rainbow`.

Mnih, V. et al. (2015), "Human-level control through deep reinforcement learning", Nature 518.
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
from purerl.algorithms.config import name_of, require_discrete
from purerl.algorithms.value_based.dqn_checks import check, check_dreams
from purerl.environments.vectorize import VectorState, vectorize
from purerl.experience import Batch, Sampling, Step, example_step, experience
from purerl.exploration import boltzmann, epsilon_greedy, linear_schedule
from purerl.models.fiction import blended, learn_in_turns
from purerl.models.imagination import Imagination, imagining
from purerl.networks.q_ensemble import QEnsemble
from purerl.networks.q_network import Head, QNetwork
from purerl.networks.torsos import Activation
from purerl.normalization import RunningStatistics, init_statistics, normalize, update_statistics
from purerl.operators.temporal_difference import half_square, huber, soft_value
from purerl.optimizers import annealing, clipped_adam, descend
from purerl.replay import ReplayState
from purerl.replay.priorities import PriorityState
from purerl.types import Algorithm, Array, Environment, Key, Metrics, Observation, Policy, Time

Params = Any
ActionValues = Any  # of purerl.action_values: the prediction and its target are always of the same class
Explore = Callable[[Array, Array], Array]  # draws [B] in [0, 1) and action values [B, A] -> actions [B]


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
    """Gradients (of an ensemble those of all members together) are scaled down to this norm, > 0; inf is off."""
    discount: float = 0.99
    """Weight of the next step's reward, in [0, 1]."""
    loss: Literal["huber", "squared"] = "squared"
    """Of TD errors, for expected returns; huber (delta 1), the paper's clipping, wants rewards clipped to [-1, 1]."""
    num_envs: int = 10
    """Environments stepped side by side."""
    steps_per_iteration: int = 1
    """Steps of every environment between two rounds of updates."""
    updates_per_iteration: int = 1
    """Gradient updates in each round."""
    batch_size: int = 128
    """Transitions per update."""
    replay_capacity: int = 10_000
    """Steps kept; a multiple of num_envs x steps_per_iteration (that product itself is DQN without replay)."""
    share_observations: bool = False
    """Keep one copy of each observation, half the memory; steps cut by a time limit are then not learned from."""
    warm_up_steps: int = 1_000
    """Environment steps of random actions before the first update, at least batch_size (rounded up to iterations)."""
    target_period: int = 500
    """Environment steps between two updates of the target network."""
    target_rate: float = 1.0
    """How far the target moves towards the parameters at an update, in [0, 1]: 1 copies, 0.005 is Polyak averaging."""
    double: bool = False
    """Double Q-learning: the parameters choose the action whose value the target network gives."""
    dueling: bool = False
    """Separate streams for the state's value and the actions' advantages, each as wide as the last of widths."""
    n_step: int = 1
    """Steps of reward before the bootstrap; more than 1 is biased off the policy."""
    sampling: Sampling = "uniform"
    """How transitions are drawn: uniformly, by priority, or by the rank of their priority."""
    priority_exponent: float = 0.6
    """Alpha of prioritised sampling, in [0, 1]: 0 is uniform."""
    importance_start: float = 0.4
    """Beta of the importance weights at the beginning, in [0, 1]; it rises linearly to 1, no bias, over the run."""
    priority_epsilon: float = 1e-6
    """Added to the errors that become priorities, > 0."""
    head: Head = "expected"
    """What is learned of the return: its expectation, or its distribution over fixed atoms or by its quantiles."""
    atoms: int = 51
    """Atoms of the categorical, quantiles of the quantile heads."""
    support_low: float = -10.0
    """Return of the lowest atom of the categorical head."""
    support_high: float = 10.0
    """Return of the highest atom of the categorical head, > support_low."""
    risk_averse: bool = False
    """Act, and choose the action of the target, by the mean of the worst returns instead of all (a sort per action)."""
    risk: float = 0.25
    """Share of the returns that is the worst, in (0, 1] (conditional value at risk)."""
    soft: bool = False
    """Back up the soft value at the present temperature, and act by it (exploration="boltzmann")."""
    exploration: Literal["epsilon", "boltzmann", "noisy"] = "epsilon"
    """Epsilon-greedy, softmax(Q / temperature), or greedy with noisy layers instead of epsilon."""
    epsilon_start: float = 1.0
    """Probability of a random action at the beginning, in [0, 1]."""
    epsilon_end: float = 0.05
    """Probability of a random action in the end, in [0, 1]; also of the policy with greedy=False."""
    temperature_start: float = 1.0
    """Temperature of Boltzmann exploration at the beginning, in units of the values, > 0."""
    temperature_end: float = 0.1
    """Temperature in the end, > 0; also of the policy with greedy=False."""
    exploration_fraction: float = 0.5
    """Share of the run over which epsilon or the temperature falls linearly, in (0, 1]."""
    noise_deviation: float = 0.5
    """Sigma of noisy layers at the beginning, times the square root of their inputs, >= 0."""
    members: int = 1
    """Q functions of the ensemble, each followed from reset to reset: it explores by itself, so lower epsilon."""
    prior_scale: float = 0.0
    """Weight of the fixed random prior of each member, >= 0."""
    mask_probability: float = 1.0
    """Probability with which a member learns from a step, in [0, 1]."""
    normalize_observations: bool = False
    """Shift and scale observations by the running mean and deviation of all that were acted on, clipped to 10."""
    widths: tuple[int, ...] = (120, 84)
    """Units of the hidden layers (after the convolution, for images)."""
    activation: Activation = "relu"
    """Nonlinearity after every hidden layer."""
    layer_norm: bool = False
    """LayerNorm before every activation."""


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    params: Params
    target_params: Params
    optimizer: optax.OptState
    environments: VectorState
    member: Array | None  # int32 [B]: whom each environment follows; None without an ensemble
    observation_statistics: RunningStatistics
    replay: ReplayState  # raw observations
    priorities: PriorityState | None
    imagination: Any  # an ImaginationState, or None
    key: Key


def make(environment: Environment, config: Config, imagination: Imagination | None = None) -> Algorithm:
    """DQN on `environment`, which must have discrete actions, and perhaps in an imagination of it.

    Evaluation is greedy in the mean (or the risk measure): noise off, quantile levels fixed, the mean of all members.
    With `greedy=False` the policy explores as training does in the end.

    Raises TypeError for continuous actions or a traced static field, ValueError for a value out of range, fields that
    exclude one another or an imagination, a replay that is not a multiple of the block, or a batch or warm-up that does
    not fit it.
    """
    check(config, environment)
    require_discrete(name_of(config), environment)
    check_dreams(name_of(config), config, imagination)
    environments = vectorize(environment, config.num_envs)
    network = q_function(environment, config)
    apply: Callable[..., Any] = network.apply
    random_network = config.exploration == "noisy" or config.head == "implicit_quantile"
    optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)
    block = config.num_envs * config.steps_per_iteration
    warm_up_blocks = max(1, -(-config.warm_up_steps // block))
    model = imagination.model(environment) if imagination else None
    remembers_states = model is not None and model.remembers_states
    memory = experience(
        example_step(environment, config.share_observations, config.members, model is not None, remembers_states),
        capacity=config.replay_capacity,
        block=block,
        num_envs=config.num_envs,
        discount=config.discount,
        n_step=config.n_step,
        sampling=config.sampling,
        priority_exponent=config.priority_exponent,
        priority_epsilon=config.priority_epsilon,
    )
    dreams = None
    if imagination is not None and model is not None:
        dreams = imagining(
            imagination, environment, model, memory.replay, config.replay_capacity, block, config.discount
        )
    error_loss = huber if config.loss == "huber" else half_square

    def believe(params: Params, state: State, observation: Observation, key: Key | None = None) -> ActionValues:
        """What is believed of the returns of raw observations; with a key, noise and levels are drawn."""
        if config.normalize_observations:
            observation = normalize(state.observation_statistics, observation)
        if key is None:
            return apply(params, observation)
        noise_key, levels_key = jax.random.split(key)
        return apply(params, observation, rngs={"noise": noise_key, "levels": levels_key})

    def values_of(believed: ActionValues) -> Array:
        """`[..., A]`, what actions are chosen by."""
        return believed.cvar(config.risk) if config.risk_averse else believed.mean()

    def acting_values(state: State, observation: Observation, key: Key | None) -> Array:
        """What observations `[B, ...]` are acted on by, `[B, A]`, of an ensemble `[K, B, A]`; noise is their own."""
        if key is None:
            return values_of(believe(state.params, state, observation))
        keys = jax.random.split(key, observation.shape[0])
        return jax.vmap(lambda o, k: values_of(believe(state.params, state, o, k)))(observation, keys)

    def explore(progress: float | Array) -> Explore:
        """How training acts at this time."""
        if config.exploration == "epsilon":
            return partial(epsilon_greedy, epsilon=epsilon_at(progress))
        if config.exploration == "boltzmann":
            return partial(boltzmann, temperature=temperature_at(progress))
        return lambda draw, values: jnp.argmax(values, axis=-1)

    def epsilon_at(progress: float | Array) -> Array:
        return linear_schedule(progress, config.epsilon_start, config.epsilon_end, config.exploration_fraction)

    def temperature_at(progress: float | Array) -> Array:
        return linear_schedule(progress, config.temperature_start, config.temperature_end, config.exploration_fraction)

    def random_streams(state: State, block_number: Array, number: int) -> Key:
        """Keys `[number]` for what plain DQN does not draw, a stream beside that of the iterations (below 2^31)."""
        beside = jnp.uint32(2**31) + block_number.astype(jnp.uint32)
        return jax.random.split(jax.random.fold_in(state.key, beside), number)

    def followed(values: Array, member: Array | None) -> Array:
        """The values `[B, A]` of the member that each environment follows, from those of all of them `[K, B, A]`."""
        if member is None:
            return values
        return jnp.take_along_axis(values, member[None, :, None], axis=0)[0]

    def collect(state: State, keys: Key, written: Array, act: Explore) -> State:
        """`steps_per_iteration` steps of every environment, written to the replay as block number `written`.

        `keys` `[1 + steps_per_iteration]`: one for all the exploration, one for each step of the environments.
        """
        acting_key, member_key, mask_key, _ = random_streams(state, written, 4)
        steps, envs = config.steps_per_iteration, config.num_envs

        def body(carry: tuple[VectorState, Array | None], inputs: tuple) -> tuple[tuple, Step]:
            environments_state, member = carry
            key, draw, network_key, fresh_member = inputs
            running, observation = environments_state, environments_state.observation
            values = acting_values(state, observation, network_key)
            action = act(draw, followed(values, member))
            environments_state, timestep = environments.step(key, environments_state, action)
            if member is not None:
                member = jnp.where(timestep.terminated | timestep.truncated, fresh_member, member)
            step = Step(
                observation=observation,
                action=action,
                reward=timestep.reward,
                terminated=timestep.terminated,
                truncated=timestep.truncated,
                successor=None if config.share_observations else timestep.observation,
                episode_step=running.episode_length if model is not None else None,
                state=running.environment if remembers_states else None,
            )
            return (environments_state, member), step

        draws = jax.random.uniform(keys[0], (steps, envs))
        network_keys = jax.random.split(acting_key, steps) if random_network else None
        members = None if state.member is None else jax.random.randint(member_key, (steps, envs), 0, config.members)
        carry = (state.environments, state.member)
        carry, taken = jax.lax.scan(body, carry, (keys[1:], draws, network_keys, members))
        if config.members > 1:
            taken = taken._replace(
                mask=jax.random.bernoulli(mask_key, config.mask_probability, (steps, envs, config.members))
            )
        taken = jax.tree.map(lambda x: x.reshape(block, *x.shape[2:]), taken)
        statistics = state.observation_statistics
        if config.normalize_observations:
            statistics = update_statistics(statistics, taken.observation)
        replay, priorities = memory.add(state.replay, state.priorities, taken, written)
        return state.replace(
            environments=carry[0],
            member=carry[1],
            observation_statistics=statistics,
            replay=replay,
            priorities=priorities,
        )

    def dream(state: State, key: Key, written: Array, time: Time) -> State:
        """Imagine how training would act now, from remembered states."""
        if dreams is None:
            return state

        def act(key: Key, observation: Observation) -> Array:
            draw_key, network_key = jax.random.split(key)
            values = acting_values(state, observation, network_key if random_network else None)
            return explore(time.progress)(jax.random.uniform(draw_key, values.shape[:1]), values)

        return state.replace(imagination=dreams.dream(state.imagination, key, time, state.replay, written, act))

    def loss(params: Params, state: State, batch: Batch, key: Key | None, temperature: Array):
        keys = [None] * 3 if key is None else jax.random.split(key, 3)
        believed = believe(params, state, batch.observation, keys[0]).of(batch.action)
        after = believe(state.target_params, state, batch.successor, keys[1])
        if config.soft:
            outcome = ExpectedReturn(soft_value(after.values, temperature))
        else:
            chooser = after
            if config.double or config.head == "implicit_quantile":  # which chooses by levels of its own
                choosing = params if config.double else state.target_params
                chooser = believe(choosing, state, batch.successor, keys[2])
            outcome = after.of(jnp.argmax(values_of(chooser), axis=-1))
        target = jax.lax.stop_gradient(outcome.bellman(batch.reward, batch.discount))
        losses = believed.loss(target, error_loss)  # [N], of an ensemble [K, N]
        if batch.mask is not None:
            losses = jnp.sum(losses * batch.mask.T, axis=0)
        mean_loss = jnp.mean(losses if batch.weight is None else losses * batch.weight)
        surprise = learned_surprise(jax.lax.stop_gradient(believed.surprise(target)), batch)
        return mean_loss, (surprise, {"loss": mean_loss, "q_value": jnp.mean(believed.mean())})

    def learned_surprise(surprise: Array, batch: Batch) -> Array:
        """`[N]`: 0 where nobody learns from a transition, so that it is not drawn for an error that never falls."""
        if batch.mask is not None:  # the mean over the members that learn
            learners = batch.mask.T
            surprise = jnp.sum(surprise * learners, axis=0) / jnp.maximum(jnp.sum(learners, axis=0), 1)
        return surprise if batch.weight is None else jnp.where(batch.weight > 0.0, surprise, 0.0)

    def update(state: State, batch: Batch, key: Key | None, temperature: Array, rate: Array) -> tuple[State, Metrics]:
        gradients, (surprise, metrics) = jax.grad(loss, has_aux=True)(state.params, state, batch, key, temperature)
        params, optimizer_state = descend(optimizer, state.params, state.optimizer, gradients, rate)
        priorities = memory.update(state.priorities, batch.slots, surprise)
        return state.replace(params=params, optimizer=optimizer_state, priorities=priorities), metrics

    def learn(state: State, key: Key, written: Array, time: Time) -> tuple[State, Metrics]:
        """All the updates of an iteration. Their loop carries what it changes: the replay is not among it."""
        updates, size = config.updates_per_iteration, config.batch_size
        rate = annealing(time, config.anneal_learning_rate)
        temperature = temperature_at(time.progress)
        importance = config.importance_start + (1.0 - config.importance_start) * time.progress
        sample = partial(memory.sample, state.replay, written=written, importance_exponent=importance)
        if config.sampling == "uniform":  # nothing that an update changes decides what the next one reads
            batches = sample(None, key, size=updates * size)
            batches = blended(dreams, state.imagination, key, time, batches)
            drawn: Any = jax.tree.map(lambda x: x.reshape(updates, size, *x.shape[1:]), batches)
        else:
            drawn = jax.random.split(key, updates)

        def network_keys(number: int) -> tuple[Key | None]:
            return (jax.random.split(random_streams(state, written - 1, 4)[3], number) if random_network else None,)

        def body(learner: State, inputs: tuple) -> tuple[State, Metrics]:
            batch, network_key = inputs
            if config.sampling != "uniform":
                batch = sample(learner.priorities, batch, size=size)
            return update(learner, batch, network_key, temperature, rate)

        learner = state.replace(replay=None, environments=None, imagination=None)
        learner, metrics = learn_in_turns(dreams, state.imagination, key, time, body, learner, drawn, network_keys)
        if dreams:
            metrics["model_error"] = state.imagination.error
        return learner.replace(
            replay=state.replay, environments=state.environments, imagination=state.imagination
        ), metrics

    def init(key: Key) -> State:
        network_key, reset_key, warm_up_key, key = jax.random.split(key, 4)
        environments_state = environments.reset(reset_key)
        params = network.init(network_key, environments_state.observation)
        replay, priorities = memory.init()
        state = State(
            params=params,
            target_params=jax.tree.map(jnp.copy, params),
            optimizer=optimizer.init(params),
            environments=environments_state,
            member=None if config.members == 1 else jnp.arange(config.num_envs) % config.members,
            observation_statistics=init_statistics(environment.observation_space.shape),
            replay=replay,
            priorities=priorities,
            imagination=dreams.init(jax.random.fold_in(warm_up_key, 1)) if dreams else None,
            key=key,
        )
        keys = jax.random.split(warm_up_key, (warm_up_blocks, 1 + config.steps_per_iteration))
        at_random = partial(epsilon_greedy, epsilon=jnp.ones(()))

        def warm_up(state: State, inputs: tuple[Key, Array]) -> tuple[State, None]:
            return collect(state, *inputs, act=at_random), None

        state, _ = jax.lax.scan(warm_up, state, (keys, jnp.arange(warm_up_blocks)))
        return state

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        keys = jax.random.split(jax.random.fold_in(state.key, time.iteration), 2 + config.steps_per_iteration)
        sample_key, collect_keys = keys[0], keys[1:]
        written = warm_up_blocks + time.iteration
        state = state.replace(environments=state.environments.clear_statistics())
        state = collect(state, collect_keys, written, explore(time.progress))
        state = dream(state, jax.random.fold_in(sample_key, 3), written + 1, time)
        before = state.target_params
        state, metrics = learn(state, sample_key, written + 1, time)
        target_rate = jnp.where(time.crosses(config.target_period, block), config.target_rate, 0.0)
        state = state.replace(target_params=optax.incremental_update(state.params, before, target_rate))
        if config.exploration == "epsilon":
            metrics["epsilon"] = epsilon_at(time.progress)
        if config.exploration == "boltzmann":
            metrics["temperature"] = temperature_at(time.progress)
        return state, metrics | state.environments.statistics.metrics()

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, memory: tuple, observation: Observation) -> tuple[tuple, Array]:
            draw_key, network_key = (key, None) if greedy or not random_network else jax.random.split(key)
            values = values_of(believe(state.params, state, observation, network_key))
            values = values if config.members == 1 else jnp.mean(values, axis=0)
            action = jnp.argmax(values, axis=-1) if greedy else explore(1.0)(jax.random.uniform(draw_key), values)
            return memory, action

        return Policy(init=lambda key: (), act=act)

    def snapshot(state: State) -> State:
        return trees.keep(state, "params", "observation_statistics")

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


def q_function(environment: Environment, config: Config) -> QNetwork | QEnsemble:
    """The network of `config`: observations `[..., *shape]` to the returns of all actions."""
    network = partial(
        QNetwork,
        environment.observation_space,
        require_discrete(name_of(config), environment).n,
        config.widths,
        config.activation,
        config.layer_norm,
        dueling=config.dueling,
        noisy=config.exploration == "noisy",
        noise_deviation=config.noise_deviation,
        head=config.head,
        atoms=config.atoms,
        support=(config.support_low, config.support_high),
    )
    return network() if config.members == 1 else QEnsemble(network, config.members, config.prior_scale)
