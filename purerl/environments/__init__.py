"""Environments by name: `make("CartPole-v1")`, `make("brax/hopper", backend="spring")`, `make("gymnasium/Taxi-v4")`.

Objects of other packages become environments with `from_gymnax` and, on the host, `from_gymnasium`. A suite is imported
when one of its environments is made, and not before.
"""

import importlib.util
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from purerl.devices import require_gpu_build
from purerl.environments import (
    brax,
    control,
    finite,
    games,
    goals,
    gymnasium_bridge,
    gymnax,
    playground,
    probes,
    robo_parking,
)
from purerl.environments.gymnasium_bridge import from_gymnasium
from purerl.environments.gymnax import from_gymnax
from purerl.environments.suggestions import suggestion
from purerl.environments.vectorize import EpisodeStatistics, VectorEnvironment, VectorState, vectorize
from purerl.environments.wrappers import (
    flatten_observation,
    frame_stack,
    frozen_normalization,
    multiply_rewards,
    normalize_observations,
    rescale_actions,
    scale_rewards,
    select_observation,
    sticky_actions,
    time_limit,
    with_last_action_and_reward,
)
from purerl.types import Environment

__all__ = [
    "EpisodeStatistics",
    "VectorEnvironment",
    "VectorState",
    "flatten_observation",
    "frame_stack",
    "from_gymnasium",
    "from_gymnax",
    "frozen_normalization",
    "make",
    "multiply_rewards",
    "names",
    "normalize_observations",
    "rescale_actions",
    "scale_rewards",
    "select_observation",
    "sticky_actions",
    "time_limit",
    "vectorize",
    "with_last_action_and_reward",
]


class Suite(NamedTuple):
    """A family of environments that share a prefix and a package."""

    names: tuple[str, ...]  # without the prefix
    make: Callable[..., Environment]  # make(name, **parameters)
    packages: tuple[str, ...] = ()  # what must be installed
    requirement: str = ""  # what to tell pip


SUITES: dict[str, Suite] = {
    "": Suite(gymnax.NAMES, gymnax.make, ("gymnax", "six"), "gymnax six"),
    "probe/": Suite(tuple(probes.PROBES), lambda name, **parameters: probes.PROBES[name](**parameters)),
    "goal/": Suite(tuple(goals.ENVIRONMENTS), lambda name, **parameters: goals.ENVIRONMENTS[name](**parameters)),
    "finite/": Suite(tuple(finite.ENVIRONMENTS), lambda name, **parameters: finite.ENVIRONMENTS[name](**parameters)),
    "game/": Suite(games.NAMES, games.make),
    "brax/": Suite(brax.NAMES, brax.make, ("brax",), "brax"),
    "mjx/": Suite(tuple(control.TASKS), control.make, ("mujoco", "mujoco.mjx"), "mujoco mujoco-mjx"),
    "playground/": Suite(playground.NAMES, playground.make, ("mujoco_playground",), '"playground>=0.2.0,<0.3"'),
}


def names() -> list[str]:
    """Every name that `make` accepts, without those of Gymnasium ("gymnasium/" and any id that it has registered)."""
    return ["RoboParking", *(prefix + name for prefix, suite in SUITES.items() for name in suite.names)]


def known(name: str) -> bool:
    """Whether `make` accepts the name, as far as can be told without asking Gymnasium for its own."""
    return name.startswith(gymnasium_bridge.PREFIX) or name in names()


def make(name: str, **parameters: Any) -> Environment:
    """The environment called `name`.

    Args:
        name: a gymnax id ("CartPole-v1", "Breakout-MinAtar", "Catch-bsuite", ...), "RoboParking", or a name with its
            suite in front: "probe/truncation", "brax/hopper", "mjx/hopper", "playground/CartpoleBalance".
            `names()` lists them all. Beside them, "gymnasium/" with any id of Gymnasium, simulated on the host.
        parameters: what the environment can be given: fields of its physics such as `max_torque=1.5` (floats may be
            traced, so that `jax.vmap` sweeps them) and static choices such as `backend="spring"` or `size=20`.

    Returns the environment, with `name` and `parameters` recorded as given, so that it can be made again.

    Raises:
        ValueError: unknown name (the message has the nearest ones) or unknown parameter (it has the valid ones).
        ImportError: the suite's package, or the build of JAX that JAX_PLATFORMS asks for, is not installed (the message
            has the command that installs it).
    """
    require_gpu_build()  # before the first constant asks for the device
    if not isinstance(name, str):
        raise ValueError(
            f"make takes the name of an environment, got {name!r}: an object goes through "
            f"purerl.environments.from_gymnax or from_gymnasium"
        )
    if name.startswith(gymnasium_bridge.PREFIX):
        return gymnasium_bridge.make(name.removeprefix(gymnasium_bridge.PREFIX), **parameters)
    if name not in names():
        raise ValueError(f"There is no environment called {name!r}. {suggestion(name, names())}")
    if name == "RoboParking":
        _check_parameters(name, robo_parking.make, parameters)
        return robo_parking.make(**parameters)._replace(parameters=dict(parameters))

    prefix = name.partition("/")[0] + "/" if "/" in name else ""
    suite, short = SUITES[prefix], name.removeprefix(prefix)
    for package in suite.packages:
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"{name} needs {package}, which is not installed: pip install {suite.requirement}")
    # Here each environment has a function of its own.
    own = {"probe/": probes.PROBES, "goal/": goals.ENVIRONMENTS, "finite/": finite.ENVIRONMENTS, "mjx/": control.TASKS}
    _check_parameters(name, own[prefix][short] if prefix in own else suite.make, parameters)
    return suite.make(short, **parameters)._replace(name=name, parameters=dict(parameters))


def _check_parameters(name: str, maker: Callable, parameters: dict[str, Any]) -> None:
    """Raise ValueError for a parameter that `maker` does not take (makers with `**` check for themselves)."""
    arguments = inspect.signature(maker).parameters.values()
    if any(argument.kind is argument.VAR_KEYWORD for argument in arguments):
        return
    valid = [argument.name for argument in arguments if argument.default is not argument.empty]
    unknown = sorted(set(parameters) - set(valid))
    if unknown:
        has = f"it has: {', '.join(valid)}" if valid else "it has none"
        raise ValueError(f"{name} has no parameter {', '.join(unknown)}; {has}")
