"""Train in rejax: one program for all agents, its compilation timed apart, its policies played afterwards.

Its policies of PPO and SAC act by sampling, those of DQN and PQN with an epsilon of 0.005: it has no greedy ones.
"""

import jax
from common import read_job, report, timed
from rejax import get_algo
from rejax.compat import create
from rejax.evaluate import evaluate
from translations import for_rejax

job = read_job()
setting, fields, name = job.setting, job.setting["fields"], job.setting["algorithm"]


def networks() -> dict:
    """What `create` is told about them; those without widths have two layers of 64 units."""
    kind = {"activation": fields["activation"]}
    if name == "td3":
        return {"actor_kwargs": kind, "critic_kwargs": dict(kind)}  # it empties them
    if name == "pqn":  # LayerNorm and relu, as in purerl
        return {}
    return {"agent_kwargs": kind | ({} if name == "dqn" else {"hidden_layer_sizes": tuple(fields["widths"])})}


environment, parameters = create(setting["environment"])
space = environment.action_space(parameters)
scale = float(space.high - space.low) / 2 if name == "td3" else 1.0
algorithm = get_algo(name).create(
    env=setting["environment"],
    total_timesteps=setting["steps"],
    eval_freq=setting["steps"],
    skip_initial_evaluation=True,
    **for_rejax(setting, scale),
    **networks(),
)
algorithm = algorithm.replace(eval_callback=lambda algorithm, state, key: ())
keys = jax.random.split(jax.random.PRNGKey(job.seed), job.agents)
program = jax.jit(jax.vmap(lambda key: algorithm.train(key)[0]))
compiled, compiling = timed(lambda: program.lower(keys).compile())
state, running = timed(lambda: jax.block_until_ready(compiled(keys)))

returns = []
for agent in range(job.agents):
    policy = algorithm.make_act(jax.tree.map(lambda x, agent=agent: x[agent], state))
    limit = algorithm.env_params.max_steps_in_episode
    key = jax.random.PRNGKey(job.seed + 1)
    _, each = evaluate(policy, key, algorithm.env, algorithm.env_params, job.episodes, limit)
    returns.append(float(each.mean()))
learned = state.q_ts if name in ("dqn", "pqn") else state.critic_ts
report(compiling, running, int(state.global_step[0]), returns, int(learned.step[0]))
