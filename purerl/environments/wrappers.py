"""Wrappers: functions from an environment to an environment.

    environment = time_limit(rescale_actions(make("Pendulum-v1")), 100)          one environment
    environments = scale_rewards(normalize_observations(vectorize(environment, 64)), discount=0.99)    many

Those on one `Environment` keep its name and parameters and add themselves to its `wrappers`: `make(name, **parameters)`
makes the environment inside, and whoever wants the wrapped one applies the wrappers again. They draw the same pictures.
Those that change observations drop its `goals`, which are functions of the observation.
Those on a `VectorEnvironment` keep running statistics over all environments of an agent.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer

from purerl import trees
from purerl.environments.vectorize import VectorEnvironment, VectorState, then
from purerl.normalization import RunningStatistics, init_statistics, normalize, update_statistics
from purerl.types import (
    Action,
    Array,
    Box,
    Discrete,
    Environment,
    EnvState,
    Key,
    MultiDiscrete,
    Observation,
    Space,
    Timestep,
)


class Wrapped(struct.PyTreeNode):
    """The state of the environment inside and what the wrapper itself remembers."""

    inner: EnvState
    memory: Any


def rescale_actions(environment: Environment) -> Environment:
    """The agent acts in [-1, 1]: `unscale_action` gives the environment what it expects.

    Coordinates of a `Box` without two finite bounds pass unchanged and unclipped; so does the whole of a `Discrete`
    or `MultiDiscrete` environment, which is returned as it is. Bounds may be traced.
    """
    space = environment.action_space
    if isinstance(space, Discrete | MultiDiscrete):
        return environment
    low, high, bounded, numpy = _bounds(space)
    new_low, new_high = numpy.where(bounded, -1.0, low), numpy.where(bounded, 1.0, high)
    if numpy is np and bool(np.all(bounded)):
        new_low, new_high = -1.0, 1.0

    def step(key: Key, state: EnvState, action: Action) -> tuple[EnvState, Timestep]:
        return environment.step(key, state, unscale_action(space, action))

    rescaled, wrappers = Box(new_low, new_high, space.shape), _recorded(environment, "rescale_actions")
    return environment._replace(step=step, action_space=rescaled, wrappers=wrappers)


def unscale_action(space: Space, action: Action) -> Action:
    """The action of `space` that an action in [-1, 1] stands for: `low + (a + 1) / 2 * (high - low)`, a clipped before.

    Coordinates without two finite bounds, and discrete actions, are returned as they are.
    """
    if isinstance(space, Discrete | MultiDiscrete):
        return action
    low, high, bounded, numpy = _bounds(space)
    low, high = numpy.where(bounded, low, -1.0), numpy.where(bounded, high, 1.0)
    inside = jnp.where(bounded, jnp.clip(action, -1.0, 1.0), action)
    return jnp.asarray((low + high) / 2 + (high - low) / 2 * inside)


def _bounds(space: Box) -> tuple[Any, Any, Any, Any]:
    """Both bounds and where both are finite, of the space's shape, and the module to compute with them.

    That is NumPy unless a bound is traced: constants stay constants inside jit.
    """
    traced = isinstance(space.low, Tracer) or isinstance(space.high, Tracer)
    numpy = jnp if traced else np
    low = numpy.broadcast_to(numpy.asarray(space.low, numpy.float32), space.shape)
    high = numpy.broadcast_to(numpy.asarray(space.high, numpy.float32), space.shape)
    return low, high, numpy.isfinite(low) & numpy.isfinite(high), numpy


def time_limit(environment: Environment, steps: int) -> Environment:
    """Truncate episodes after `steps` steps, unless they terminate in that very step (an end at the limit is an end).

    Raises ValueError if `steps` is not positive.
    """
    if steps < 1:
        raise ValueError(f"time_limit needs at least 1 step, got {steps}")

    def begun(state: EnvState, observation: Observation) -> tuple[Wrapped, Observation]:
        return Wrapped(state, jnp.zeros((), jnp.int32)), observation

    def step(key: Key, state: Wrapped, action: Action) -> tuple[Wrapped, Timestep]:
        inner, timestep = environment.step(key, state.inner, action)
        elapsed = state.memory + 1
        truncated = (timestep.truncated | (elapsed >= steps)) & ~timestep.terminated
        return Wrapped(inner, elapsed), timestep._replace(truncated=truncated)

    return environment._replace(
        reset=then(environment.reset, begun),
        step=step,
        max_steps=min(steps, environment.max_steps),
        wrappers=_recorded(environment, "time_limit", steps),
        render=_render_inner(environment),
    )


def frame_stack(environment: Environment, frames: int) -> Environment:
    """Observe the last `frames` observations at once, oldest first; a reset repeats the first one.

    Vectors `[n]` are concatenated to `[frames * n]`, images `[H, W, C]` along their channels to `[H, W, frames * C]`,
    and images without channels `[H, W]` become `[H, W, frames]`.

    Raises ValueError for `Discrete`, `MultiDiscrete` and scalar observations, and if `frames` is not positive.
    """
    space = environment.observation_space
    if frames < 1 or isinstance(space, Discrete | MultiDiscrete) or space.shape == ():
        raise ValueError(f"frame_stack needs frames >= 1 and array observations, got {frames} and {space}")
    flat_image = len(space.shape) == 2

    def stack(history: list[Array]) -> Array:
        return jnp.stack(history, axis=-1) if flat_image else jnp.concatenate(history, axis=-1)

    def bound(x: Any) -> Any:
        if np.ndim(x) == 0:
            return x
        return jnp.stack([x] * frames, axis=-1) if flat_image else jnp.concatenate([x] * frames, axis=-1)

    def begun(state: EnvState, observation: Observation) -> tuple[Wrapped, Observation]:
        history = jnp.stack([observation] * frames)  # [frames, ...]
        return Wrapped(state, history), stack(list(history))

    def step(key: Key, state: Wrapped, action: Action) -> tuple[Wrapped, Timestep]:
        inner, timestep = environment.step(key, state.inner, action)
        history = jnp.concatenate([state.memory[1:], timestep.observation[None]])
        return Wrapped(inner, history), timestep._replace(observation=stack(list(history)))

    shape = (*space.shape, frames) if flat_image else (*space.shape[:-1], frames * space.shape[-1])
    stacked = Box(bound(space.low), bound(space.high), shape, space.dtype)
    return environment._replace(
        reset=then(environment.reset, begun),
        step=step,
        observation_space=stacked,
        goals=None,
        wrappers=_recorded(environment, "frame_stack", frames),
        render=_render_inner(environment),
    )


def flatten_observation(environment: Environment) -> Environment:
    """Observe a float32 vector: a discrete observation as its one-hot codes, an array row by row."""
    space = environment.observation_space
    if isinstance(space, Discrete):
        flat = Box(0.0, 1.0, (space.n,))
    elif isinstance(space, MultiDiscrete):
        flat = Box(0.0, 1.0, (sum(space.sizes),))
    else:
        size = int(np.prod(space.shape))
        low, high = (x if np.ndim(x) == 0 else x.reshape(-1) for x in (space.low, space.high))
        low, high = (float(x) if isinstance(x, bool) else x for x in (low, high))
        flat = Box(low, high, (size,))

    def flatten(observation: Observation) -> Observation:
        if isinstance(space, Discrete):
            return jax.nn.one_hot(observation, space.n)
        if isinstance(space, MultiDiscrete):
            return space.one_hot(observation)
        return observation.reshape(-1).astype(jnp.float32)

    wrappers = _recorded(environment, "flatten_observation")
    return _map_observations(environment, flatten)._replace(observation_space=flat, wrappers=wrappers)


def select_observation(environment: Environment, components: Sequence[int]) -> Environment:
    """Observe only these components of the vector: hide the velocities, and an agent needs a memory.

    The classic is CartPole without its two velocities, `select_observation(make("CartPole-v1"), (0, 2))`.

    Raises ValueError unless observations are vectors that have these components.
    """
    space, chosen = environment.observation_space, tuple(components)
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise ValueError(f"select_observation needs observations that are vectors, but {environment.name} has {space}")
    if not chosen or not all(isinstance(i, int) and 0 <= i < space.shape[0] for i in chosen):
        raise ValueError(f"components must be some of 0 .. {space.shape[0] - 1}, got {chosen}")
    rows = np.array(chosen)

    def bound(x: Any) -> Any:
        return x if np.ndim(x) == 0 else x[rows]

    selected = Box(bound(space.low), bound(space.high), (len(chosen),), space.dtype)
    seen = _map_observations(environment, lambda observation: observation[rows])
    wrappers = _recorded(environment, "select_observation", *chosen)
    return seen._replace(observation_space=selected, wrappers=wrappers)


def with_last_action_and_reward(environment: Environment) -> Environment:
    """Observe, behind the flattened observation, the last action (one-hot if discrete) and the last reward.

    Both are 0 in the first observation of an episode. A recurrent policy that shall learn *within* an episode what pays
    must see them (Duan et al., 2016; Wang et al., 2016).
    """
    flat = flatten_observation(environment)
    actions, size = environment.action_space, flat.observation_space.shape[0]

    def features(action: Action) -> Array:
        if isinstance(actions, Discrete):
            return jax.nn.one_hot(action, actions.n)
        if isinstance(actions, MultiDiscrete):
            return actions.one_hot(action)
        return jnp.asarray(action, jnp.float32).reshape(-1)

    added = 1 + jax.eval_shape(features, jax.ShapeDtypeStruct(actions.shape, actions.dtype)).shape[0]

    def begun(state: EnvState, observation: Observation) -> tuple[EnvState, Observation]:
        return state, jnp.concatenate([observation, jnp.zeros(added)])

    def step(key: Key, state: EnvState, action: Action) -> tuple[EnvState, Timestep]:
        state, timestep = flat.step(key, state, action)
        observation = jnp.concatenate([timestep.observation, features(action), timestep.reward[None]])
        return state, timestep._replace(observation=observation)

    space = Box(-jnp.inf, jnp.inf, (size + added,))
    wrappers = _recorded(environment, "with_last_action_and_reward")
    reset = then(flat.reset, begun)
    return flat._replace(reset=reset, step=step, observation_space=space, wrappers=wrappers)


def sticky_actions(environment: Environment, probability: float | Array = 0.25) -> Environment:
    """With `probability`, repeat the action executed last instead of the one chosen (Machado et al., 2018).

    It makes deterministic games stochastic. The first action of an episode is always the chosen one. MinAtar's authors
    use 0.1, the Arcade Learning Environment 0.25. `probability` may be traced.
    """
    space = environment.action_space

    def begun(state: EnvState, observation: Observation) -> tuple[Wrapped, Observation]:
        no_action = jnp.zeros(space.shape, space.dtype)
        return Wrapped(state, (no_action, jnp.zeros((), bool))), observation

    def step(key: Key, state: Wrapped, action: Action) -> tuple[Wrapped, Timestep]:
        inner_key, sticky_key = jax.random.split(key)
        previous, started = state.memory
        sticks = started & jax.random.bernoulli(sticky_key, probability)
        action = jnp.where(sticks, previous, jnp.asarray(action, space.dtype))
        inner, timestep = environment.step(inner_key, state.inner, action)
        return Wrapped(inner, (action, jnp.ones_like(started))), timestep

    reset, wrappers = then(environment.reset, begun), _recorded(environment, "sticky_actions", probability)
    return environment._replace(reset=reset, step=step, wrappers=wrappers, render=_render_inner(environment))


def multiply_rewards(environment: Environment, factor: float | Array) -> Environment:
    """Rewards times `factor`, which may be traced; a factor > 0 leaves the optimal policy what it is.

    Learners of values approximate what they can reach: a network whose outputs begin near 0 needs many steps of Adam to
    predict values of some hundreds, and meanwhile its errors drown the differences between actions. Evaluate on the
    environment itself: `run(..., evaluate_on=environment)`.
    """

    def step(key: Key, state: EnvState, action: Action) -> tuple[EnvState, Timestep]:
        state, timestep = environment.step(key, state, action)
        return state, timestep._replace(reward=factor * timestep.reward)

    wrappers, goals = _recorded(environment, "multiply_rewards", factor), environment.goals
    if goals is not None:
        relabelled = goals.reward
        goals = goals._replace(reward=lambda observation: factor * relabelled(observation))
    return environment._replace(step=step, wrappers=wrappers, goals=goals)


def frozen_normalization(environment: Environment, statistics: RunningStatistics, clip: float = 10.0) -> Environment:
    """Observations normalised with `statistics` that never change: for evaluation with those found in training."""
    space = Box(-clip, clip, environment.observation_space.shape)
    wrapped = _map_observations(environment, lambda observation: normalize(statistics, observation, clip))
    wrappers = _recorded(environment, "frozen_normalization", statistics, clip)
    return wrapped._replace(observation_space=space, wrappers=wrappers)


def normalize_observations(environments: VectorEnvironment, clip: float = 10.0) -> VectorEnvironment:
    """Observations with mean 0 and variance 1, as far as they have been seen, clipped to `[-clip, clip]`.

    The running statistics are updated with every batch of raw observations to act on, then used for it and for the
    successors of the same step. They ride beside the environments' states: `state.environment.memory` is the
    `RunningStatistics` to evaluate with (`frozen_normalization`). A learner that must act and learn with the same
    statistics for a whole rollout keeps its own, with `purerl.normalization`.
    """
    shape = environments.observation_space.shape

    def updated(state: VectorState, statistics: RunningStatistics) -> tuple[VectorState, RunningStatistics]:
        statistics = update_statistics(statistics, state.observation)
        observation = normalize(statistics, state.observation, clip)
        return state.replace(environment=Wrapped(state.environment, statistics), observation=observation), statistics

    def reset(key: Key) -> VectorState:
        return trees.strongly_typed(updated(environments.reset(key), init_statistics(shape))[0])

    def step(key: Key, state: VectorState, action: Action) -> tuple[VectorState, Timestep]:
        inner, timestep = environments.step(key, state.replace(environment=state.environment.inner), action)
        state, statistics = updated(inner, state.environment.memory)
        return state, timestep._replace(observation=normalize(statistics, timestep.observation, clip))

    return environments._replace(reset=reset, step=step, observation_space=Box(-clip, clip, shape))


def scale_rewards(environments: VectorEnvironment, discount: float | Array, clip: float = 10.0) -> VectorEnvironment:
    """Rewards divided by the running standard deviation of the discounted return, clipped to `[-clip, clip]`.

    The return in question runs forwards, `R <- discount R + reward`, one per environment, and starts anew with every
    episode (Engstrom et al., 2020, after OpenAI Baselines). The mean is not subtracted: that would change which policy
    is best. Episode statistics still count the raw rewards. `discount` may be traced.
    """

    def reset(key: Key) -> VectorState:
        state = environments.reset(key)
        memory = jnp.zeros(environments.num_envs), init_statistics(())
        return trees.strongly_typed(state.replace(environment=Wrapped(state.environment, memory)))

    def step(key: Key, state: VectorState, action: Action) -> tuple[VectorState, Timestep]:
        returns, statistics = state.environment.memory
        inner, timestep = environments.step(key, state.replace(environment=state.environment.inner), action)
        returns = discount * returns + timestep.reward
        statistics = update_statistics(statistics, returns)
        reward = jnp.clip(timestep.reward / jnp.sqrt(statistics.variance + 1e-8), -clip, clip)
        returns = jnp.where(timestep.terminated | timestep.truncated, 0.0, returns)
        inner = inner.replace(environment=Wrapped(inner.environment, (returns, statistics)))
        return inner, timestep._replace(reward=reward)

    return environments._replace(reset=reset, step=step)


def _map_observations(environment: Environment, function: Callable[[Observation], Observation]) -> Environment:
    """`environment` with `function` applied to every observation (the space is the caller's to set), without goals."""

    def step(key: Key, state: EnvState, action: Action) -> tuple[EnvState, Timestep]:
        state, timestep = environment.step(key, state, action)
        return state, timestep._replace(observation=function(timestep.observation))

    reset = then(environment.reset, lambda state, observation: (state, function(observation)))
    return environment._replace(reset=reset, step=step, goals=None)


def _recorded(environment: Environment, wrapper: str, *arguments: Any) -> tuple[str, ...]:
    """The wrappers of `environment` and one more."""
    return (*environment.wrappers, f"{wrapper}({', '.join(map(_in_words, arguments))})")


def _in_words(argument: Any) -> str:
    """An argument by its value: a number as itself, a tree of arrays as their checksum; 'traced' inside jit."""
    leaves = jax.tree.leaves(argument)
    if any(isinstance(x, Tracer) for x in leaves):
        return "traced"
    if len(leaves) == 1 and np.ndim(leaves[0]) == 0:
        return repr(np.asarray(leaves[0]).item())
    return f"{zlib.crc32(b''.join(np.asarray(x).tobytes() for x in leaves)):08x}"


def _render_inner(environment: Environment) -> Callable[[Wrapped], Any] | None:
    """How to draw a wrapped state: draw the state inside."""
    render = environment.render
    return None if render is None else lambda state: render(state.inner)
