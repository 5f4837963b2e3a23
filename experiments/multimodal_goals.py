"""Four goals, all as good: policies that are paid for entropy go to all of them, deterministic ones to one.

    python experiments/multimodal_goals.py              # ten minutes on one core
    python experiments/multimodal_goals.py --quick      # a minute, most of it compiling; learns little

A point starts in the middle of a square between four goals (Haarnoja et al., 2017). DDPG, SAC and soft Q-learning learn
from the same number of steps; then each plays two hundred episodes by its policy from exactly the middle (DDPG's policy
is deterministic: from starts a decimetre apart it goes to the nearest goal, and so to all four). SAC's policy is a
Gaussian, a wide one in the middle; soft Q-learning's sampler has a peak for each goal. Of five seeds each, all of SAC
and all of soft Q-learning reach each of the four goals in at least 5 % of their episodes, all of DDPG only one.
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from purerl import load, train, use_all_cores
from purerl.environments.four_goals import GOALS, WALL, four_goals
from purerl.types import Algorithm

SHARED: dict[str, Any] = {
    "num_envs": 4,
    "update_to_data": (1, 2),
    "batch_size": 64,
    "replay_capacity": 40_000,
    "widths": (64, 64),
    "critic_widths": (64, 64),
}
AGENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "DDPG": ("ddpg", SHARED),
    "SAC": ("sac", SHARED | {"automatic_temperature": False, "temperature": 0.3}),
    "soft Q-learning": ("soft_q", SHARED | {"temperature": 0.3}),
}
EPISODES = 200


def main(
    quick: bool = False,
    seeds: int = 5,
    total_steps: int = 40_000,
    out: Path = Path("runs/experiments/multimodal_goals"),
) -> None:
    """Train the agents, play, and count the goals that were reached.

    Args:
        quick: few steps, two seeds.
        seeds: agents of each kind, trained in one program.
        total_steps: environment steps of each agent.
        out: where the figure and the numbers go.
    """
    use_all_cores()
    seeds, total_steps = (2, 3_000) if quick else (seeds, total_steps)
    out.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(1, len(AGENTS), figsize=(3.2 * len(AGENTS), 3.6), layout="constrained")
    numbers: dict[str, Any] = {"total_steps": total_steps, "seeds": seeds}
    for axis, (name, (algorithm, fields)) in zip(axes, AGENTS.items(), strict=True):
        module = load(algorithm)
        one = module.make(four_goals(start_deviation=0.0), module.Config(**fields))
        keys = jax.random.split(jax.random.key(0), seeds)
        paths, arrived, returns = jax.jit(jax.vmap(lambda key, one=one: learn_and_play(one, key, total_steps)))(keys)
        shares = shares_of_goals(np.asarray(paths), np.asarray(arrived))  # [seeds, 4]
        covered = (shares >= 0.05).sum(1)
        numbers[name] = {
            "share of episodes per goal": shares.round(3).tolist(),
            "goals reached in 5 % of episodes": covered.tolist(),
            "mean return": float(np.mean(returns)),
        }
        print(f"{name:16} goals reached, by seed: {covered.tolist()}; mean return {np.mean(returns):.2f}")
        draw(axis, np.asarray(paths)[0], name, shares[0])
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    figure.savefig(out / "figure.png", dpi=110)
    print(f"figure: {out / 'figure.png'}")


def learn_and_play(one: Algorithm, key: jax.Array, total_steps: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Paths `[episodes, T, 2]`, whether each has arrived, and returns, of episodes that the policy plays."""
    environment = one.environment
    assert environment is not None
    train_key, play_key = jax.random.split(key)
    state = train(one, train_key, total_steps // one.env_steps_per_iteration).state
    policy = one.policy(state, greedy=one.name == "ddpg")

    def play(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        reset_key, key = jax.random.split(key)
        state, observation = environment.reset(reset_key)

        def step(carry: tuple, key: jax.Array) -> tuple[tuple, jax.Array]:
            state, observation, over, arrived, earned = carry
            act_key, step_key = jax.random.split(key)
            _, action = policy.act(act_key, (), observation)
            after, timestep = environment.step(step_key, state, action)
            state = jax.tree.map(lambda new, old: jnp.where(over, old, new), after, state)
            earned = earned + jnp.where(over, 0.0, timestep.reward)
            arrived = arrived | (~over & timestep.terminated)
            over = over | timestep.terminated
            return (state, state.position, over, arrived, earned), state.position

        no = jnp.zeros((), bool)
        carry = (state, observation, no, no, jnp.zeros(()))
        (_, _, _, arrived, earned), path = jax.lax.scan(step, carry, jax.random.split(key, environment.max_steps))
        return jnp.concatenate([observation[None], path]), arrived, earned

    return jax.vmap(play)(jax.random.split(play_key, EPISODES))


def shares_of_goals(paths: np.ndarray, arrived: np.ndarray) -> np.ndarray:
    """The share of episodes that arrive at each goal: `[seeds, 4]` of paths `[seeds, episodes, T, 2]`."""
    nearest = np.argmin(np.linalg.norm(paths[:, :, -1, None] - GOALS, axis=-1), axis=-1)
    return np.stack([((nearest == goal) & arrived).mean(1) for goal in range(len(GOALS))], axis=1)


def draw(axis: plt.Axes, paths: np.ndarray, name: str, shares: np.ndarray) -> None:
    """Fifty paths of one agent."""
    for (x, y), share in zip(GOALS, shares, strict=True):
        axis.add_patch(plt.Circle((x, y), 1.0, color="C2", alpha=0.3, linewidth=0))
        axis.text(x, y, f"{100 * share:.0f} %", ha="center", va="center", fontsize=8)
    for path in paths[:50]:
        axis.plot(*path.T, color="C0", alpha=0.25, linewidth=0.8)
    axis.set(xlim=(-WALL, WALL), ylim=(-WALL, WALL), xticks=[], yticks=[], aspect="equal", title=name)


if __name__ == "__main__":
    tyro.cli(main)
