"""Model-predictive control: plan from where the environment is, execute one action, plan again. Or several.

`open_loop` makes of a planner one that executes several actions of a plan before it looks where they have led.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purerl import trees
from purerl.planning.shooting import shift
from purerl.types import (
    Action,
    Array,
    Environment,
    EnvState,
    Key,
    Memory,
    Observation,
    Planner,
    Policy,
    Space,
    Timestep,
)


class Revealed(NamedTuple):
    """What is observed of an environment that hides nothing from a planner."""

    state: EnvState
    observation: Observation


def reveal_state(environment: Environment) -> Environment:
    """The environment whose observations are `Revealed`: its state, and what is observed of it.

    For planners that plan in the environment itself, which need to know where it is. `observation_space` remains that
    of the observation inside.
    """

    def reset(key: Key) -> tuple[EnvState, Revealed]:
        state, observation = environment.reset(key)
        return state, Revealed(state, observation)

    def step(key: Key, state: EnvState, action: Action) -> tuple[EnvState, Timestep]:
        state, timestep = environment.step(key, state, action)
        return state, timestep._replace(observation=Revealed(state, timestep.observation))

    wrappers = (*environment.wrappers, "reveal_state")
    return environment._replace(reset=reset, step=step, wrappers=wrappers, goals=None)


def state_of(observation: Revealed) -> EnvState:
    """The state in what is observed."""
    return observation.state


def mpc(planner: Planner, state_of: Callable[[Any], EnvState] = state_of) -> Policy:
    """The policy that searches anew at every step, starting from what the last search left (in its memory).

        environment = reveal_state(make("Pendulum-v1"))
        policy = mpc(cem(make("Pendulum-v1"), horizon=20))
        evaluate(policy, environment, key)

    Args:
        planner: how to search, with its model.
        state_of: from an observation to the state of the model that the search begins in; `imagine_from` of a
            `learned_environment`, the identity where observation and state are the same.

    The model need not be the environment that is played: plan in `make("Pendulum-v1", m=1.3)` and see what a wrong mass
    costs.
    """

    def act(key: Key, memory: Memory, observation: Observation) -> tuple[Memory, Action]:
        return planner.plan(key, memory, state_of(observation))

    return Policy(init=planner.init, act=act)


class Underway(NamedTuple):
    """A plan that is being executed."""

    search: Memory  # what the next search starts from
    actions: Action  # [steps, ...]: the next one first, the last `left` count backwards from the plan's end
    left: Array  # int32: how many are still to be executed; at 0 a new plan is made


def open_loop(planner: Planner, steps: int, action_space: Space) -> Planner:
    """The planner that executes `steps` actions of a plan, without looking, before it searches again.

    A memory as of `init` has nothing left to execute: whoever resets the environment resets the memory with it, and
    begins a new plan. The next search starts from what the last one left, moved on by `steps`. So that one program
    serves environments that are at different places of their plans, it searches at every step, and keeps what it finds
    only when the plan is over: `steps` do not make it cheaper.

    Args:
        planner: one whose plans are sequences of at least `steps` actions: random shooting, CEM, MPPI, gradients.
        steps: >= 1; 1 executes what `planner` would.
        action_space: of the environment that is acted in.

    Raises TypeError for a planner without `plan_ahead`, ValueError for `steps` below 1 and, when it first plans, for
    `steps` beyond the end of a plan.
    """
    plan_ahead = planner.plan_ahead
    if plan_ahead is None:
        raise TypeError("open_loop needs a planner whose plans are sequences, as those of purerl.planning.shooting are")
    if steps < 1:
        raise ValueError(f"open_loop needs steps >= 1, got {steps}")

    def init(key: Key) -> Underway:
        actions = jnp.zeros((steps, *action_space.shape), action_space.dtype)
        return Underway(planner.init(key), actions, jnp.zeros((), jnp.int32))

    def plan(key: Key, memory: Underway, state: EnvState) -> tuple[Underway, Action]:
        search, actions = plan_ahead(key, memory.search, state)
        if actions.shape[0] < steps:
            raise ValueError(f"open_loop: cannot execute {steps} steps of plans of {actions.shape[0]}")
        over = memory.left == 0
        search = trees.where(over, search, jax.tree.map(shift, memory.search))
        actions = jnp.where(over, actions[:steps], memory.actions)
        left = jnp.where(over, steps, memory.left) - 1
        return Underway(search, shift(actions), left), actions[0]

    return Planner(init, plan)
