"""PPO on the images of MinAtar (Young & Tian, 2019): convolution, shared torso, 64 environments.

    python experiments/ppo_minatar.py                                   # Breakout, 10M steps: about 15 min on two cores
    python experiments/ppo_minatar.py --env SpaceInvaders-MinAtar
    python experiments/ppo_minatar.py --quick

The learning curve is drawn in the run directory. gymnax cuts episodes after 1000 steps; published PPO curves with that
cap reach a return of 20 to 28 on Breakout after 10M steps (gymnax-blines).
"""

from pathlib import Path

import tyro

from purerl import make, ppo, run


def main(env: str = "Breakout-MinAtar", quick: bool = False, seeds: int = 2, out: Path | None = None) -> None:
    """Train PPO on a MinAtar game.

    Args:
        env: Breakout-MinAtar, Asterix-MinAtar, SpaceInvaders-MinAtar, Freeway-MinAtar or Seaquest-MinAtar.
        quick: a short run that shows that everything works.
        seeds: agents, trained in one program.
        out: run directory (default: runs/experiments/ppo_ENV); it must not exist yet.
    """
    config = ppo.Config(
        num_envs=64,
        rollout_length=128,
        minibatches=8,
        epochs=4,
        learning_rate=5e-3,
        widths=(64,),
        activation="relu",
        shared_torso=True,
    )
    algorithm = ppo.make(make(env), config)
    result = run(
        algorithm,
        total_steps=50_000 if quick else 10_000_000,
        seeds=seeds,
        episodes=16 if quick else 64,
        evaluations=2 if quick else 20,
        directory=out or Path(f"runs/experiments/ppo_{env}"),
    )
    for name, returns in result.summary["evaluation"].items():
        print(name, returns)


if __name__ == "__main__":
    tyro.cli(main)
