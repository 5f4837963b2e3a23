"""An environment of one's own: PPO and DQN park a robot, and one program tries eight frictions at once.

    python experiments/custom_environment.py            # about two minutes on two cores
    python experiments/custom_environment.py --quick

`purerl/environments/robo_parking.py` is the worked example of writing an environment: two pure functions. Because its
parameters may be traced, the last part needs no loop: `vmap` over the friction trains one agent per lot.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from purerl import EvaluationPlan, dqn, ppo, run, train
from purerl.environments import robo_parking


def main(quick: bool = False, seeds: int = 4, out: Path = Path("runs/experiments/custom_environment")) -> None:
    """Train two algorithms on RoboParking, then sweep its friction.

    Args:
        quick: a short run that shows that everything works.
        seeds: agents per algorithm, trained in one program.
        out: where runs and the figure go; it must not exist yet.
    """
    environment = robo_parking.make()
    total_steps = 20_000 if quick else 400_000
    learners = {
        "ppo": ppo.make(environment, ppo.Config(learning_rate=1e-3)),
        "dqn": dqn.make(environment, dqn.Config(loss="squared", anneal_learning_rate=True)),
    }
    for name, algorithm in learners.items():
        result = run(algorithm, total_steps=total_steps, seeds=seeds, directory=out / name)
        print(name, "final returns:", result.summary["evaluation"]["return_per_seed"])

    iterations = total_steps // learners["ppo"].env_steps_per_iteration // 10 * 10

    def learning_curve(friction: jax.Array) -> jax.Array:
        """The mean return at ten evaluations of an agent that learns with this friction."""
        lot = robo_parking.make(friction=friction)
        algorithm = ppo.make(lot, ppo.Config(learning_rate=1e-3))
        plan = EvaluationPlan(lot, episodes=64)
        result = train(algorithm, jax.random.key(0), iterations, evaluate_every=iterations // 10, plan=plan)
        return result.evaluations.returns.mean(-1)

    frictions = jnp.linspace(0.0, 3.5, 8)
    curves = np.asarray(jax.jit(jax.vmap(learning_curve))(frictions))

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(frictions)))
    steps = np.linspace(total_steps / 10, total_steps, 10)
    for friction, curve, colour in zip(frictions, curves, colours, strict=True):
        axes.plot(steps, curve, color=colour, label=f"{friction:.1f} / s")
    axes.set(xlabel="environment steps", ylabel="greedy return", title="RoboParking: one program, eight frictions")
    axes.legend(title="friction")
    figure.savefig(out / "frictions.png", dpi=120)
    print(f"figure: {out / 'frictions.png'}")


if __name__ == "__main__":
    tyro.cli(main)
