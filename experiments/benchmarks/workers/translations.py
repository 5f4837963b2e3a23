"""The fields of a setting by the names, and in the units, that other libraries have for them.

Nothing here needs the libraries: what is an object of theirs (activations, noise) is made by the worker.
"""

from typing import Any

Setting = dict[str, Any]
REJAX = {
    "": {"learning_rate": "learning_rate", "discount": "gamma", "num_envs": "num_envs"},
    "ppo": {
        "rollout_length": "num_steps",
        "epochs": "num_epochs",
        "minibatches": "num_minibatches",
        "clip": "clip_eps",
        "trace_decay": "gae_lambda",
        "value_coefficient": "vf_coef",
        "entropy_coefficient": "ent_coef",
        "max_gradient_norm": "max_grad_norm",
    },
    "pqn": {
        "rollout_length": "num_steps",
        "epochs": "num_epochs",
        "minibatches": "num_minibatches",
        "trace_decay": "td_lambda",
        "max_gradient_norm": "max_grad_norm",
        "epsilon_start": "eps_start",
        "epsilon_end": "eps_end",
        "exploration_fraction": "exploration_fraction",
    },
    "replay": {"replay_capacity": "buffer_size", "warm_up_steps": "fill_buffer", "batch_size": "batch_size"},
    "dqn": {
        "target_period": "target_update_freq",
        "max_gradient_norm": "max_grad_norm",
        "epsilon_start": "eps_start",
        "epsilon_end": "eps_end",
        "exploration_fraction": "exploration_fraction",
    },
    "sac": {},
    "td3": {"policy_delay": "policy_delay"},
}
STABLE_BASELINES = {
    "": {"learning_rate": "learning_rate", "discount": "gamma"},
    "ppo": {
        "rollout_length": "n_steps",
        "epochs": "n_epochs",
        "clip": "clip_range",
        "trace_decay": "gae_lambda",
        "value_coefficient": "vf_coef",
        "entropy_coefficient": "ent_coef",
        "max_gradient_norm": "max_grad_norm",
    },
    "replay": {"replay_capacity": "buffer_size", "warm_up_steps": "learning_starts", "batch_size": "batch_size"},
    "dqn": {
        "target_period": "target_update_interval",
        "max_gradient_norm": "max_grad_norm",
        "epsilon_start": "exploration_initial_eps",
        "epsilon_end": "exploration_final_eps",
        "exploration_fraction": "exploration_fraction",
    },
    "sac": {"target_rate": "tau"},
    "td3": {
        "target_rate": "tau",
        "policy_delay": "policy_delay",
        "target_noise": "target_policy_noise",
        "target_noise_clip": "target_noise_clip",
    },
}
BRAX = {
    "": {
        "learning_rate": "learning_rate",
        "discount": "discounting",
        "num_envs": "num_envs",
        "normalize_observations": "normalize_observations",
    },
    "ppo": {
        "rollout_length": "unroll_length",
        "epochs": "num_updates_per_batch",
        "minibatches": "num_minibatches",
        "clip": "clipping_epsilon",
        "trace_decay": "gae_lambda",
        "value_coefficient": "vf_loss_coefficient",
        "entropy_coefficient": "entropy_cost",
        "max_gradient_norm": "max_grad_norm",
    },
    "sac": {"target_rate": "tau", "batch_size": "batch_size"},
    "replay": {"replay_capacity": "max_replay_size", "warm_up_steps": "min_replay_size"},
}


def renamed(setting: Setting, table: dict[str, dict[str, str]]) -> dict[str, Any]:
    """The fields that `table` has a name for: for all algorithms, for those with a replay, and for this one.

    Raises KeyError if the setting lacks one of them.
    """
    fields = setting["fields"]
    parts = ["", setting["algorithm"], *(["replay"] if "replay_capacity" in fields else [])]
    return {theirs: fields[ours] for part in parts for ours, theirs in table[part].items()}


def for_rejax(setting: Setting, action_scale: float = 1.0) -> dict[str, Any]:
    """Arguments of `create`, without the networks; `action_scale` is half the range of an action (TD3).

    Raises ValueError for widths that the library does not let one choose.
    """
    fields, name = setting["fields"], setting["algorithm"]
    arguments = renamed(setting, REJAX)
    if name in ("dqn", "pqn", "td3") and tuple(fields["widths"]) != (64, 64):
        raise ValueError(f"rejax's {name} has two layers of 64 units, not {fields['widths']}")
    if name == "dqn":
        arguments |= {"ddqn": False, "polyak": 0.0}  # all of the old target is forgotten
    if name in ("sac", "td3"):
        arguments |= {"polyak": 1.0 - fields["target_rate"], "target_update_freq": 1}
    if name == "td3":
        noises = {"noise_start": "exploration_noise", "target_noise": "target_noise"}
        noises |= {"target_noise_clip": "target_noise_clip"}
        arguments |= {theirs: action_scale * fields[ours] for ours, theirs in noises.items()}
    return arguments


def for_stable_baselines(setting: Setting, library: str) -> dict[str, Any]:
    """Arguments of a model of Stable-Baselines3 or sbx, without policy and noise."""
    fields = setting["fields"]
    arguments = renamed(setting, STABLE_BASELINES)
    if setting["algorithm"] == "ppo":
        arguments["batch_size"] = fields["num_envs"] * fields["rollout_length"] // fields["minibatches"]
    else:  # one step of every environment, then one update
        arguments |= {"train_freq": 1, "gradient_steps": 1}
    if setting["algorithm"] == "dqn":
        arguments["tau"] = 1.0
        if library == "sbx":  # does not clip gradients
            del arguments["max_grad_norm"]
    return arguments


def for_brax(setting: Setting) -> dict[str, Any]:
    """Arguments of `train`, without the networks."""
    fields = setting["fields"]
    arguments = renamed(setting, BRAX)
    if setting["algorithm"] == "ppo":  # a minibatch is the rollouts of some environments
        arguments["batch_size"] = fields["num_envs"] // fields["minibatches"]
    else:
        updates, steps = fields["update_to_data"]
        arguments["grad_updates_per_step"] = fields["num_envs"] * updates // steps
    return arguments
