"""Two gradients of the same return: by the chain rule through H steps, and by the likelihood ratio.

    python experiments/gradient_through_model.py              # eleven minutes on two busy cores
    python experiments/gradient_through_model.py --quick      # small, to see that it runs; learns little

The first part holds a random policy fixed and asks how much the estimates from single episodes vary, with the true
dynamics of Pendulum and of a double pendulum without friction that starts with much energy, which is chaotic (Parmas et
al., 2018). Deviations of the gradient (root of the summed variances, 1000 episodes) for H of

                                          5      10      20      50     100      200
    Pendulum, through the model         3.2      24      96     292    1270     3330
    Pendulum, likelihood ratio          117     362     662    2060    4880    10200
    double pendulum, through the model 0.14     1.0     8.0     500  140000    8.1e9
    double pendulum, likelihood ratio    29      98     353    1090    2370     5840

Through the model it is 15 and 94 times less at H = 10, and on Pendulum still three times less at H = 200; on the double
pendulum it is 58 times more at H = 100 and 1.4 million times more at H = 200.

The second part learns Pendulum-v1 in a learned ensemble with `model_policy_gradient`, seeds 100 to 102, each gradient
with settings of its own, tuned on seeds 0 and 1. Greedy returns after 5,000 real steps: through the model -125.9,
-124.8, -124.3; by the likelihood ratio -124.4, -123.8, -122.8. At H = 15 neither is the better one: while acting, the
mean over seeds stays above -300 from 2,800 (likelihood ratio) and 3,400 (through the model) steps on.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from purerl import evaluate, make, presets, train, use_all_cores
from purerl.algorithms.model_based import model_policy_gradient
from purerl.environments.wrappers import rescale_actions
from purerl.host.compilation import compiler_options
from purerl.models.imagined_episodes import imagine, leave_one_out_advantage
from purerl.networks.heads import PolicyNetwork
from purerl.operators.returns import backward_recurrence
from purerl.report.pictures.learning_curve import COLOURS
from purerl.report.statistics import estimate, in_words
from purerl.types import Action, Array, Box, Environment, Key, Timestep

GRADIENTS = ("pathwise", "likelihood_ratio")
HORIZONS = (1, 2, 5, 10, 20, 50, 100, 200)
LIKELIHOOD_RATIO: dict[str, Any] = {  # instead of the preset's
    "learning_rate": 3e-3,
    "entropy_coefficient": 0.02,
    "rollouts": 128,
    "updates_per_iteration": 60,
}
GRAVITY, STEP = 9.8, 0.05  # m/s^2, s


def main(
    quick: bool = False,
    episodes: int = 1000,
    seeds: int = 3,
    seed: int = 100,
    total_steps: int = 5_000,
    out: Path = Path("runs/experiments/gradient_through_model"),
) -> None:
    """Measure the variance of both gradients at every horizon, then learn Pendulum with both.

    Args:
        quick: few episodes, two seeds, few steps.
        episodes: estimates of the gradient, one from each.
        seeds: agents of each kind.
        seed: of the first one.
        total_steps: environment steps of each agent.
        out: where the figure and the numbers go.
    """
    use_all_cores()
    if quick:
        episodes, seeds, total_steps, out = 200, 2, 600, out / "quick"
    out.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, Any] = {"episodes": episodes, "horizons": list(HORIZONS), "deviation": {}}
    for name, environment in (("Pendulum", make("Pendulum-v1")), ("double pendulum", double_pendulum())):
        found = deviations(environment, jax.random.key(0), episodes)
        numbers["deviation"][name] = found
        for kind in GRADIENTS:
            print(f"{name:16} {kind:17}", *(f"{h}: {x:.3g}" for h, x in zip(HORIZONS, found[kind], strict=True)))
        (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    numbers |= {"total_steps": total_steps, "seeds": [seed, seed + seeds - 1], "curves": {}, "final": {}}
    for kind in GRADIENTS:
        began = time.perf_counter()
        steps, acting, final = learning_curves(kind, seed, seeds, total_steps)
        found = estimate(final[:, None])
        print(
            f"{kind:17} {in_words(found, 1)}, {np.sort(final).round(1)}, {time.perf_counter() - began:.0f} s",
            flush=True,
        )
        numbers["curves"][kind] = {"steps": steps.tolist(), "returns": acting.round(1).tolist()}
        numbers["final"][kind] = {"returns": final.round(1).tolist(), "estimate": [found.value, found.low, found.high]}
        (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(numbers, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


def double_pendulum() -> Environment:
    """Two equal rods with weights of 1 kg at their ends, each 1 m long, a torque at each joint, and no friction.

    Observation `[6]`: cosines and sines of both angles from hanging down, angular velocities (rad/s). Action `[2]` in
    [-1, 1], in N m. A step is 0.05 s of one fourth-order Runge-Kutta step; reward is the height of the tip in m. Both
    angles start uniformly in the upper half (pi +- pi / 2), at rest.
    """

    def observe(state: Array) -> Array:
        return jnp.concatenate([jnp.cos(state[:2]), jnp.sin(state[:2]), state[2:]])

    def derivative(state: Array, torque: Array) -> Array:
        """M(angles) acceleration = forces, a system of two equations (angles both from the vertical)."""
        first, second, first_rate, second_rate = state
        c, s = jnp.cos(first - second), jnp.sin(first - second)
        f = torque[0] - torque[1] - s * second_rate**2 - 2.0 * GRAVITY * jnp.sin(first)
        g = torque[1] + s * first_rate**2 - GRAVITY * jnp.sin(second)
        determinant = 2.0 - c**2  # of M = [[2, c], [c, 1]]
        return jnp.stack([first_rate, second_rate, (f - c * g) / determinant, (2.0 * g - c * f) / determinant])

    def reset(key: Key) -> tuple[Array, Array]:
        angles = jnp.pi + jax.random.uniform(key, (2,), minval=-jnp.pi / 2, maxval=jnp.pi / 2)
        state = jnp.concatenate([angles, jnp.zeros(2)])
        return state, observe(state)

    def step(key: Key, state: Array, action: Action) -> tuple[Array, Timestep]:
        torque = jnp.clip(action, -1.0, 1.0)
        a = derivative(state, torque)
        b = derivative(state + STEP / 2 * a, torque)
        c = derivative(state + STEP / 2 * b, torque)
        d = derivative(state + STEP * c, torque)
        state = state + STEP / 6 * (a + 2 * b + 2 * c + d)
        never = jnp.zeros((), bool)
        return state, Timestep(observe(state), -jnp.sum(jnp.cos(state[:2])), never, never, {})

    space = Box(-jnp.inf, jnp.inf, (6,))
    return Environment("double pendulum", reset, step, space, Box(-1.0, 1.0, (2,)), max_steps=10**6)


def deviations(environment: Environment, key: Key, episodes: int) -> dict[str, list[float]]:
    """Per kind and horizon: the root of the summed variances of the gradient that one episode gives.

    The return is the sum of H rewards; the likelihood ratio has the mean return of the other episodes as its baseline.
    """
    simulator = rescale_actions(environment)
    network = PolicyNetwork(environment.observation_space, simulator.action_space, (16,), "tanh", False, "gaussian")
    reset_key, init_key, key = jax.random.split(key, 3)
    states, observations = jax.vmap(simulator.reset)(jax.random.split(reset_key, episodes))
    params = network.init(init_key, observations)
    params["params"]["Actor_0"]["Dense_0"]["kernel"] *= 50.0  # of a gain of 0.01: not to be almost zero everywhere
    params["params"]["Actor_0"]["log_deviation"] -= 1.0
    keys = jax.random.split(key, episodes)
    policy: Callable[..., Any] = network.apply

    def from_one(params: Any, state: Any, observation: Array, key: Key) -> Any:
        one = jax.tree.map(lambda x: x[None], (state, observation))
        found = imagine(simulator, partial(policy, params), *one, key, max(HORIZONS))
        return jax.tree.map(lambda x: x[:, 0], found)

    def pathwise(params: Any, state: Any, observation: Array, key: Key, horizon: Array) -> Array:
        reward = from_one(params, state, observation, key).reward
        return jnp.sum(jnp.where(jnp.arange(max(HORIZONS)) < horizon, reward, 0.0))

    def score(params: Any, observation: Array, action: Array, weight: Array) -> Array:
        return jnp.sum(weight * policy(params, observation).log_probability(action))

    @jax.jit
    def all_pathwise(horizon: Array) -> Any:
        return jax.vmap(jax.grad(pathwise), (None, 0, 0, 0, None))(params, states, observations, keys, horizon)

    @jax.jit
    def all_likelihood_ratio(horizon: Array) -> Any:
        found = jax.vmap(from_one, (None, 0, 0, 0), 1)(params, states, observations, keys)
        counted = (jnp.arange(max(HORIZONS)) < horizon)[:, None]
        reward = jnp.where(counted, found.reward, 0.0)
        weight = counted * leave_one_out_advantage(backward_recurrence(reward, jnp.ones_like(reward)))
        return jax.vmap(jax.grad(score), (None, 1, 1, 1))(params, found.observation, found.action, weight)

    def deviation(gradients: Any) -> float:
        rows = np.concatenate([np.asarray(x, np.float64).reshape(episodes, -1) for x in jax.tree.leaves(gradients)], 1)
        return float(np.sqrt(rows.var(0, ddof=1).sum()))

    kinds = zip(GRADIENTS, (all_pathwise, all_likelihood_ratio), strict=True)
    return {name: [deviation(run(jnp.asarray(horizon))) for horizon in HORIZONS] for name, run in kinds}


def learning_curves(kind: str, seed: int, seeds: int, total_steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Environment steps, mean returns while acting `[seeds, points]`, and greedy ones of 50 episodes at the end.

    The settings are the preset's; those in which the likelihood ratio needs others are `LIKELIHOOD_RATIO`.
    """
    environment = make("Pendulum-v1")
    preset = presets.load("model_policy_gradient", "Pendulum-v1")
    preset.pop("total_steps")
    if kind == "likelihood_ratio":
        preset |= LIKELIHOOD_RATIO
    algorithm = model_policy_gradient.make(environment, model_policy_gradient.Config(**preset | {"gradient": kind}))
    iterations = (total_steps - algorithm.env_steps_of_init) // algorithm.env_steps_per_iteration

    def one(key: Key) -> tuple[Array, Array]:
        result = train(algorithm, key, iterations)
        scores = evaluate(algorithm.policy(result.state), environment, jax.random.key(7), episodes=50)
        metrics = result.metrics
        return metrics["episode_return_sum"] / metrics["episodes"], jnp.mean(scores.returns)

    keys = jnp.stack([jax.random.key(seed + i) for i in range(seeds)])
    acting, final = jax.jit(jax.vmap(one), compiler_options=compiler_options())(keys)
    steps = algorithm.env_steps_of_init + algorithm.env_steps_per_iteration * np.arange(1, iterations + 1)
    return steps, np.asarray(acting), np.asarray(final)


def draw(numbers: dict[str, Any], path: Path) -> None:
    """Deviations by horizon, one panel per pendulum, and the learning curves: every seed, and their mean."""
    figure, panels = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    names = {"pathwise": "through the model", "likelihood_ratio": "likelihood ratio"}
    for panel, (name, found) in zip(panels, numbers["deviation"].items(), strict=False):
        for colour, mark, (kind, label) in zip(COLOURS, ("o-", "s--"), names.items(), strict=False):
            panel.plot(numbers["horizons"], found[kind], mark, color=colour, markersize=4, label=label)
        panel.set(xscale="log", yscale="log", xlabel="H, steps", title=f"{name}, true dynamics")
        panel.legend(frameon=False)
    panels[0].set_ylabel("deviation of the gradient of one episode")
    for colour, line, (kind, label) in zip(COLOURS, ("-", "--"), names.items(), strict=False):
        curve = numbers["curves"][kind]
        returns = np.array(curve["returns"])
        panels[2].plot(curve["steps"], returns.T, line, color=colour, alpha=0.3, linewidth=0.8)
        panels[2].plot(curve["steps"], returns.mean(0), line, color=colour, label=label)
    panels[2].set(xlabel="steps in the real Pendulum", ylabel="return while acting", title="learned model")
    panels[2].legend(frameon=False)
    for panel in panels:
        panel.title.set_fontsize(10)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25, linewidth=0.6)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    tyro.cli(main)
