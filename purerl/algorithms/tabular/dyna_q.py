"""Dyna-Q (Sutton, 1990): Q-learning from every real step, and again from steps that a learned model remembers.

After each real step (s, a, r, s') the learner makes the update of Q-learning,

    Q(s, a) <- Q(s, a) + rate (r + discount (1 - terminated) max_a' Q(s', a') - Q(s, a)),

stores the step in its model, M(s, a) = (r, s', terminated), and makes the same update for `planning_updates` pairs
drawn uniformly from those visited so far, with r and s' from the model. Dyna-Q+ adds `bonus` x sqrt(steps since the
pair was last really tried) to the model's rewards, so that what changed is found out. The model keeps the latest
outcome of a pair: it is right for deterministic problems.

Sutton, R. S. (1990), "Integrated architectures for learning, planning, and reacting based on approximating dynamic
programming", ICML. Sutton, R. S. & Barto, A. G. (2018), "Reinforcement Learning: An Introduction", 2nd edition,
sections 8.2 and 8.3.
"""

from dataclasses import dataclass
from typing import NamedTuple

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
    choose_marked,
    exploration_bonus,
    greedy_probabilities,
    mix_with_uniform,
)
from purerl.types import Algorithm, Array, Environment, Key, Metrics, Observation, Policy, Time


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    planning_updates: int = 5
    """Updates from the model after every real step; 0 is Q-learning."""
    learning_rate: float = 0.1
    """Step size of real and planned updates, > 0."""
    discount: float = 0.95
    """Weight of the next step's reward, in [0, 1]; a FiniteMDP's own discount is not read."""
    bonus: float = 0.0
    """kappa of Dyna-Q+, >= 0: kappa sqrt(steps since a pair was tried) is added in planning; set the next field."""
    plan_untried_actions: bool = False
    """Plan with all actions of visited states; one never tried is thought to lead back, with reward 0 (Dyna-Q+)."""
    initial_value: float = 0.0
    """Every Q(s, a) in the beginning."""
    tie_tolerance: float = 0.0
    """Actions whose values miss the best one by at most this, >= 0, count as ties, which are broken at random."""
    epsilon_start: float = 0.1
    """Probability of a random action at the beginning, in [0, 1]."""
    epsilon_end: float = 0.1
    """Probability of a random action in the end, in [0, 1]; also of the policy with greedy=False."""
    exploration_fraction: float = 0.5
    """Share of the run over which epsilon falls linearly, in (0, 1]."""
    num_envs: int = 1
    """Environments stepped side by side; their steps are learned from one after the other."""
    steps_per_iteration: int = 100
    """Steps of every environment in an iteration, each followed by its updates."""
    max_steps: int = 1_000
    """Of an episode in a FiniteMDP, which is then truncated; an environment has its own limit."""


class Transition(NamedTuple):
    """One step of one environment, real or remembered."""

    observation: Array
    action: Array
    reward: Array
    terminated: Array
    successor: Array


class Model(struct.PyTreeNode):
    """The latest outcome of every pair, `[S, A]` each."""

    reward: Array
    terminated: Array
    successor: Array  # int32
    tried: Array  # bool
    last_tried: Array  # int32, in environment steps of the learner; 0 if never


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    values: Array  # [S, A]
    model: Model
    environments: VectorState
    key: Key


def make(problem: Environment | FiniteMDP, config: Config) -> Algorithm:
    """Dyna-Q on an environment with discrete observations and actions, or on a finite MDP.

    In a `FiniteMDP` only available actions are taken, planned and counted in the maximum.

    Raises TypeError for observations or actions that are not discrete or a traced static field, ValueError for a value
    out of range.
    """
    check(config, problem)
    environment, states, actions, available = as_problem("dyna_q", problem, config.max_steps)
    environments = vectorize(environment, config.num_envs)
    block = config.num_envs * config.steps_per_iteration

    def behaviour(values: Array, observation: Array, epsilon: float | Array) -> Array:
        """The probabilities `[..., A]` with which the learner acts in the states `[...]`."""
        action_values = available_values(values[observation], available[observation])
        greedy = greedy_probabilities(action_values, config.tie_tolerance)
        return mix_with_uniform(greedy, action_values, epsilon)

    def update(values: Array, transition: Transition) -> tuple[Array, Array]:
        """One update of Q-learning; also the TD error."""
        successor_values = available_values(values[transition.successor], available[transition.successor])
        target = bootstrapped_target(
            transition.reward, transition.terminated, jnp.max(successor_values), config.discount
        )
        error = target - values[transition.observation, transition.action]
        values = values.at[transition.observation, transition.action].add(config.learning_rate * error)
        return values, error

    def remember(model: Model, transition: Transition, now: Array) -> Model:
        pair = (transition.observation, transition.action)
        return Model(
            reward=model.reward.at[pair].set(transition.reward),
            terminated=model.terminated.at[pair].set(transition.terminated),
            successor=model.successor.at[pair].set(transition.successor),
            tried=model.tried.at[pair].set(True),
            last_tried=model.last_tried.at[pair].set(now),
        )

    def plan(values: Array, model: Model, now: Array, draws: Array) -> Array:
        """An update from the model for every one of the `draws` `[planning_updates]`."""
        pairs = model.tried
        if config.plan_untried_actions:
            pairs = jnp.any(model.tried, axis=-1, keepdims=True) & available
        chosen = jnp.unravel_index(choose_marked(draws, pairs.ravel()), (states, actions))
        remembered = Transition(
            *chosen,
            reward=model.reward[chosen] + exploration_bonus(now - model.last_tried[chosen], config.bonus),
            terminated=model.terminated[chosen],
            successor=model.successor[chosen],
        )
        values, _ = jax.lax.scan(update, values, remembered)
        return values

    def init(key: Key) -> State:
        reset_key, key = jax.random.split(key)
        shape = (states, actions)
        model = Model(
            reward=jnp.zeros(shape),
            terminated=jnp.zeros(shape, bool),
            successor=jnp.broadcast_to(jnp.arange(states, dtype=jnp.int32)[:, None], shape),
            tried=jnp.zeros(shape, bool),
            last_tried=jnp.zeros(shape, jnp.int32),
        )
        values = jnp.full(shape, config.initial_value, jnp.float32)
        return State(values=values, model=model, environments=environments.reset(reset_key), key=key)

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        act_key, plan_key, key = jax.random.split(jax.random.fold_in(state.key, time.iteration), 3)
        keys = jax.random.split(key, config.steps_per_iteration)
        draws = jax.random.uniform(act_key, (config.steps_per_iteration, config.num_envs))
        plan_keys = jax.random.split(plan_key, (config.steps_per_iteration, config.num_envs))
        now = time.iteration * block + jnp.arange(1, block + 1).reshape(draws.shape)
        epsilon = linear_schedule(time.progress, config.epsilon_start, config.epsilon_end, config.exploration_fraction)

        def learn(learned: tuple[Array, Model], inputs: tuple[Transition, Key, Array]):
            """From one real step: update, remember, plan."""
            (values, model), (transition, key, now) = learned, inputs
            values, error = update(values, transition)
            model = remember(model, transition, now)
            value = values[transition.observation, transition.action]
            if config.planning_updates:
                values = plan(values, model, now, jax.random.uniform(key, (config.planning_updates,)))
            return (values, model), {"loss": 0.5 * jnp.square(error), "q_value": value}

        def interact(state: State, inputs: tuple[Key, Array, Key, Array]) -> tuple[State, Metrics]:
            """One step of every environment, then what is learned from it."""
            key, draw, plan_key, now = inputs
            observation = state.environments.observation
            action = choose(draw, behaviour(state.values, observation, epsilon))
            environments_state, timestep = environments.step(key, state.environments, action)
            transitions = Transition(observation, action, timestep.reward, timestep.terminated, timestep.observation)
            (values, model), metrics = jax.lax.scan(learn, (state.values, state.model), (transitions, plan_key, now))
            return state.replace(values=values, model=model, environments=environments_state), metrics

        state = state.replace(environments=state.environments.clear_statistics())
        state, metrics = jax.lax.scan(interact, state, (keys, draws, plan_keys, now))
        return state, jax.tree.map(jnp.mean, metrics) | {"epsilon": epsilon} | state.environments.statistics.metrics()

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, memory: tuple, observation: Observation) -> tuple[tuple, Array]:
            epsilon = 0.0 if greedy else config.epsilon_end
            chosen = behaviour(state.values, jnp.asarray(observation, jnp.int32), epsilon)
            return memory, choose(jax.random.uniform(key), chosen)

        return Policy(init=lambda key: (), act=act)

    def snapshot(state: State) -> State:
        return trees.keep(state, "values")

    return Algorithm(
        name="dyna_q",
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=snapshot,
        env_steps_per_iteration=block,
    )


def check(config: Config, problem: Environment | FiniteMDP) -> None:
    """Raise if the fields do not fit their ranges or the problem is not one for a table."""
    check_config(
        config,
        positive=("learning_rate", "exploration_fraction", "num_envs", "steps_per_iteration", "max_steps"),
        non_negative=("planning_updates", "bonus", "tie_tolerance"),
        fraction=("discount", "epsilon_start", "epsilon_end", "exploration_fraction"),
    )
    as_problem("dyna_q", problem, config.max_steps)
