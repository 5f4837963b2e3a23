"""Train in Stable-Baselines3, or in sbx, which has its interface: agents one after the other, then play."""

import importlib
import os

import gymnasium
import numpy as np
import torch
from common import read_job, report, timed
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise
from translations import for_stable_baselines

job = read_job()
setting, fields, name = job.setting, job.setting["fields"], job.setting["algorithm"]
model_class = getattr(importlib.import_module(job.library), name.upper())
if hasattr(os, "sched_getaffinity"):
    torch.set_num_threads(len(os.sched_getaffinity(0)))


def activation():
    if job.library == "sbx":
        import flax.linen as nn

        return {"tanh": nn.tanh, "relu": nn.relu}[fields["activation"]]
    return {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[fields["activation"]]


def square_loss() -> None:
    """Put half the squared error in the place of Huber's loss, which is the only one that DQN has."""
    if job.library == "sbx":
        import optax

        optax.huber_loss = optax.l2_loss
    else:
        torch.nn.functional.smooth_l1_loss = lambda value, target: 0.5 * torch.nn.functional.mse_loss(value, target)


def arguments(environments) -> dict:
    policy = {"net_arch": list(fields["widths"]), "activation_fn": activation()}
    more = {"policy_kwargs": policy, "device": "cpu"}
    if name == "td3":
        zero = np.zeros(environments.action_space.shape, np.float32)
        more["action_noise"] = NormalActionNoise(zero, zero + fields["noise_start"])
    return for_stable_baselines(setting, job.library) | more


if fields.get("loss") == "squared":
    square_loss()
running, returns = 0.0, []
for seed in range(job.seed, job.seed + job.agents):
    environments = make_vec_env(setting["environment"], n_envs=fields["num_envs"], seed=seed)
    model = model_class("MlpPolicy", environments, seed=seed, **arguments(environments))
    _, seconds = timed(lambda model=model: model.learn(total_timesteps=setting["steps"]))
    running += seconds
    fresh = gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make(setting["environment"]))
    each, _ = evaluate_policy(model, fresh, job.episodes, deterministic=True, return_episode_rewards=True)
    returns.append(float(np.mean(each)))
updates = model._n_updates * fields.get("minibatches", 1)  # PPO counts epochs
report(0.0, running, setting["steps"], returns, updates)
