"""Pictures of a policy at work: an episode played on the host step by step, drawn, and saved as a GIF."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from purerl.types import Environment, Key, Policy


class Film(NamedTuple):
    """One episode."""

    frames: list[np.ndarray]  # uint8 [H, W, 3], of every state from the reset to the last
    episode_return: float


def film(policy: Policy, environment: Environment, key: Key, max_steps: int | None = None) -> Film:
    """Play one episode (at most `max_steps` steps; default: the environment's own bound) and draw every state.

    Raises ValueError if the environment cannot draw itself.
    """
    if environment.render is None:
        raise ValueError(f"{environment.name} has no picture: its Environment.render is None")
    bound = environment.max_steps if max_steps is None else max_steps
    reset_key, memory_key, step_key = jax.random.split(key, 3)
    state, observation = jax.jit(environment.reset)(reset_key)
    memory = policy.init(memory_key)

    @jax.jit
    def play(key, memory, observation, state):
        act_key, environment_key = jax.random.split(key)
        memory, action = policy.act(act_key, memory, observation)
        state, timestep = environment.step(environment_key, state, action)
        return memory, state, timestep

    frames, total = [np.asarray(environment.render(state))], 0.0
    for i in range(bound):
        memory, state, timestep = play(jax.random.fold_in(step_key, i), memory, observation, state)
        observation = timestep.observation
        frames.append(np.asarray(environment.render(state)))
        total += float(timestep.reward)
        if timestep.terminated or timestep.truncated:
            break
    return Film(frames, total)


def save_gif(frames: list[np.ndarray], out: Path, frames_per_second: float = 30.0) -> Path:
    """Write frames (uint8 `[H, W, 3]`, all of one shape) as an endlessly repeating GIF and return its path.

    Raises ValueError if `out` does not end in .gif.
    """
    if out.suffix.lower() != ".gif":
        raise ValueError(f"a film is saved as a .gif, got {out}")
    import imageio.v3 as imageio

    imageio.imwrite(out, np.stack(frames), extension=".gif", duration=1000 / frames_per_second, loop=0)
    return out
