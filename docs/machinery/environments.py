"""The page of all environments, from the package's lists."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from gymnax import registration as registry

from docs.machinery import fields
from docs.machinery.docstrings import first_sentence, inline
from docs.machinery.rst import code, list_table, section, title
from purerl import Box, Discrete, environments
from purerl.environments import brax, control, finite, games, goals, gymnax, playground, probes, robo_parking
from purerl.types import Environment, Space

SUITES: dict[str, tuple[str, Any]] = {
    "": ("Gymnax", gymnax),
    "brax/": ("Brax", brax),
    "mjx/": ("Tasks of our own on MuJoCo MJX", control),
    "playground/": ("MuJoCo Playground", playground),
    "goal/": ("Goals", goals),
    "finite/": ("Finite Markov decision processes", finite),
    "game/": ("Board games", games),
    "probe/": ("Probes", probes),
}
NOTES = {
    "": " Parameters are the fields of its ``EnvParams``; arguments of an environment's constructor, such as DeepSea's "
    "``size=20``, may be given as well.",
    "brax/": " The parameter ``backend`` is one of ``spring``, ``positional``, ``generalized`` and ``mjx``.",
}
MADE_HERE = ("", "goal/", "probe/", "game/")  # cheap to make: their spaces can be looked at
DESCRIBED: dict[str, dict[str, Callable[..., Environment]]] = {
    "mjx/": control.TASKS,
    "goal/": goals.ENVIRONMENTS,
    "finite/": finite.ENVIRONMENTS,
    "probe/": probes.PROBES,
}


def pages() -> dict[str, str]:
    """Text by the name of the page."""
    return {"environments": page()}


def page() -> str:
    """The page, as reStructuredText."""
    parts = [
        title("List of environments"),
        "``purerl.make(NAME, **parameters)`` makes any of these; on the command line they are ``--env NAME`` and "
        "``--env-param parameter=value``. ``purerl list`` prints the names. A parameter that is a ``float`` may be "
        "traced, so that one program sweeps it.",
        section("RoboParking"),
        f"{inline(_summary(robo_parking))} (``purerl/environments/robo_parking.py``).",
        _table("", {"RoboParking": robo_parking.make}, with_spaces=True),
    ]
    missing = set(environments.SUITES) - set(SUITES)
    if missing:
        raise ValueError(f"docs.machinery.environments.SUITES says nothing about the suites {sorted(missing)}")
    for prefix, (heading, module) in SUITES.items():
        parts += [section(heading), f"{inline(_summary(module))}.{NOTES.get(prefix, '')}", _suite(prefix)]
    return "\n\n".join(parts) + "\n"


def _summary(module: Any) -> str:
    return first_sentence(module.__doc__ or "")


def _suite(prefix: str) -> str:
    names = environments.SUITES[prefix].names
    if prefix in DESCRIBED:
        return _table(prefix, DESCRIBED[prefix], prefix in MADE_HERE)
    if prefix in MADE_HERE:
        parameters = _gymnax_parameters if prefix == "" else lambda name: _parameters(environments.SUITES[prefix].make)
        rows = [(code(prefix + name), _seen(environments.make(prefix + name)), parameters(name)) for name in names]
        return list_table(("Name", "Observation and actions", "Parameters"), rows, (24, 30, 46))
    return ", ".join(code(prefix + name) for name in names)


def _table(prefix: str, makers: dict[str, Callable[..., Environment]], with_spaces: bool) -> str:
    rows = [_row(prefix + name, maker, with_spaces) for name, maker in makers.items()]
    return list_table(("Name", "What", "Parameters"), rows, (24, 46, 30))


def _row(name: str, maker: Callable[..., Environment], with_spaces: bool) -> tuple[str, str, str]:
    spaces = f" {_seen(environments.make(name)).capitalize()}." if with_spaces else ""
    return code(name), f"{inline(first_sentence(inspect.getdoc(maker) or ''))}.{spaces}", _parameters(maker)


def _parameters(maker: Callable[..., Environment]) -> str:
    """The arguments with a default that is written down plainly."""
    parameters = [p for p in inspect.signature(maker).parameters.values() if p.default is not inspect.Parameter.empty]
    return ", ".join(code(f"{p.name}={fields.value_text(p.default)}") for p in parameters) or "none"


def _gymnax_parameters(name: str) -> str:
    """Fields of gymnax's `EnvParams`."""
    values = dataclasses.asdict(registry.make(name)[1]).items()
    written = [f"{key}={fields.value_text(value)}" for key, value in values if isinstance(value, int | float | str)]
    return ", ".join(map(code, written)) or "none"


def _seen(environment: Environment) -> str:
    """'4 numbers observed, one of 2 actions'."""
    return f"{_space(environment.observation_space)} observed; {_space(environment.action_space, 'action')}"


def _space(space: Space, of: str = "number") -> str:
    """'4 numbers', 'one of 3 numbers', '2 choices of 3, 4', '10 x 10 x 4 numbers'."""
    if isinstance(space, Discrete):
        return f"one of {space.n} {of}s"
    if isinstance(space, Box):
        shape = " x ".join(map(str, space.shape)) or "1"
        return f"{shape} {'continuous ' if of == 'action' else ''}{of}{'' if shape == '1' else 's'}"
    return f"{len(space.sizes)} choices of {', '.join(map(str, space.sizes))}"
