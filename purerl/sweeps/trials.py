"""Trials: one setting of a sweep made into an algorithm on an environment; and where their names are looked up."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple, get_type_hints

from purerl import algorithms, environments, presets
from purerl.configuration import a, from_json, nearest, whole_number
from purerl.sweeps.space import Settings
from purerl.types import Algorithm, Array, Environment

ENVIRONMENT = "env."  # what the name of an environment's parameter begins with
SPECIAL = ("algorithm", "env", "total_steps")
EXAMPLES = {"algorithm": "ppo", "env": "CartPole-v1"}
PLURALS = {"algorithm": "algorithms", "env": "environments"}


class Catalogue(NamedTuple):
    """What names mean: the user's own first, then purerl's."""

    algorithms: Mapping[str, ModuleType | Any] = {}  # name -> something with `Config` and `make(environment, config)`
    environments: Mapping[str, Callable[..., Environment]] = {}  # name -> function of the parameters

    def algorithm(self, name: str) -> Any:
        """The module (or what stands for one) of an algorithm. Raises ValueError with the nearest names."""
        return self.algorithms[name] if name in self.algorithms else algorithms.load(name)

    def environment(self, name: str, parameters: Mapping[str, Any]) -> Environment:
        """A new environment. Raises like `purerl.make`."""
        if name not in self.environments:
            return environments.make(name, **parameters)
        environment = self.environments[name](**parameters)
        return environment if environment.parameters else environment._replace(parameters=dict(parameters))


class Trial(NamedTuple):
    """One setting of every field."""

    number: int
    settings: Settings  # what the space says, with the algorithm and the environment
    algorithm: str
    environment: str
    parameters: dict[str, Any]  # of the environment, those given
    config: Any
    total_steps: int  # environment steps per agent

    def value(self, name: str) -> Any:
        """The value of a field, given or default; None where it does not apply (another algorithm, another suite)."""
        if name in SPECIAL:
            return {"algorithm": self.algorithm, "env": self.environment, "total_steps": self.total_steps}[name]
        if name.startswith(ENVIRONMENT):
            return self.parameters.get(name.removeprefix(ENVIRONMENT))
        return getattr(self.config, name, None)

    def learner(self, catalogue: Catalogue) -> Callable[[dict[str, Array]], Algorithm]:
        """A function of hyperparameters (Config fields, `env.` parameters) that replace the trial's own.

        Without parameters of the environment all that it makes share one: what is simulated on the host goes on only
        where it began.
        """
        module = catalogue.algorithm(self.algorithm)
        own = catalogue.environment(self.environment, self.parameters)

        def make(floats: Mapping[str, Any]) -> Algorithm:
            of_environment = {n.removeprefix(ENVIRONMENT): v for n, v in floats.items() if n.startswith(ENVIRONMENT)}
            of_config = {n: v for n, v in floats.items() if not n.startswith(ENVIRONMENT)}
            environment = own
            if of_environment:
                environment = catalogue.environment(self.environment, self.parameters | of_environment)
            return module.make(environment, dataclasses.replace(self.config, **of_config))

        return make


def resolve(number: int, settings: Settings, catalogue: Catalogue, preset: bool) -> Trial:
    """The trial that `settings` describe; what they leave open comes from the preset, then from the defaults.

    Raises ValueError naming the field for what does not exist or has the wrong type, UsageError (a TypeError) for a
    `total_steps` that is no number.
    """
    for name in ("algorithm", "env"):
        if name not in settings:
            raise ValueError(f"a sweep needs {name!r} in every part of its space")
        if not isinstance(settings[name], str):
            raise ValueError(
                f"{name!r} must be a name, such as {EXAMPLES[name]!r}, but it is {a(settings[name])}; "
                f"give your own as {PLURALS[name]}={{name: ...}} beside the space, and its name in it"
            )
    name, environment = settings["algorithm"], settings["env"]
    kind = catalogue.algorithm(name).Config
    own = name in catalogue.algorithms or environment in catalogue.environments
    chosen = presets.load(name, environment) if preset and not own else {}
    chosen |= {key: value for key, value in settings.items() if not key.startswith(ENVIRONMENT)}
    total_steps = whole_number("total_steps", chosen.get("total_steps", presets.DEFAULT_TOTAL_STEPS))
    fields = {field.name for field in dataclasses.fields(kind)}
    for key in chosen:
        if key not in fields and key not in SPECIAL:
            raise ValueError(
                f"{name} has no field {key!r}: {nearest(key, fields)} (parameters of the environment are written "
                f"env.NAME; a field of another algorithm needs when(..., algorithm=...))"
            )
    for key in chosen.keys() & fields:
        _require_whole(name, key, chosen[key], kind)
    config = from_json(kind, {key: value for key, value in chosen.items() if key not in SPECIAL}, name)
    parameters = {k.removeprefix(ENVIRONMENT): v for k, v in settings.items() if k.startswith(ENVIRONMENT)}
    return Trial(number, settings, name, environment, parameters, config, total_steps)


def _require_whole(algorithm: str, field: str, value: Any, kind: type) -> None:
    """Raise ValueError for a fraction, perhaps drawn from a range, where only whole numbers go."""
    if isinstance(value, float) and get_type_hints(kind)[field] is int:
        raise ValueError(
            f"{algorithm}.{field} takes whole numbers, each of which is a program of its own, got {value}; list them, "
            f"as in [4, 8, 16] or choice(4, 8, 16)"
        )


def resolve_all(settings: Sequence[Settings], catalogue: Catalogue, preset: bool) -> tuple[Trial, ...]:
    """Every setting as a trial. Raises like `resolve`.

    A parameter of an environment that is a float in one trial is a float in all: 1 and 0.5 share a program.
    """
    trials = [resolve(number, one, catalogue, preset) for number, one in enumerate(settings)]
    floats = {(t.environment, name) for t in trials for name, value in t.parameters.items() if isinstance(value, float)}

    def as_float(trial: Trial) -> Trial:
        parameters = {
            name: float(value) if (trial.environment, name) in floats and type(value) is int else value
            for name, value in trial.parameters.items()
        }
        return trial._replace(parameters=parameters)

    return tuple(as_float(trial) for trial in trials)


def float_fields(config: Any) -> list[str]:
    """The fields that one program sweeps: those annotated `float`."""
    hints = get_type_hints(type(config))
    return [field.name for field in dataclasses.fields(config) if hints[field.name] is float]
