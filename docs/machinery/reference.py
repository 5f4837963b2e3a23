"""The reference of the package's public functions and classes, from their docstrings (for Sphinx's autodoc)."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import purerl
from docs.machinery import fields
from docs.machinery.docstrings import definitions, first_sentence, inline, to_rst
from docs.machinery.rst import code, list_table, section, title

# Page -> module or package (all of its public modules), in the order of the table of contents.
PAGES: dict[str, tuple[str, ...]] = {
    "contracts": ("purerl.types",),
    "training": ("purerl.train", "purerl.run", "purerl.evaluate", "purerl.checkpoint", "purerl.saved", "purerl.export"),
    "sweeping": ("purerl.sweep", "purerl.search", "purerl.sweeps"),
    "devices": ("purerl.devices", "purerl.processes", "purerl.host"),
    "environments": ("purerl.environments",),
    "operators": ("purerl.operators",),
    "distributions": ("purerl.distributions",),
    "networks": ("purerl.networks",),
    "replay": ("purerl.replay", "purerl.experience", "purerl.data"),
    "acting": ("purerl.rollout", "purerl.interaction", "purerl.exploration", "purerl.normalization"),
    "learning": (
        "purerl.action_values",
        "purerl.optimizers",
        "purerl.regression",
        "purerl.trust_region",
        "purerl.algorithms.config",
    ),
    "models": ("purerl.models",),
    "planning": ("purerl.planning",),
    "report": ("purerl.report",),
    "tools": ("purerl.algorithms", "purerl.presets", "purerl.configuration", "purerl.testing", "purerl.trees"),
}
ALONE = ("purerl.algorithms",)  # the modules inside have pages of their own


def pages() -> dict[str, str]:
    """Text by the name of the page."""
    made = {f"reference/{name}": page(name, modules) for name, modules in PAGES.items()}
    return made | {"reference/index": index()}


def index() -> str:
    """The front door, and the pages behind it."""
    return "\n\n".join(
        [
            title("API reference"),
            "What ``import purerl`` gives. All of it is an ordinary function, a named tuple or a module.",
            list_table(("Name", "What"), list(_front_door()), (26, 74)),
            section("Modules"),
            ".. toctree::\n    :maxdepth: 1\n\n" + "\n".join(f"    {name}" for name in PAGES),
        ]
    )


def _front_door() -> Iterator[tuple[str, str]]:
    for name in purerl.__all__:
        value = getattr(purerl, name)
        if inspect.ismodule(value):
            yield f":doc:`{name} <../algorithms/{name}>`", inline(first_sentence(value.__doc__ or ""))
        elif inspect.isclass(value) or inspect.isfunction(value):
            role = "class" if inspect.isclass(value) else "func"
            target = f"{value.__module__}.{value.__qualname__}"
            yield f":py:{role}:`{name} <{target}>`", inline(first_sentence(inspect.getdoc(value) or ""))
        else:
            yield code(name), "The table of algorithms: module by name."


def page(name: str, modules: tuple[str, ...]) -> str:
    """The page of some modules, packages among them with all their public modules that hold anything."""
    names = [inner for module in modules for inner in _expanded(module)]
    return "\n\n".join([title(name.capitalize()), *(_automodule(inner) for inner in names)]) + "\n"


def _expanded(name: str) -> list[str]:
    module = importlib.import_module(name)
    if name in ALONE:
        return [name]
    inside = [info.name for info in pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}.")]
    public = [inner for inner in inside if not any(part.startswith("_") for part in inner.split("."))]
    return [inner for inner in [name, *public] if _has_members(importlib.import_module(inner))]


def _has_members(module: ModuleType) -> bool:
    return any(
        getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
        for name, value in vars(module).items()
    )


def _automodule(name: str) -> str:
    options = "    :members:\n    :ignore-module-all:\n    :member-order: bysource"
    return f"{section(name)}\n\n.. automodule:: {name}\n{options}"


def process_docstring(app: Any, kind: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """For autodoc: plain docstrings as reStructuredText, and the fields of named tuples and dataclasses."""
    text = to_rst("\n".join(lines)) if lines else ""
    if kind in ("class", "exception") and (hasattr(value, "_fields") or hasattr(value, "__dataclass_fields__")):
        text += "\n" + _fields(value)
    lines[:] = text.splitlines()


def _fields(kind: type) -> str:
    terms = [(name, text) for name, text in fields.documented(kind).items() if text]
    return f"**Fields**\n\n{definitions(terms)}\n" if terms else ""


def skip_member(app: Any, kind: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """For autodoc: leave out fields, which the class's text describes, and methods that other packages put there."""
    is_field = type(value).__name__ in ("_tuplegetter", "member_descriptor")
    is_foreign = inspect.isfunction(value) and not value.__module__.startswith("purerl")
    return True if is_field or is_foreign else None
