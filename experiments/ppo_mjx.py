"""PPO swings up a pole on a cart, simulated by MuJoCo MJX, and its policy is tried on poles it has never seen.

    python experiments/ppo_mjx.py                 # about five minutes on two cores
    python experiments/ppo_mjx.py --quick

The task is `make("mjx/cartpole_swingup")`: our own MJCF model, any parameter of which may be traced. The last part
evaluates one policy on sixteen pole masses in one program.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import tyro

from purerl import evaluate, make, ppo, run
from purerl.report.rendering import film, save


def main(
    total_steps: int = 2_000_000,
    quick: bool = False,
    seeds: int = 4,
    out: Path = Path("runs/experiments/ppo_mjx_cartpole"),
) -> None:
    """Train PPO on the swing-up, render the best policy, and vary the pole's mass.

    Args:
        total_steps: environment steps per seed.
        quick: a short run that shows that everything works.
        seeds: agents, trained in one program.
        out: run directory; it must not exist yet.
    """
    environment = make("mjx/cartpole_swingup")
    config = ppo.Config(
        num_envs=16 if quick else 64,
        rollout_length=64,
        minibatches=8,
        epochs=4,
        learning_rate=1e-3,
        entropy_coefficient=0.0,
        normalize_observations=True,
        scale_rewards=True,
        reward_clip=10.0,
    )
    algorithm = ppo.make(environment, config)
    result = run(
        algorithm,
        total_steps=5_000 if quick else total_steps,
        seeds=seeds,
        episodes=4 if quick else 64,
        evaluations=2 if quick else 20,
        directory=out,
    )
    print("final returns:", result.summary["evaluation"]["return_per_seed"])
    best = result.training.best
    policy = algorithm.policy(jax.tree.map(lambda leaf: leaf[jnp.argmax(best.score)], best.snapshot))
    frames = film(policy, environment, jax.random.key(0), max_steps=20 if quick else 300).frames
    print("film:", save(frames, out / "best.gif"))

    def mean_return(pole_mass: jax.Array) -> jax.Array:
        heavier = make("mjx/cartpole_swingup", pole_mass=pole_mass)
        return evaluate(policy, heavier, jax.random.key(1), episodes=4 if quick else 32).returns.mean()

    masses = jnp.geomspace(0.02, 1.0, 4 if quick else 16)
    returns = jax.jit(jax.vmap(mean_return))(masses)
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.semilogx(masses, returns, marker="o")
    axes.axvline(0.1, color="grey", linestyle=":", label="trained with")
    axes.set(xlabel="mass of the pole (kg)", ylabel="greedy return", title="One policy, many poles")
    axes.legend()
    figure.savefig(out / "pole_mass.png", dpi=120)
    print("figure:", out / "pole_mass.png")


if __name__ == "__main__":
    tyro.cli(main)
