"""Three tricks against bias: what TD3 believes of its policy and what the policy earns, with each trick on and off.

    python experiments/td3_ablation.py              # half an hour on one core
    python experiments/td3_ablation.py --quick      # a minute, most of it compiling; learns little
    python experiments/td3_ablation.py --variants DDPG "TD3 without minimum" TD3 --total-steps 200000  # twenty minutes

The claims of Fujimoto et al. (2018): a critic that is maximised by an actor believes too much, the minimum of two
critics does not, and without that minimum it does again. Believed is Q(s, mu(s)) of the critic that the actor climbs,
earned the discounted return of the policy from the same states, without its noise; both are averaged over states along
the policy's own episodes. Believed less earned is the bias. DDPG and TD3 differ in three fields of one Config, each of
which is switched by itself.

Mean bias of five seeds over the second half of the training, with its range, where 45 to 79 are earned:

    DDPG                 34  [0, 60]     TD3                    -17  [-56, 0]
    DDPG with smoothing  16  [0, 43]     TD3 without minimum     -4  [-36, 12]  (positive on four of five)
    DDPG with delay      -4  [-20, 3]    TD3 without delay      -15  [-30, 0]
    DDPG with twins     -17  [-42, 0]    TD3 without smoothing  -24  [-49, 0]

DDPG's bias is positive on every seed, and the minimum turns it: no seed of the four variants with it is above 0.3, and
TD3 without it is positive again. 50,000 steps are early: no seed hops well, and two of each earn next to nothing, which
is believed correctly. After 200,000 steps (the third command; 56 to 97 are earned) it is plain:

    DDPG                 237  [0, 354]   four seeds 233 to 354, one that never hops -0.3
    TD3 without minimum   33  [0, 76]    positive on all five: 70, 76, 19, and 0.4 and 0.3 where nothing is earned
    TD3                    2  [-20, 20]  20, -20, 13, 0.1 and 0.1
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.ticker import EngFormatter

from purerl import Algorithm, Environment, make, use_all_cores
from purerl.algorithms.continuous_control import ddpg
from purerl.networks.critics import critics
from purerl.report.pictures.learning_curve import COLOURS
from purerl.report.statistics import estimate, in_words
from purerl.train import advance, start

TWINS, DELAY, SMOOTHING = {"critics": 2}, {"policy_delay": 2}, {"target_noise": 0.2}
VARIANTS: dict[str, dict[str, Any]] = {
    "DDPG": {},
    "DDPG with twins": TWINS,
    "DDPG with delay": DELAY,
    "DDPG with smoothing": SMOOTHING,
    "TD3": TWINS | DELAY | SMOOTHING,
    "TD3 without minimum": TWINS | DELAY | SMOOTHING | {"minimum": False},
    "TD3 without delay": TWINS | SMOOTHING,
    "TD3 without smoothing": TWINS | DELAY,
}
SHARED: dict[str, Any] = {
    "num_envs": 4,
    "steps_per_iteration": 2,
    "update_to_data": (1, 2),
    "batch_size": 100,
    "widths": (64, 64),
    "critic_widths": (64, 64),
}
EPISODES = 16


def main(
    quick: bool = False,
    environment: str = "brax/hopper",
    variants: tuple[str, ...] = tuple(VARIANTS),
    seeds: int = 5,
    total_steps: int = 50_000,
    out: Path = Path("runs/experiments/td3_ablation"),
) -> None:
    """Train every variant and look at what it believes ten times on the way.

    Args:
        quick: three variants, few steps of Pendulum.
        environment: what to train on; brax environments are made on the spring backend.
        variants: some of `VARIANTS`; what `out` has of others is kept and drawn.
        seeds: agents of each variant, trained in one program.
        total_steps: environment steps of each agent.
        out: where the figure and the numbers go.
    """
    use_all_cores()
    if quick:
        variants = ("DDPG", "TD3", "TD3 without minimum")
        environment, seeds, total_steps = "Pendulum-v1", 2, 4_000
        out = out / "quick"  # beside what was measured in full
    checkpoints = 2 if quick else 10
    problem = make(environment, **({"backend": "spring"} if environment.startswith("brax/") else {}))
    out.mkdir(parents=True, exist_ok=True)
    file = out / "numbers.json"
    numbers: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    numbers |= {"environment": environment, "total_steps": total_steps, "seeds": seeds}
    for name in variants:
        one = ddpg.make(problem, ddpg.Config(**SHARED | VARIANTS[name], replay_capacity=-(-total_steps // 8) * 8))
        believed, earned, returns = measure(one, seeds, total_steps, checkpoints)  # [seeds, checkpoints]
        bias = believed - earned
        half = slice(checkpoints // 2, None)  # the second half of the training
        found = estimate(bias[:, half].mean(1)[:, None])
        print(f"{name:22} bias {in_words(found, 2)}; return {returns[:, half].mean():.0f}", flush=True)
        numbers[name] = {
            "bias": [found.value, found.low, found.high],
            "bias per seed": bias[:, half].mean(1).round(3).tolist(),
            "believed": believed.mean(0).round(3).tolist(),
            "earned": earned.mean(0).round(3).tolist(),
            "return": returns.mean(0).round(1).tolist(),
        }
        file.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(numbers, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


def draw(numbers: dict[str, Any], path: Path) -> None:
    """Bias and return over the training, means over the seeds."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for i, name in enumerate(VARIANTS):
        if name in numbers:
            believed, earned, returns = (np.array(numbers[name][key]) for key in ("believed", "earned", "return"))
            steps = numbers["total_steps"] * np.arange(1, len(returns) + 1) / len(returns)
            style = {"color": COLOURS[i % len(COLOURS)], "linestyle": "-" if i < 4 else "--", "label": name}
            axes[0].plot(steps, believed - earned, **style)
            axes[1].plot(steps, returns, **style)
    axes[0].axhline(0.0, color="0.6", linewidth=0.8)
    axes[0].set(xlabel="environment steps", ylabel="believed less earned, discounted")
    axes[1].set(xlabel="environment steps", ylabel="return")
    for axis in axes:
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, linewidth=0.6)
    title = f"{numbers['environment']}, means of {numbers['seeds']} seeds"
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, title=title)
    figure.savefig(path, dpi=110)


def measure(one: Algorithm, seeds: int, total_steps: int, checkpoints: int) -> tuple[np.ndarray, ...]:
    """What is believed, what is earned, and undiscounted returns, each `[seeds, checkpoints]`."""
    iterations = total_steps // one.env_steps_per_iteration // checkpoints

    def group(training: Any, first: jax.Array, key: jax.Array) -> tuple[Any, tuple]:
        training, *_ = advance(one, training, first, iterations=iterations, total_iterations=iterations * checkpoints)
        return training, believed_and_earned(one, training.state, key)

    program = jax.jit(jax.vmap(group, (0, None, None)), donate_argnums=0)
    training = jax.jit(jax.vmap(lambda key: start(one, key)))(jax.random.split(jax.random.key(0), seeds))
    found = []
    for i in range(checkpoints):
        training, numbers = program(training, jnp.int32(i * iterations), jax.random.key(i))
        found.append(numbers)
    return tuple(np.stack([np.asarray(row[part]) for row in found], axis=1) for part in range(3))


def believed_and_earned(one: Algorithm, state: Any, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Means over the states of greedy episodes whose rest, cut by the time limit, weighs less than 0.01."""
    environment: Environment = one.environment  # pyright: ignore[reportAssignmentType]
    discount = one.config.discount
    tail = min(int(np.ceil(np.log(0.01) / np.log(discount))), environment.max_steps // 2)
    policy, network = one.policy(state), critics(environment, one.config)
    first = jax.tree.map(lambda x: x[:1], state.critics)
    space = environment.action_space

    def play(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        reset_key, key = jax.random.split(key)

        def step(carry: tuple, key: jax.Array) -> tuple[tuple, tuple]:
            env_state, observation, alive = carry
            _, action = policy.act(key, (), observation)
            after, timestep = environment.step(key, env_state, action)
            scaled = 2 * (action - space.low) / (jnp.asarray(space.high) - space.low) - 1
            value = network.clone(members=1).apply(first, observation, scaled)[0]
            goes_on = alive & ~(timestep.terminated | timestep.truncated)
            return (after, timestep.observation, goes_on), (value, timestep.reward, alive, timestep.truncated)

        carry = (*environment.reset(reset_key), jnp.ones((), bool))
        _, (value, reward, alive, truncated) = jax.lax.scan(step, carry, jax.random.split(key, environment.max_steps))
        reward = jnp.where(alive, reward, 0.0)

        def back(earned: jax.Array, r: jax.Array) -> tuple[jax.Array, jax.Array]:
            earned = r + discount * earned
            return earned, earned

        _, earned = jax.lax.scan(back, jnp.zeros(()), reward, reverse=True)
        length = jnp.sum(alive)
        cut = jnp.any(truncated & alive)
        counted = alive & (~cut | (jnp.arange(environment.max_steps) < length - tail))
        return value, earned, counted, jnp.sum(reward)

    value, earned, counted, returns = jax.vmap(play)(jax.random.split(key, EPISODES))
    states = jnp.maximum(jnp.sum(counted), 1)
    believed, got = (jnp.sum(jnp.where(counted, x, 0.0)) / states for x in (value, earned))
    return believed, got, jnp.mean(returns)


if __name__ == "__main__":
    tyro.cli(main)
