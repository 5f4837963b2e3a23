"""Train in purerl: one program for all agents, its compilation timed apart, its policies played afterwards.

Several agents are spread over the cores, as `purerl sweep` does it; one of small networks is computed by one thread, as
in `purerl train`.
"""

import jax
from common import read_job, report, timed

from purerl import evaluate, load, make, train, use_all_cores
from purerl.cli.threads import choose_threads, computes_little
from purerl.devices import over_agents
from purerl.host.compilation import compiler_options

job = read_job()
setting = job.setting
fields = {name: tuple(value) if isinstance(value, list) else value for name, value in setting["fields"].items()}
module = load(setting["algorithm"])
config = module.Config(**fields)
if job.agents > 1:
    use_all_cores()
elif computes_little(setting["algorithm"], config, setting["environment"]):
    choose_threads(1)
environment = make(setting["environment"])
algorithm = module.make(environment, config)
iterations = (setting["steps"] - algorithm.env_steps_of_init) // algorithm.env_steps_per_iteration


def learn(key):
    return train(algorithm, key, iterations).state


def play(state, key):
    return evaluate(algorithm.policy(state), environment, key, episodes=job.episodes).returns.mean()


layout = over_agents(job.agents)
keys = layout.put(jax.random.split(jax.random.key(job.seed), job.agents))
lowered = jax.jit(layout.vmap(learn, (0,)))
compiled, compiling = timed(lambda: lowered.lower(keys).compile(compiler_options=compiler_options()))
state, running = timed(lambda: jax.block_until_ready(compiled(keys)))
returns = jax.jit(jax.vmap(play, (0, None)))(state, jax.random.key(job.seed + 1))
steps = algorithm.env_steps_of_init + iterations * algorithm.env_steps_per_iteration
report(compiling, running, steps, returns.tolist())
