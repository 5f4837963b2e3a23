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
"""

import dataclasses
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from purerl import trees
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

    def reset(key: Key) -> tuple[EnvState, Observation]:
        observation, state = environment.reset_env(key, params)
        return trees.strongly_typed((state, observed(observation)))

    def step(key: Key, state: EnvState, action: Action) -> tuple[EnvState, Timestep]:
        if isinstance(action_space, Box):
            action = jnp.clip(action, action_space.low, action_space.high)
        action = jnp.asarray(action, action_space.dtype)
        observation, state, reward, terminated, _ = environment.step_env(key, state, action, params)
        timestep = Timestep(
            observation=observed(observation),
            reward=jnp.asarray(reward, jnp.float32),
            terminated=terminated,
            truncated=environment.is_truncated(state, params) & ~terminated,  # an end at the limit is an end
            info={},
        )
        return trees.strongly_typed((state, timestep))

    def render(state: EnvState) -> np.ndarray:
        from purerl.environments import drawing

        return drawing.gymnax_image(name, environment, params, jax.tree.map(np.asarray, state))

    return Environment(name, reset, step, observation_space, action_space, max_steps, dict(parameters), render=render)


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
        x = np.where(np.abs(x) >= LARGEST, np.copysign(np.inf, x), x).astype(np.float32)
        return float(x.flat[0]) if np.all(x == x.flat[0]) else x

    return Box(bound(space.low), bound(space.high), tuple(space.shape))


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
