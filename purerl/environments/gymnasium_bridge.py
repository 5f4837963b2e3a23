"""Environments of Gymnasium (Towers et al., 2024) as `Environment`s: the simulators stay on the host.

    environment = make("gymnasium/LunarLander-v3")                               any id that is registered
    environment = from_gymnasium(lambda: FrameStackObservation(gymnasium.make("CartPole-v1"), 4))        or your own

A compiled program calls back to the host at every step, once for all its environments, and waits there until they have
been stepped one after another: this is as fast as Gymnasium, not as fast as purerl. See `simulators` for how states
that are values get along with simulators that change: they can be stepped in any order, twice, under `jit`, `vmap` and
`scan`, but only in the process that made them.

- `terminated` and `truncated` are Gymnasium's own, its time limit included (an end at the limit is an end), and the
  observation is the true successor: no auto-reset of Gymnasium is involved.
- An episode is reset with a seed drawn from the key and goes on with the random numbers of its simulator: the keys of
  steps are not used. One key is one training, as long as the simulator repeats itself.
- Floats are float32, bytes stay bytes, other integers are int32; discrete spaces begin at 0.
- Continuous actions are clipped to the action space, as those of purerl's own environments are.
- No gradient flows through a step.
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.environments.checks import integer_bound
from purerl.environments.simulators import Conversion, Simulators
from purerl.environments.vectorize import SelectiveReset
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

PREFIX = "gymnasium/"
CALL = 1 << 16  # bytes
KEPT = 256  # simulators and finished episodes, at least
INSTALL = 'pip install "gymnasium[classic-control]>=1.2" "box2d>=2.3.10"'


class Interface(NamedTuple):
    """What can be known of a simulator without running it."""

    observation_space: Space
    action_space: Space
    conversion: Conversion
    max_steps: int


class Simulation(struct.PyTreeNode):
    """The state of an episode on the host: how it came about."""

    seed: Array  # uint32, of its reset
    length: Array  # int32, steps since
    checksum: Array  # uint32, of all actions and observations since


def make(name: str, **parameters: Any) -> Environment:
    """The environment that Gymnasium has registered as `name`, such as "LunarLander-v3" or "ALE/Pong-v5".

    Args:
        name: Gymnasium's id, perhaps with the module that registers it in front ("my_package:MyEnvironment-v0").
        parameters: what `gymnasium.make` takes: `max_episode_steps` (required where Gymnasium sets no time limit) and
            the arguments of the environment itself.

    Raises ValueError for an unknown id, wrong parameters, a space that purerl does not have or an unlimited episode,
    ImportError if Gymnasium or what the environment needs is not installed.
    """
    return _environment(PREFIX + name, lambda: _made(name, parameters))._replace(parameters=dict(parameters))


def from_gymnasium(source: Any, max_episode_steps: int | None = None) -> Environment:
    """An environment of Gymnasium that cannot be made by name alone: wrapped, or not registered.

    Args:
        source: a function without arguments that makes it (called once for every simulator, all of which must be
            alike), or a `gymnasium.Env` that `gymnasium.make(source.spec)` can make again.
        max_episode_steps: a time limit, put around it by Gymnasium's own wrapper.

    Raises ValueError if an object cannot be made again, and what `make` raises.
    """
    made, title = maker(source, max_episode_steps)
    return _environment(f"from_gymnasium({title})", made)


def maker(source: Any, max_episode_steps: int | None = None) -> tuple[Callable[[], Any], str]:
    """A function that makes simulators, and a title: from what `from_gymnasium` takes, or the id of an environment."""
    gymnasium = _gymnasium()
    limit = {} if max_episode_steps is None else {"max_episode_steps": max_episode_steps}
    if isinstance(source, str):
        return lambda: _made(source, limit), source
    if isinstance(source, gymnasium.Env):
        if source.spec is None:
            raise ValueError(
                f"{source} cannot be copied, since Gymnasium did not make it by name (its spec is None): pass a "
                f"function that makes one, from_gymnasium(lambda: ...)"
            )
        spec = source.spec
        return lambda: _made(spec, limit), spec.id
    if not callable(source):
        raise ValueError(f"Gymnasium makes no environment from {source!r}: pass a gymnasium.Env or a function")
    title = getattr(source, "__qualname__", type(source).__name__)
    if max_episode_steps is None:
        return source, title
    return lambda: gymnasium.wrappers.TimeLimit(source(), max_episode_steps), title


def _gymnasium() -> Any:
    try:
        import gymnasium
    except ImportError as error:
        raise ImportError(f"this environment needs gymnasium, which is not installed: {INSTALL}") from error
    return gymnasium


def _made(name: Any, parameters: dict[str, Any]) -> Any:
    """`gymnasium.make`, whose errors say what to do here."""
    gymnasium = _gymnasium()
    title = name if isinstance(name, str) else name.id
    if title.startswith("ALE/"):
        try:
            ale_py = importlib.import_module("ale_py")
        except ImportError as error:
            raise ImportError(f"{PREFIX}{title} needs ale-py, which is not installed: pip install ale-py") from error
        gymnasium.register_envs(ale_py)
    try:
        spec = gymnasium.spec(name) if isinstance(name, str) and ":" not in name else None
        draws = {} if spec is None else _drawing(gymnasium, spec, parameters)
        return gymnasium.make(name, disable_env_checker=True, **{**draws, **parameters})
    except gymnasium.error.DependencyNotInstalled as error:
        raise ImportError(f"{PREFIX}{title} cannot be made: {error} ({INSTALL})") from error
    except gymnasium.error.UnregisteredEnv as error:
        raise ValueError(f"Gymnasium has no environment of this name: {error}") from error
    except (gymnasium.error.Error, TypeError) as error:
        raise ValueError(f"Gymnasium cannot make {title} with {parameters}: {error}") from error


def _drawing(gymnasium: Any, spec: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    """What makes the simulator draw pictures for whoever asks, where it can; nothing is drawn before."""
    modes = getattr(gymnasium.envs.registration.load_env_creator(spec.entry_point), "metadata", {})
    able = "rgb_array" in modes.get("render_modes", []) and "render_mode" not in parameters
    return {"render_mode": "rgb_array"} if able else {}


def _environment(name: str, made: Callable[[], Any]) -> Environment:
    """The `Environment` whose simulators are made so."""
    first = made()
    found = interface(name, first)
    like = np.zeros(found.action_space.shape, found.action_space.dtype)
    simulators = Simulators(made, found.conversion, like, KEPT, name)
    simulators.idle.append(first)
    shape, dtype = tuple(found.observation_space.shape), np.dtype(found.observation_space.dtype)

    def begun(seeds: Any, wanted: Any) -> tuple[np.ndarray, np.ndarray]:
        checksums, observations = simulators.reset(np.asarray(seeds), np.asarray(wanted))
        nothing = np.zeros(shape, dtype)
        return checksums, np.stack([nothing if x is None else x for x in observations])

    def stepped(states: Any, action: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        states, action = np.asarray(states), np.asarray(action)
        seeds, lengths, checksums = states.T
        lengths, checksums, outcomes = simulators.step(seeds, lengths, checksums, action)
        rest = np.array([(x.reward, x.terminated, x.truncated) for x in outcomes], np.float32)
        after = np.stack([seeds, lengths, checksums], axis=-1).astype(np.uint32)
        return after, np.stack([outcome.observation for outcome in outcomes]), rest

    after_reset = (jnp.uint32, ()), (dtype, shape)
    after_step = (jnp.uint32, (3,)), (dtype, shape), (jnp.float32, (3,))
    begin = _on_host(begun, after_reset, largest=4, expect=simulators.expect)
    advance = _on_host(stepped, after_step, largest=max(12, like.nbytes), expect=simulators.expect)

    def reset_where(key: Key, wanted: Array) -> tuple[EnvState, Observation]:
        seed = jax.random.bits(key, (), jnp.uint32) >> 1  # simulators take what fits an int32
        checksum, observation = begin(seed, wanted)
        return Simulation(seed, jnp.zeros((), jnp.int32), checksum), observation

    def step(key: Key, state: EnvState, action: Action) -> tuple[EnvState, Timestep]:
        action = jax.lax.stop_gradient(jnp.asarray(action, like.dtype))
        packed = jnp.stack([state.seed, state.length.astype(jnp.uint32), state.checksum])  # every array costs time
        packed, observation, (reward, terminated, truncated) = advance(packed, action)
        state = Simulation(packed[0], packed[1].astype(jnp.int32), packed[2])
        return state, Timestep(observation, reward, terminated > 0, truncated > 0, info={})

    def render(state: EnvState) -> np.ndarray:
        return np.asarray(simulators.picture(int(state.seed), int(state.length), int(state.checksum)), np.uint8)

    return Environment(
        name=name,
        reset=SelectiveReset(reset_where),
        step=step,
        observation_space=found.observation_space,
        action_space=found.action_space,
        max_steps=found.max_steps,
        render=render if first.render_mode == "rgb_array" else None,
        host=True,
    )


def _on_host(
    function: Callable[..., tuple[np.ndarray, ...]],
    results: tuple[tuple[Any, tuple[int, ...]], ...],
    largest: int,
    expect: Callable[[int], None],
) -> Callable[..., Any]:
    """A function of one environment, traced, that calls `function` of many on the host, however it is vmapped.

    At most `CALL` bytes of any argument go to the host at once. JAX copies more than that with threads of the device,
    and those are waiting for the call: with as many devices as cores, for ever.

    Args:
        function: from arrays `[N, ...]` to arrays `[N, ...]`.
        results: type and shape of each result, without the N.
        largest: bytes of the largest argument, of one environment.
        expect: is told, while tracing, how many environments all calls of all devices are for (at most).
    """
    at_once = max(1, CALL // largest)

    @jax.custom_batching.custom_vmap
    def many(*arguments: Array) -> tuple[Array, ...]:
        pieces = []
        expect(arguments[0].shape[0] * jax.local_device_count())
        for begin in range(0, arguments[0].shape[0], at_once):
            piece = [x[begin : begin + at_once] for x in arguments]
            shapes = tuple(jax.ShapeDtypeStruct((piece[0].shape[0], *shape), dtype) for dtype, shape in results)
            pieces.append(jax.pure_callback(function, shapes, *piece))
        return pieces[0] if len(pieces) == 1 else jax.tree.map(lambda *x: jnp.concatenate(x), *pieces)

    @many.def_vmap
    def many_of_many(size: int, batched: Any, *arguments: Array) -> tuple[tuple[Array, ...], tuple[bool, ...]]:
        full = [
            x if is_batched else jnp.broadcast_to(x, (size, *x.shape))
            for x, is_batched in zip(arguments, batched, strict=True)
        ]
        outer = full[0].shape[:2]
        flat = many(*[x.reshape(-1, *x.shape[2:]) for x in full])
        return tuple(x.reshape(*outer, *x.shape[1:]) for x in flat), (True,) * len(results)

    def one(*arguments: Array) -> Any:
        return jax.tree.map(lambda x: x[0], many(*[x[None] for x in arguments]))

    return one


def interface(name: str, simulator: Any) -> Interface:
    """purerl's side of a simulator. Raises ValueError for a space that purerl does not have or an unlimited episode."""
    observation_space, observed = _observations(name, simulator.observation_space)
    action_space, acted = _actions(name, simulator.action_space)
    return Interface(observation_space, action_space, Conversion(observed, acted), _time_limit(name, simulator))


def _time_limit(name: str, simulator: Any) -> int:
    limit = getattr(simulator.spec, "max_episode_steps", None)
    wrapped = simulator
    while limit is None and hasattr(wrapped, "env"):
        limit, wrapped = getattr(wrapped, "_max_episode_steps", None), wrapped.env
    if limit is None:
        raise ValueError(
            f"{name} has no time limit, and every evaluation needs one: pass max_episode_steps=..., after which "
            f"Gymnasium truncates an episode"
        )
    return int(limit)


def _observations(name: str, space: Any) -> tuple[Space, Callable[[Any], np.ndarray]]:
    """purerl's space of what a simulator shows, and the conversion."""
    converted, start = _space(name, "observation", space)
    dtype, shape = np.dtype(converted.dtype), tuple(converted.shape)

    def observed(observation: Any) -> np.ndarray:
        return np.array(observation - start if np.any(start) else observation, dtype).reshape(shape)

    return converted, observed


def _actions(name: str, space: Any) -> tuple[Space, Callable[[np.ndarray], Any]]:
    """purerl's space of what a simulator is told, and the conversion."""
    converted, start = _space(name, "action", space)
    if isinstance(converted, Discrete):
        return converted, lambda action: int(action) + int(start)
    if isinstance(converted, MultiDiscrete):
        return converted, lambda action: (action + start).astype(space.dtype)
    return converted, lambda action: np.clip(action, space.low, space.high).astype(space.dtype)


def _space(name: str, what: str, space: Any) -> tuple[Space, np.ndarray]:
    """purerl's space, and the number at which a discrete one of Gymnasium begins."""
    spaces = _gymnasium().spaces
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n)), np.asarray(space.start)
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return MultiDiscrete(tuple(map(int, space.nvec))), np.asarray(space.start)
    if isinstance(space, spaces.Box):
        dtype = _type(space.dtype)
        return Box(_bound(space.low, dtype), _bound(space.high, dtype), tuple(space.shape), dtype), np.zeros((), dtype)
    flatten = "gymnasium.wrappers.FlattenObservation" if what == "observation" else "a gymnasium.ActionWrapper"
    raise ValueError(
        f"{name}: purerl has no {what} space like {space}; make it a Box, Discrete or MultiDiscrete with {flatten}: "
        f"from_gymnasium(lambda: ...)"
    )


def _type(dtype: Any) -> Any:
    if np.issubdtype(dtype, np.floating):
        return jnp.float32
    return {"uint8": jnp.uint8, "bool": jnp.bool_}.get(np.dtype(dtype).name, jnp.int32)


def _bound(bound: np.ndarray, dtype: Any) -> Any:
    """A bound of a Box as one number where it is everywhere the same.

    The largest floats mean that there is none; integers that the type does not have are its largest or smallest one.
    """
    bound = np.asarray(bound)
    if dtype == jnp.float32:
        largest = float(np.finfo(np.float32).max)
        bound = np.where(np.abs(bound) >= largest, np.copysign(np.inf, bound), bound)
    bound = bound.astype(dtype) if dtype in (jnp.float32, jnp.bool_) else integer_bound(bound, dtype)
    return bound.flat[0].item() if bound.size and np.all(bound == bound.flat[0]) else bound
