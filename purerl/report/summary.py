"""How a run ended: the contents of `summary.json`."""

from pathlib import Path
from typing import Any

import numpy as np

from purerl.report import run_directory
from purerl.report.records import median, per_seed, survivors


def summarise(
    metadata: dict[str, Any],
    *,
    status: str,
    iteration: int,
    train_seconds: float,
    compile_seconds: float,
    metrics: dict[str, Any],
    evaluation: dict[str, Any] | None,
    best_score: np.ndarray,
    best_iteration: np.ndarray,
    directory: Path | None,
) -> dict[str, Any]:
    """The summary of a run as JSON.

    `env_steps` counts per seed, `env_steps_per_second` over all seeds; `train_seconds` (wall-clock, of all sessions of
    a resumed run) includes evaluations and checkpoints, `compile_seconds` is of the last session. `median_return` is
    over the seeds that are not among the `diverged_seeds`.

    Args:
        status: "finished", "diverged" (every seed) or "interrupted".
        metrics, evaluation: the last lines of `metrics.jsonl` and `evaluations.jsonl`.
        best_score, best_iteration: `[seeds]`, of the best evaluation so far.
    """
    seeds, diverged_seeds = metadata["seeds"], metrics.get("diverged_seeds", [])
    env_steps = steps_at(metadata, iteration)
    if evaluation is not None:
        evaluation = {
            **{k: v for k, v in evaluation.items() if k not in ("iteration", "env_steps")},
            "median_return": median(survivors(evaluation["return_per_seed"], seeds, diverged_seeds)),
            "best_return_per_seed": per_seed(best_score),
            "best_iteration_per_seed": np.asarray(best_iteration).tolist(),
            "episodes": metadata["evaluation"]["episodes"],
        }
    return {
        "algorithm": metadata["algorithm"],
        "environment": environment_name(metadata),
        "status": status,
        "seeds": len(seeds),
        "seed_list": seeds,
        "iterations": iteration,
        "env_steps": env_steps,
        "compile_seconds": compile_seconds,
        "train_seconds": train_seconds,
        "env_steps_per_second": env_steps * len(seeds) / train_seconds if train_seconds > 0 else 0.0,
        "evaluation": evaluation,
        "episode_return_per_seed": metrics.get("episode_return", [None] * len(seeds)),
        "diverged_seeds": diverged_seeds,
        "versions": {"purerl": metadata["purerl"], **metadata["numerics"]},
        "paths": _paths(directory),
    }


def steps_at(metadata: dict[str, Any], iteration: int) -> int:
    """Environment steps per seed after `iteration` iterations, those of the warm-up included."""
    return metadata["env_steps_of_init"] + iteration * metadata["env_steps_per_iteration"]


def environment_name(metadata: dict[str, Any]) -> str:
    """The environment a run was for; 'no environment' for learners without one."""
    evaluated = (metadata["evaluation"] or {}).get("environment")
    return (metadata["environment"] or evaluated or {"name": "no environment"})["name"]


def _paths(directory: Path | None) -> dict[str, str]:
    if directory is None:
        return {}
    return {
        "run directory": str(directory),
        "learning curve": str(directory / run_directory.LEARNING_CURVE),
        "checkpoints": str(directory / run_directory.CHECKPOINTS),
    }
