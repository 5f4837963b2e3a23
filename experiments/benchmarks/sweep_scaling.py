"""How many agents train per second: by cores and devices, and by the number of agents in one program.

    python experiments/benchmarks/sweep_scaling.py             # about six minutes on two cores
    python experiments/benchmarks/sweep_scaling.py --quick     # one repeat of little work: shows that it runs
    python experiments/benchmarks/sweep_scaling.py --agents 1 16 128 1024      # on a GPU

An agent is a PPO or DQN of the defaults on CartPole-v1 with a learning rate of its own, and counts when it has trained
for 100,000 environment steps. Every case runs in a process of its own; the cases take turns, and the median over
repeats is printed. Compile time is apart, and so is evaluation. Leave the machine alone meanwhile.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import tyro

STEPS = 100_000  # of one agent


@dataclass(frozen=True)
class Options:
    """What to measure."""

    agents: tuple[int, ...] = (1, 16, 64, 256)
    """Agents in one program, with a device per core."""
    compared: int = 64
    """Agents for the comparison of cores and devices (CPU only)."""
    repeats: int = 3
    """Processes per case; the median is printed."""
    quick: bool = False
    """One repeat of little work."""
    case: str | None = None
    """One case as JSON, in this process (the program calls itself with it)."""


def measure(algorithm: str, agents: int, cores: int | None, devices: int | None, groups: int) -> dict[str, Any]:
    """Seconds to compile and environment steps per second of `agents` agents, in this process."""
    if cores is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    import jax
    import jax.numpy as jnp

    from purerl import load, make, use_all_cores
    from purerl.devices import over_agents
    from purerl.host.compilation import Agents, compile_programs

    used = use_all_cores(devices)
    module, environment = load(algorithm), make("CartPole-v1")
    group = {"ppo": 2, "dqn": 100}[algorithm]

    def learner(floats: dict[str, Any]) -> Any:
        return module.make(environment, module.Config(**floats))

    layout = over_agents(agents)
    keys = jax.random.split(jax.random.key(0), agents)
    batch = layout.put(Agents(keys, {"learning_rate": jnp.geomspace(1e-4, 1e-2, agents)}))
    programs = compile_programs(learner, batch, layout, iterations=1000, group=group, plan=None, fresh=True)
    training, seconds = programs.init(batch), []
    for i in range(groups + 1):
        began = time.perf_counter()
        training, metrics, _ = programs.advance(batch.floats, training, jnp.int32(i * group))
        jax.block_until_ready((training, metrics))
        seconds.append(time.perf_counter() - began)
    steps = agents * group * learner({"learning_rate": 1e-3}).env_steps_per_iteration
    rate = steps / statistics.median(seconds[1:])
    device = jax.devices()[0].device_kind
    return {"steps_per_second": rate, "compile_seconds": programs.seconds, "devices": used, "device": device}


def in_a_process(case: dict[str, Any]) -> dict[str, Any]:
    """`measure` in a fresh process."""
    words = [sys.executable, __file__, "--case", json.dumps(case)]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(ended.stdout.splitlines()[-1])


def medians(cases: dict[str, dict[str, Any]], repeats: int) -> dict[str, dict[str, Any]]:
    """The median of every number over `repeats` rounds, in which the cases take turns."""
    rounds = [{name: in_a_process(case) for name, case in cases.items()} for _ in range(repeats)]
    return {name: {key: _median([r[name][key] for r in rounds]) for key in rounds[0][name]} for name in cases}


def _median(values: list[Any]) -> Any:
    return values[0] if isinstance(values[0], str) else statistics.median(values)


def show(title: str, results: dict[str, dict[str, Any]], reference: str) -> None:
    """A table: agents per second, and how many times those of the reference case."""
    print(f"\n{title}\n| case | agents/s ({STEPS:,} steps each) | steps/s | against {reference} | compile |")
    print("|---|---|---|---|---|")
    base = results[reference]["steps_per_second"]
    for name, result in results.items():
        rate = result["steps_per_second"]
        row = f"| {name} | {rate / STEPS:.3g} | {rate:,.0f} | {rate / base:.2f} | {result['compile_seconds']:.1f} s |"
        print(row, flush=True)


def main(options: Options) -> None:
    """Measure and print tables."""
    if options.case is not None:
        print(json.dumps(measure(**json.loads(options.case))))
        return
    repeats, groups = (1, 1) if options.quick else (options.repeats, 5)
    counts = options.agents[:2] if options.quick else options.agents
    compared = 4 if options.quick else options.compared
    cores = len(os.sched_getaffinity(0))
    on_cpu = in_a_process({"algorithm": "ppo", "agents": 1, "cores": None, "devices": None, "groups": 1})
    print(f"{on_cpu['device']}, {on_cpu['devices']} devices, {cores} cores, {time.strftime('%Y-%m-%d')}")
    for algorithm in ("ppo", "dqn"):
        base = {"algorithm": algorithm, "groups": groups}
        if on_cpu["device"] == "cpu" and cores > 1:
            cases = {
                "one core": {**base, "agents": compared, "cores": 1, "devices": 1},
                f"{cores} cores, one device": {**base, "agents": compared, "cores": cores, "devices": 1},
                f"{cores} cores, {cores} devices": {**base, "agents": compared, "cores": cores, "devices": cores},
            }
            show(f"{algorithm}, {compared} agents", medians(cases, repeats), "one core")
        sizes = {f"{n} agents": {**base, "agents": n, "cores": None, "devices": None} for n in counts}
        show(f"{algorithm}, all devices", medians(sizes, repeats), f"{counts[0]} agents")


if __name__ == "__main__":
    main(tyro.cli(Options))
