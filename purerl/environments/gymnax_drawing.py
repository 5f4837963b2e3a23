"""Pictures of gymnax's environments, drawn from their states and parameters with the shapes of `drawing`."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from purerl.environments.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    PAPER,
    RED,
    bars,
    chains,
    channels,
    disc,
    grid,
    line,
    polygon,
    rectangle,
    scene,
)


def maze(walls: np.ndarray, agent: Sequence[int], goal: Sequence[int]) -> np.ndarray:
    """A maze seen from above; `agent` and `goal` are (row, column)."""
    colours = np.where(np.asarray(walls)[..., None] > 0, INK, PAPER)
    colours[int(goal[0]), int(goal[1])] = GREEN
    colours[int(agent[0]), int(agent[1])] = RED
    return grid(colours)


def cart_pole(state: Any, params: Any) -> np.ndarray:
    x, angle, limit = float(state.x), float(state.theta), float(params.x_threshold)
    tip = (x + 2 * params.length * np.sin(angle), 0.15 + 2 * params.length * np.cos(angle))
    shapes = [
        line([(-limit, 0), (limit, 0)], 0.03, GREY),
        *(line([(side, -0.12), (side, 0.12)], 0.03, GREY) for side in (-limit, limit)),
        rectangle((x, 0.05), 0.6, 0.3, INK),
        line([(x, 0.15), tip], 0.1, ORANGE),
        disc((x, 0.15), 0.06, BLUE),
    ]
    return scene(shapes, -limit - 0.3, limit + 0.3, -0.6, 1.5)


def pendulum(state: Any, params: Any) -> np.ndarray:
    angle, length = float(state.theta), float(params.l)
    strength = float(state.last_u) / float(params.max_torque)
    sweep = np.linspace(np.pi / 2, np.pi / 2 + strength * np.pi / 2, 30)
    torque = [(0.35 * np.cos(a), 0.35 * np.sin(a)) for a in sweep]
    tip = (-length * np.sin(angle), length * np.cos(angle))
    shapes = [line([(0, 0), tip], 0.16, RED), disc((0, 0), 0.07, INK), line(torque, 0.04, BLUE)]
    return scene(shapes, -1.3 * length, 1.3 * length, -1.3 * length, 1.3 * length)


def acrobot(state: Any, params: Any) -> np.ndarray:
    first, second = float(state.joint_angle1), float(state.joint_angle1 + state.joint_angle2)
    l1, l2 = float(params.link_length_1), float(params.link_length_2)
    elbow = (l1 * np.sin(first), -l1 * np.cos(first))
    tip = (elbow[0] + l2 * np.sin(second), elbow[1] - l2 * np.cos(second))
    reach = l1 + l2 + 0.2
    shapes = [
        line([(-reach, 1), (reach, 1)], 0.02, GREEN),
        line([(0, 0), elbow], 0.16, BLUE),
        line([elbow, tip], 0.16, ORANGE),
        *(disc(joint, 0.07, INK) for joint in ((0, 0), elbow)),
    ]
    return scene(shapes, -reach, reach, -reach, reach)


def mountain_car(state: Any, params: Any) -> np.ndarray:
    left, right = float(params.min_position), float(params.max_position)
    xs = np.linspace(left, right, 100)

    def height(x):
        return 0.45 * np.sin(3 * x) + 0.55

    ground = [(left, -0.1), *zip(xs, height(xs), strict=True), (right, -0.1)]
    x, flag = float(state.position), float(params.goal_position)
    slope = np.arctan(1.35 * np.cos(3 * x))
    along, up = np.array([np.cos(slope), np.sin(slope)]), np.array([-np.sin(slope), np.cos(slope)])
    foot = np.array([x, height(x)])
    body = [foot + 0.03 * up + a * 0.07 * along + b * 0.05 * up for a, b in ((-1, 0), (1, 0), (0.7, 1), (-0.7, 1))]
    pole = [(flag, height(flag)), (flag, height(flag) + 0.2)]
    banner = [(flag, height(flag) + 0.2), (flag + 0.09, height(flag) + 0.16), (flag, height(flag) + 0.12)]
    wheels = [disc(tuple(foot + 0.025 * up + side * 0.045 * along), 0.022, INK) for side in (-1, 1)]
    shapes = [polygon(ground, PALE), line(pole, 0.01, INK), polygon(banner, RED)]
    return scene([*shapes, polygon([tuple(p) for p in body], BLUE), *wheels], left, right, -0.1, 1.3)


def frozen_lake(state: Any, desc: np.ndarray) -> np.ndarray:
    tiles = np.array([(200, 222, 238), (222, 237, 247), INK, GREEN])  # start, ice, hole, goal
    colours = tiles[np.asarray(desc)]
    row, column = divmod(int(state.position), desc.shape[1])
    colours[row, column] = RED
    return grid(colours)


def point_robot(state: Any, params: Any) -> np.ndarray:
    r = float(params.circle_radius)
    arc = [(r * np.cos(a), r * np.sin(a)) for a in np.linspace(0, np.pi, 80)]
    shapes = [
        line(arc, 0.015 * r, GREY),
        disc(tuple(state.goal), float(params.goal_radius), (190, 222, 200)),
        disc(tuple(state.goal), 0.03 * r, GREEN),
        disc(tuple(state.pos), 0.05 * r, RED),
    ]
    return scene(shapes, -1.4 * r, 1.4 * r, -0.5 * r, 1.4 * r)


def reacher(state: Any) -> np.ndarray:
    joints = np.cumsum(np.stack([np.cos(state.angles), np.sin(state.angles)], 1), 0)  # angles are absolute
    joints = [(0.0, 0.0), *(tuple(joint) for joint in joints)]
    shapes = [disc(tuple(state.goal_xy), 0.12, GREEN)]
    for i, (start, end) in enumerate(itertools.pairwise(joints)):
        shapes.append(line([start, end], 0.14, (BLUE, ORANGE)[i % 2]))
    reach = len(joints) - 1 + 0.4
    return scene([*shapes, *(disc(joint, 0.06, INK) for joint in joints)], -reach, reach, -reach, reach)


def swimmer(state: Any) -> np.ndarray:
    urchins = [disc(tuple(xy), 0.12, (205, 190, 222)) for xy in state.urchin_xys]
    centres = [disc(tuple(xy), 0.03, (110, 70, 150)) for xy in state.urchin_xys]
    own = [disc(tuple(state.goal_xy), 0.06, GREEN), disc(tuple(state.xy), 0.06, RED)]
    return scene([*urchins, *centres, *own], -1.3, 1.3, -1.3, 1.3)


def gymnax_image(name: str, environment: Any, params: Any, state: Any) -> np.ndarray:
    """The picture of a state of the gymnax environment `name`; what has no drawing of its own shows its observation."""
    import jax

    physics = {
        "CartPole-v1": cart_pole,
        "Pendulum-v1": pendulum,
        "Acrobot-v1": acrobot,
        "MountainCar-v0": mountain_car,
        "MountainCarContinuous-v0": mountain_car,
        "PointRobot-misc": point_robot,
    }
    if name in physics:
        return physics[name](state, params)
    if name == "Reacher-misc":
        return reacher(state)
    if name == "Swimmer-misc":
        return swimmer(state)
    if name == "FrozenLake-misc":
        return frozen_lake(state, np.asarray(environment.desc))
    if name in ("FourRooms-misc", "MetaMaze-misc"):
        return maze(np.asarray(environment.occupied_map), state.pos, state.goal)
    if name == "DiscountingChain-bsuite":
        return chains(state.rewards, params.reward_timestep, int(state.context), int(state.time))
    if name == "SimpleBandit-bsuite":
        return bars(state.rewards)
    if name == "BernoulliBandit-misc":
        return bars(state.reward_probs, ("arm 0", "arm 1"), _pulled(state))
    if name == "GaussianBandit-misc":
        return bars(np.array([0.0, state.mu]), ("arm 0", "arm 1"), _pulled(state))
    observation = np.asarray(environment.observe(jax.random.key(0), state, None, params))
    if observation.ndim > 1 and min(observation.shape[:2]) > 1:
        return channels(observation, MINATAR_CHANNELS.get(name, ()))
    return bars(observation, _named(name, observation.size))


MINATAR_CHANNELS = {
    "Asterix-MinAtar": ("player", "enemy", "trail", "gold"),
    "Breakout-MinAtar": ("paddle", "ball", "trail", "brick"),
    "Freeway-MinAtar": ("chicken", "car", "speed 1", "speed 2", "speed 3", "speed 4", "speed 5"),
    "SpaceInvaders-MinAtar": ("cannon", "alien", "goes left", "goes right", "own bullet", "its bullet"),
    "Seaquest-MinAtar": (
        *("bow", "stern", "own bullet", "trail", "their bullet"),
        *("fish", "submarine", "oxygen", "divers aboard", "diver"),
    ),
}


def _named(name: str, size: int) -> list[str]:
    """What the components of gymnax's vector observations are called, where they have a name."""
    first = {
        "UmbrellaChain-bsuite": ["need umbrella", "have umbrella", "time left"],
        "MemoryChain-bsuite": ["time left", "query"],
    }.get(name, [])
    rest = {"UmbrellaChain-bsuite": "noise", "MemoryChain-bsuite": "cue"}.get(name, "o")
    return [*first, *(f"{rest} {i}" for i in range(size - len(first)))][:size]


def _pulled(state: Any) -> int | None:
    """The arm of a bandit that was pulled last; None before the first pull."""
    return int(state.last_action) if int(state.time) > 0 else None
