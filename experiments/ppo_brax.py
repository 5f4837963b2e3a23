"""PPO makes a hopper hop: brax on its spring backend, 256 environments, every physics step inside the program.

    python experiments/ppo_brax.py                            # hopper, 5M steps
    python experiments/ppo_brax.py --env ant --backend positional --total-steps 20000000
    python experiments/ppo_brax.py --quick

A score means something only together with its backend: contacts and steps differ between them. The best policy is
rendered to a GIF beside the learning curve.
"""

from pathlib import Path

import jax
import tyro

from purerl import make, ppo, run
from purerl.report.rendering import film, save


def main(
    env: str = "hopper",
    backend: str = "spring",
    total_steps: int = 5_000_000,
    quick: bool = False,
    seeds: int = 1,
    out: Path | None = None,
) -> None:
    """Train PPO on a brax environment.

    Args:
        env: hopper, ant, halfcheetah, walker2d, inverted_pendulum, reacher, ...
        backend: spring, positional, generalized or mjx.
        total_steps: environment steps per seed.
        quick: a short run that shows that everything works.
        seeds: agents, trained in one program.
        out: run directory (default: runs/experiments/ppo_ENV_BACKEND); it must not exist yet.
    """
    out = out or Path(f"runs/experiments/ppo_{env}_{backend}")
    environment = make(f"brax/{env}", backend=backend)
    config = ppo.Config(
        num_envs=16 if quick else 256,
        rollout_length=32,
        minibatches=8,
        epochs=4,
        learning_rate=1e-3,
        discount=0.99,
        entropy_coefficient=1e-3,
        normalize_observations=True,
        scale_rewards=True,
        reward_clip=10.0,
        widths=(128, 128),
        activation="swish",
    )
    algorithm = ppo.make(environment, config)
    result = run(
        algorithm,
        total_steps=2_000 if quick else total_steps,
        seeds=seeds,
        episodes=4 if quick else 64,
        evaluations=2 if quick else 20,
        directory=out,
    )
    print(result.summary["evaluation"])
    policy = algorithm.policy(jax.tree.map(lambda leaf: leaf[0], result.training.best.snapshot))
    frames = film(policy, environment, jax.random.key(0), max_steps=20 if quick else 200).frames
    print("film:", save(frames, out / "best.gif"))


if __name__ == "__main__":
    tyro.cli(main)
