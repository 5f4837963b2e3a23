"""Train on all devices of this process and print what came out as JSON: see test_devices.py.

JAX_NUM_CPU_DEVICES=4 python tests/devices_worker.py ppo|dqn|data_parallel|indivisible
"""

import json
import re
import sys
from typing import Any

import jax
import numpy as np

from purerl import dqn, make, ppo, run
from purerl.host import driver
from tests.contracts.cases import CASES

COLLECTIVES = re.compile(r"= \S+ (all-reduce|all-gather|all-to-all|collective-permute)\(")
WIDTH = 24  # of the hidden layer: nothing else has this size
compiled: list[Any] = []


def watched(*arguments: Any, **options: Any) -> Any:
    """`compile_programs`, remembering what it compiled."""
    compiled.append(COMPILE(*arguments, **options))
    return compiled[-1]


def train(what: str) -> dict[str, Any]:
    """Ten iterations of four agents, or of one agent whose batches are split."""
    environment = make("CartPole-v1")
    data_parallel = what in ("data_parallel", "indivisible")
    if what == "dqn":
        algorithm = dqn.make(environment, dqn.Config(**CASES["dqn"].config | {"widths": (WIDTH,)}))
    else:
        sizes = {"num_envs": 6 if what == "indivisible" else 8, "rollout_length": 12, "minibatches": 3, "epochs": 2}
        algorithm = ppo.make(environment, ppo.Config(**sizes, widths=(WIDTH,), normalize_observations=True))
    seeds = 1 if data_parallel else 4
    options: dict[str, Any] = {"evaluations": 0, "sinks": ()}
    result = run(algorithm, iterations=10, seeds=seeds, data_parallel=data_parallel, **options)
    text = compiled[0].advance.as_text()
    leaves = jax.tree.leaves(result.training.state.params)
    rows = re.findall(rf"f32\[(?:1,)?(\d+),{WIDTH}\]", text)
    return {
        "devices": len(result.training.diverged.sharding.device_set),
        "params": np.concatenate([np.asarray(x).reshape(seeds, -1)[:, :8] for x in leaves], axis=1).ravel().tolist()
        if data_parallel
        else [float(sum(np.abs(np.asarray(x)[i]).sum() for x in leaves)) for i in range(seeds)],
        "loss": result.metrics["loss"][:, -1].tolist(),
        "communicates": bool(COLLECTIVES.search(text)),
        "rows": sorted({int(n) for n in rows}),
    }


if __name__ == "__main__":
    COMPILE = driver.compile_programs
    driver.compile_programs = watched
    try:
        printed = train(sys.argv[1])
    except ValueError as error:
        printed = {"error": str(error)}
    print(json.dumps(printed))
