"""Train in rejax: one program for all agents, its compilation timed apart, its policies played afterwards.

Its policies of PPO and SAC act by sampling, that of DQN with an epsilon of 0.005: it has no greedy ones.
"""

import json
import resource
import sys
import time

import jax
from rejax import get_algo
from rejax.evaluate import evaluate

setting, agents, seed, episodes = json.loads(sys.argv[1])
fields, name = setting["fields"], setting["algorithm"]


def arguments() -> dict:
    """The fields of the setting by the names that rejax has for them."""
    network = {"activation": fields["activation"]}
    shared = {"learning_rate": fields["learning_rate"], "gamma": fields["discount"], "num_envs": fields["num_envs"]}
    if name == "ppo":
        more = {"num_steps": fields["rollout_length"], "num_epochs": fields["epochs"], "clip_eps": fields["clip"]}
        more |= {"num_minibatches": fields["minibatches"], "gae_lambda": fields["trace_decay"]}
        more |= {"vf_coef": fields["value_coefficient"], "ent_coef": fields["entropy_coefficient"]}
        more |= {"max_grad_norm": fields["max_gradient_norm"]}
        network["hidden_layer_sizes"] = tuple(fields["widths"])
    else:
        more = {"buffer_size": fields["replay_capacity"], "fill_buffer": fields["warm_up_steps"]}
        more |= {"batch_size": fields["batch_size"]}
    if name == "dqn":  # its networks have two layers of 64 units
        more |= {"ddqn": False, "eps_start": fields["epsilon_start"], "eps_end": fields["epsilon_end"]}
        more |= {"exploration_fraction": fields["exploration_fraction"], "polyak": 0.0}
        more |= {"target_update_freq": fields["target_period"], "max_grad_norm": fields["max_gradient_norm"]}
    if name == "sac":
        more |= {"polyak": 1.0 - fields["target_rate"], "target_update_freq": 1}
        more |= {"hidden_layer_sizes": tuple(fields["widths"])}
    return shared | more | {"agent_kwargs": network}


steps = setting["steps"]
algorithm = get_algo(name).create(
    env=setting["environment"], total_timesteps=steps, eval_freq=steps, skip_initial_evaluation=True, **arguments()
)
algorithm = algorithm.replace(eval_callback=lambda algorithm, state, key: ())
keys = jax.random.split(jax.random.PRNGKey(seed), agents)
began = time.perf_counter()
compiled = jax.jit(jax.vmap(lambda key: algorithm.train(key)[0])).lower(keys).compile()
compiling = time.perf_counter() - began
began = time.perf_counter()
state = jax.block_until_ready(compiled(keys))
running = time.perf_counter() - began

returns = []
for agent in range(agents):
    policy = algorithm.make_act(jax.tree.map(lambda x, agent=agent: x[agent], state))
    limit = algorithm.env_params.max_steps_in_episode
    key = jax.random.PRNGKey(seed + 1)
    _, each = evaluate(policy, key, algorithm.env, algorithm.env_params, episodes, limit)
    returns.append(float(each.mean()))
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
found = {"compiling": compiling, "running": running, "steps": int(state.global_step[0]), "returns": returns}
print(json.dumps(found | {"memory_mb": memory}))
