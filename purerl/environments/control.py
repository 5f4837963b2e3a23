"""Control tasks of our own on MJX: the examples of `mjx_environment`, small enough to train on a laptop's CPU.

Their physical parameters are in SI units or are factors of the model's values, and may be traced: one program then
trains under many physics (`make("cartpole_swingup", pole_mass=traced)`). The models are in `models/*.xml`; the tasks
with objects to handle are in `purerl.environments.manipulation`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl.environments import manipulation
from purerl.environments.geometry_drawing import Camera
from purerl.environments.manipulation import angles, bell
from purerl.environments.mjx import MODELS, load_model, mjx_environment, scaled, with_body_mass
from purerl.types import Environment


def make(name: str, **parameters: Any) -> Environment:
    """One of the tasks in `TASKS`; `parameters` are the keyword arguments of the function of that name.

    Raises ValueError for an unknown name and TypeError for an unknown parameter.
    """
    if name not in TASKS:
        raise ValueError(f"unknown control task {name!r}; there are {', '.join(TASKS)}")
    return TASKS[name](**parameters)


def cartpole_swingup(
    *,
    cart_mass: Any = 1.0,
    pole_mass: Any = 0.1,
    damping: Any = 0.002,
    force: Any = 10.0,
    rail: Any = 2.4,
    max_steps: int = 500,
) -> Environment:
    """Swing a pole up by pushing its cart along a rail, and keep it up in the middle.

    Observation `[5]`: cart position (m), cosine and sine of the pole's angle from upright, cart velocity (m/s), pole's
    angular velocity (rad/s). Action `[1]` in [-1, 1]: the push, in units of `force`. A step is 0.02 s; the episode
    ends when the cart leaves the rail and is truncated after `max_steps`. The pole starts hanging (angle pi with
    deviation 0.1, all else with deviation 0.01).

    The reward, in [0, 1], is the smooth reward of the DeepMind Control Suite (Tassa et al., 2018,
    https://arxiv.org/abs/1801.00690), section 6.1: `upright * centred * small control * small velocity`.

    Args:
        cart_mass: kilograms.
        pole_mass: kilograms, of a pole 1 m long.
        damping: of the hinge, N m s / rad.
        force: newtons at action 1.
        rail: half the length of the rail, metres.
        max_steps: time limit, environment steps.
    """
    mujoco_model = load_model(MODELS / "cartpole.xml")
    cart, pole = mujoco_model.body("cart").id, mujoco_model.body("pole").id

    def modify(model):
        model = with_body_mass(with_body_mass(model, cart, cart_mass), pole, pole_mass)
        gear = model.actuator_gear.at[0, 0].set(force)
        return model.replace(dof_damping=model.dof_damping.at[1].set(damping), actuator_gear=gear)

    def reset(key, model, data):
        noise = jax.random.normal(key, (4,)) * jnp.array([0.01, 0.1, 0.01, 0.01])
        return data.replace(qpos=jnp.array([0.0, jnp.pi]) + noise[:2], qvel=noise[2:])

    def observation(model, data):
        position, angle = data.qpos
        return jnp.array([position, jnp.cos(angle), jnp.sin(angle), *data.qvel])

    def reward(model, before, action, after):
        position, angle = after.qpos
        upright = (1 + jnp.cos(angle)) / 2
        centred = (1 + bell(position, margin=2.0)) / 2
        small_control = (4 + jnp.maximum(1 - jnp.square(jnp.clip(action[0], -1, 1)), 0)) / 5
        small_velocity = (1 + bell(after.qvel[1], margin=5.0)) / 2
        return upright * centred * small_control * small_velocity

    def termination(model, data):
        return jnp.abs(data.qpos[0]) > rail

    return mjx_environment(
        "cartpole_swingup",
        mujoco_model,
        reset=reset,
        observation=observation,
        reward=reward,
        termination=termination,
        frames_per_step=2,
        max_steps=max_steps,
        modify=modify,
        parameters={
            "cart_mass": cart_mass,
            "pole_mass": pole_mass,
            "damping": damping,
            "force": force,
            "rail": rail,
            "max_steps": max_steps,
        },
        camera=Camera(height=3.6, centre=(0.0, 0.0, 0.0), elevation=0.0),
    )


def planar_reacher(
    *,
    mass: Any = 1.0,
    damping: Any = 1.0,
    strength: Any = 1.0,
    max_steps: int = 200,
) -> Environment:
    """Bring the fingertip of a three-jointed arm in the horizontal plane to a random target, and hold it there.

    Observation `[13]`: cosines `[3]` and sines `[3]` of the joint angles, joint velocities `[3]` (rad/s), target
    `[2]` (m), target minus fingertip `[2]` (m). Action `[3]` in [-1, 1]: the torques at shoulder, elbow and wrist, in
    units of 0.5, 0.3 and 0.15 N m. A step is 0.02 s; the only end is the time limit. Joints start anywhere, at
    rest; the target is uniform in the ring between 0.1 m and 0.55 m around the shoulder (the arm reaches 0.6 m).

    The reward is `1 - tanh(distance / 0.2 m) - 0.01 * mean(action^2)`, at most 1 per step.

    Args:
        mass: factor of the links' masses and inertias (0.3, 0.2 and 0.1 kg).
        damping: factor of the joints' damping (0.05 N m s / rad).
        strength: factor of the torques.
        max_steps: time limit, environment steps.
    """
    mujoco_model = load_model(MODELS / "planar_reacher.xml")
    fingertip = mujoco_model.site("fingertip").id

    def modify(model):
        model = scaled(model, mass=mass, damping=damping)
        return model.replace(actuator_gear=model.actuator_gear * strength)

    def reset(key, model, data):
        joint_key, radius_key, angle_key = jax.random.split(key, 3)
        qpos = jax.random.uniform(joint_key, (3,), minval=-jnp.pi, maxval=jnp.pi)
        radius = jnp.sqrt(jax.random.uniform(radius_key, minval=0.1**2, maxval=0.55**2))
        angle = jax.random.uniform(angle_key, minval=-jnp.pi, maxval=jnp.pi)
        target = jnp.array([radius * jnp.cos(angle), radius * jnp.sin(angle), 0.0])
        return data.replace(qpos=qpos, mocap_pos=target[None])

    def to_target(data):
        return (data.mocap_pos[0] - data.site_xpos[fingertip])[:2]

    def observation(model, data):
        target = data.mocap_pos[0, :2]
        return jnp.concatenate([jnp.cos(data.qpos), jnp.sin(data.qpos), data.qvel, target, to_target(data)])

    def reward(model, before, action, after):
        distance = jnp.linalg.norm(to_target(after))
        return 1 - jnp.tanh(distance / 0.2) - 0.01 * jnp.mean(jnp.square(action))

    return mjx_environment(
        "planar_reacher",
        mujoco_model,
        reset=reset,
        observation=observation,
        reward=reward,
        frames_per_step=2,
        max_steps=max_steps,
        modify=modify,
        parameters={"mass": mass, "damping": damping, "strength": strength, "max_steps": max_steps},
        camera=Camera(elevation=90.0, height=1.4, centre=(0.0, 0.0, 0.0)),
    )


def hopper(
    *,
    mass: Any = 1.0,
    friction: Any = 1.0,
    damping: Any = 1.0,
    strength: Any = 1.0,
    max_steps: int = 500,
) -> Environment:
    """Hop forward on one leg without falling: a model of our own, with the rules of Gym's Hopper.

    Observation `[11]`: torso height (m), torso pitch and the angles of hip, knee and ankle (rad), then the velocities
    of the torso in x and z (m/s), of its pitch and of the three joints (rad/s), clipped to [-10, 10]. Action `[3]` in
    [-1, 1]: the torques at hip, knee and ankle in units of 100, 100 and 50 N m. A step is 0.02 s. The episode ends
    when the torso sinks below 0.7 m or pitches by more than 0.5 rad. It starts upright, every position and velocity
    within 0.005 of it.

    The reward is `0.25 + min(forward speed, 1 m/s) / (1 m/s) - 0.001 * sum(action^2)`: the cap takes away what a dive
    would earn, and standing still earns little.

    Args:
        mass: factor of all masses and inertias.
        friction: sliding friction coefficient between foot and ground (1 holds well, 0.1 is ice).
        damping: factor of the joints' damping (1 N m s / rad).
        strength: factor of the torques.
        max_steps: time limit, environment steps.
    """
    mujoco_model = load_model(MODELS / "hopper.xml")
    start = np.asarray(mujoco_model.qpos0, np.float32)
    torso_height = float(mujoco_model.body("torso").pos[2])

    def modify(model):
        model = scaled(model, mass=mass, friction=friction, damping=damping)
        return model.replace(actuator_gear=model.actuator_gear * strength)

    def reset(key, model, data):
        noise = jax.random.uniform(key, (12,), minval=-0.005, maxval=0.005)
        return data.replace(qpos=start + noise[:6], qvel=noise[6:])

    def height(data):
        return torso_height + data.qpos[1]

    def observation(model, data):
        return jnp.concatenate([height(data)[None], data.qpos[2:], jnp.clip(data.qvel, -10, 10)])

    def reward(model, before, action, after):
        speed = (after.qpos[0] - before.qpos[0]) / (after.time - before.time)
        return 0.25 + jnp.minimum(speed, 1.0) - 0.001 * jnp.sum(jnp.square(action))

    def termination(model, data):
        return (height(data) < 0.7) | (jnp.abs(data.qpos[2]) > 0.5)

    return mjx_environment(
        "hopper",
        mujoco_model,
        reset=reset,
        observation=observation,
        reward=reward,
        termination=termination,
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
        camera=Camera(height=2.2, centre=(0.0, 0.0, 0.85), follow=True),
    )


def swimmer6(
    *,
    density: Any = 1000.0,
    viscosity: Any = 0.1,
    damping: Any = 1.0,
    strength: Any = 1.0,
    max_steps: int = 150,
) -> Environment:
    """Swim along +x with a body of six links in a viscous fluid: after the six-link swimmer of Gu et al. (2016).

    Seen from above. Observation `[20]`: cosine and sine of the third link's direction, cosines `[5]` and sines `[5]` of
    the joint angles from head to tail, velocity `[2]` of the front end of the third link along and across it (m/s), its
    angular velocity and those of the joints `[5]` (rad/s). Action `[5]` in [-1, 1]: the torques at the joints, in units
    of 0.1 N m, against springs of 0.1 N m / rad. A step is 0.04 s; the only end is the time limit. It starts at rest,
    every angle within 0.1 rad of straight along +x.

    The reward is the speed of the centre of mass along +x, in lengths of a link (0.1 m) per second, minus
    `0.05 mean(action^2)`: random actions earn -8, a wave of 2.5 Hz from head to tail 198. The numbers of the study,
    whose model was another, are not comparable.

    Args:
        density: of the fluid, kg/m^3; it pushes with the square of the speed.
        viscosity: of the fluid, Pa s; it drags in proportion to the speed.
        damping: factor of the joints' damping (0.005 N m s / rad).
        strength: factor of the torques.
        max_steps: time limit, environment steps.
    """
    mujoco_model = load_model(MODELS / "swimmer6.xml")
    root = mujoco_model.body("link_3").id
    joints = jnp.array([mujoco_model.joint(f"joint_{i}").dofadr[0] for i in range(1, 6)])  # from head to tail

    def modify(model):
        model = scaled(model, damping=damping)
        fluid = model.opt.replace(density=density * jnp.ones(()), viscosity=viscosity * jnp.ones(()))
        return model.replace(actuator_gear=model.actuator_gear * strength, opt=fluid)

    def reset(key, model, data):
        noise = jax.random.uniform(key, (8,), minval=-0.1, maxval=0.1)
        return data.replace(qpos=noise.at[:2].set(0.0))

    def observation(model, data):
        (cosine, sine), velocity = angles(data.qpos[2]), data.qvel[:2]
        across = jnp.concatenate([-sine, cosine])
        along = jnp.concatenate([cosine, sine])
        own = jnp.array([velocity @ along, velocity @ across])
        return jnp.concatenate([cosine, sine, *angles(data.qpos[joints]), own, data.qvel[2:3], data.qvel[joints]])

    def reward(model, before, action, after):
        speed = (after.subtree_com[root, 0] - before.subtree_com[root, 0]) / (after.time - before.time)
        return speed / 0.1 - 0.05 * jnp.mean(jnp.square(action))

    return mjx_environment(
        "swimmer6",
        mujoco_model,
        reset=reset,
        observation=observation,
        reward=reward,
        frames_per_step=4,
        max_steps=max_steps,
        modify=modify,
        parameters={
            "density": density,
            "viscosity": viscosity,
            "damping": damping,
            "strength": strength,
            "max_steps": max_steps,
        },
        camera=Camera(elevation=90.0, height=1.2, centre=(0.0, 0.0, 0.0), follow=True),
    )


TASKS = {
    "cartpole_swingup": cartpole_swingup,
    "planar_reacher": planar_reacher,
    "hopper": hopper,
    "swimmer6": swimmer6,
    **manipulation.TASKS,
}
