"""The environments of gymnax (Lange, 2022) as `Environment`s: classic control, MinAtar, bsuite and a few more.

The adapter uses gymnax's `reset_env` and `step_env`, which neither reset automatically nor know of time limits, and
repairs what gymnax 1.0.1 declares wrongly:

- Observations that are images of zeros and ones (MinAtar, Catch, DeepSea, Pong, the visual FourRooms) are returned as
  `bool`, one byte per cell in a replay instead of four. Every other array is float32, whatever gymnax declares (Catch,
  FourRooms). FrozenLake's observation stays what it is: one integer, in a `Discrete` space.
- Declared bounds that observations leave are replaced by right ones (MemoryChain, UmbrellaChain), by infinite ones
  where a reward or the time is part of the observation (MetaMaze, GaussianBandit, BernoulliBandit), and the largest
  float32, with which gymnax means "unbounded", becomes infinity.
- Rewards are float32 (UmbrellaChain and BernoulliBandit return integers), and the time limit is a whole number
  (BernoulliBandit's is a float).
- An episode that ends in the step of its time limit is terminated and not truncated (DeepSea reports both).
- The agent in the visual observation of FourRooms stands where the walls say it does (gymnax transposes it).
- CartPole's `total_mass` and `polemass_length` follow from `masscart`, `masspole` and `length`; gymnax keeps them as
  separate parameters, so that changing a mass alone would give impossible physics.
- States are strongly typed, so that the first call and the second are one program.

Its dynamics are left as they are, oddities included: MetaMaze terminates when the random place after a goal happens to
be the goal, MemoryChain shows its first observation twice (as bsuite does).

Continuous actions are clipped to the action space. Where gymnax supports gradients through transitions (Pendulum,
MountainCarContinuous, PointRobot, Reacher, Swimmer) they are left on; every other step stops them.

`from_gymnax` takes any other object with gymnax's interface, of version 1 or older.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from purerl import trees
from purerl.environments.checks import integer_bound
from purerl.types import Action, Array, Box, Discrete, Environment, EnvState, Key, Observation, Space, Timestep

MINATAR = ("Asterix-MinAtar", "Breakout-MinAtar", "Freeway-MinAtar", "Seaquest-MinAtar", "SpaceInvaders-MinAtar")
NAMES = (
    *("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"),
    *MINATAR,
    *("Catch-bsuite", "DeepSea-bsuite", "DiscountingChain-bsuite", "MemoryChain-bsuite", "SimpleBandit-bsuite"),
    *("UmbrellaChain-bsuite", "BernoulliBandit-misc", "FourRooms-misc", "FrozenLake-misc", "GaussianBandit-misc"),
    *("MetaMaze-misc", "PointRobot-misc", "Pong-misc", "Reacher-misc", "Swimmer-misc"),
)  # MNISTBandit-bsuite is left out: it downloads its data when it is made

BINARY_IMAGES = (*MINATAR, "Catch-bsuite", "DeepSea-bsuite", "Pong-misc")
LARGEST = float(np.finfo(np.float32).max)
TIME_LIMITS = ("max_steps_in_episode", "max_timesteps")
ROUNDING = 1e-6  # what 1 - time / length may miss zero by


def make(name: str, **parameters: Any) -> Environment:
    """The gymnax environment `name`, one of `NAMES`.

    Args:
        name: gymnax's id, such as "Pendulum-v1".
        parameters: fields of its `EnvParams`, such as `max_torque=1.5`, which may be traced, and arguments of its
            constructor, such as DeepSea's `size=20`, which are static. `max_steps_in_episode` is static as well: it
            bounds the loops of evaluation.

    Raises ValueError for an unknown parameter, or a traced one that must be static.
    """
    with jax.ensure_compile_time_eval():  # constants stay constants when this is called inside jit
        environment, params = _construct(name, parameters)
        max_steps = params.max_steps_in_episode
        observation_space = _observation_space(name, environment, params)
        action_space = _space(environment.action_space(params))

    def observed(observation: Array) -> Observation:
        if name == "FourRooms-misc" and environment.use_visual_obs:
            observation = observation.at[..., 1].set(observation[..., 1].T)
        return observation.astype(observation_space.dtype)

    def render(state: EnvState) -> np.ndarray:
        from purerl.environments import gymnax_drawing

        return gymnax_drawing.gymnax_image(name, environment, params, jax.tree.map(np.asarray, state))

    one = _adapted(name, environment, params, observation_space, action_space, max_steps, observed)
    return one._replace(parameters=dict(parameters), render=render)


def from_gymnax(environment: Any, params: Any = None) -> Environment:
    """An environment from an object with gymnax's interface: one of your own, or of a package built on gymnax.

    Args:
        environment: has `reset_env(key, params)`, `step_env(key, state, action, params)`, `observation_space(params)`
            and `action_space(params)`. `step_env` returns an observation (an array), a state, a reward, whether the
            episode is over, and information that is left out. Neither may reset by itself.
        params: its parameters (default: `environment.default_params`), with the time limit `max_steps_in_episode` or
            `max_timesteps`; another time limit is put on with `purerl.environments.time_limit`.

    Where there is `is_truncated` (gymnax 1), `step_env` tells of terminations and it of truncations. Before, the two
    were one `done`: it is a termination if `is_terminal` says so of the state with the time limit lifted, otherwise a
    truncation. Without `is_terminal` every end is taken for a termination. Actions and bounds are treated as `make`
    treats them; observations keep their type, but every float is float32. The fields of `params` are recorded: a
    training with other ones is another run.

    Raises ValueError naming what is missing: a method, the time limit, or a space that purerl does not have.
    """
    name = f"from_gymnax({getattr(environment, 'name', type(environment).__name__)})"
    methods = ("reset_env", "step_env", "observation_space", "action_space")
    missing = [method for method in methods if not callable(getattr(environment, method, None))]
    if missing:
        raise ValueError(f"{type(environment).__name__} is no gymnax environment: it has no {', '.join(missing)}")
    params = environment.default_params if params is None else params
    limit = next((field for field in TIME_LIMITS if hasattr(params, field)), None)
    if limit is None:
        raise ValueError(f"{name}: its parameters have no time limit, neither {' nor '.join(TIME_LIMITS)}")
    with jax.ensure_compile_time_eval():
        key = jax.eval_shape(lambda: jax.random.key(0))
        shown, _ = jax.eval_shape(lambda key: environment.reset_env(key, params), key)
        observation_space = _own_space(name, "observation", environment.observation_space(params), shown)
        action_space = _own_space(name, "action", environment.action_space(params))

    def observed(observation: Array) -> Observation:
        return jnp.asarray(observation, observation_space.dtype)

    max_steps = int(getattr(params, limit))
    one = _adapted(name, environment, params, observation_space, action_space, max_steps, observed, limit)
    return one._replace(parameters=_fields(params))


def _adapted(
    name: str,
    environment: Any,
    params: Any,
    observation_space: Space,
    action_space: Space,
    max_steps: int,
    observed: Callable[[Array], Observation],
    limit: str = "max_steps_in_episode",
) -> Environment:
    """The `Environment` that a gymnax environment is: without its resets, with the two ends of an episode apart."""

    def truncated(state: EnvState, over: Array) -> tuple[Array, Array]:
        if hasattr(environment, "is_truncated"):  # an end at the limit is an end
            return over, environment.is_truncated(state, params) & ~over
        if not hasattr(environment, "is_terminal"):
            return over, jnp.zeros_like(over)
        change = params._replace if hasattr(params, "_replace") else functools.partial(dataclasses.replace, params)
        unlimited = change(**{limit: np.iinfo(np.int32).max})
        terminated = over & jnp.asarray(environment.is_terminal(state, unlimited), bool)
        return terminated, over & ~terminated

    def reset(key: Key) -> tuple[EnvState, Observation]:
        observation, state = environment.reset_env(key, params)
        return trees.strongly_typed((state, observed(observation)))

    def step(key: Key, state: EnvState, action: Action) -> tuple[EnvState, Timestep]:
        if isinstance(action_space, Box):
            action = jnp.clip(action, action_space.low, action_space.high)
        action = jnp.asarray(action, action_space.dtype)
        observation, state, reward, over, _ = environment.step_env(key, state, action, params)
        ends = truncated(state, jnp.asarray(over, bool))
        timestep = Timestep(observed(observation), jnp.asarray(reward, jnp.float32), *ends, info={})
        return trees.strongly_typed((state, timestep))

    return Environment(name, reset, step, observation_space, action_space, max_steps)


def _fields(params: Any) -> dict[str, Any]:
    """The parameters of an object that is not gymnax's own, by name: a NamedTuple, a dataclass or any object."""
    if hasattr(params, "_asdict"):
        return params._asdict()
    if dataclasses.is_dataclass(params):
        return {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    return dict(getattr(params, "__dict__", {}))


def _own_space(name: str, what: str, space: Any, shown: Any = None) -> Space:
    """The space of an object that is not gymnax's own; of observations, the type is that of what is `shown`."""
    if not hasattr(space, "low") and not hasattr(space, "n"):
        raise ValueError(f"{name}: its {what} space must be a Box or Discrete, and it is {type(space).__name__}")
    if shown is not None and not hasattr(shown, "shape"):
        raise ValueError(f"{name}: an observation must be one array, and it is a {type(shown).__name__}")
    found = _space(space)
    if not isinstance(found, Box):
        return found
    dtype = jnp.dtype(space.dtype if shown is None else shown.dtype)
    dtype = jnp.float32 if jnp.issubdtype(dtype, jnp.floating) else dtype.type
    if dtype == jnp.float32:
        return found
    convert = np.asarray if dtype == jnp.bool_ else integer_bound
    low, high = (_as_one(convert(bound, dtype)) for bound in (space.low, space.high))
    return Box(low, high, found.shape, dtype)


def _construct(name: str, parameters: dict[str, Any]) -> tuple[Any, Any]:
    """The gymnax environment and its parameters, from the mixture that `make` accepts."""
    import gymnax

    signature = inspect.signature(type(gymnax.make(name)[0]))
    arguments = [x.name for x in signature.parameters.values() if x.kind is x.POSITIONAL_OR_KEYWORD]
    static = {key: value for key, value in parameters.items() if key in arguments}
    for key in (*static, "max_steps_in_episode"):
        if isinstance(parameters.get(key), Tracer):
            raise ValueError(f"{name}: {key} chooses a program and cannot be traced or vmapped; pass a constant")
    environment, params = gymnax.make(name, **static)
    if environment.supports_transition_gradients:
        environment = environment.with_transition_gradients()

    fields = [field.name for field in dataclasses.fields(params)]
    unknown = sorted(set(parameters) - {*fields, *arguments})
    if unknown:
        valid = ", ".join(sorted({*fields, *arguments}))
        raise ValueError(f"{name} has no parameter {', '.join(unknown)}; it has: {valid}")
    changes = {key: _like(key, getattr(params, key), value) for key, value in parameters.items() if key in fields}
    if name == "CartPole-v1":
        body = {"masscart": params.masscart, "masspole": params.masspole, "length": params.length, **changes}
        changes.setdefault("total_mass", body["masscart"] + body["masspole"])
        changes.setdefault("polemass_length", body["masspole"] * body["length"])
    params = params.replace(**changes)
    params = params.replace(max_steps_in_episode=int(params.max_steps_in_episode))
    if params.max_steps_in_episode < 1:
        raise ValueError(f"{name}: max_steps_in_episode must be at least 1, got {params.max_steps_in_episode}")
    return environment, params


def _like(name: str, default: Any, value: Any) -> Any:
    """`value` as the type of `default`, so that `max_torque=2` and `max_torque=2.0` are the same program."""
    if isinstance(value, str | None):
        raise ValueError(f"the parameter {name} must be like its default {default!r}, got {value!r}")
    if isinstance(default, bool):
        return value
    if isinstance(default, int | float) and not isinstance(value, jax.Array):
        return type(default)(value)
    return jnp.asarray(value, jnp.asarray(default).dtype)


def _space(space: Any) -> Space:
    """A space of gymnax as one of ours: "unbounded" is infinite, and equal bounds are one number."""
    if not hasattr(space, "low"):
        return Discrete(int(space.n))

    def bound(x: Any) -> Any:
        if isinstance(x, Tracer):
            return x
        x = np.asarray(x, np.float32)
        return _as_one(np.where(np.abs(x) >= LARGEST, np.copysign(np.inf, x), x).astype(np.float32))

    return Box(bound(space.low), bound(space.high), tuple(space.shape))


def _as_one(bound: np.ndarray) -> Any:
    """A bound as one number where it is everywhere the same."""
    return bound.flat[0].item() if np.all(bound == bound.flat[0]) else bound


def _observation_space(name: str, environment: Any, params: Any) -> Space:
    """The space of what the adapter returns."""
    if name in BINARY_IMAGES or (name == "FourRooms-misc" and environment.use_visual_obs):
        return Box(False, True, tuple(environment.observation_space(params).shape), jnp.bool_)
    if name == "UmbrellaChain-bsuite":  # need, have, time left, distractors
        return Box(-ROUNDING, 1.0, (3 + environment.n_distractor,))
    if name == "MemoryChain-bsuite":  # time left, query, context
        low = np.array([-ROUNDING, 0, *[-1] * environment.num_bits], np.float32)
        high = np.array([1, environment.num_bits - 1, *[1] * environment.num_bits], np.float32)
        return Box(low, high, low.shape)
    if name == "MetaMaze-misc":  # receptive field, last action, last reward, time
        cells = environment.rf_size**2 + environment.num_actions
        low, high = np.zeros(cells + 2, np.float32), np.ones(cells + 2, np.float32)
        low[-2:], high[-2:] = -np.inf, np.inf
        return Box(low, high, low.shape)
    if name in ("GaussianBandit-misc", "BernoulliBandit-misc"):  # last reward, last action, time
        low, high = np.array([-np.inf, 0, 0, -np.inf], np.float32), np.array([np.inf, 1, 1, np.inf], np.float32)
        return Box(low, high, (4,))
    return _space(environment.observation_space(params))
