"""How far are PPO, DQN and SAC from the least that their work must cost?

The floor of an iteration is an environment-only scan (the same number of auto-resetting steps with actions drawn
beforehand) plus a learner-only scan of the same sizes (act on fixed observations, update on fixed batches), written
here by hand. What the algorithm takes on top is bookkeeping: replay, sampling, advantages, shuffling, statistics.

    python experiments/benchmarks/throughput.py            # about two minutes: PPO and DQN on CartPole-v1
    python experiments/benchmarks/throughput.py --quick
    python experiments/benchmarks/throughput.py --algorithms sac --env Pendulum-v1 --env brax/halfcheetah

A program takes its state, gives it back and gets it again, as in `purerl.run`. All are timed in turn, several times
over, so that a noisy machine slows them alike; medians are compared. DQN is also timed with a replay of 1,000,000
transitions against one of 10,000.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from purerl import make
from purerl.algorithms.continuous_control import sac
from purerl.algorithms.policy_gradient import ppo
from purerl.algorithms.value_based import dqn
from purerl.environments import vectorize
from purerl.host.compilation import compiler_options
from purerl.networks.critics import critics
from purerl.networks.heads import ActorCritic, PolicyNetwork
from purerl.networks.q_network import QNetwork
from purerl.optimizers import clipped_adam, descend
from purerl.train import advance, start

KEY = jax.random.key(0)
STEP_SIZE = 1e-9  # nothing is learned: all programs go on seeing the short episodes of a random policy


def whole(algorithm: Any, iterations: int) -> tuple[Callable, tuple]:
    """The algorithm as `purerl.run` executes it, without evaluation; made with `STEP_SIZE`."""
    training = jax.jit(partial(start, algorithm))(KEY)
    program = partial(advance, algorithm, iterations=iterations, total_iterations=10 * iterations)
    return lambda training, first: program(training, first)[:2], (training, jnp.int32(0))


def environment_only(name: str, num_envs: int, steps: int) -> tuple[Callable, tuple]:
    """`steps` steps of `num_envs` environments with actions drawn beforehand."""
    environments = vectorize(make(name), num_envs)
    draw = jax.vmap(jax.vmap(environments.action_space.sample))
    actions = draw(jax.random.split(KEY, (steps, num_envs)))

    def program(state, actions, key):
        def body(state, inputs):
            state, timestep = environments.step(inputs[1], state, inputs[0])
            return state, timestep.reward.sum()

        return jax.lax.scan(body, state, (actions, jax.random.split(key, len(actions))))

    return program, (jax.jit(environments.reset)(KEY), actions, KEY)


def learner_only(act: Callable, update: Callable, num_envs: int, iterations: int, acts: int, updates: int) -> Callable:
    """A program of `acts` times `act(carry, data, observation, key)`, then `updates` times `update(carry, data, key)`,
    `iterations` times; `data[0]` are the observations of a batch, of which the first `num_envs` are acted on.
    """

    def program(carry, data, key):
        def iteration(carry, keys):
            acting, first = partial(act, carry, data), data[0][:num_envs]
            acted = jax.lax.scan(acting, first, jax.random.split(keys[0], acts))
            carry, _ = jax.lax.scan(
                lambda carry, key: (update(carry, data, key), None), carry, jax.random.split(keys[1], updates)
            )
            return carry, jax.tree.map(jnp.sum, acted)

        return jax.lax.scan(iteration, carry, jax.random.split(key, (iterations, 2)))

    return program


def ppo_learner_only(config: ppo.Config, environment: Any, iterations: int) -> tuple[Callable, tuple]:
    """Act and value `rollout_length` times, then `epochs x minibatches` updates, `iterations` times, on fixed data."""
    network = ActorCritic(environment.observation_space, environment.action_space, config.widths)
    optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)
    size = config.num_envs * config.rollout_length // config.minibatches
    observation = jax.random.normal(KEY, (size, *environment.observation_space.shape))
    params = network.init(KEY, observation)
    data = (observation, jnp.zeros(size, jnp.int32), -jnp.ones(size), jnp.ones(size), jnp.ones(size))

    def loss(params, batch):
        observation, action, old, advantage, target = batch
        _, distribution, value = network.apply(params, observation)
        ratio = jnp.exp(distribution.log_probability(action) - old)
        clipped = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
        surrogate = jnp.mean(jnp.minimum(ratio * advantage, clipped * advantage))
        error = 0.5 * jnp.mean((value - target) ** 2)
        entropy = jnp.mean(distribution.entropy())
        return -surrogate + config.value_coefficient * error - config.entropy_coefficient * entropy

    def act(carry, data, observation, key):
        _, distribution, value = network.apply(carry[0], observation)
        action = distribution.sample(key)
        return observation + 1e-6 * value[:, None], (action, value, distribution.log_probability(action))

    def update(carry, data, key):
        return descend(optimizer, *carry, jax.grad(loss)(carry[0], data))

    updates = config.epochs * config.minibatches
    program = learner_only(act, update, config.num_envs, iterations, config.rollout_length, updates)
    return program, ((params, optimizer.init(params)), data, KEY)


def dqn_learner_only(config: dqn.Config, environment: Any, iterations: int) -> tuple[Callable, tuple]:
    """One greedy action per environment and `updates_per_iteration` updates on a fixed batch, `iterations` times."""
    network = QNetwork(environment.observation_space, environment.action_space.n, config.widths)
    optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)
    size = config.batch_size
    observation = jax.random.normal(KEY, (size, *environment.observation_space.shape))
    params = network.init(KEY, observation)
    action = jnp.zeros((size, 1), jnp.int32)

    def loss(params, target_params, observation):
        target = 1.0 + config.discount * jnp.max(network.apply(target_params, observation).mean(), axis=-1)
        chosen = jnp.take_along_axis(network.apply(params, observation).mean(), action, axis=-1)[:, 0]
        return jnp.mean(0.5 * (chosen - target) ** 2)

    def act(carry, data, observation, key):
        values = network.apply(carry[0], observation).mean()
        return observation + 1e-6 * values[:, :1], jnp.argmax(values, axis=-1)

    def update(carry, data, key):
        (params, _), (observation, target_params) = carry, data
        # A batch that changes with the parameters: else XLA takes the target's values out of the loop.
        batch = observation + 1e-6 * jax.tree.leaves(params)[0].ravel()[0]
        return descend(optimizer, *carry, jax.grad(loss)(params, target_params, batch))

    acts, updates = config.steps_per_iteration, config.updates_per_iteration
    program = learner_only(act, update, config.num_envs, iterations, acts, updates)
    return program, ((params, optimizer.init(params)), (observation, jax.tree.map(jnp.copy, params)), KEY)


def sac_learner_only(config: sac.Config, environment: Any, iterations: int) -> tuple[Callable, tuple]:
    """Act for `steps_per_iteration` steps, then the updates of an iteration on a fixed batch, `iterations` times."""
    size, (wide,) = config.batch_size, environment.action_space.shape
    actor = PolicyNetwork(
        environment.observation_space, environment.action_space, config.widths, config.activation, False, config.policy
    )
    q = critics(environment, config)
    optimizer = optax.adam(config.learning_rate)  # on one vector XLA makes this learner, but not the whole, slower
    observation = jax.random.normal(KEY, (size, *environment.observation_space.shape))
    action = jnp.zeros((size, wide))
    params = [actor.init(KEY, observation), q.init(KEY, observation, action), jnp.zeros(())]
    updates = config.num_envs * config.steps_per_iteration * config.update_to_data[0] // config.update_to_data[1]

    def soft_value(actor_params, q_params, observation, key):
        policy = actor.apply(actor_params, observation)
        draw = policy.sample(key)
        values = q.apply(q_params, observation, policy.action(draw))
        return jnp.min(values, axis=0), -policy.log_probability(draw)

    def q_loss(q_params, observation, target):
        return 0.5 * jnp.mean(jnp.square(q.apply(q_params, observation, action) - target))

    def actor_loss(actor_params, q_params, observation, alpha, key):
        value, entropy = soft_value(actor_params, q_params, observation, key)
        return -jnp.mean(value + alpha * entropy), jnp.mean(entropy)

    def update(carry, data, key):
        (pi, critic, log_alpha), target, states = carry
        target_key, actor_key = jax.random.split(key)
        batch = data[0] + 1e-6 * log_alpha  # that changes: else XLA takes what it can out of the loop
        value, entropy = soft_value(pi, target, batch, target_key)
        y = 1.0 + config.discount * (value + jnp.exp(log_alpha) * entropy)
        slope = jax.grad(q_loss)(critic, batch, y)
        gradient, entropy = jax.grad(actor_loss, has_aux=True)(pi, critic, batch, jnp.exp(log_alpha), actor_key)
        gradients = (gradient, slope, entropy + wide)
        moved, states = zip(*map(partial(descend, optimizer), carry[0], states, gradients), strict=True)
        return list(moved), optax.incremental_update(moved[1], target, config.target_rate), list(states)

    def act(carry, data, observation, key):
        policy = actor.apply(carry[0][0], observation)
        action = policy.action(policy.sample(key))
        return observation + 1e-6 * action[:, :1], action

    carry = params, jax.tree.map(jnp.copy, params[1]), [optimizer.init(one) for one in params]
    program = learner_only(act, update, config.num_envs, iterations, config.steps_per_iteration, updates)
    return program, (carry, (observation,), KEY)


def measure(programs: dict[str, tuple[Callable, tuple]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every program, in turn, `repeats` times after one warm-up; compile times are printed."""
    compiled, carried = {}, {}
    for name, (program, arguments) in programs.items():
        began = time.perf_counter()
        lowered = jax.jit(program, donate_argnums=0).lower(*arguments)
        compiled[name], carried[name] = lowered.compile(compiler_options=compiler_options()), arguments[0]
        print(f"  compiled {name} in {time.perf_counter() - began:.1f} s")
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for repeat in range(repeats + 1):
        for name, (_, arguments) in programs.items():
            began = time.perf_counter()
            carried[name], _ = jax.block_until_ready(compiled[name](carried[name], *arguments[1:]))
            if repeat:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def report(name: str, seconds: dict[str, list[float]], env_steps: int, bound: float) -> None:
    """The ratio of the whole to the sum of its floor, round by round."""
    rounds = zip(seconds["whole"], seconds["environment"], seconds["learner"], strict=True)
    ratio = statistics.median(one / (environment + learner) for one, environment, learner in rounds)
    median = {part: statistics.median(values) for part, values in seconds.items()}
    print(f"{name}: {env_steps / median['whole']:,.0f} environment steps/s")
    print(f"  whole {median['whole']:.3f} s, environment {median['environment']:.3f}, learner {median['learner']:.3f}")
    print(f"  whole / floor = {ratio:.2f} (bound {bound})")


def against_floor(algorithm: Any, name: str, learner: tuple[Callable, tuple], iterations: int) -> dict[str, tuple]:
    """The programs of `report`: the whole, its environment and its learner."""
    config = algorithm.config
    steps = iterations * algorithm.env_steps_per_iteration // config.num_envs
    return {
        "whole": whole(algorithm, iterations),
        "environment": environment_only(name, config.num_envs, steps),
        "learner": learner,
    }


def ppo_against_floor(name: str, scale: int, repeats: int) -> None:
    """PPO of the default Config."""
    environment, config, iterations = make(name), ppo.Config(learning_rate=STEP_SIZE), 10 * scale
    algorithm, learner = ppo.make(environment, config), ppo_learner_only(config, environment, iterations)
    seconds = measure(against_floor(algorithm, name, learner, iterations), repeats)
    report("ppo", seconds, iterations * algorithm.env_steps_per_iteration, bound=1.2)


def dqn_against_floor(name: str, scale: int, repeats: int) -> None:
    """DQN of the default Config, and with a replay a hundred times as large."""
    environment, config, iterations = make(name), dqn.Config(learning_rate=STEP_SIZE), 500 * scale
    algorithm, learner = dqn.make(environment, config), dqn_learner_only(config, environment, iterations)
    large = dqn.make(environment, dataclasses.replace(config, replay_capacity=1_000_000))
    programs = {"whole, replay of 1,000,000": whole(large, iterations)}
    seconds = measure(against_floor(algorithm, name, learner, iterations) | programs, repeats)
    report("dqn", seconds, iterations * algorithm.env_steps_per_iteration, bound=1.35)
    pairs = zip(seconds["whole, replay of 1,000,000"], seconds["whole"], strict=True)
    print(f"  replay of 1,000,000 / of 10,000 = {statistics.median(a / b for a, b in pairs):.2f} (bound 1.1)")


def sac_against_floor(name: str, scale: int, repeats: int) -> None:
    """SAC of the default Config: one environment, an update of 256 transitions per step."""
    environment, iterations = make(name), 10 * scale
    config = sac.Config(STEP_SIZE, critic_learning_rate=STEP_SIZE, temperature_learning_rate=STEP_SIZE)
    algorithm, learner = sac.make(environment, config), sac_learner_only(config, environment, iterations)
    seconds = measure(against_floor(algorithm, name, learner, iterations), repeats)
    report("sac", seconds, iterations * algorithm.env_steps_per_iteration, bound=1.25)


AGAINST_FLOOR = {"ppo": ppo_against_floor, "dqn": dqn_against_floor, "sac": sac_against_floor}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short scans and few repeats: shows that it runs")
    parser.add_argument("--algorithms", nargs="+", choices=AGAINST_FLOOR, default=["ppo", "dqn"])
    parser.add_argument(
        "--env", action="append", help="an environment that suits them (default CartPole-v1); again for more"
    )
    options = parser.parse_args()
    repeats, scale = (3, 1) if options.quick else (11, 10)
    for name in options.env or ["CartPole-v1"]:
        print(f"device: {jax.devices()[0].device_kind}, jax {jax.__version__}, {name}, float32")
        for algorithm in options.algorithms:
            AGAINST_FLOOR[algorithm](name, scale, repeats)


if __name__ == "__main__":
    main()
