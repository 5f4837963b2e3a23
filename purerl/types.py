"""The contracts: every part of purerl is a named tuple of pure functions over an immutable state.

Nothing here inherits, registers or hides. A part is built by an ordinary function (`make("CartPole-v1")`,
`vectorize(environment, 8)`, `dqn.make(environment, config)`) and used by calling its fields.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Key = jax.Array  # a typed key (`jax.random.key`), scalar unless stated otherwise
Observation = jax.Array
Action = jax.Array
EnvState = Any  # a pytree of arrays
Memory = Any  # a pytree of arrays: what a policy carries from step to step
State = Any  # a pytree of arrays
Metrics = dict[str, jax.Array]  # flat, fixed keys, scalars


class Discrete(NamedTuple):
    """The integers `0 .. n - 1` (scalar, int32)."""

    n: int

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def dtype(self) -> Any:
        return jnp.int32

    def sample(self, key: Key) -> Array:
        """A uniform draw."""
        return jax.random.randint(key, (), 0, self.n)

    def contains(self, x: Array) -> Array:
        """Whether `x` is one of the integers (a scalar bool array)."""
        return (x >= 0) & (x < self.n)


class MultiDiscrete(NamedTuple):
    """Vectors of integers, component i one of `0 .. sizes[i] - 1` (int32, `[len(sizes)]`)."""

    sizes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.sizes),)

    @property
    def dtype(self) -> Any:
        return jnp.int32

    def sample(self, key: Key) -> Array:
        """A uniform draw, `[len(sizes)]`."""
        return jax.random.randint(key, self.shape, 0, jnp.asarray(self.sizes))

    def contains(self, x: Array) -> Array:
        """Whether every component of `x` is one of its integers (a scalar bool array)."""
        return jnp.all((x >= 0) & (x < jnp.asarray(self.sizes)))

    def one_hot(self, x: Array) -> Array:
        """`x` `[..., len(sizes)]` as the one-hot codes of its components, one after another: `[..., sum(sizes)]`."""
        return jnp.concatenate([jax.nn.one_hot(x[..., i], size) for i, size in enumerate(self.sizes)], axis=-1)


class Box(NamedTuple):
    """Arrays of a fixed shape between `low` and `high` (inclusive; either may be infinite, traced, or an array).

    `sample` draws uniformly where both bounds are finite and from a standard normal where they are not.
    """

    low: Any
    high: Any
    shape: tuple[int, ...]
    dtype: Any = jnp.float32

    def sample(self, key: Key) -> Array:
        """A draw: uniform in bounded coordinates, standard normal in unbounded ones."""
        if jnp.issubdtype(self.dtype, jnp.bool_):
            return jax.random.bernoulli(key, shape=self.shape)
        if jnp.issubdtype(self.dtype, jnp.integer):
            return jax.random.randint(key, self.shape, self.low, jnp.asarray(self.high) + 1, self.dtype)
        low, high = (jnp.broadcast_to(jnp.asarray(x, self.dtype), self.shape) for x in (self.low, self.high))
        bounded = jnp.isfinite(low) & jnp.isfinite(high)
        uniform_key, normal_key = jax.random.split(key)
        uniform = jax.random.uniform(uniform_key, self.shape, self.dtype)
        normal = jax.random.normal(normal_key, self.shape, self.dtype)
        return jnp.where(bounded, jnp.where(bounded, low, 0) + uniform * jnp.where(bounded, high - low, 1), normal)

    def contains(self, x: Array) -> Array:
        """Whether every coordinate of `x` is within the bounds (a scalar bool array)."""
        return jnp.all((x >= self.low) & (x <= self.high))


Space = Discrete | MultiDiscrete | Box


class Timestep(NamedTuple):
    """What one step of an environment returns. All but `observation` are scalars per environment."""

    observation: Observation  # the true successor s', never the observation of a reset
    reward: Array  # float32
    terminated: Array  # bool: the MDP ended, bootstrap with 0
    truncated: Array  # bool: a time limit cut the episode, bootstrap with V(observation)
    info: dict[str, Array]  # fixed keys; may be empty


class Goals(NamedTuple):
    """What there is to know of an environment whose observation holds the goal of the episode.

    With it, an episode that missed its goal is a lesson about the goals that it did reach (see `purerl.experience`).
    Nothing else may depend on the goal: not how the environment moves, nor whether an episode terminates.
    """

    achieved: Callable[[Observation], Array]  # [G]: the goal that has been reached where this is observed
    replace: Callable[[Observation, Array], Observation]  # the same observation, with another goal [G] to reach
    reward: Callable[[Observation], Array]  # float32: of arriving where this is observed, with the goal in it


class Environment(NamedTuple):
    """One environment, without auto-reset (`vectorize` is the one place that resets)."""

    name: str
    reset: Callable[[Key], tuple[EnvState, Observation]]
    step: Callable[[Key, EnvState, Action], tuple[EnvState, Timestep]]
    observation_space: Space
    action_space: Space
    max_steps: int  # no episode is longer; the bound of every evaluation
    parameters: Mapping[str, Any] = {}  # the keyword arguments it was made with, so that it can be made again
    wrappers: tuple[str, ...] = ()  # what was put around it, innermost first, for example ("time_limit(200)",)
    render: Callable[[EnvState], Any] | None = None  # host side: state -> uint8 image [H, W, 3]
    goals: Goals | None = None  # if the observation holds the goal of the episode
    host: bool = False  # simulated on the host: its states are good in this process only, no training resumes from them


class Policy(NamedTuple):
    """What evaluation, rendering and deployment need: act on one observation (vmap for many)."""

    init: Callable[[Key], Memory]  # () for memoryless policies
    act: Callable[[Key, Memory, Observation], tuple[Memory, Action]]


class Planner(NamedTuple):
    """What searches for an action by asking a model; `purerl.planning.mpc` makes a `Policy` of it."""

    init: Callable[[Key], Memory]  # the plan that the first search starts from
    plan: Callable[[Key, Memory, EnvState], tuple[Memory, Action]]  # from a state of the model: next plan, action
    plan_ahead: Callable[[Key, Memory, EnvState], tuple[Memory, Action]] | None = None  # the same with all H actions


class Time(NamedTuple):
    """The clock, told by the driver: the same for every vmapped agent, hence never batched."""

    iteration: Array  # int32, from 0
    progress: Array  # float32 in [0, 1): iteration / iterations of the whole run

    def crosses(self, period: int, steps: int) -> Array:
        """Whether this iteration of `steps` steps reaches a multiple of `period` steps (scalar bool, unbatched).

        An interval counted so is kept on average whatever `steps` is, where `step % period == 0` would miss it. Exact
        for any number of iterations, as long as `period * steps` is below 2^31: nothing grows with the run.
        """
        into_period = (self.iteration % period) * (steps % period) % period
        return into_period + steps >= period


class Algorithm(NamedTuple):
    """A learner. `step` is one iteration: collect, then all the updates that belong to it."""

    name: str  # its name in the table of algorithms
    config: Any  # the frozen dataclass it was made with
    environment: Environment | None  # what it was made for (None for learners without one)
    init: Callable[[Key], State]  # networks, optimiser, environments, warm-up of the replay
    step: Callable[[State, Time], tuple[State, Metrics]]
    policy: Callable[..., Policy]  # policy(state, greedy=True) -> Policy
    snapshot: Callable[[State], State]  # the state with what `policy` does not read left out (see `trees.keep`)
    env_steps_per_iteration: int  # 0 for purely offline learners
    env_steps_of_init: int = 0  # environment steps spent by `init` (warm-up of the replay)
