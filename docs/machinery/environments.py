"""The page of all environments, from the package's lists."""

import inspect
from collections.abc import Callable
from typing import Any

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
        title("Environments"),
        "``purerl.make(NAME, **parameters)`` makes any of these; on the command line they are ``--env NAME`` and "
        "``--env-param parameter=value``. ``purerl list`` prints the names. A parameter that is a ``float`` may be "
        "traced, so that one program sweeps it.",
        section("RoboParking"),
        f"{inline(_summary(robo_parking))}. It is the worked example of an environment of one's own: "
        "``purerl/environments/robo_parking.py``.",
        _table("", {"RoboParking": robo_parking.make}, with_spaces=True),
    ]
    missing = set(environments.SUITES) - set(SUITES)
    if missing:
        raise ValueError(f"docs.machinery.environments.SUITES says nothing about the suites {sorted(missing)}")
    for prefix, (heading, module) in SUITES.items():
        parts += [section(heading), f"{inline(_summary(module))}.", _suite(prefix)]
    return "\n\n".join(parts) + "\n"


def _summary(module: Any) -> str:
    return first_sentence(module.__doc__ or "")


def _suite(prefix: str) -> str:
    names = environments.SUITES[prefix].names
    if prefix in DESCRIBED:
        return _table(prefix, DESCRIBED[prefix], prefix in MADE_HERE)
    if prefix in MADE_HERE:
        rows = [(code(prefix + name), *_spaces(environments.make(prefix + name))) for name in names]
        return list_table(("Name", "Observation", "Actions"), rows, (40, 30, 30))
    return ", ".join(code(prefix + name) for name in names)


def _table(prefix: str, makers: dict[str, Callable[..., Environment]], with_spaces: bool) -> str:
    rows = [_row(prefix + name, maker, with_spaces) for name, maker in makers.items()]
    return list_table(("Name", "What", "Parameters"), rows, (24, 46, 30))


def _row(name: str, maker: Callable[..., Environment], with_spaces: bool) -> tuple[str, str, str]:
    observation, actions = _spaces(environments.make(name)) if with_spaces else ("", "")
    spaces = f" Observation: {observation}; actions: {actions}." if with_spaces else ""
    return code(name), f"{inline(first_sentence(inspect.getdoc(maker) or ''))}.{spaces}", _parameters(maker)


def _parameters(maker: Callable[..., Environment]) -> str:
    """The arguments with a default that is written down plainly."""
    parameters = [p for p in inspect.signature(maker).parameters.values() if p.default is not inspect.Parameter.empty]
    return ", ".join(code(f"{p.name}={fields.value_text(p.default)}") for p in parameters) or "none"


def _spaces(environment: Environment) -> tuple[str, str]:
    return _space(environment.observation_space), _space(environment.action_space)


def _space(space: Space) -> str:
    """'4 numbers', 'one of 3', '2 choices', '10 x 10 x 4 numbers'."""
    if isinstance(space, Discrete):
        return f"one of {space.n}"
    if isinstance(space, Box):
        shape = " x ".join(map(str, space.shape)) or "1"
        return f"{shape} number{'' if shape == '1' else 's'}"
    return f"{len(space.sizes)} choices of {', '.join(map(str, space.sizes))}"
