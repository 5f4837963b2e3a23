"""The training loop: the only one in the package.

`train` is a pure function: `jit(vmap(train))` is a sweep, and a `train` inside a `train` is (gradient-free)
meta-learning: the loop that resets environments only when needed has forward-mode but no reverse-mode derivatives. The
host-side `purerl.run` executes the same loop piece by piece through `start` and `advance`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from purerl import trees
from purerl.configuration import UsageError, a, whole_number
from purerl.evaluate import Evaluation, evaluate
from purerl.types import Algorithm, Array, Environment, Key, Metrics, State, Time


class Best(struct.PyTreeNode):
    """The best policy seen at an evaluation so far."""

    snapshot: State  # `algorithm.snapshot(state)` at that moment: `algorithm.policy(best.snapshot)` acts like it did
    score: Array  # its mean return; -inf before the first evaluation
    iteration: Array  # iterations done at that moment, int32


def require_best(score: Any, whose: object) -> None:
    """Raise ValueError if no score is finite: nothing was evaluated, and the best parameters are the first ones.

    Args:
        score: of a `Best`, of one agent or of several.
        whose: run or sweep, for the message.
    """
    if not bool(jnp.isfinite(score).any()):
        raise ValueError(f"{whose} was never evaluated during training: there are no best parameters")


class Training(struct.PyTreeNode):
    """Everything a training needs to go on: arrays only, so it can be checkpointed, vmapped, sharded and indexed."""

    state: State
    evaluation_key: Key  # evaluation's own stream: training is the same with evaluation on and off
    best: Best
    diverged: Array  # bool: some loss was not finite; from then on what the policy reads is frozen


class EvaluationPlan(NamedTuple):
    """What to evaluate on, and how thoroughly."""

    environment: Environment | None = None  # default: the algorithm's own
    episodes: int = 128
    max_steps: int | None = None  # default: the environment's own bound
    greedy: bool = True


class TrainResult(NamedTuple):
    """What `train` returns."""

    state: State
    metrics: Metrics  # each [iterations]
    best: Best  # without evaluation: the initial snapshot with score -inf
    evaluations: Evaluation | None  # each [iterations / evaluate_every, episodes]


def start(algorithm: Algorithm, key: Key) -> Training:
    """The training of one agent before its first iteration."""
    init_key, evaluation_key = jax.random.split(key)
    state = trees.strongly_typed(algorithm.init(init_key))
    best = Best(algorithm.snapshot(state), jnp.full((), -jnp.inf), jnp.zeros((), jnp.int32))
    return trees.strongly_typed(Training(state, evaluation_key, best, diverged=jnp.zeros((), bool)))


def advance(
    algorithm: Algorithm,
    training: Training,
    first: Array,
    *,
    iterations: int,
    total_iterations: int,
    plan: EvaluationPlan | None = None,
) -> tuple[Training, Metrics, Evaluation | None]:
    """`iterations` iterations starting with number `first`, then one evaluation if there is a `plan`.

    `first` (int32) is shared by every agent when this is vmapped (`in_axes=None`): the clock is never batched.
    An agent whose loss is not finite in some iteration has diverged: its snapshot stays that of the iteration before,
    and its evaluations go on with it.
    Returns the training to go on with, the metrics (each `[iterations]`) and the evaluation (each `[episodes]`).
    """

    def body(carry: tuple[State, Array], iteration: Array) -> tuple[tuple[State, Array], Metrics]:
        before, diverged = carry
        time = Time(iteration, iteration.astype(jnp.float32) / total_iterations)
        state, metrics = algorithm.step(before, time)
        for name in loss_names(metrics):
            diverged |= ~jnp.isfinite(metrics[name])
        frozen = trees.where(diverged, algorithm.snapshot(before), algorithm.snapshot(state))
        return (trees.put_back(state, frozen), diverged), metrics

    iteration = first + jnp.arange(iterations, dtype=jnp.int32)
    (state, diverged), metrics = jax.lax.scan(body, (training.state, training.diverged), iteration)
    training = training.replace(state=state, diverged=diverged)
    if plan is None:
        return training, metrics, None
    environment = plan.environment or algorithm.environment
    if environment is None:
        raise ValueError(f"{algorithm.name} has no environment of its own: pass plan=EvaluationPlan(environment)")
    evaluation = evaluate(
        algorithm.policy(state, greedy=plan.greedy),
        environment,
        jax.random.fold_in(training.evaluation_key, first),
        plan.episodes,
        plan.max_steps,
    )
    score = jnp.mean(evaluation.returns)
    best = trees.where(
        score > training.best.score,
        Best(algorithm.snapshot(state), score, first + iterations),
        training.best,
    )
    return training.replace(best=best), metrics, evaluation


def require_algorithm(found: Any, who: str) -> None:
    """Raise UsageError (a TypeError) unless `found` is an `Algorithm`; `who` needs it."""
    if isinstance(found, Algorithm):
        return
    if isinstance(found, Environment):
        what = f"the environment {found.name}; pass an algorithm on it, as in ppo.make(environment, ppo.Config())"
    elif isinstance(found, str):
        what = f"the string {found!r}; pass what its module makes, as in ppo.make(environment, ppo.Config())"
    elif hasattr(found, "make") and hasattr(found, "Config"):
        name = found.__name__.rpartition(".")[2]
        what = f"the module {name}; pass what it makes, {name}.make(environment, {name}.Config())"
    else:
        what = f"{a(found)}; pass what an algorithm's make returns, as in ppo.make(environment, config)"
    raise UsageError(f"{who} needs an Algorithm, but got {what}")


def loss_names(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics that must stay finite: those with "loss" in their names; where there is none, all of them."""
    return [name for name in metrics if "loss" in name] or list(metrics)


def train(
    algorithm: Algorithm, key: Key, iterations: int, *, evaluate_every: int = 0, plan: EvaluationPlan | None = None
) -> TrainResult:
    """Train one agent from scratch for `iterations` iterations; pure, so `jit` and `vmap` it.

    Every `evaluate_every` iterations (0: never) the policy is evaluated by `plan` (default: 128 greedy episodes) and
    the best parameters are kept. Evaluation draws from its own random stream, so it does not change the training.

    Args:
        algorithm: what to train, for example `ppo.make(environment, ppo.Config())`.
        key: one `jax.random.key(seed)`; a key of the older kind, `jax.random.PRNGKey(seed)`, is the same seed.
        iterations: of `algorithm.step`; a Python int, since it chooses a program.

    Raises ValueError if `iterations` is not a positive multiple of `evaluate_every`, if there is nothing to evaluate
    on, or for a batch of keys; TypeError for what is no algorithm, no key or no whole number.
    """
    require_algorithm(algorithm, "train")
    key, iterations = trees.one_key(key, "train"), whole_number("iterations", iterations)
    evaluate_every = whole_number("evaluate_every", evaluate_every)
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    if evaluate_every and iterations % evaluate_every:
        raise ValueError(f"iterations ({iterations}) must be a multiple of evaluate_every ({evaluate_every})")
    group = evaluate_every or iterations
    plan = (plan or EvaluationPlan()) if evaluate_every else None

    def body(training: Training, first: Array):
        training, metrics, evaluation = advance(
            algorithm, training, first, iterations=group, total_iterations=iterations, plan=plan
        )
        return training, (metrics, evaluation)

    firsts = jnp.arange(0, iterations, group, dtype=jnp.int32)
    training, (metrics, evaluations) = jax.lax.scan(body, start(algorithm, key), firsts)
    metrics = jax.tree.map(lambda x: x.reshape(iterations, *x.shape[2:]), metrics)
    return TrainResult(training.state, metrics, training.best, evaluations)
