"""Temporal-difference control with a table of action values: Q-learning, SARSA and their relatives.

After every step the value of the pair (s, a) moves towards the reward and the value of the successor; the `rule` says
what the successor is worth:

    Q(s, a) <- Q(s, a) + rate (r + discount (1 - terminated) V(s') - Q(s, a))

    q_learning           V(s') = max_a' Q(s', a')                                     (Watkins, 1989)
    sarsa                V(s') = Q(s', a'), a' the action taken next                  (Rummery & Niranjan, 1994)
    expected_sarsa       V(s') = sum_a' pi(a' | s') Q(s', a'), pi the policy acting   (van Seijen et al., 2009)
    double_q_learning    V(s') = Q_B(s', argmax_a' Q_A(s', a')) to move Q_A, or with A and B exchanged, as a coin falls;
                         Q_A + Q_B acts                                               (van Hasselt, 2010)
    soft_q_learning      V(s') = temperature log sum_a' exp(Q(s', a') / temperature),
                         softmax(Q / temperature) acts                                (Haarnoja et al., 2017)

The other rules act greedily; ties are broken at random; every rule takes a uniformly random action with probability
epsilon. Several environments act at the same time, and their updates are made one after the other.

Sutton, R. S. & Barto, A. G. (2018), "Reinforcement Learning: An Introduction", 2nd edition, chapter 6.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from purerl import trees
from purerl.algorithms.config import check_config
from purerl.algorithms.tabular.problem import as_problem
from purerl.environments.finite.mdp import FiniteMDP
from purerl.environments.vectorize import VectorState, vectorize
from purerl.exploration import linear_schedule
from purerl.operators.tabular import (
    available_values,
    bootstrapped_target,
    choose,
    expected_value,
    greedy_probabilities,
    mix_with_uniform,
)
from purerl.operators.temporal_difference import soft_value
from purerl.types import Algorithm, Array, Environment, Key, Metrics, Observation, Policy, Time


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    rule: Literal["q_learning", "sarsa", "expected_sarsa", "double_q_learning", "soft_q_learning"] = "q_learning"
    """What a successor is worth, and so which algorithm this is."""
    learning_rate: float = 0.1
    """Step size in the beginning, > 0; at most 1 for an average."""
    learning_rate_schedule: Literal["constant", "linear", "visits"] = "constant"
    """Stay, fall linearly to 0 over the run, or fall as learning_rate / n^visit_power at the n-th update of a pair."""
    visit_power: float = 0.6
    """Power of the number of updates in the schedule "visits", in [0, 1]; values converge for those above 0.5."""
    discount: float = 0.99
    """Weight of the next step's reward, in [0, 1]; a FiniteMDP's own discount is not read."""
    initial_value: float = 0.0
    """Every Q(s, a) in the beginning; optimistic (above what can be earned) makes a greedy learner explore."""
    epsilon_start: float = 0.1
    """Probability of a random action at the beginning, in [0, 1]."""
    epsilon_end: float = 0.1
    """Probability of a random action in the end, in [0, 1]; also of the policy with greedy=False."""
    exploration_fraction: float = 0.5
    """Share of the run over which epsilon falls linearly, in (0, 1]."""
    temperature: float = 0.1
    """Of soft Q-learning, > 0: the reward that one nat of entropy is worth."""
    num_envs: int = 1
    """Environments stepped side by side."""
    steps_per_iteration: int = 100
    """Steps of every environment in an iteration, each followed by its update."""
    max_steps: int = 1_000
    """Of an episode in a FiniteMDP, which is then truncated; an environment has its own limit."""


class Transition(NamedTuple):
    """One step of one environment and the draws its update needs."""

    observation: Array
    action: Array
    reward: Array
    terminated: Array
    successor: Array
    successor_action: Array  # what SARSA does next
    table: Array  # which table is moved: the coin of double Q-learning, else 0
    draw: Array  # uniform in [0, 1): breaks ties in the maximum of double Q-learning


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's. K is the number of tables: 2 for double Q-learning, else 1."""

    values: Array  # [K, S, A]
    visits: Array  # int32 [K, S, A]: updates of each entry
    environments: VectorState
    next_action: Array  # int32 [num_envs]: what SARSA has chosen for the next step, unless that begins an episode
    key: Key


def make(problem: Environment | FiniteMDP, config: Config) -> Algorithm:
    """Temporal-difference control on an environment with discrete observations and actions, or on a finite MDP.

    In a `FiniteMDP` only available actions are taken and counted in V(s').

    Raises TypeError for observations or actions that are not discrete or a traced static field, ValueError for a value
    out of range.
    """
    check(config, problem)
    environment, states, actions, available = as_problem("q_learning", problem, config.max_steps)
    environments = vectorize(environment, config.num_envs)
    tables = 2 if config.rule == "double_q_learning" else 1

    def behaviour(action_values: Array, epsilon: float | Array) -> Array:
        """The probabilities `[..., A]` with which the learner acts on Q(s, .) `[..., A]`."""
        if config.rule == "soft_q_learning":
            preferred = jax.nn.softmax(action_values / config.temperature)
        else:
            preferred = greedy_probabilities(action_values)
        return mix_with_uniform(preferred, action_values, epsilon)

    def acting_values(values: Array, observation: Array) -> Array:
        """Q_A + Q_B, or the one Q there is, in the states `[...]`: `[..., A]`."""
        return available_values(jnp.sum(values, axis=0)[observation], available[observation])

    def act(values: Array, observation: Array, draw: Array, epsilon: float | Array) -> Array:
        return choose(draw, behaviour(acting_values(values, observation), epsilon))

    def successor_value(values: Array, transition: Transition, epsilon: Array) -> Array:
        """V(s') by the rule."""
        exists = available[transition.successor]
        own = available_values(values[transition.table, transition.successor], exists)
        if config.rule == "q_learning":
            return jnp.max(own)
        if config.rule == "sarsa":
            return own[transition.successor_action]
        if config.rule == "expected_sarsa":
            return expected_value(behaviour(own, epsilon), own)
        if config.rule == "double_q_learning":
            other = available_values(values[1 - transition.table, transition.successor], exists)
            return other[choose(transition.draw, greedy_probabilities(own))]
        return soft_value(own, config.temperature)

    def step_size(updates: Array, progress: Array) -> Array:
        """Of the n-th update of a pair."""
        if config.learning_rate_schedule == "linear":
            return config.learning_rate * (1.0 - progress)
        if config.learning_rate_schedule == "visits":
            return config.learning_rate * jnp.asarray(updates, jnp.float32) ** -config.visit_power
        return jnp.asarray(config.learning_rate, jnp.float32)

    def init(key: Key) -> State:
        reset_key, key = jax.random.split(key)
        shape = (tables, states, actions)
        return State(
            values=jnp.full(shape, config.initial_value, jnp.float32),
            visits=jnp.zeros(shape, jnp.int32),
            environments=environments.reset(reset_key),
            next_action=jnp.zeros(config.num_envs, jnp.int32),
            key=key,
        )

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        draw_key, key = jax.random.split(jax.random.fold_in(state.key, time.iteration))
        keys = jax.random.split(key, config.steps_per_iteration)
        draws = jax.random.uniform(draw_key, (config.steps_per_iteration, 3, config.num_envs))
        epsilon = linear_schedule(time.progress, config.epsilon_start, config.epsilon_end, config.exploration_fraction)

        def update(learned: tuple[Array, Array], transition: Transition) -> tuple[tuple[Array, Array], Metrics]:
            values, visits = learned
            entry = (transition.table, transition.observation, transition.action)
            value = successor_value(values, transition, epsilon)
            target = bootstrapped_target(transition.reward, transition.terminated, value, config.discount)
            error = target - values[entry]
            visits = visits.at[entry].add(1)
            values = values.at[entry].add(step_size(visits[entry], time.progress) * error)
            return (values, visits), {"loss": 0.5 * jnp.square(error), "q_value": values[entry]}

        def interact(state: State, inputs: tuple[Key, Array]) -> tuple[State, Metrics]:
            """One step of every environment, then its update."""
            key, (draw, coin_draw, second_draw) = inputs
            observation = state.environments.observation
            action = act(state.values, observation, draw, epsilon)
            if config.rule == "sarsa":  # what was chosen, and learned from, in the last step is done
                begins = state.environments.episode_length == 0
                action = jnp.where(begins, action, state.next_action)
            environments_state, timestep = environments.step(key, state.environments, action)
            coin = (coin_draw * tables).astype(jnp.int32)
            next_action = state.next_action
            if config.rule == "sarsa":
                next_action = act(state.values, timestep.observation, second_draw, epsilon)
            transitions = Transition(
                observation=observation,
                action=action,
                reward=timestep.reward,
                terminated=timestep.terminated,
                successor=timestep.observation,
                successor_action=next_action,
                table=coin,
                draw=second_draw,
            )
            (values, visits), metrics = jax.lax.scan(update, (state.values, state.visits), transitions)
            state = state.replace(
                values=values, visits=visits, environments=environments_state, next_action=next_action
            )
            return state, metrics

        state = state.replace(environments=state.environments.clear_statistics())
        state, metrics = jax.lax.scan(interact, state, (keys, draws))
        return state, jax.tree.map(jnp.mean, metrics) | {"epsilon": epsilon} | state.environments.statistics.metrics()

    def policy(state: State, greedy: bool = True) -> Policy:
        def act_once(key: Key, memory: tuple, observation: Observation) -> tuple[tuple, Array]:
            values = acting_values(state.values, jnp.asarray(observation, jnp.int32))
            chosen = greedy_probabilities(values) if greedy else behaviour(values, config.epsilon_end)
            return memory, choose(jax.random.uniform(key), chosen)

        return Policy(init=lambda key: (), act=act_once)

    def snapshot(state: State) -> State:
        return trees.keep(state, "values")

    return Algorithm(
        name="q_learning",
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=snapshot,
        env_steps_per_iteration=config.num_envs * config.steps_per_iteration,
    )


def check(config: Config, problem: Environment | FiniteMDP) -> None:
    """Raise if the fields do not fit their ranges or the problem is not one for a table."""
    check_config(
        config,
        positive=(
            "learning_rate",
            "exploration_fraction",
            "temperature",
            "num_envs",
            "steps_per_iteration",
            "max_steps",
        ),
        fraction=("visit_power", "discount", "epsilon_start", "epsilon_end", "exploration_fraction"),
    )
    as_problem("q_learning", problem, config.max_steps)
