"""purerl: reinforcement learning as single compiled programs.

    from purerl import make, ppo, run

    result = run(ppo.make(make("CartPole-v1"), ppo.Config()), total_steps=200_000, seeds=8)

`make` gives an environment, an algorithm's own `make` a learner of `init`, `step` and `policy`, `train` the pure
training loop to `jit` and `vmap`, `run` its host-side face with checkpoints and pictures.
"""

from importlib.metadata import version

from purerl.algorithms import ALGORITHMS, load
from purerl.algorithms.policy_gradient import ppo
from purerl.algorithms.tabular import dyna_q, q_learning
from purerl.algorithms.value_based import c51, dqn, iqn, pqn, qr_dqn, r2d2, rainbow
from purerl.devices import use_all_cores, use_threads
from purerl.environments import make, vectorize
from purerl.evaluate import Evaluation, evaluate
from purerl.export import evaluate_in_gymnasium, export_policy, load_policy
from purerl.run import run
from purerl.search import search
from purerl.sweep import sweep
from purerl.sweeps.space import choice, grid, log_uniform, uniform, when
from purerl.train import EvaluationPlan, train
from purerl.types import Algorithm, Box, Discrete, Environment, MultiDiscrete, Policy, Time, Timestep

__version__ = version("purerl")
__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Box",
    "Discrete",
    "Environment",
    "Evaluation",
    "EvaluationPlan",
    "MultiDiscrete",
    "Policy",
    "Time",
    "Timestep",
    "c51",
    "choice",
    "dqn",
    "dyna_q",
    "evaluate",
    "evaluate_in_gymnasium",
    "export_policy",
    "grid",
    "iqn",
    "load",
    "load_policy",
    "log_uniform",
    "make",
    "ppo",
    "pqn",
    "q_learning",
    "qr_dqn",
    "r2d2",
    "rainbow",
    "run",
    "search",
    "sweep",
    "train",
    "uniform",
    "use_all_cores",
    "use_threads",
    "vectorize",
    "when",
]
