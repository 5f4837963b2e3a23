"""Small cases of every algorithm in the table: the contracts run over all of them."""

from typing import Any

import pytest

from purerl.algorithms import ALGORITHMS
from purerl.testing import Case
from purerl.types import Algorithm

SMALL_DQN = {
    "num_envs": 4,
    "steps_per_iteration": 4,
    "updates_per_iteration": 2,
    "batch_size": 16,
    "replay_capacity": 64,
    "warm_up_steps": 32,
    "target_period": 32,
    "target_rate": 0.5,
    "max_gradient_norm": 0.05,
    "widths": (16,),
}
SMALL_PQN = {
    "num_envs": 4,
    "rollout_length": 16,
    "epochs": 2,
    "minibatches": 2,
    "max_gradient_norm": 0.05,
    "widths": (16,),
    "exploration_fraction": 0.9,
}
SMALL_R2D2 = {
    "num_envs": 4,
    "period": 4,
    "burn_in": 2,
    "sequence_length": 4,
    "n_step": 2,
    "updates_per_iteration": 2,
    "batch_size": 8,
    "replay_capacity": 64,
    "warm_up_steps": 32,
    "target_period": 32,
    "target_rate": 0.5,
    "max_gradient_norm": 0.05,
    "epsilon_exponent": 2.0,
    "core_width": 8,
    "widths": (16,),
}
SMALL_PETS = {
    "horizon": 3,
    "samples": 8,
    "elites": 3,
    "search_iterations": 2,
    "particles": 2,
    "members": 2,
    "widths": (8,),
    "weight_decay": 0.5,
    "model_batch_size": 8,
    "updates_per_round": 4,
    "max_rounds": 2,
    "steps_per_iteration": 8,
    "replay_capacity": 64,
    "warm_up_steps": 16,
}
SMALL_MODEL_POLICY_GRADIENT = {
    "horizon": 3,
    "rollouts": 4,
    "updates_per_iteration": 2,
    "max_gradient_norm": 0.05,
    "widths": (8,),
    "members": 2,
    "model_widths": (8,),
    "weight_decay": 0.5,
    "model_batch_size": 8,
    "updates_per_round": 4,
    "max_rounds": 2,
    "steps_per_iteration": 8,
    "replay_capacity": 64,
    "warm_up_steps": 16,
}
SMALL_ALPHAZERO = {
    "simulations": 8,
    "exploration": 2.5,
    "temperature": 2.0,
    "weight_decay": 0.5,
    "num_envs": 4,
    "steps_per_iteration": 8,
    "updates_per_iteration": 2,
    "batch_size": 16,
    "replay_capacity": 64,
    "max_gradient_norm": 0.05,
    "widths": (8,),
}
SMALL_APG = {
    "num_envs": 4,
    "horizon": 8,
    "critic_updates": 2,
    "critic_batch_size": 16,
    "max_gradient_norm": 0.05,
    "widths": (8,),
}
SMALL_ON_POLICY = {"num_envs": 4, "rollout_length": 16, "widths": (16,)}
SMALL_PPO = SMALL_ON_POLICY | {
    "epochs": 2,
    "minibatches": 2,
    "normalize_observations": True,
    "scale_rewards": True,
    "max_gradient_norm": 0.05,
}
SMALL_A2C = SMALL_ON_POLICY | {"max_gradient_norm": 0.05}
SMALL_TRPO = SMALL_ON_POLICY | {
    "epochs": 2,
    "minibatches": 2,
    "conjugate_gradient_steps": 3,
    "entropy_coefficient": 0.01,
}
SMALL_Q_PROP = SMALL_TRPO | {
    "max_kl": 1e-4,
    "normalize_observations": True,
    "update_to_data": (1, 4),
    "batch_size": 8,
    "replay_capacity": 128,
    "critic_widths": (8,),
}
SMALL_REINFORCE = {"num_envs": 4, "episode_length": 16, "value_updates": 2, "max_gradient_norm": 0.05, "widths": (16,)}
SMALL_CONTINUOUS = {
    "num_envs": 2,
    "steps_per_iteration": 4,
    "update_to_data": (1, 2),
    "batch_size": 8,
    "replay_capacity": 64,
    "warm_up_steps": 16,
    "max_gradient_norm": 0.05,
    "widths": (8,),
    "critic_widths": (8,),
}
SMALL_ONE_NETWORK = {name: value for name, value in SMALL_CONTINUOUS.items() if name != "critic_widths"}
SMALL_MODEL = {"members": 2, "model_widths": (8,), "max_rounds": 2, "model_period": 8}
SMALL_TABULAR = {"steps_per_iteration": 20, "epsilon_start": 0.5, "initial_value": 0.5}
EPSILON = ("epsilon_start", "epsilon_end")
TEMPERATURE = ("temperature_start", "temperature_end")
PRIORITIES = ("priority_exponent", "priority_epsilon", "importance_start")
SUPPORT = ("support_low", "support_high")
ENSEMBLE = ("prior_scale", "mask_probability")
NOISE = ("noise_deviation",)
RISK = ("risk",)
HINDSIGHT = ("hindsight_fraction",)
KL_PENALTY = ("kl_coefficient", "kl_target", "dual_step_size")

CASES: dict[str, Case] = {
    "dqn": Case(
        "dqn",
        "CartPole-v1",
        SMALL_DQN | {"normalize_observations": True},
        idle=(*TEMPERATURE, *PRIORITIES, *SUPPORT, *ENSEMBLE, *NOISE, *RISK),
        wrong_environment="Pendulum-v1",
    ),
    "dqn, soft, by rank, bootstrapped": Case(
        "dqn",
        "CartPole-v1",
        SMALL_DQN
        | {
            "soft": True,
            "exploration": "boltzmann",
            "sampling": "rank",
            "n_step": 2,
            "share_observations": True,
            "members": 3,
            "prior_scale": 0.5,
            "mask_probability": 0.7,
        },
        idle=(*EPSILON, "priority_epsilon", *SUPPORT, *NOISE, *RISK),
    ),
    "rainbow": Case(
        "rainbow",
        "CartPole-v1",
        SMALL_DQN | {"atoms": 11, "risk_averse": True, "risk": 0.7},
        idle=(*EPSILON, *TEMPERATURE, "exploration_fraction", *ENSEMBLE),
        wrong_environment="Pendulum-v1",
    ),
    "c51": Case(
        "c51",
        "CartPole-v1",
        SMALL_DQN | {"atoms": 11, "support_low": 0.0},
        idle=(*TEMPERATURE, *PRIORITIES, *ENSEMBLE, *NOISE, *RISK),
        wrong_environment="Pendulum-v1",
    ),
    "qr_dqn": Case(
        "qr_dqn",
        "CartPole-v1",
        SMALL_DQN | {"atoms": 8, "double": True, "dueling": True, "exploration": "boltzmann", "risk_averse": True},
        idle=(*EPSILON, *PRIORITIES, *SUPPORT, *ENSEMBLE, *NOISE),
        wrong_environment="Pendulum-v1",
    ),
    "iqn": Case(
        "iqn",
        "CartPole-v1",
        SMALL_DQN | {"atoms": 8, "sampling": "proportional"},
        idle=(*TEMPERATURE, *SUPPORT, *ENSEMBLE, *NOISE, *RISK),
        wrong_environment="Pendulum-v1",
    ),
    "pqn": Case("pqn", "CartPole-v1", SMALL_PQN, wrong_environment="Pendulum-v1"),
    "pqn, recurrent": Case("pqn", "CartPole-v1", SMALL_PQN | {"core": "gru", "core_width": 8}),
    "r2d2": Case("r2d2", "CartPole-v1", SMALL_R2D2, wrong_environment="Pendulum-v1"),
    "r2d2, shared, LSTM": Case(
        "r2d2",
        "CartPole-v1",
        SMALL_R2D2 | {"share_observations": True, "core": "lstm", "burn_in": 0, "dueling": False},
    ),
    "q_learning": Case(
        "q_learning",
        "FrozenLake-misc",
        SMALL_TABULAR,
        idle=("visit_power", "temperature"),
        wrong_environment="Pendulum-v1",
    ),
    "q_learning, soft": Case(
        "q_learning",
        "FrozenLake-misc",
        SMALL_TABULAR | {"rule": "soft_q_learning", "learning_rate_schedule": "visits", "num_envs": 2},
    ),
    "dyna_q": Case(
        "dyna_q",
        "FrozenLake-misc",
        SMALL_TABULAR | {"bonus": 0.01, "plan_untried_actions": True, "tie_tolerance": 0.005},
        wrong_environment="Pendulum-v1",
    ),
    "apg": Case("apg", "Pendulum-v1", SMALL_APG | {"normalize_observations": True}, wrong_environment="CartPole-v1"),
    "apg, without a value": Case(
        "apg",
        "Pendulum-v1",
        SMALL_APG | {"bootstrap": False},
        idle=("critic_learning_rate", "trace_decay", "target_rate"),
    ),
    "ddpg": Case(
        "ddpg",
        "Pendulum-v1",
        SMALL_CONTINUOUS
        | {"critics": 3, "subset": 2, "actor_climbs": "mean", "sampling": "proportional", "n_step": 2}
        | {"noise_reversion": 0.15, "noise_end": 0.2, "target_noise": 0.2, "target_noise_clip": 0.1}
        | {"normalize_observations": True},
        idle=HINDSIGHT,
        wrong_environment="CartPole-v1",
    ),
    "sac": Case(
        "sac",
        "Pendulum-v1",
        SMALL_CONTINUOUS | {"sampling": "rank", "policy_delay": 2, "steps_per_iteration": 8},
        idle=("discrete_target_entropy", "priority_epsilon", *HINDSIGHT),
        wrong_environment="probe/multi_discrete",
    ),
    "sac, discrete": Case(
        "sac",
        "CartPole-v1",
        SMALL_CONTINUOUS | {"automatic_temperature": False},
        idle=(*PRIORITIES, "target_entropy", "discrete_target_entropy", "temperature_learning_rate", *HINDSIGHT),
    ),
    "soft_q": Case(
        "soft_q",
        "Pendulum-v1",
        SMALL_CONTINUOUS | {"value_actions": 4, "particles": 3, "policy_delay": 2},
        idle=PRIORITIES,
        wrong_environment="CartPole-v1",
    ),
    "td3": Case(
        "td3",
        "Pendulum-v1",
        SMALL_CONTINUOUS | {"noise_end": 0.2, "target_noise_clip": 0.1},
        idle=(*PRIORITIES, *HINDSIGHT),
        wrong_environment="CartPole-v1",
    ),
    "td3, in hindsight": Case(
        "td3",
        "goal/point_robot",
        SMALL_CONTINUOUS | {"noise_end": 0.2, "target_noise_clip": 0.1, "sampling": "proportional", "hindsight": True},
    ),
    "naf": Case(
        "naf",
        "Pendulum-v1",
        SMALL_ONE_NETWORK
        | {"sampling": "proportional", "n_step": 2, "noise_reversion": 0.15, "normalize_observations": True},
        wrong_environment="CartPole-v1",
    ),
    "ppo": Case(
        "ppo",
        "CartPole-v1",
        SMALL_PPO | {"clip_value": True, "clip": 0.001, "reward_clip": 0.1, "recompute_advantage": True},
        idle=(*KL_PENALTY, "stop_kl"),
    ),
    "ppo, recurrent, penalty": Case(
        "ppo",
        "Pendulum-v1",
        SMALL_PPO
        | {"penalty": "dual", "policy": "tanh_gaussian", "core": "gru", "core_width": 8, "learning_rate": 1e-3}
        | {"scale_rewards": False},
        idle=("clip", "stop_kl", "reward_clip"),
    ),
    "a2c": Case("a2c", "CartPole-v1", SMALL_A2C | {"scale_rewards": True, "reward_clip": 0.1}, idle=("staleness",)),
    "a3c": Case(
        "a3c",
        "Pendulum-v1",
        SMALL_A2C
        | {"rollout_length": 4, "workers": 4, "max_staleness": 3, "staleness": 2.5, "optimizer": "adam"}
        | {"core": "lstm", "core_width": 8, "policy": "state_gaussian"},
        idle=("rmsprop_decay", "reward_clip"),
    ),
    "trpo": Case("trpo", "CartPole-v1", SMALL_TRPO | {"max_kl": 1e-4}, idle=("backtrack_factor", "reward_clip")),
    "q_prop": Case(
        "q_prop", "Pendulum-v1", SMALL_Q_PROP, idle=("backtrack_factor", "reward_clip"), wrong_environment="CartPole-v1"
    ),
    "mbpo": Case(
        "mbpo",
        "Pendulum-v1",
        SMALL_CONTINUOUS
        | SMALL_MODEL
        | {"rollouts": 8, "rollout_length": 8, "first_rollout_length": 1, "remembered_iterations": 2, "elites": 1}
        | {"model_batch_size": 8, "updates_per_round": 4, "model_weight_decay": 0.5},
        idle=("discrete_target_entropy", *PRIORITIES, *HINDSIGHT),
        wrong_environment="probe/multi_discrete",
    ),
    "mba, with a controller": Case(
        "mba",
        "goal/four_goals",
        SMALL_ONE_NETWORK
        | SMALL_MODEL
        | {"rollouts_per_step": 1, "rollout_length": 2, "control_iterations": 2}
        | {"ridge": 0.1, "neighbours": 30},
        idle=(*PRIORITIES, "control_probability"),  # too few episodes begin for its draws to differ
        wrong_environment="CartPole-v1",
    ),
    "mba, in the true model": Case(
        "mba",
        "Pendulum-v1",
        SMALL_ONE_NETWORK | SMALL_MODEL | {"model": "true", "rollouts_per_step": 1, "imagination_steps": 16},
        idle=(
            *PRIORITIES,
            "neighbour_weight",
            "prior_strength",
            "ridge",
            "control_probability",
            "control_temperature",
        ),
    ),
    "mve": Case(
        "mve",
        "Pendulum-v1",
        SMALL_CONTINUOUS | SMALL_MODEL | {"horizon": 2, "noise_end": 0.2},
        idle=(*PRIORITIES, *HINDSIGHT, "target_noise_clip"),
        wrong_environment="CartPole-v1",
    ),
    "mve, weighted": Case(
        "mve",
        "Pendulum-v1",
        SMALL_CONTINUOUS | SMALL_MODEL | {"horizon": 2, "noise_end": 0.2, "weighting": "inverse_variance"},
        idle=(*PRIORITIES, *HINDSIGHT, "target_noise_clip"),
    ),
    "pets": Case(
        "pets",
        "Pendulum-v1",
        SMALL_PETS,
        idle=("temperature",),
        wrong_environment="CartPole-v1",
    ),
    "pets, two environments, TS1": Case(
        "pets",
        "Pendulum-v1",
        SMALL_PETS | {"propagation": "ts1", "num_envs": 2, "steps_per_iteration": 4, "activation": "tanh"},
        idle=("temperature",),
    ),
    "pets, on the mean of deterministic networks": Case(
        "pets",
        "Pendulum-v1",
        SMALL_PETS | {"propagation": "mean", "probabilistic": False, "particles": 1},
        idle=("beta", "temperature"),
    ),
    "pets, whole plans of one network, fitted once, by random shooting": Case(
        "pets",
        "Pendulum-v1",
        SMALL_PETS
        | {"planner": "random_shooting", "plan_steps": 3, "refit": False}
        | {"members": 1, "probabilistic": False, "particles": 1},
        # the model is that of random steps, whatever is planned for
        idle=("beta", "smoothing", "search_deviation", "temperature", "discount"),
    ),
    "pets, half a plan by MPPI": Case(
        "pets",
        "Pendulum-v1",
        SMALL_PETS | {"planner": "mppi", "horizon": 4, "plan_steps": 2, "num_envs": 2, "steps_per_iteration": 4},
        idle=("smoothing",),
    ),
    "model_policy_gradient": Case(
        "model_policy_gradient",
        "Pendulum-v1",
        SMALL_MODEL_POLICY_GRADIENT | {"entropy_coefficient": 0.01},
        wrong_environment="CartPole-v1",
    ),
    "model_policy_gradient, likelihood ratio, two environments": Case(
        "model_policy_gradient",
        "Pendulum-v1",
        SMALL_MODEL_POLICY_GRADIENT
        | {"gradient": "likelihood_ratio", "propagation": "ts_infinity", "policy": "gaussian"}
        | {"num_envs": 2, "steps_per_iteration": 4},
    ),
    "model_policy_gradient, without a value, deterministic": Case(
        "model_policy_gradient",
        "Pendulum-v1",
        SMALL_MODEL_POLICY_GRADIENT | {"bootstrap": False, "probabilistic": False, "propagation": "mean"},
        idle=("critic_learning_rate", "trace_decay", "target_rate", "beta"),
    ),
    "alphazero": Case(
        "alphazero", "CartPole-v1", SMALL_ALPHAZERO, idle=("gumbel_scale",), wrong_environment="Pendulum-v1"
    ),
    "alphazero, Gumbel, self-play": Case(
        "alphazero",
        "game/tic_tac_toe",
        SMALL_ALPHAZERO | {"search": "gumbel", "self_play": True, "considered_actions": 4},
        idle=("exploration", "dirichlet_fraction", "dirichlet_alpha", "temperature"),
    ),
    "npg": Case("npg", "Pendulum-v1", SMALL_TRPO | {"policy": "beta"}, idle=("backtrack_factor", "reward_clip")),
    "qt_opt": Case(
        "qt_opt",
        "Pendulum-v1",
        SMALL_ONE_NETWORK
        | {"lag_period": 16, "samples": 8, "elites": 3, "search_iterations": 3, "deviation_floor": 0.5}
        | {"noise_end": 0.2, "normalize_observations": True},
        idle=(*PRIORITIES, "search_step_size"),
        wrong_environment="CartPole-v1",
    ),
    "qt_opt, by gradient, double": Case(
        "qt_opt",
        "Pendulum-v1",
        SMALL_ONE_NETWORK
        | {"maximizer": "gradient", "target": "double", "samples": 3, "search_iterations": 3, "activation": "tanh"}
        | {"noise_reversion": 0.15, "noise_end": 0.2, "sampling": "proportional", "n_step": 2},
        idle=("search_deviation", "deviation_floor"),
    ),
    "reinforce": Case("reinforce", "CartPole-v1", SMALL_REINFORCE, idle=("baseline_constant",)),
    "reinforce, off policy": Case(
        "reinforce",
        "Pendulum-v1",
        SMALL_REINFORCE
        | {"baseline": "constant", "baseline_constant": -100.0, "standardize": False, "discount_states": True}
        | {"updates": 2, "correction": "per_decision", "policy": "mixture"},
        idle=("value_learning_rate",),
    ),
}
SAME_LOOP = (  # as that of another case: a resume of theirs is a slow test
    "c51",
    "qr_dqn",
    "iqn",
    "pqn",
    "q_learning, soft",
    "r2d2, shared, LSTM",
    "apg, without a value",
    "mbpo",
    "mve, weighted",
    "model_policy_gradient, likelihood ratio, two environments",
    "a2c",
    "npg",
    "reinforce, off policy",
    "td3, in hindsight",
)
IN_BETWEEN = (  # what other cases do, put together in another way: all contracts of theirs are slow tests
    "model_policy_gradient, without a value, deterministic",
    "mve",
)


def marked(name: str, slow: tuple[str, ...]) -> Any:
    """A case as a parameter. One process runs all its tests, so that its agents are compiled and trained once."""
    return pytest.param(name, marks=[pytest.mark.xdist_group(name)] + [pytest.mark.slow] * (name in slow))


EVERY_CASE = [marked(name, IN_BETWEEN) for name in CASES]
DIFFERENT_LOOPS = [marked(name, SAME_LOOP + IN_BETWEEN) for name in CASES]
assert {case.algorithm for case in CASES.values()} == set(ALGORITHMS), "every algorithm in the table needs a case here"


def algorithm(name: str) -> Algorithm:
    """The algorithm of a case."""
    return CASES[name].made()
