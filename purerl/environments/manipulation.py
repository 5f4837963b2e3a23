"""Planar manipulation on MJX after the tasks of Gu et al. (2016): a peg, two grippers and a hockey stick.

"Continuous deep Q-learning with model-based acceleration" (https://arxiv.org/abs/1603.00748) compares NAF with DDPG on
tasks of Lillicrap et al. (2016, https://arxiv.org/abs/1509.02971), whose models were not published. These are models of
our own with the same purposes, small enough for a laptop's CPU: each moves in a plane and has at most six pairs of
geoms that can touch. Four Newton iterations (up to sixteen for the grippers) are converged: from the states of
episodes with many contacts, MuJoCo makes the same steps with a hundred. Rewards are at most 1 a step, in units of their
own, and not comparable with the numbers of either study.
"""

import importlib
from typing import Any

import jax
import jax.numpy as jnp

from purerl.environments.geometry_drawing import Camera
from purerl.environments.mjx import MODELS, MujocoModel, load_model, mjx_environment, scaled
from purerl.types import Array, Environment, Key

TIME_STEP = 0.04  # seconds of an environment step: four of physics
ARM = 3  # joints


def peg_insertion(*, mass: Any = 1.0, damping: Any = 1.0, strength: Any = 1.0, max_steps: int = 150) -> Environment:
    """Insert a peg, the last link of a three-jointed arm in the horizontal plane, into a slot in a wall.

    Observation `[19]`: cosines `[3]` and sines `[3]` of the joint angles, joint velocities `[3]` (rad/s), cosine and
    sine of the peg's direction, then, in metres, the peg's tip `[2]`, the mouth of the slot `[2]`, and the ways that
    the tip `[2]` and the other end of the peg `[2]` have to go. Action `[3]` in [-1, 1]: the torques at shoulder, elbow
    and wrist, in units of 0.8, 0.5 and 0.2 N m. A step is 0.04 s; the only end is the time limit. The peg is 30 mm
    thick, the slot 44 mm wide and 0.1 m deep; its mouth is 0.5 m before the shoulder, between 0.12 m to the left and to
    the right of it. The arm starts folded behind it, at rest.

    With d the mean of the two distances in metres, the reward is

        (1 - tanh(d / 0.3) + 0.1^((d / 0.06)^2)) / 2 - 0.01 mean(action^2),

    at most 1 per step, about 0.3 with the peg before the slot and near 1 with the peg in it. Random actions
    earn 9, the script of the tests, which puts it in, 118.

    Args:
        mass: factor of the links' masses and inertias (0.3, 0.2 and 0.1 kg).
        damping: factor of the joints' damping (0.1 N m s / rad).
        strength: factor of the torques.
        max_steps: time limit, environment steps.
    """
    mujoco_model = load_model(MODELS / "peg_insertion.xml")
    tip, end = mujoco_model.site("tip").id, mujoco_model.site("end").id
    bottom = mujoco_model.geom("bottom").pos[:2]  # of the slot, seen from its mouth
    length = jnp.array([mujoco_model.site("tip").pos[0], 0.0])

    def modify(model):
        model = scaled(model, mass=mass, damping=damping)
        return model.replace(actuator_gear=model.actuator_gear * strength)

    def reset(key, model, data):
        shoulder, elbow, peg, across = jax.random.uniform(
            key, (4,), minval=jnp.array([1.4, -2.6, -0.8, -0.12]), maxval=jnp.array([2.0, -2.0, 0.8, 0.12])
        )
        qpos = jnp.array([shoulder, elbow, peg - shoulder - elbow])
        return data.replace(qpos=qpos, mocap_pos=data.mocap_pos.at[0, 1].set(across))

    def ways(data):
        goal = data.mocap_pos[0, :2] + bottom
        return goal - data.site_xpos[tip, :2], goal - length - data.site_xpos[end, :2]

    def observation(model, data):
        tip_way, end_way = ways(data)
        mouth = data.mocap_pos[0, :2]
        return jnp.concatenate(
            [
                *angles(data.qpos),
                data.qvel,
                *angles(jnp.sum(data.qpos)),
                data.site_xpos[tip, :2],
                mouth,
                tip_way,
                end_way,
            ]
        )

    def reward(model, before, action, after):
        tip_way, end_way = ways(after)
        distance = (jnp.linalg.norm(tip_way) + jnp.linalg.norm(end_way)) / 2
        return (near(distance, 0.3) + bell(distance, 0.06)) / 2 - effort(action)

    return mjx_environment(
        "peg_insertion",
        mujoco_model,
        reset=reset,
        observation=observation,
        reward=reward,
        frames_per_step=4,
        max_steps=max_steps,
        modify=modify,
        parameters={"mass": mass, "damping": damping, "strength": strength, "max_steps": max_steps},
        camera=Camera(elevation=90.0, height=1.2, centre=(0.2, 0.0, 0.0)),
    )


def gripper(
    *,
    mass: Any = 1.0,
    friction: Any = 1.0,
    damping: Any = 1.0,
    strength: Any = 1.0,
    max_steps: int = 150,
) -> Environment:
    """Grasp a ball with the two fingers of an arm, lift it and hold it at a target; the base of the arm is fixed.

    Seen from the side, with gravity on the ball; the arm, of three joints, hangs from 0.6 m above the floor and is
    balanced. The fingers close together and springs open them. Observation `[27]`: cosines `[3]` and sines `[3]` of the
    joint angles, their velocities `[3]` (rad/s), how far the fingers are closed `[2]` (0 to 1) and their velocities
    `[2]` (m/s), cosine and sine of the hand's direction, then, in metres and metres per second, positions `[2]` of the
    place between the fingertips, the ball and the target, the ball's velocity `[2]`, and the ways from the fingertips
    to the ball `[2]` and from the ball to the target `[2]`. Action `[4]` in [-1, 1]: the torques at shoulder, elbow
    and wrist in units of 2, 1.2 and 0.4 N m, and the force that closes the fingers (open below 0) in units of 5 N. A
    step is 0.04 s; the only end is the time limit. The ball (0.1 kg, 50 mm) starts on the floor within 0.2 m of the
    middle, the target is within 0.2 m of it and between 0.15 and 0.35 m high.

    With the distances from the place between the fingertips to the ball and from the ball to the target in metres,

        reward = (1 - tanh(to ball / 0.2) + 3 (1 - tanh(to target / 0.15))) / 4 - 0.01 mean(action^2),

    at most 1 per step, at most 0.25 more than at rest for hovering around the ball. Random actions earn 9, the
    script of the tests, which lifts the ball and holds it at the target, 85.

    Args:
        mass: factor of the ball's mass and inertia.
        friction: factor of the friction coefficients of the ball (1 on the fingers, 0.5 on the floor).
        damping: factor of the joints' damping.
        strength: factor of the torques and of the force of the fingers.
        max_steps: time limit, environment steps.
    """
    parameters = {"mass": mass, "friction": friction, "damping": damping, "strength": strength, "max_steps": max_steps}
    camera = Camera(height=0.95, centre=(0.0, 0.0, 0.38), elevation=0.0)
    return _gripper("gripper", load_model(MODELS / "gripper.xml"), 0.2, camera, **parameters)


def movable_gripper(
    *,
    mass: Any = 1.0,
    friction: Any = 1.0,
    damping: Any = 1.0,
    strength: Any = 1.0,
    max_steps: int = 150,
) -> Environment:
    """`gripper` on a base that a motor moves along a rail of 1.2 m, with ball and target anywhere below the rail.

    Observation `[29]`: that of `gripper`, then position (m) and velocity (m/s) of the base. Action `[5]`: that of
    `gripper`, then the force on the base in units of 10 N. The base starts within 0.1 m of the middle, the ball and the
    target are within 0.6 m of it. The reward and the parameters are those of `gripper`; random
    actions earn 4, the script of the tests 75.
    """
    parameters = {"mass": mass, "friction": friction, "damping": damping, "strength": strength, "max_steps": max_steps}
    camera = Camera(height=1.3, centre=(0.0, 0.0, 0.38), elevation=0.0)
    return _gripper("movable_gripper", movable_gripper_model(), 0.6, camera, **parameters)


def movable_gripper_model() -> MujocoModel:
    """The model of `gripper`, its base on a rail with a motor: one more joint, the first, and one more actuator."""
    mujoco: Any = importlib.import_module("mujoco")

    spec = mujoco.MjSpec.from_file(str(MODELS / "gripper.xml"))
    slide = mujoco.mjtJoint.mjJNT_SLIDE
    spec.body("base").add_joint(name="rail", type=slide, axis=[1, 0, 0], damping=5.0, range=[-0.6, 0.6], limited=True)
    motor = spec.add_actuator(name="rail", target="rail", trntype=mujoco.mjtTrn.mjTRN_JOINT)
    motor.gear[0], motor.ctrllimited, motor.ctrlrange = 10.0, True, [-1.0, 1.0]
    rail = {"fromto": [-0.66, 0, 0.6, 0.66, 0, 0.6], "size": [0.015, 0, 0], "rgba": [0.42, 0.46, 0.53, 1]}
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_CAPSULE, contype=0, conaffinity=0, **rail)
    return spec.compile()


def _gripper(
    name: str,
    mujoco_model: MujocoModel,
    width: float,
    camera: Camera,
    *,
    mass: Any,
    friction: Any,
    damping: Any,
    strength: Any,
    max_steps: int,
) -> Environment:
    """Either gripper; ball and target are drawn within `width` metres of the middle."""
    movable = mujoco_model.nu == ARM + 2
    rail = int(movable)  # joints before those of the arm
    arm, fingers, at = slice(rail, rail + ARM), slice(rail + ARM, rail + ARM + 2), slice(rail + ARM + 2, None)
    grip, ball = mujoco_model.site("grip").id, mujoco_model.body("ball").id
    stroke = float(mujoco_model.joint("left").range[1])
    height = float(mujoco_model.body("ball").pos[2])

    def modify(model):
        factor = jnp.ones(mujoco_model.nbody).at[ball].set(mass)
        model = scaled(model, mass=mass if isinstance(mass, float) and mass == 1.0 else factor, damping=damping)
        return model.replace(pair_friction=model.pair_friction * friction, actuator_gear=model.actuator_gear * strength)

    def reset(key: Key, model, data):
        arm_key, place_key = jax.random.split(key)
        noise = jax.random.uniform(arm_key, (ARM + rail,), minval=-0.1, maxval=0.1)
        start = jnp.array([*[0.0] * rail, 1.0, -2.0, 1.0]) + noise
        lowest, highest = jnp.array([-width, -width, 0.15]), jnp.array([width, width, 0.35])
        ball_x, target_x, target_z = jax.random.uniform(place_key, (3,), minval=lowest, maxval=highest)
        qpos = jnp.concatenate([start, jnp.zeros(2), jnp.array([ball_x, 0.0])])
        return data.replace(qpos=qpos, mocap_pos=jnp.array([[target_x, 0.0, target_z]]))

    def places(data) -> tuple[Array, Array, Array]:
        """Positions `[2]` in the plane: between the fingertips, of the ball, of the target."""
        seen = jnp.array([0, 2])
        ball_at = data.qpos[at] + jnp.array([0.0, height])
        return data.site_xpos[grip][seen], ball_at, data.mocap_pos[0][seen]

    def observation(model, data):
        grip_at, ball_at, target = places(data)
        closed = data.qpos[fingers] / jnp.array([stroke, -stroke])
        base = [data.qpos[:1], data.qvel[:1]] if movable else []
        hand = angles(jnp.sum(data.qpos[arm]))
        moving = [data.qvel[arm], closed, data.qvel[fingers]]
        ball_state = [ball_at, target, data.qvel[at], ball_at - grip_at, target - ball_at]
        return jnp.concatenate([*angles(data.qpos[arm]), *moving, *hand, grip_at, *ball_state, *base])

    def reward(model, before, action, after):
        grip_at, ball_at, target = places(after)
        to_ball, to_target = jnp.linalg.norm(ball_at - grip_at), jnp.linalg.norm(target - ball_at)
        return (near(to_ball, 0.2) + 3 * near(to_target, 0.15)) / 4 - effort(action)

    return mjx_environment(
        name,
        mujoco_model,
        reset=reset,
        observation=observation,
        reward=reward,
        frames_per_step=4,
        max_steps=max_steps,
        modify=modify,
        parameters={
            "mass": mass,
            "friction": friction,
            "damping": damping,
            "strength": strength,
            "max_steps": max_steps,
        },
        camera=camera,
    )


def canada2d(*, mass: Any = 1.0, glide: Any = 1.0, strength: Any = 1.0, max_steps: int = 150) -> Environment:
    """Hit a puck with a hockey stick, the last link of a three-jointed arm, so that it comes to rest at a target.

    Seen from above, on a rink of 1.2 m x 1.05 m with boards. Observation `[23]`: cosines `[3]` and sines `[3]` of the
    joint angles, their velocities `[3]` (rad/s), cosine and sine of the stick's direction, then, in metres and metres
    per second, positions `[2]` of the blade, the puck and the target, the puck's velocity `[2]`, and the ways from the
    blade to the puck `[2]` and from the puck to the target `[2]`. Action `[3]` in [-1, 1]: the torques at shoulder,
    elbow and wrist, in units of 0.8, 0.5 and 0.2 N m. A step is 0.04 s; the only end is the time limit. The puck (0.1
    kg) loses its speed with a time constant of 1 s.

    With distances in metres, `at = 1 - tanh(puck to target / 0.2)` and `by = 1 - tanh(blade to puck / 0.2)`,

        reward = at + 0.2 (1 - at) by - 0.01 mean(action^2),

    at most 1 per step: being at the puck helps, as long as the puck is not where it belongs. Random actions
    earn 12, plans of the cross-entropy method 75 to 110.

    Args:
        mass: factor of the puck's mass.
        glide: factor of the time constant with which the puck's speed decays.
        strength: factor of the torques.
        max_steps: time limit, environment steps.
    """
    mujoco_model = load_model(MODELS / "canada2d.xml")
    blade, puck = mujoco_model.site("blade").id, mujoco_model.body("puck").id

    def modify(model):
        factor = jnp.ones(mujoco_model.nbody).at[puck].set(mass)
        model = scaled(model, mass=mass if isinstance(mass, float) and mass == 1.0 else factor)
        return model.replace(
            dof_damping=model.dof_damping.at[ARM:].multiply(mass / glide),
            actuator_gear=model.actuator_gear * strength,
        )

    def reset(key, model, data):
        lowest = jnp.array([-0.3, 0.8, 0.8, -0.2, 0.3, -0.3, 0.5])
        highest = jnp.array([-0.1, 1.0, 1.0, 0.1, 0.4, 0.3, 0.7])
        draw = jax.random.uniform(key, (7,), minval=lowest, maxval=highest)
        return data.replace(qpos=draw[:5], mocap_pos=jnp.concatenate([draw[5:], jnp.zeros(1)])[None])

    def places(data) -> tuple[Array, Array, Array]:
        """Positions `[2]` in the plane: of the blade, of the puck, of the target."""
        return data.site_xpos[blade, :2], data.qpos[ARM:], data.mocap_pos[0, :2]

    def observation(model, data):
        blade_at, puck_at, target = places(data)
        stick = angles(jnp.sum(data.qpos[:ARM]))
        arm = [*angles(data.qpos[:ARM]), data.qvel[:ARM], *stick]
        return jnp.concatenate([*arm, blade_at, puck_at, target, data.qvel[ARM:], puck_at - blade_at, target - puck_at])

    def reward(model, before, action, after):
        blade_at, puck_at, target = places(after)
        at = near(jnp.linalg.norm(target - puck_at), 0.2)
        by = near(jnp.linalg.norm(puck_at - blade_at), 0.2)
        return at + 0.2 * (1 - at) * by - effort(action)

    return mjx_environment(
        "canada2d",
        mujoco_model,
        reset=reset,
        observation=observation,
        reward=reward,
        frames_per_step=4,
        max_steps=max_steps,
        modify=modify,
        parameters={"mass": mass, "glide": glide, "strength": strength, "max_steps": max_steps},
        camera=Camera(elevation=90.0, height=1.3, centre=(0.0, 0.27, 0.0)),
    )


# Shared words of the rewards and observations


def angles(angle: Array) -> tuple[Array, Array]:
    """Cosines and sines, each at least one-dimensional."""
    return jnp.cos(jnp.atleast_1d(angle)), jnp.sin(jnp.atleast_1d(angle))


def near(distance: Array, scale: float) -> Array:
    """1 at distance zero, 0.24 at `scale`, and never quite 0."""
    return 1 - jnp.tanh(distance / scale)


def bell(distance: Array, margin: float) -> Array:
    """1 at distance zero and 0.1 at `margin`: `0.1^((distance / margin)^2)`."""
    return jnp.exp(jnp.log(0.1) * jnp.square(distance / margin))


def effort(action: Array) -> Array:
    """A hundredth of the mean squared action."""
    return 0.01 * jnp.mean(jnp.square(action))


TASKS = {
    "peg_insertion": peg_insertion,
    "gripper": gripper,
    "movable_gripper": movable_gripper,
    "canada2d": canada2d,
}
