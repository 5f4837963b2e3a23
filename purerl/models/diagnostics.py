"""How good a model is: errors of long predictions, and whether it is as sure as it should be."""

import jax
import jax.numpy as jnp

from purerl.models.ensemble import Ensemble, EnsembleState, Prediction
from purerl.models.learned_environment import imagine_from
from purerl.types import Action, Array, Environment, EnvState, Key, Observation


def open_loop_error(
    model: Environment, key: Key, observations: Observation, actions: Action, horizon: int, particles: int = 20
) -> Array:
    """Root mean squared error of predictions 1 to `horizon` steps ahead, `[horizon]`, along a real episode.

    From every start in the episode (`observations` `[T + 1, O]`, `actions` `[T, A]`) the model follows the real actions
    by itself; compared is the mean of `particles` of its futures, over all coordinates in units of their deviation in
    the episode. Persistence, which predicts that nothing changes, is the error to beat.
    """
    starts = actions.shape[0] - horizon + 1
    scale = jnp.std(observations, axis=0) + 1e-8

    def from_start(key: Key, start: Array) -> Array:
        taken = jax.lax.dynamic_slice_in_dim(actions, start, horizon)
        truth = jax.lax.dynamic_slice_in_dim(observations, start + 1, horizon)

        futures = jax.vmap(lambda key: imagined_future(model, key, observations[start], taken))
        predicted = jnp.mean(futures(jax.random.split(key, particles)), axis=0)
        return jnp.mean(jnp.square((predicted - truth) / scale), axis=-1)

    errors = jax.vmap(from_start)(jax.random.split(key, starts), jnp.arange(starts))
    return jnp.sqrt(jnp.mean(errors, axis=0))


def imagined_future(model: Environment, key: Key, observation: Observation, actions: Action) -> Observation:
    """The observations `[H, O]` that a learned model sees follow on `observation` under `actions` `[H, A]`."""

    def step(state: EnvState, inputs: tuple[Key, Action]) -> tuple[EnvState, Observation]:
        state, timestep = model.step(inputs[0], state, inputs[1])
        return state, timestep.observation

    return jax.lax.scan(step, imagine_from(observation), (jax.random.split(key, actions.shape[0]), actions))[1]


def calibration(
    ensemble: Ensemble, state: EnsembleState, observation: Observation, action: Action, outcome: Array
) -> tuple[Array, Array]:
    """How often outcomes fall within the central intervals of 10, 20, ..., 90 %: the levels and the frequencies, `[9]`.

    Of all members, over N steps (`observation` `[N, O]`, `outcome` `[N, O (+ 1)]`: change, then reward) and all
    coordinates. A model that knows its noise has frequencies equal to the levels; an overconfident one has less.
    """
    predicted: Prediction = ensemble.predict(state, observation, action)
    score = jnp.abs(outcome - predicted.mean) / jnp.maximum(predicted.deviation, 1e-12)
    levels = jnp.arange(1, 10) / 10
    bounds = jax.scipy.stats.norm.ppf(0.5 + levels / 2)
    return levels, jnp.mean(score[None] <= bounds.reshape(-1, *(1,) * score.ndim), axis=tuple(range(1, score.ndim + 1)))


def disagreement(ensemble: Ensemble, state: EnsembleState, observation: Observation, action: Action) -> Array:
    """Deviation of the members' means, averaged over coordinates in the data's units: what is not known, `[N]`."""
    means = ensemble.predict(state, observation, action).mean / state.output_deviation
    return jnp.mean(jnp.std(means, axis=0), axis=-1)
