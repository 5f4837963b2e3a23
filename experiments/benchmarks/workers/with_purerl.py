"""Train in purerl: one program for all agents, its compilation timed apart, its policies played afterwards."""

import json
import resource
import sys
import time

import jax

from purerl import evaluate, load, make, train
from purerl.host.compilation import compiler_options

setting, agents, seed, episodes = json.loads(sys.argv[1])
environment = make(setting["environment"])
fields = {name: tuple(value) if isinstance(value, list) else value for name, value in setting["fields"].items()}
module = load(setting["algorithm"])
algorithm = module.make(environment, module.Config(**fields))
iterations = (setting["steps"] - algorithm.env_steps_of_init) // algorithm.env_steps_per_iteration

keys = jax.random.split(jax.random.key(seed), agents)
began = time.perf_counter()
program = jax.jit(jax.vmap(lambda key: train(algorithm, key, iterations).state))
compiled = program.lower(keys).compile(compiler_options=compiler_options())
compiling = time.perf_counter() - began
began = time.perf_counter()
state = jax.block_until_ready(compiled(keys))
running = time.perf_counter() - began


def play(state, key):
    return evaluate(algorithm.policy(state), environment, key, episodes=episodes).returns.mean()


returns = jax.jit(jax.vmap(play, (0, None)))(state, jax.random.key(seed + 1))
steps = algorithm.env_steps_of_init + iterations * algorithm.env_steps_per_iteration
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
found = {"compiling": compiling, "running": running, "steps": steps, "returns": returns.tolist(), "memory_mb": memory}
print(json.dumps(found))
