"""PETS: plan with a bootstrap ensemble of probabilistic networks, replan at every step (Chua et al., 2018).

There is no policy network and no value. An iteration acts for a while, and refits the model to everything seen:

    act      a_t = first action of argmax_{a_t ... a_{t+H-1}} E [ sum_h discount^h r(o_{t+h}, a_{t+h}) ]   (CEM)
             where the expectation is over particles that the ensemble imagines from o_t
    learn    every member fits the change of the observation, and the reward, on its own bootstrap sample

`propagation` says how particles meet the members: "ts1" another one at every step, "ts_infinity" one for good; "mean"
forgets what is not known.

With `members=1` and `probabilistic=False` it plans on a deterministic network (Nagabandi et al., 2018), whose errors
plans exploit. The textbook has three versions of that. In v0.5 (`refit=False, plan_steps=horizon`) the model is fitted
once, to random steps, and every plan is executed to its end. v1.0 (`refit=True`) refits it to what its plans led to,
and v1.5 (`plan_steps=1` as well) plans anew at every step. The paper has `planner="random_shooting"`.

A known reward and a known termination are better than learned ones: `make(environment, config, reward, termination)`.
Termination is not learned; for environments whose episodes end early it must be given, or plans go on after the fall.

Chua, K. et al. (2018), "Deep reinforcement learning in a handful of trials using probabilistic dynamics models".
Nagabandi, A. et al. (2018), "Neural network dynamics for model-based deep reinforcement learning with model-free
fine-tuning".
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from purerl import trees
from purerl.algorithms.config import check_config, name_of, require_continuous
from purerl.data.transitions import Transitions, transitions_replay
from purerl.environments.vectorize import VectorState, vectorize
from purerl.models.ensemble import EnsembleConfig, EnsembleState, Fit, make_ensemble
from purerl.models.learned_environment import Propagation, Reward, Termination, imagine_from, learned_environment
from purerl.networks.torsos import Activation
from purerl.planning.mpc import mpc, open_loop
from purerl.planning.shooting import cem, mppi, random_shooting
from purerl.replay import ReplayState
from purerl.types import Algorithm, Array, Environment, Key, Metrics, Planner, Policy, Time


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    planner: Literal["cem", "random_shooting", "mppi"] = "cem"
    """What searches: the cross-entropy method, the best of uniform draws, or path integrals."""
    horizon: int = 20
    """H, steps of a plan."""
    plan_steps: int = 1
    """How many of them are executed before the next plan, at most H; 1 is model-predictive control."""
    samples: int = 200
    """Sequences per iteration of the search."""
    elites: int = 20
    """How many of them the next Gaussian of the cross-entropy method is fitted to."""
    search_iterations: int = 5
    """Of drawing and fitting, or averaging; random shooting has one."""
    smoothing: float = 0.1
    """How much of the old Gaussian the cross-entropy method keeps, in [0, 1]."""
    search_deviation: float = 0.5
    """Deviation of the first Gaussian, and of the noise of MPPI, in units of half the box, > 0."""
    temperature: float = 1.0
    """lambda of MPPI, in units of return, > 0."""
    particles: int = 5
    """Imagined futures that a sequence is judged by."""
    propagation: Propagation = "ts_infinity"
    """Which member predicts: another at every step, one for good, or the mean of all."""
    discount: float = 1.0
    """Weight of the next step's reward in a plan, in [0, 1]."""
    members: int = 5
    """Networks of the ensemble."""
    probabilistic: bool = True
    """Learn the noise as well; otherwise least squares."""
    widths: tuple[int, ...] = (200, 200)
    """Units of the hidden layers of every member."""
    activation: Activation = "swish"
    """Nonlinearity after every hidden layer."""
    learning_rate: float = 1e-3
    """Step size of Adam, > 0."""
    weight_decay: float = 5e-5
    """Of the networks' weights, >= 0."""
    beta: float = 0.5
    """Weight of errors by the variance to this power, in [0, 1]; the paper's likelihood is 0."""
    model_batch_size: int = 64
    """Transitions per update and member."""
    updates_per_round: int = 100
    """Updates between two looks at the held-out error."""
    max_rounds: int = 20
    """At most so many in one fit."""
    refit: bool = True
    """Fit again after every iteration; otherwise only once, to the warm-up."""
    num_envs: int = 1
    """Environments stepped side by side."""
    steps_per_iteration: int = 100
    """Steps of every environment before the model is fitted again."""
    replay_capacity: int = 10_000
    """Transitions remembered; a multiple of num_envs x steps_per_iteration."""
    warm_up_steps: int = 200
    """Environment steps of uniform actions before the first fit."""


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    model: EnsembleState
    environments: VectorState
    plans: Any  # [B, ...]: what the last search of every environment left
    replay: ReplayState
    key: Key


def make(
    environment: Environment, config: Config, reward: Reward | None = None, termination: Termination | None = None
) -> Algorithm:
    """PETS on `environment`, whose observations and actions must be vectors, the latter between finite bounds.

    Args:
        environment: what to learn.
        config: how.
        reward: r(o, a, o') if it is known; otherwise it is learned.
        termination: of (o, a, o') to bool, if episodes end; otherwise plans never do.

    Raises TypeError for other spaces or a traced static field, ValueError for unbounded actions, a value out of range
    or sizes that do not go together.
    """
    check(config, environment)
    environments = vectorize(environment, config.num_envs)
    ensemble = make_ensemble(environment, ensemble_config(config, learn_reward=reward is None))
    block = config.num_envs * config.steps_per_iteration
    warm_up_blocks = -(-config.warm_up_steps // block)
    replay = transitions_replay(environment, config.replay_capacity, block, config.num_envs)

    def planner(model: EnsembleState) -> Planner:
        """The search in what the ensemble believes."""
        nowhere = jnp.zeros((1, *environment.observation_space.shape))
        imagined = learned_environment(
            environment, ensemble, model, nowhere, reward, termination, config.propagation, gather=True
        )
        search = search_in(imagined, config)
        return search if config.plan_steps == 1 else open_loop(search, config.plan_steps, environment.action_space)

    def write(state: State, key: Key, written: Array, random: bool) -> State:
        """Act in every environment for `steps_per_iteration` steps and remember them as block number `written`."""
        search = planner(state.model)

        def body(carry: tuple[VectorState, Any], key: Key) -> tuple[tuple[VectorState, Any], Transitions]:
            running, plans = carry
            act_key, step_key, plan_key = jax.random.split(key, 3)
            act_keys = jax.random.split(act_key, config.num_envs)
            if random:
                action = jax.vmap(environment.action_space.sample)(act_keys)
            else:
                plans, action = jax.vmap(search.plan)(act_keys, plans, jax.vmap(imagine_from)(running.observation))
            before = running.observation
            running, timestep = environments.step(step_key, running, action)
            done = timestep.terminated | timestep.truncated
            fresh = jax.vmap(search.init)(jax.random.split(plan_key, config.num_envs))
            row = Transitions(
                before, action, timestep.reward, timestep.terminated, timestep.truncated, timestep.observation
            )
            return (running, trees.where(done, fresh, plans)), row

        keys = jax.random.split(key, config.steps_per_iteration)
        (running, plans), rows = jax.lax.scan(body, (state.environments, state.plans), keys)
        rows = jax.tree.map(lambda x: x.reshape(block, *x.shape[2:]), rows)
        return state.replace(environments=running, plans=plans, replay=replay.add(state.replay, rows, written))

    def learn(state: State, key: Key, written: Array) -> tuple[State, Fit]:
        """Fit the model to all that is remembered after `written` blocks."""
        data = replay.read(state.replay, jnp.arange(config.replay_capacity))
        model, report = ensemble.fit(state.model, key, data, jnp.minimum(written * block, config.replay_capacity))
        return state.replace(model=model), report

    def init(key: Key) -> State:
        model_key, reset_key, plan_key, warm_up_key, fit_key, key = jax.random.split(key, 6)
        model, running = ensemble.init(model_key), environments.reset(reset_key)
        plans = jax.vmap(planner(model).init)(jax.random.split(plan_key, config.num_envs))
        state = State(model, running, plans, replay.init(), key)

        def warm_up(state: State, inputs: tuple[Key, Array]) -> tuple[State, None]:
            return write(state, *inputs, random=True), None

        inputs = jax.random.split(warm_up_key, warm_up_blocks), jnp.arange(warm_up_blocks)
        state, _ = jax.lax.scan(warm_up, state, inputs)
        return trees.strongly_typed(learn(state, fit_key, jnp.asarray(warm_up_blocks))[0])

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        act_key, fit_key = jax.random.split(jax.random.fold_in(state.key, time.iteration))
        state = state.replace(environments=state.environments.clear_statistics())
        state = write(state, act_key, warm_up_blocks + time.iteration, random=False)
        metrics = {}
        if config.refit:
            state, report = learn(state, fit_key, warm_up_blocks + time.iteration + 1)
            metrics = {
                "model_error": jnp.mean(report.held_out_error),
                "model_loss": report.loss,
                "fit_rounds": report.rounds.astype(jnp.float32),
            }
        return state, metrics | state.environments.statistics.metrics()

    def policy(state: State, greedy: bool = True) -> Policy:
        return mpc(planner(state.model), imagine_from)

    return Algorithm(
        name=name_of(config),
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=lambda state: trees.keep(state, "model"),
        env_steps_per_iteration=block,
        env_steps_of_init=warm_up_blocks * block,
    )


def search_in(imagined: Environment, config: Config) -> Planner:
    """The planner of the fields, which plans in `imagined`."""
    if config.planner == "random_shooting":
        return random_shooting(
            imagined, config.horizon, config.samples, discount=config.discount, particles=config.particles
        )
    if config.planner == "mppi":
        return mppi(
            imagined, config.horizon, config.samples, config.search_iterations, config.temperature,
            config.search_deviation, discount=config.discount, particles=config.particles,
        )  # fmt: skip
    return cem(
        imagined, config.horizon, config.samples, config.elites, config.search_iterations, config.smoothing,
        config.search_deviation, discount=config.discount, particles=config.particles,
    )  # fmt: skip


def ensemble_config(config: Config, learn_reward: bool) -> EnsembleConfig:
    """The fields that describe the model."""
    return EnsembleConfig(
        members=config.members,
        widths=config.widths,
        activation=config.activation,
        probabilistic=config.probabilistic,
        learn_reward=learn_reward,
        beta=config.beta,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        batch_size=config.model_batch_size,
        updates_per_round=config.updates_per_round,
        max_rounds=config.max_rounds,
    )


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    check_config(
        config,
        positive=(
            "horizon", "plan_steps", "samples", "elites", "search_iterations", "search_deviation", "temperature",
            "particles", "members", "learning_rate", "model_batch_size", "updates_per_round", "max_rounds", "num_envs",
            "steps_per_iteration",
        ),
        non_negative=("weight_decay",),
        fraction=("smoothing", "discount", "beta"),
    )  # fmt: skip
    name = name_of(config)
    require_continuous(name, environment)
    if not 10 <= config.warm_up_steps <= config.replay_capacity:
        raise ValueError(
            f"{name}: warm_up_steps ({config.warm_up_steps}) must be at least 10, for a first fit, and fit into "
            f"replay_capacity ({config.replay_capacity})"
        )
    if config.plan_steps > config.horizon:
        raise ValueError(
            f"{name}: plan_steps ({config.plan_steps}) must not exceed horizon ({config.horizon}): a plan has no more"
        )
    if config.planner == "cem" and config.elites > config.samples:
        raise ValueError(f"{name}: elites ({config.elites}) must not exceed samples ({config.samples})")
