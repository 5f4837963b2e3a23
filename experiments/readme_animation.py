"""Six trained agents at work, side by side: the animation at the top of the README.

    python experiments/readme_animation.py            # trains what is not in --runs yet; docs/images/agents.gif
    python experiments/readme_animation.py --quick    # shows that everything works, in runs/experiments

Every agent is trained by PPO with the preset of its task, or the defaults where there is none, for the steps in
`TASKS`; the film shows the parameters that evaluated best, acting greedily.
"""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import tyro

from purerl import make, ppo, presets, run
from purerl.report.rendering import Episode, lay_out, play

TASKS = {  # environment steps
    "CartPole-v1": 100_000,
    "mjx/cartpole_swingup": 1_000_000,
    "Pendulum-v1": 200_000,
    "Acrobot-v1": 100_000,
    "Breakout-MinAtar": 1_000_000,
    "RoboParking": 200_000,
}
LARGEST = 600_000  # bytes


def main(
    quick: bool = False,
    runs: Path = Path("runs/experiments/readme_animation"),
    out: Path = Path("docs/images/agents.gif"),
    width: int = 210,
    max_steps: int = 200,
    every: int = 3,
) -> None:
    """Train, film and save.

    Args:
        quick: a short run that shows that everything works; it writes into `runs`.
        runs: where the runs are; those that are finished are not trained again.
        out: the film.
        width: of the picture of one agent, in pixels.
        max_steps: of each episode.
        every: draw only every so many steps.
    """
    if quick:
        runs = runs.with_name(runs.name + "_quick")
        out, max_steps = runs / "agents.gif", 20
    episodes = [trained(name, 2_000 if quick else steps, runs, max_steps, every) for name, steps in TASKS.items()]
    film = lay_out(episodes, columns=3, width=width)
    made = film.save(runs / "new.gif", frames_per_second=50 / every)
    size = made.stat().st_size
    print(f"{out}: {len(film.frames)} frames, {size} bytes")
    if size > LARGEST:
        raise ValueError(f"{made} has {size} bytes, more than {LARGEST}: take a smaller --width or a larger --every")
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(made, out)


def trained(name: str, steps: int, runs: Path, max_steps: int, every: int) -> Episode:
    """An episode of an agent that is trained on the task, unless it has been already."""
    settings = {field: value for field, value in presets.load("ppo", name).items() if field != "total_steps"}
    environment = make(name)
    algorithm = ppo.make(environment, ppo.Config(**settings))
    directory = runs / name.replace("/", "_")
    options = {"evaluations": 5, "episodes": 16, "sinks": []}
    result = run(algorithm, total_steps=steps, directory=directory, resume=True, **options)
    best = jax.tree.map(lambda x: x[:1], result.training.best.snapshot)
    key = jax.random.key(3)
    [episode] = play(lambda state: (algorithm.policy(state), environment), best, key, max_steps, every=every)
    print(f"{name}: return {jnp.sum(episode.rewards):.4g} in {len(episode.rewards)} steps", flush=True)
    return episode._replace(label=name)


if __name__ == "__main__":
    tyro.cli(main)
