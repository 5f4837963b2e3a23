"""Train in Stable-Baselines3, or in sbx, which has its interface: agents one after the other, then play."""

import importlib
import json
import resource
import sys
import time

import gymnasium
import numpy as np
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

setting, agents, seed, episodes, library = json.loads(sys.argv[1])
fields, name, steps = setting["fields"], setting["algorithm"], setting["steps"]
model_class = getattr(importlib.import_module(library), name.upper())


def activation():
    if library == "sbx":
        import flax.linen as nn

        return {"tanh": nn.tanh, "relu": nn.relu}[fields["activation"]]
    from torch import nn

    return {"tanh": nn.Tanh, "relu": nn.ReLU}[fields["activation"]]


def arguments() -> dict:
    """The fields of the setting by the names that Stable-Baselines3 has for them."""
    shared = {"learning_rate": fields["learning_rate"], "gamma": fields["discount"]}
    policy = {"net_arch": list(fields["widths"]), "activation_fn": activation()}
    if name == "ppo":
        size = fields["num_envs"] * fields["rollout_length"] // fields["minibatches"]
        more = {"n_steps": fields["rollout_length"], "n_epochs": fields["epochs"], "batch_size": size}
        more |= {
            "gae_lambda": fields["trace_decay"],
            "clip_range": fields["clip"],
            "vf_coef": fields["value_coefficient"],
        }
        more |= {"ent_coef": fields["entropy_coefficient"], "max_grad_norm": fields["max_gradient_norm"]}
    else:
        more = {"buffer_size": fields["replay_capacity"], "learning_starts": fields["warm_up_steps"]}
        more |= {"batch_size": fields["batch_size"], "train_freq": 1, "gradient_steps": 1}
    if name == "dqn":
        more |= {"target_update_interval": fields["target_period"], "tau": 1.0}
        more |= {"exploration_initial_eps": fields["epsilon_start"], "exploration_final_eps": fields["epsilon_end"]}
        more |= {"exploration_fraction": fields["exploration_fraction"]}
        if library != "sbx":  # whose DQN does not clip gradients
            more |= {"max_grad_norm": fields["max_gradient_norm"]}
    if name == "sac":
        more |= {"tau": fields["target_rate"]}
    return shared | more | {"policy_kwargs": policy, "device": "cpu"}


running, returns = 0.0, []
for agent in range(agents):
    environments = make_vec_env(setting["environment"], n_envs=fields["num_envs"], seed=seed + agent)
    model = model_class("MlpPolicy", environments, seed=seed + agent, **arguments())
    began = time.perf_counter()
    model.learn(total_timesteps=steps)
    running += time.perf_counter() - began
    fresh = gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make(setting["environment"]))
    each, _ = evaluate_policy(model, fresh, episodes, deterministic=True, return_episode_rewards=True)
    returns.append(float(np.mean(each)))
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
found = {"compiling": 0.0, "running": running, "steps": steps, "returns": returns, "memory_mb": memory}
print(json.dumps(found))
