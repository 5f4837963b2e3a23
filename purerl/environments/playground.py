"""MuJoCo Playground's DM Control Suite, on MJX: the optional package `playground`.

Playground's other suites, locomotion and manipulation, download their robots at load time and are not served here.
Episodes end by the time limit of Playground's configuration (1000 steps); its few terminations (not-a-number states,
mostly) are kept.

Source: Zakka et al., "MuJoCo Playground" (2025), https://arxiv.org/abs/2502.08844; the tasks are those of Tassa et
al., "DeepMind Control Suite" (2018), https://arxiv.org/abs/1801.00690.
"""

import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl import trees
from purerl.environments.geometry_drawing import Camera, draw_model
from purerl.environments.mjx import import_mjx, uncommitted
from purerl.types import Action, Array, Box, Environment, Key, Observation, Timestep

NAMES = (
    "AcrobotSwingup",
    "AcrobotSwingupSparse",
    "BallInCup",
    "CartpoleBalance",
    "CartpoleBalanceSparse",
    "CartpoleSwingup",
    "CartpoleSwingupSparse",
    "CheetahRun",
    "FingerSpin",
    "FingerTurnEasy",
    "FingerTurnHard",
    "FishSwim",
    "HopperHop",
    "HopperStand",
    "HumanoidRun",
    "HumanoidStand",
    "HumanoidWalk",
    "PendulumSwingup",
    "PointMass",
    "ReacherEasy",
    "ReacherHard",
    "SwimmerSwimmer6",
    "WalkerRun",
    "WalkerStand",
    "WalkerWalk",
)


class PlaygroundState(struct.PyTreeNode):
    """What one Playground environment carries from step to step."""

    leaves: tuple[Array, ...]  # the non-empty leaves of Playground's own state
    steps: Array  # int32, environment steps since the reset


def make(name: str, **config_overrides: Any) -> Environment:
    """One of Playground's DM Control Suite environments.

    `config_overrides` change fields of its configuration: `ctrl_dt` (seconds per environment step), `sim_dt` (seconds
    per physics step), `episode_length` (environment steps), ... They are static, not traced. The physics is MJX's JAX
    implementation (`impl="jax"`); Playground's default, warp, needs an NVIDIA GPU to be of use.

    Actions are in [-1, 1]; observations are unbounded float32 vectors. Environments with dictionary observations (those
    with `vision=True`) are refused.

    Raises:
        ImportError: if the package is missing.
        ValueError: for an unknown name, one that must download its robot, an unknown configuration field, or
            dictionary observations.
    """
    import_mjx()
    try:
        registry: Any = importlib.import_module("mujoco_playground").registry
    except ImportError as error:
        raise ImportError(f'playground/{name} needs MuJoCo Playground: pip install "playground>=0.2.0,<0.3"') from error
    if name not in NAMES:
        if name in registry.ALL_ENVS:
            raise ValueError(
                f"playground/{name} downloads its robot when it is loaded, which purerl does not do; the bundled ones "
                f"are {', '.join(NAMES)}"
            )
        raise ValueError(f"unknown playground environment {name!r}; there are {', '.join(NAMES)}")
    config = registry.get_default_config(name)
    unknown = sorted(field for field in config_overrides if field not in config)
    if unknown:
        raise ValueError(f"playground/{name} has no setting {', '.join(unknown)}; it has {', '.join(sorted(config))}")
    with jax.ensure_compile_time_eval():
        environment: Any = registry.load(name, config_overrides={"impl": "jax", **config_overrides})
        environment._mjx_model = uncommitted(environment._mjx_model)
    config = environment._config
    episode_length = int(config.episode_length)

    example = jax.eval_shape(environment.reset, jax.random.key(0))
    if not hasattr(example.obs, "shape"):
        raise ValueError(f"playground/{name}: dictionary observations are not supported, got {sorted(example.obs)}")
    pack_leaves, unpack_leaves = trees.without_empty(example)

    def pack(state: Any, steps: Array) -> PlaygroundState:
        return trees.strongly_typed(PlaygroundState(pack_leaves(state), steps))

    def observe(observation: Array) -> Observation:
        return trees.strongly_typed(jnp.asarray(observation, jnp.float32))

    def reset(key: Key) -> tuple[PlaygroundState, Observation]:
        state = environment.reset(key)
        return pack(state, jnp.zeros((), jnp.int32)), observe(state.obs)

    def step(key: Key, state: PlaygroundState, action: Action) -> tuple[PlaygroundState, Timestep]:
        del key  # randomness, where there is any, is in Playground's own state
        after = environment.step(unpack_leaves(state.leaves), action)
        steps = state.steps + 1
        terminated = jnp.asarray(after.done) > 0.5
        timestep = Timestep(
            observation=observe(after.obs),
            reward=jnp.asarray(after.reward, jnp.float32),
            terminated=terminated,
            truncated=(steps >= episode_length) & ~terminated,
            info={},
        )
        return pack(after, steps), trees.strongly_typed(timestep)

    def render(state: PlaygroundState) -> np.ndarray:
        data = unpack_leaves(state.leaves).data
        physics = {"qpos": data.qpos, "mocap_pos": data.mocap_pos, "mocap_quat": data.mocap_quat}
        physics = {field: np.asarray(value) for field, value in physics.items() if value.size}
        return draw_model(environment.mj_model, Camera(elevation=15.0), **physics)

    return Environment(
        name=f"playground/{name}",
        reset=reset,
        step=step,
        observation_space=Box(-jnp.inf, jnp.inf, example.obs.shape),
        action_space=Box(-1.0, 1.0, (environment.action_size,)),
        max_steps=episode_length,
        parameters=config_overrides,
        render=render,
    )
