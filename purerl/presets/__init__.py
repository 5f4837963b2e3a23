"""Tuned settings per algorithm and environment, kept as data: `<algorithm>.toml` has one table per environment.

    ["CartPole-v1"]
    total_steps = 500_000
    num_envs = 8

The keys are fields of the algorithm's Config, and `total_steps`: environment steps per seed.
"""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from purerl.configuration import from_json, nearest

DIRECTORY = Path(__file__).parent
DEFAULT_TOTAL_STEPS = 500_000  # of a command line, where no preset says otherwise


def load(algorithm: str, environment: str, directory: Path = DIRECTORY) -> dict[str, Any]:
    """The preset of `algorithm` on `environment`: Config fields and perhaps `total_steps`; empty if there is none.

    Raises ValueError, naming file and field, for a field that the algorithm's Config does not have or of a wrong type.
    """
    file = directory / f"{algorithm}.toml"
    if not file.exists():
        return {}
    preset = tomllib.loads(file.read_text(encoding="utf-8")).get(environment, {})
    return _checked(algorithm, preset, f"{file.name}, preset for {environment}") if preset else {}


def _checked(algorithm: str, preset: dict[str, Any], where: str) -> dict[str, Any]:
    from purerl import algorithms

    config = algorithms.load(algorithm).Config
    fields = {field.name for field in dataclasses.fields(config)}
    for name in preset:
        if name not in fields | {"total_steps"}:
            raise ValueError(f"{where}: {algorithm} has no field {name!r}: {nearest(name, fields)}")
    parsed = from_json(config, {k: v for k, v in preset.items() if k != "total_steps"}, where)
    result: dict[str, Any] = {name: getattr(parsed, name) for name in preset if name != "total_steps"}
    if "total_steps" in preset:
        result["total_steps"] = from_json(int, preset["total_steps"], f"{where}.total_steps")
    return result
