"""A learned model is an environment: planners plan in it, and every learner can be trained in it unchanged."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from purerl.environments.wrappers import unscale_action
from purerl.models.ensemble import Ensemble, EnsembleState
from purerl.types import Action, Array, Environment, Key, Observation, Timestep

Propagation = Literal["ts1", "ts_infinity", "mean"]
Reward = Callable[[Observation, Action, Observation], Array]
Termination = Callable[[Observation, Action, Observation], Array]
UNDECIDED = -1


def in_scaled_actions(environment: Environment, function: Reward | None) -> Reward | None:
    """A known reward or termination of `environment` as a function of the actions in [-1, 1] that learners take."""
    if function is None:
        return None
    return lambda observation, action, successor: function(
        observation, unscale_action(environment.action_space, action), successor
    )


class Imagined(NamedTuple):
    """Where an imagined episode is."""

    observation: Observation
    member: Array  # int32: who predicts it (TS-infinity), UNDECIDED before its first step


def imagine_from(observation: Observation) -> Imagined:
    """The state of the model in which a plan from `observation` begins: `mpc(planner, state_of=imagine_from)`."""
    return Imagined(observation, jnp.full((), UNDECIDED, jnp.int32))


def learned_environment(
    environment: Environment,
    ensemble: Ensemble,
    state: EnsembleState,
    starts: Observation,
    reward: Reward | None = None,
    termination: Termination | None = None,
    propagation: Propagation = "ts1",
    gather: bool = False,
    elites: Array | None = None,
) -> Environment:
    """What the ensemble believes `environment` to be.

    A step predicts the next observation and reward by one member, with its noise. Which member: with "ts1" another one
    at every step, with "ts_infinity" one for a whole episode, drawn at its first step (Chua et al., 2018: not knowing
    the dynamics is then a property of the world, and not noise); "mean" is the mean of all, without noise, which
    forgets what is not known.

    Args:
        environment: what is modelled: its spaces and time limit.
        ensemble: the learner of dynamics.
        state: what it has learned; may be traced.
        starts: observations `[N, O]` that episodes begin at.
        reward: a known r(o, a, o'); required unless the ensemble learns the reward.
        termination: a known function of (o, a, o') to bool; without one a step terminates that the ensemble gives an
            even chance or more of it, if it learns that, and nothing else does. A known one must be the environment's
            own: a model that goes on after a fall is exploited.
        propagation: which member predicts.
        gather: take the parameters of the one member and not the predictions of all. Right where many steps share one
            key, as the sequences of a planner do; with a key per step it would copy the network for each.
        elites: int32, the members that predict (default: all).

    Raises ValueError if there is neither a reward function nor a learned reward.
    """
    if reward is None and not ensemble.config.learn_reward:
        raise ValueError("the ensemble does not learn the reward: give learned_environment a reward function")

    members = jnp.arange(ensemble.config.members) if elites is None else elites

    def reset(key: Key) -> tuple[Imagined, Observation]:
        observation = starts[jax.random.randint(key, (), 0, starts.shape[0])]
        return imagine_from(observation), observation

    def step(key: Key, imagined: Imagined, action: Action) -> tuple[Imagined, Timestep]:
        member_key, noise_key = jax.random.split(key)
        observation, member = imagined
        drawn = jax.random.choice(member_key, members)
        member = drawn if propagation == "ts1" else jnp.where(member == UNDECIDED, drawn, member)
        if propagation == "mean":
            predicted = jax.tree.map(
                lambda x: jnp.mean(x[members], axis=0), ensemble.predict(state, observation, action)
            )
            outcome = predicted.mean
        else:
            if gather:
                predicted = ensemble.predict_member(state, member, observation, action)
            else:
                predicted = jax.tree.map(lambda x: x[member], ensemble.predict(state, observation, action))
            outcome = predicted.mean + predicted.deviation * jax.random.normal(noise_key, predicted.mean.shape)
        successor = observation + outcome[: observation.shape[-1]]
        ended = jnp.zeros((), bool)
        if termination is not None:
            ended = termination(observation, action, successor)
        elif predicted.termination is not None:
            ended = predicted.termination >= 0.5
        return Imagined(successor, member), Timestep(
            observation=successor,
            reward=outcome[-1] if reward is None else reward(observation, action, successor),
            terminated=ended,
            truncated=jnp.zeros((), bool),
            info={},
        )

    return Environment(
        name=f"model of {environment.name}",
        reset=reset,
        step=step,
        observation_space=environment.observation_space,
        action_space=environment.action_space,
        max_steps=environment.max_steps,
    )
