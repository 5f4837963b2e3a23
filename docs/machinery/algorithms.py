"""One page per algorithm, from its module, its presets, its measured results and its experiments."""

import functools
import importlib
import inspect
import textwrap
import tomllib
from types import ModuleType
from typing import Any, get_args

from docs.machinery import fields, measured
from docs.machinery.docstrings import definitions, first_sentence, inline, to_rst
from docs.machinery.rst import code, file_link, list_table, section, title
from purerl import ALGORITHMS, MultiDiscrete, environments, presets
from purerl.types import Environment

# What learns from data instead of from an environment has a `make` of its own and no name on the command line.
FROM_DATA = {
    "fitted_iteration": "purerl.algorithms.value_based.fitted_iteration",
    "lspi": "purerl.algorithms.value_based.lspi",
    "successor_features": "purerl.algorithms.value_based.successor_features",
}
NUMBERED = "discrete, with states that are numbered"
MODULES = ALGORITHMS | FROM_DATA
FAMILIES = {
    "tabular": "Tables",
    "value_based": "Values of discrete actions",
    "policy_gradient": "Policy gradients",
    "continuous_control": "Values of continuous actions",
    "model_based": "Models and search",
}


def pages() -> dict[str, str]:
    """Text by the name of the page, relative to the folder of the documentation and without its ending."""
    made = {f"algorithms/{name}": page(name) for name in MODULES}
    return made | {"algorithms/index": index()}


def index() -> str:
    """The table of all algorithms by family."""
    parts = [
        title("Algorithms"),
        "Every algorithm is one file with a ``Config`` and a ``make(environment, config)``. On the command line it is "
        "``purerl train NAME --env ENVIRONMENT``; in Python, ``purerl.load(NAME)`` is the module.",
    ]
    for family, heading in FAMILIES.items():
        names = [name for name in MODULES if family_of(name) == family]
        rows = [_index_row(name) for name in names]
        table = list_table(("Name", "What", "Actions"), rows, (16, 60, 24))
        parts += [section(heading), table, _toctree(names)]
    return "\n\n".join(parts) + "\n"


def _index_row(name: str) -> tuple[str, str, str]:
    module = module_of(name)
    return f":doc:`{name}`", inline(first_sentence(module.__doc__ or "")), ", ".join(actions_of(name))


def _toctree(names: list[str]) -> str:
    return ".. toctree::\n    :hidden:\n\n" + "\n".join(f"    {name}" for name in names)


def family_of(name: str) -> str:
    """The folder of the algorithm's module: 'tabular', 'value_based', ..."""
    return MODULES[name].split(".")[-2]


def module_of(name: str) -> ModuleType:
    """The algorithm's module."""
    return importlib.import_module(MODULES[name])


def page(name: str) -> str:
    """The page of one algorithm, as reStructuredText."""
    module = module_of(name)
    parts = [
        title(name),
        f".. py:module:: {MODULES[name]}",
        to_rst(module.__doc__ or ""),
        section("At a glance"),
        facts(name, module),
        section("Settings"),
        settings(module),
        _presets(name),
        _measured(name),
        _experiments(name),
        _reference(module),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def facts(name: str, module: ModuleType) -> str:
    """Actions, memory, source, and how to run it."""
    lines = [f"**Actions**: {', '.join(actions_of(name))}", f"**Memory**: {memory_of(module)}"]
    lines.append(f"**Source**: {file_link(_source(module))}")
    shared = inspect.getmodule(module.make)
    if shared is not module and shared is not None:
        lines.append(f"**Built on**: {file_link(_source(shared))}, whose fields it has with other defaults")
    if name in FROM_DATA:
        lines.append("**Learns from**: a dataset, not from acting; it has no name on the command line")
    else:
        lines.append(f"**Run**: {code(f'purerl train {name} --env {example_environment(name)}')}")
    return "\n".join(f"- {line}" for line in lines)


def example_environment(name: str) -> str:
    """One that the algorithm has a preset for, else one with actions that it takes."""
    simplest = {"continuous": "Pendulum-v1", "discrete": "CartPole-v1", NUMBERED: "finite/cliff_walking"}
    simple = [simplest[kind] for kind in actions_of(name) if kind in simplest]
    tuned = list(_tuned(name))
    return next((environment for environment in simple if environment in tuned), (tuned or simple)[0])


def _tuned(name: str) -> dict[str, dict[str, Any]]:
    """The algorithm's presets by environment."""
    path = presets.DIRECTORY / f"{name}.toml"
    return tomllib.loads(path.read_text("utf-8")) if path.exists() else {}


@functools.cache
def actions_of(name: str) -> list[str]:
    """The kinds of actions that the algorithm takes, found by making it for an environment of each kind."""
    if name in FROM_DATA:
        return ["discrete"]  # each of their files says so with `require_discrete`, but needs a dataset to say it
    module = module_of(name)
    found = [kind for kind, environment in _one_of_each_kind().items() if _takes(module, environment)]
    if "discrete" not in found and _takes(module, environments.make("finite/cliff_walking")):
        found.append(NUMBERED)
    return found


@functools.cache
def _one_of_each_kind() -> dict[str, Environment]:
    discrete = environments.make("CartPole-v1")
    several = discrete._replace(
        action_space=MultiDiscrete((2, 2)),
        step=lambda key, state, action: discrete.step(key, state, action[..., 0]),
    )
    return {"discrete": discrete, "several discrete": several, "continuous": environments.make("Pendulum-v1")}


def _takes(module: ModuleType, environment: Environment) -> bool:
    """Whether the algorithm can be made for it. An error other than that the actions do not fit is raised."""
    try:
        module.make(environment, module.Config())
    except TypeError as error:
        if " needs " not in str(error):
            raise
        return False
    return True


def memory_of(module: ModuleType) -> str:
    """Whether the algorithm may have a recurrent core."""
    for field in fields.fields_of(module.Config):
        if field.name == "core":
            cores = [x.upper() for x in get_args(field.annotation) if x != "none"]
            optional = "" if "none" in get_args(field.annotation) else " (always)"
            return f"{fields.alternatives(cores)}, by the field ``core``{optional}"
    return "none"


def settings(module: ModuleType) -> str:
    """The table of a Config's fields, inside the description of the class."""
    rows = [
        (f"``{field.name}``", _type(field), _default(field), inline(field.documentation))
        for field in fields.fields_of(module.Config)
    ]
    explanation = (
        "A *traced* field may be swept by one compiled program; a *static* one chooses the program. On the command "
        "line every field is a flag: ``learning_rate`` is ``--learning-rate``."
    )
    table = list_table(("Field", "Type", "Default", "What it is"), rows, (22, 20, 13, 45), "settings")
    return ".. py:class:: Config\n\n" + textwrap.indent(f"{explanation}\n\n{table}", "    ")


def _type(field: fields.Field) -> str:
    kind = "*traced*" if field.is_traced else "*static*"
    return f"{inline(fields.annotation_text(field.annotation))} {kind}"


def _default(field: fields.Field) -> str:
    return f"``{fields.value_text(field.default)}``" if field.has_default else "none: must be given"


def _presets(name: str) -> str:
    lines = [(f"purerl train {name} --env {env}", _assignments(preset)) for env, preset in _tuned(name).items()]
    if not lines:
        return ""
    source = file_link(f"purerl/presets/{name}.toml")
    return f"{section('Tuned')}\n\nWhat these commands set (from {source}):\n\n{definitions(lines)}"


def _assignments(preset: dict[str, Any]) -> str:
    return ", ".join(f"`{name}={fields.value_text(value)}`" for name, value in preset.items())


def _measured(name: str) -> str:
    found = [result for result in measured.results() if result.algorithm == name]
    if not found:
        return ""
    rows = [_result(result) for result in found]
    header = ("Command", "Steps per seed", "Median", "Worst to best seed", "Recorded")
    about = "Greedy returns of the final parameters over seeds, on two CPU cores."
    return f"{section('Measured')}\n\n{about}\n\n{list_table(header, rows, (44, 14, 14, 16, 12))}"


def _result(result: measured.Result) -> tuple[str, ...]:
    command = code(result.command) + (f" ({inline(result.note)})" if result.note else "")
    return command, f"{result.steps:,}", result.centre, result.range, str(result.recorded)


def _experiments(name: str) -> str:
    found = [experiment for experiment in measured.experiments() if name in experiment.algorithms]
    if not found:
        return ""
    return f"{section('What experiments show')}\n\n" + "\n\n".join(_experiment(experiment) for experiment in found)


def _experiment(experiment: measured.Experiment) -> str:
    script = experiment.script
    text = [f"{inline(experiment.title.rstrip('.'))}{f' ({file_link(str(script))})' if script else ''}."]
    if experiment.outcome:
        text.append(f"What came out: {inline(experiment.outcome)}.")
    alternative = experiment.title.replace("`", "")
    pictures = [
        f".. image:: /../experiments/figures/{figure}\n    :alt: {alternative}\n    :class: curve"
        for figure in experiment.figures
    ]
    return "\n\n".join([" ".join(text), *pictures])


def _reference(module: ModuleType) -> str:
    """The public functions that the module itself defines."""
    names = [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    ]
    described = "\n\n".join(f".. autofunction:: {module.__name__}.{name}" for name in names if name != "check")
    return f"{section('Functions')}\n\n{described}" if described else ""


def _source(module: ModuleType) -> str:
    return module.__name__.replace(".", "/") + ".py"
