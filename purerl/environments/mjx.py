"""Any MuJoCo model plus four pure functions is an environment: the direct adapter to MJX.

A task is written in MuJoCo's own words. `mjx_environment` takes an MJCF model and

    reset(key, model, data) -> data                 where an episode starts: set qpos, qvel, mocap_pos, ...
    observation(model, data) -> array               what the agent sees
    reward(model, before, action, after) -> scalar  what one environment step earns
    termination(model, data) -> bool                whether the MDP ended (default: never)

where `model` is an `mjx.Model` and `data`, `before`, `after` are `mjx.Data` whose positions are up to date: `qpos`,
`qvel`, and all that `mjx.kinematics` and `mjx.com_pos` compute (`xpos`, `xmat`, `site_xpos`, `geom_xpos`,
`subtree_com`, ...). Quantities of later stages (`qacc`, contact forces, sensors) are those of the *last substep*
in `after` and unset in `before`: a task that needs them calls `mjx.forward(model, data)` itself.

What an environment carries from step to step is only what the physics needs (`qpos`, `qvel`, activations, mocap
poses, the solver's warm start): 64 cart-poles are a few kilobytes, and empty arrays stay out of the checkpoint.

The model's parameters can be traced, so that one program trains under many of them:

    jax.vmap(lambda friction: mjx_environment(..., modify=lambda m: scaled(m, friction=friction)).reset(key))(frictions)

MuJoCo precomputes constants from the masses (`body_subtreemass`, `dof_invweight0`, ...). `scaled` and
`with_body_mass` bring them up to date; after any other change of masses, inertias or armature call
`with_derived_constants`.

Source: Todorov, Erez, Tassa, "MuJoCo: A physics engine for model-based control" (IROS 2012); MJX,
https://mujoco.readthedocs.io/en/stable/mjx.html.
"""

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl import trees
from purerl.environments.geometry_drawing import Camera, draw_model
from purerl.types import Action, Array, Box, Environment, Key, Observation, Timestep

Model = Any  # mjx.Model
Data = Any  # mjx.Data
MujocoModel = Any  # mujoco.MjModel

MODELS = Path(__file__).parent / "models"  # MJCF files of our own

# All that MuJoCo's dynamics read from one step to the next (time is counted in steps).
CARRIED = ("qpos", "qvel", "act", "mocap_pos", "mocap_quat", "qacc_warmstart")


class MJXState(struct.PyTreeNode):
    """What one MJX environment carries from step to step."""

    physics: dict[str, Array]  # the fields of mjx.Data named in CARRIED that this model has (none is empty)
    steps: Array  # int32, environment steps since the reset


def mjx_environment(
    name: str,
    model: str | Path | MujocoModel,
    *,
    reset: Callable[[Key, Model, Data], Data],
    observation: Callable[[Model, Data], Observation],
    reward: Callable[[Model, Data, Action, Data], Array],
    termination: Callable[[Model, Data], Array] | None = None,
    frames_per_step: int = 1,
    max_steps: int = 1000,
    modify: Callable[[Model], Model] | None = None,
    parameters: Mapping[str, Any] | None = None,
    camera: Camera | None = None,
) -> Environment:
    """An environment on an MJCF model, by MuJoCo XLA (its JAX implementation).

    Args:
        name: the environment's name.
        model: MJCF text, the path of an MJCF file, or a `mujoco.MjModel`. Its `<option>` holds: the timestep, the
            integrator and the solver's iterations. MJX's cost is mostly the solver, so a model with contacts or
            limits wants few iterations: our hopper is exact to five digits with Newton at
            `<option iterations="4" ls_iterations="8"/>` (the defaults are 100 and 50) and plainly wrong with 2 and 6,
            so compare with a converged solution. Reverse-mode differentiation needs `iterations="1"`. A model without
            contacts, limits and friction loss pays nothing at all (disable the collision of every geom).
            `jacobian="sparse"` factorises inertias in array operations instead of LAPACK calls, no slower for small
            models.
        reset, observation, reward, termination: the task, as in the module's docstring.
        frames_per_step: physics steps per environment step (the action is held).
        max_steps: environment steps after which an episode is truncated.
        modify: maps the `mjx.Model` to the one to simulate; it may close over traced values.
        parameters: recorded in `Environment.parameters`.
        camera: how `render` looks at it (default: from the side, along +y).

    Returns:
        The environment. Actions are the actuators' controls, `Box(low, high, [nu])` with the model's control ranges
        (an actuator without one has infinite bounds; wrap with `rescale_actions` for [-1, 1]); controls outside are
        clamped by MuJoCo.

    Raises:
        ValueError: if `frames_per_step` or `max_steps` is below 1, the model has no actuators, or the observation is
            not one array.
        FileNotFoundError: if `model` is a path that does not exist.
    """
    if frames_per_step < 1 or max_steps < 1:
        raise ValueError(f"frames_per_step and max_steps must be at least 1, got {frames_per_step} and {max_steps}")
    mjx = import_mjx()
    mujoco_model = load_model(model)
    if mujoco_model.nu == 0:
        raise ValueError(f"{name}: the model has no actuators, so there is nothing to act on")
    physics_model = put_model(mujoco_model)
    with jax.ensure_compile_time_eval():
        blank = uncommitted(mjx.make_data(mujoco_model, impl="jax"))
    # Without constraints there is no solver to warm-start.
    skipped = () if blank._impl.efc_J.shape[0] else ("qacc_warmstart",)
    carried = tuple(field for field in CARRIED if field not in skipped and getattr(blank, field).size)
    if modify is not None:
        physics_model = jax.jit(modify)(physics_model)  # one small program instead of some hundred operations

    def with_positions(data: Data) -> Data:
        return mjx.com_pos(physics_model, mjx.kinematics(physics_model, data))

    def pack(data: Data, steps: Array) -> MJXState:
        return trees.strongly_typed(MJXState({field: getattr(data, field) for field in carried}, steps))

    def unpack(state: MJXState) -> Data:
        time = state.steps * frames_per_step * physics_model.opt.timestep
        return blank.replace(time=time, **state.physics)

    def observe(data: Data) -> Observation:
        return trees.strongly_typed(observation(physics_model, data))

    def reset_environment(key: Key) -> tuple[MJXState, Observation]:
        data = with_positions(reset(key, physics_model, blank))
        return pack(data, jnp.zeros((), jnp.int32)), observe(data)

    def step(key: Key, state: MJXState, action: Action) -> tuple[MJXState, Timestep]:
        del key  # the dynamics are deterministic
        before = unpack(state)
        after = before.replace(ctrl=jnp.asarray(action, jnp.float32))
        after = jax.lax.fori_loop(0, frames_per_step, lambda _, data: mjx.step(physics_model, data), after)
        after = with_positions(after)
        earned = reward(physics_model, with_positions(before), action, after)
        terminated = jnp.zeros((), bool) if termination is None else termination(physics_model, after)
        steps = state.steps + 1
        timestep = Timestep(
            observation=observe(after),
            reward=jnp.asarray(earned, jnp.float32),
            terminated=jnp.asarray(terminated, bool),
            truncated=(steps >= max_steps) & ~jnp.asarray(terminated, bool),
            info={},
        )
        return pack(after, steps), trees.strongly_typed(timestep)

    def render(state: MJXState) -> np.ndarray:
        physics = {field: np.asarray(value) for field, value in state.physics.items()}
        return draw_model(mujoco_model, camera or Camera(), **{k: v for k, v in physics.items() if k in _DRAWN})

    shape = jax.eval_shape(lambda key: reset_environment(key)[1], jax.random.key(0))
    if not hasattr(shape, "shape"):
        raise ValueError(f"{name}: the observation must be one array, got {jax.tree.structure(shape)}")
    limited = mujoco_model.actuator_ctrllimited.astype(bool)[:, None]
    low, high = np.where(limited, mujoco_model.actuator_ctrlrange, [-np.inf, np.inf]).astype(np.float32).T
    return Environment(
        name=name,
        reset=reset_environment,
        step=step,
        observation_space=Box(-jnp.inf, jnp.inf, shape.shape, shape.dtype),
        action_space=Box(low, high, (mujoco_model.nu,)),
        max_steps=max_steps,
        parameters=dict(parameters or {}),
        render=render,
    )


_DRAWN = ("qpos", "mocap_pos", "mocap_quat")


# Models and their parameters


def import_mjx() -> Any:
    """The module `mujoco.mjx`, imported without its two lines on standard output about the absent `warp`."""
    if "mujoco.mjx" not in sys.modules:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            importlib.import_module("mujoco.mjx")
        for line in said.getvalue().splitlines():
            if not line.startswith(("Failed to import warp", "Failed to import mujoco_warp")):
                print(line)
    return sys.modules["mujoco.mjx"]


def load_model(model: str | Path | MujocoModel) -> MujocoModel:
    """A `mujoco.MjModel` from MJCF text (it starts with `<`), from the path of a file, or as it is."""
    mujoco: Any = importlib.import_module("mujoco")

    if isinstance(model, mujoco.MjModel):
        return model
    if isinstance(model, str) and model.lstrip().startswith("<"):
        return mujoco.MjModel.from_xml_string(model)
    path = Path(model)
    if not path.is_file():
        raise FileNotFoundError(f"no MJCF file at {path} (MJCF text must start with '<')")
    return mujoco.MjModel.from_xml_path(str(path))


def put_model(model: MujocoModel) -> Model:
    """The `mjx.Model` of a `mujoco.MjModel`, its arrays concrete even inside a trace and on no particular device.

    `mjx.put_model` commits arrays to one device, which makes the second call of a program another program and forbids
    to shard agents over devices.
    """
    mjx = import_mjx()
    with jax.ensure_compile_time_eval():
        return uncommitted(mjx.put_model(model, impl="jax"))


def uncommitted(tree: trees.Tree) -> trees.Tree:
    """The same concrete arrays, committed to no device. NumPy leaves stay as they are."""
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)) if isinstance(x, jax.Array) else x, tree)


def scaled(model: Model, *, mass: Any = 1.0, friction: Any = 1.0, damping: Any = 1.0, gravity: Any = 1.0) -> Model:
    """The model with physical parameters multiplied by (possibly traced) factors.

    Args:
        model: an `mjx.Model`.
        mass: factor of the bodies' masses and inertias: a scalar, or one per body `[nbody]` (the world is body 0).
        friction: factor of the geoms' sliding, torsional and rolling friction coefficients: scalar or `[ngeom]`.
        damping: factor of the joints' damping: scalar or `[nv]`.
        gravity: factor of gravity.
    """
    factor = jnp.broadcast_to(jnp.asarray(mass, jnp.float32), model.body_mass.shape)
    friction = jnp.broadcast_to(jnp.asarray(friction, jnp.float32), model.geom_friction.shape[:1])
    model = model.replace(
        body_mass=model.body_mass * factor,
        body_inertia=model.body_inertia * factor[:, None],
        geom_friction=model.geom_friction * friction[:, None],
        dof_damping=model.dof_damping * damping,
        opt=model.opt.replace(gravity=model.opt.gravity * gravity),
    )
    if isinstance(mass, (int, float)) and mass == 1.0:
        return model
    return with_derived_constants(model)


def with_body_mass(model: Model, body_id: int, mass: Any) -> Model:
    """The model in which body `body_id` weighs `mass` kilograms (may be traced), its inertia in proportion."""
    factor = jnp.ones_like(model.body_mass).at[body_id].set(mass / model.body_mass[body_id])
    return scaled(model, mass=factor)


def with_derived_constants(model: Model) -> Model:
    """The model with the constants recomputed that MuJoCo's compiler derives from masses, inertias and armature.

    They are, with M the joint-space inertia at the reference pose `qpos0` and J the Jacobian of a body's centre of
    mass: `dof_M0 = diag(M)`, `meaninertia = mean diag(M)`, `dof_invweight0 = diag(M^-1)` (averaged over the axes of a
    ball or of each half of a free joint), `body_invweight0 = mean diag(J M^-1 J^T)` for translation and for rotation,
    and `body_subtreemass`. Muscle and tendon constants are not touched. Pure, traceable, and free of LAPACK calls.
    """
    mujoco: Any = importlib.import_module("mujoco")

    mjx = import_mjx()
    data = mjx.make_data(model)
    data = data.replace(qpos=jnp.asarray(model.qpos0))
    data = mjx.com_pos(model, mjx.kinematics(model, data))
    inertia = mjx.full_m(model, mjx.crb(model, data))  # [nv, nv]
    inverse = inverse_of_positive_definite(inertia)

    averaged = np.eye(model.nv, dtype=np.float32)
    for start, kind in zip(np.asarray(model.jnt_dofadr), np.asarray(model.jnt_type), strict=True):
        if kind == mujoco.mjtJoint.mjJNT_BALL:
            averaged[start : start + 3, start : start + 3] = 1 / 3
        elif kind == mujoco.mjtJoint.mjJNT_FREE:
            averaged[start : start + 3, start : start + 3] = 1 / 3
            averaged[start + 3 : start + 6, start + 3 : start + 6] = 1 / 3

    def inverse_weight(point: Array, body: Array) -> Array:
        translation, rotation = mjx.jac(model, data, point, body)  # [nv, 3] each
        weights = [jnp.trace(jacobian.T @ inverse @ jacobian) / 3 for jacobian in (translation, rotation)]
        return jnp.stack(weights)

    body_invweight = jax.vmap(inverse_weight)(data.xipos, jnp.arange(model.nbody))
    moves = np.asarray(model.body_weldid) != 0
    body_invweight = jnp.where(moves[:, None], jnp.maximum(body_invweight, mujoco.mjMINVAL), 0.0)

    subtree = np.eye(model.nbody, dtype=np.float32)  # [ancestor, descendant]
    for body in range(1, model.nbody):
        subtree[:, body] += subtree[:, model.body_parentid[body]]
    return model.replace(
        dof_M0=jnp.diagonal(inertia),
        dof_invweight0=averaged @ jnp.diagonal(inverse),
        body_invweight0=body_invweight,
        body_subtreemass=subtree @ model.body_mass,
        stat=model.stat.replace(meaninertia=jnp.mean(jnp.diagonal(inertia))),
    )


def inverse_of_positive_definite(matrix: Array) -> Array:
    """The inverse of a small symmetric positive definite matrix `[n, n]` by Gauss-Jordan elimination.

    Such a matrix needs no pivoting; plain array operations keep LAPACK out of vmapped programs.
    """
    size = matrix.shape[0]

    def eliminate(column: int, augmented: Array) -> Array:
        row = augmented[column] / augmented[column, column]
        return (augmented - jnp.outer(augmented[:, column], row)).at[column].set(row)

    augmented = jnp.concatenate([matrix, jnp.eye(size, dtype=matrix.dtype)], axis=1)
    return jax.lax.fori_loop(0, size, eliminate, augmented)[:, size:]
