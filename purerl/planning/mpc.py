"""Model-predictive control: plan from where the environment is, execute one action, plan again."""

from collections.abc import Callable
from typing import Any, NamedTuple

from purerl.types import Action, Environment, EnvState, Key, Memory, Observation, Planner, Policy, Timestep


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
