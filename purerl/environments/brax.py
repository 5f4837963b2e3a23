"""Brax's environments on any of its four physics backends, without its episode and auto-reset wrappers.

Brax's own auto-reset returns to one stored first state and drops the final observation; here resets are fresh draws
(`vectorize` does them) and the time limit is counted in the adapter's state, so `terminated` and `truncated` are true
to their names. A score means something only together with its backend: 'spring' and 'positional' are fast
approximations in maximal coordinates, 'generalized' and 'mjx' are closer to MuJoCo, and returns differ between all
four by large factors.

Source: Freeman et al., "Brax - A Differentiable Physics Engine for Large Scale Rigid Body Simulation" (2021),
https://arxiv.org/abs/2106.13281; https://github.com/google/brax.
"""

import contextlib
import importlib
import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl import trees
from purerl.configuration import UsageError
from purerl.environments.geometry_drawing import Camera, draw_model
from purerl.environments.mjx import import_mjx, scaled, uncommitted
from purerl.types import Action, Array, Box, Environment, Key, Observation, Timestep

NAMES = (
    "ant",
    "fast",
    "halfcheetah",
    "hopper",
    "humanoid",
    "humanoidstandup",
    "inverted_double_pendulum",
    "inverted_pendulum",
    "pusher",
    "reacher",
    "walker2d",
)

BACKENDS = ("generalized", "spring", "positional", "mjx")


class BraxState(struct.PyTreeNode):
    """What one brax environment carries from step to step."""

    physics: tuple[Array, ...]  # the non-empty leaves of brax's pipeline state
    steps: Array  # int32, environment steps since the reset


def make(
    name: str,
    *,
    backend: str = "spring",
    episode_length: int = 1000,
    mass_scale: Any = 1.0,
    friction_scale: Any = 1.0,
    damping_scale: Any = 1.0,
    gravity_scale: Any = 1.0,
    **arguments: Any,
) -> Environment:
    """A brax environment by its brax name (see `NAMES`).

    Args:
        name: brax's name of the environment.
        backend: the physics: 'spring' (the default: by far the fastest on a CPU), 'generalized' (brax's own default),
            'positional' or 'mjx'. The environment 'fast', a toy without physics, ignores it.
        episode_length: environment steps after which an episode is truncated.
        mass_scale: factor of all masses and inertias. May be traced, like the following three. Not for 'spring' and
            'positional', which replace most masses by 1 (brax's `spring_mass_scale`).
        friction_scale: factor of all friction coefficients.
        damping_scale: factor of the joints' damping. Not for 'spring' and 'positional', which ignore it (they damp the
            constraints that hold a joint together instead).
        gravity_scale: factor of gravity.
        **arguments: for the constructor of brax's environment (`healthy_reward=`, `ctrl_cost_weight=`, ...). Floats
            that only enter the reward or a comparison may be traced.

    Returns:
        The environment: actions in [-1, 1], unbounded float32 observations.

    Raises:
        ValueError: for an unknown name or backend, `swimmer` (broken in brax 0.14.2), dictionary observations, an
            episode length below 1, or a scale that the backend (or `fast`) has no use for.
        TypeError: for an argument that brax's environment does not have.
    """
    if name == "swimmer":
        raise ValueError("brax/swimmer is broken in brax 0.14.2 on every backend; try brax/halfcheetah instead")
    if name not in NAMES:
        raise ValueError(f"unknown brax environment {name!r}; there are {', '.join(NAMES)}")
    if backend not in BACKENDS:
        raise ValueError(f"unknown brax backend {backend!r}; there are {', '.join(BACKENDS)}")
    if episode_length < 1:
        raise ValueError(f"episode_length must be at least 1, got {episode_length}")
    scales = {"mass": mass_scale, "friction": friction_scale, "damping": damping_scale, "gravity": gravity_scale}
    scales = {key: scale for key, scale in scales.items() if not (isinstance(scale, (int, float)) and scale == 1.0)}
    if scales and name == "fast":
        raise ValueError("brax/fast has no physics, so its masses, friction, damping and gravity cannot be scaled")
    if backend in ("spring", "positional") and (ignored := {"mass", "damping"} & set(scales)):
        raise ValueError(
            f"brax's {backend!r} backend does not read the model's {' and '.join(sorted(ignored))}, so there is "
            "nothing to scale; use backend='generalized' or 'mjx'"
        )
    environment = _construct(name, backend, arguments)
    if scales:
        environment.sys = jax.jit(_scaled_system)(environment.sys, **scales)

    with jax.ensure_compile_time_eval():
        example = jax.eval_shape(environment.reset, jax.random.PRNGKey(0))
    if not hasattr(example.obs, "shape"):
        raise ValueError(f"brax/{name}: dictionary observations are not supported; ask for an array")
    pack_physics, unpack_physics = trees.without_empty(example.pipeline_state)

    def pack(pipeline_state: Any, steps: Array) -> BraxState:
        return trees.strongly_typed(BraxState(pack_physics(pipeline_state), steps))

    def observe(observation: Array) -> Observation:
        return trees.strongly_typed(jnp.asarray(observation, jnp.float32))

    def reset(key: Key) -> tuple[BraxState, Observation]:
        state = environment.reset(_legacy_key(key))
        return pack(state.pipeline_state, jnp.zeros((), jnp.int32)), observe(state.obs)

    def step(key: Key, state: BraxState, action: Action) -> tuple[BraxState, Timestep]:
        del key  # the dynamics are deterministic
        from brax.envs.base import State

        zero = jnp.zeros(())
        pipeline_state = unpack_physics(state.physics)
        after = environment.step(State(pipeline_state, jnp.zeros(example.obs.shape), zero, zero, {}, {}), action)
        steps = state.steps + 1
        terminated = jnp.asarray(after.done) > 0.5
        timestep = Timestep(
            observation=observe(after.obs),
            reward=jnp.asarray(after.reward, jnp.float32),
            terminated=terminated,
            truncated=(steps >= episode_length) & ~terminated,
            info={},
        )
        return pack(after.pipeline_state, steps), trees.strongly_typed(timestep)

    def render(state: BraxState) -> np.ndarray:
        position = np.asarray(unpack_physics(state.physics).q)
        return draw_model(environment.sys.mj_model, CAMERAS.get(name, Camera(follow=True)), position)

    changed = {"mass_scale": mass_scale, "friction_scale": friction_scale}
    changed |= {"damping_scale": damping_scale, "gravity_scale": gravity_scale}
    return Environment(
        name=f"brax/{name}",
        reset=reset,
        step=step,
        observation_space=Box(-jnp.inf, jnp.inf, example.obs.shape),
        action_space=Box(-1.0, 1.0, (environment.action_size,)),
        max_steps=episode_length,
        parameters={"backend": backend, "episode_length": episode_length, **changed, **arguments},
        render=None if name == "fast" else render,
    )


CAMERAS = {
    "ant": Camera(azimuth=25, elevation=30, height=3.2, centre=(0.0, 0.0, 0.5), follow=True),
    "halfcheetah": Camera(height=2.6, centre=(0.0, 0.0, 0.6), follow=True),
    "hopper": Camera(height=2.2, centre=(0.0, 0.0, 0.85), follow=True),
    "humanoid": Camera(azimuth=60, elevation=12, height=3.0, centre=(0.0, 0.0, 0.9), follow=True),
    "humanoidstandup": Camera(azimuth=20, elevation=15, height=2.6, centre=(0.0, 0.0, 0.6), follow=True),
    "inverted_pendulum": Camera(height=2.4, elevation=0.0, centre=(0.0, 0.0, 0.3)),
    "inverted_double_pendulum": Camera(height=3.2, elevation=0.0, centre=(0.0, 0.0, 0.6)),
    "pusher": Camera(azimuth=-90, elevation=45, height=2.6, centre=(0.3, -0.3, 0.0)),
    "reacher": Camera(elevation=90, height=0.7, centre=(0.0, 0.0, 0.0)),
    "walker2d": Camera(height=2.4, centre=(0.0, 0.0, 0.9), follow=True),
}


def _construct(name: str, backend: str, arguments: dict[str, Any]) -> Any:
    """Brax's environment object, built from concrete arrays even inside a trace, committed to no device."""
    import_mjx()  # before brax does, which would let it print
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="JAXopt is no longer maintained", category=DeprecationWarning)
        from brax import envs
    kind = envs._envs[name]
    known = set(inspect.signature(kind.__init__).parameters) | {"n_frames", "debug"}
    known -= {"self", "kwargs", "backend"}
    unknown = sorted(set(arguments) - known)
    if unknown:
        raise UsageError(f"brax/{name} has no argument {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    with warnings.catch_warnings(), _without_settotalmass_warning(), jax.ensure_compile_time_eval():
        warnings.filterwarnings("ignore", message="Brax System, piplines and environments", category=UserWarning)
        environment: Any = envs.get_environment(name, backend=backend, **arguments)
        if name != "fast":
            environment.sys = uncommitted(environment.sys)
    return environment


@contextlib.contextmanager
def _without_settotalmass_warning() -> Iterator[None]:
    """Drops MuJoCo's warning about a word in brax's XML, which it would print and write to ./MUJOCO_LOG.TXT.

    Other warnings of MuJoCo become Python warnings for as long as this lasts.
    """
    mujoco: Any = importlib.import_module("mujoco")

    def handler(message: str) -> None:
        if "settotalmass" not in message:
            warnings.warn(message, stacklevel=2)

    previous = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(handler)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(previous)


def _scaled_system(system: Any, mass: Any = 1.0, friction: Any = 1.0, damping: Any = 1.0, gravity: Any = 1.0) -> Any:
    """A brax system with its physics scaled, in both of its descriptions: MJX's fields and brax's own.

    Brax keeps the mean inverse inertias of links and joints (`invweight`, the softness of generalized constraints);
    they are taken over from MJX's, which `scaled` recomputes.
    """
    system = scaled(system, mass=mass, friction=friction, damping=damping, gravity=gravity)
    return system.tree_replace(
        {
            "gravity": system.gravity * gravity,
            "link.inertia.mass": system.link.inertia.mass * mass,
            "link.inertia.i": system.link.inertia.i * mass,
            "link.invweight": system.body_invweight0[1:, 0],
            "dof.invweight": system.dof_invweight0,
            "dof.damping": system.dof.damping * damping,
        }
    )


def _legacy_key(key: Key) -> Array:
    """The uint32 key that brax wants, from a typed threefry key."""
    data = jax.random.key_data(key)
    if data.shape != (2,):
        raise ValueError(f"brax needs threefry keys (jax.random.key(seed)), got key data of shape {data.shape}")
    return data
