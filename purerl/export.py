"""Trained policies outside of purerl: a plain function from NumPy observations to NumPy actions.

    act = load_policy("runs/my_run")
    observation, _ = gymnasium_environment.reset()
    gymnasium_environment.step(act(observation))

`act` is compiled once and remembers what its policy remembers (a recurrent state, a plan); `act.reset()` begins a new
episode.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from purerl import saved
from purerl.environments import gymnasium_bridge
from purerl.environments.simulators import Conversion
from purerl.evaluate import Evaluation
from purerl.sweeps.directory import is_sweep
from purerl.train import require_best
from purerl.types import Box, Discrete, Environment, MultiDiscrete, Policy, Space


class Actor:
    """A policy in use, for one episode or for several side by side.

    Args:
        policy: how to act.
        observation_space, action_space: of the environment that it was trained on.
        copies: how many episodes side by side; None: one, and nothing has an axis for episodes.
        seed: of what is random in it; a greedy policy draws nothing.
    """

    def __init__(self, policy: Policy, observation_space: Space, action_space: Space, copies: int | None, seed: int):
        if copies is not None and copies < 1:
            raise ValueError(f"copies must be at least 1, or None for a single episode, got {copies}")
        self.observation_space, self.action_space, self.copies = observation_space, action_space, copies

        def begin(key: jax.Array) -> Any:
            return policy.init(key) if copies is None else jax.vmap(policy.init)(jax.random.split(key, copies))

        def act(key: jax.Array, number: jax.Array, memory: Any, observation: jax.Array) -> Any:
            key = jax.random.fold_in(key, number)
            if copies is None:
                memory, action = policy.act(key, memory, observation)
            else:
                memory, action = jax.vmap(policy.act)(jax.random.split(key, copies), memory, observation)
            if isinstance(action_space, Box):
                action = jax.numpy.clip(action, action_space.low, action_space.high)
            return memory, action

        self._begin, self._act = jax.jit(begin), jax.jit(act)
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Forget: the next observation is the first of an episode. A `seed` also begins the random numbers anew."""
        if seed is not None:
            self._acting_key, self._memory_key = jax.random.split(jax.random.key(seed))
            self._resets = self._calls = 0
        self._memory = self._begin(jax.random.fold_in(self._memory_key, self._resets))
        self._resets += 1

    def __call__(self, observation: Any) -> Any:
        """The action for an observation of the space's shape, or for `[copies, ...]` of them.

        Returns an int for one discrete action, otherwise an array: `[copies]`, or `[copies, ...]` of the space's shape.
        Continuous actions are within the action space. Raises ValueError for an observation of another shape.
        """
        batch = () if self.copies is None else (self.copies,)
        observation = np.asarray(observation, self.observation_space.dtype)
        expected = (*batch, *self.observation_space.shape)
        if observation.shape != expected:
            hint = "" if batch else "; for several at once, export the policy with copies=..."
            raise ValueError(f"this policy acts on observations of shape {expected}, got {observation.shape}{hint}")
        self._memory, action = self._act(self._acting_key, np.int32(self._calls), self._memory, observation)
        self._calls += 1
        action = np.asarray(action)
        return int(action) if isinstance(self.action_space, Discrete) and not batch else action


def export_policy(policy: Policy, environment: Environment, *, copies: int | None = None, seed: int = 0) -> Actor:
    """A policy as a plain function, see `Actor`.

    Args:
        policy: for example `algorithm.policy(state)`, greedy, or `result.agent(17).policy()` of a sweep.
        environment: what it was trained on; what wraps it must wrap the environment that the function acts in, too.
        copies: episodes side by side; None: one.
        seed: of what is random in the policy.
    """
    return Actor(policy, environment.observation_space, environment.action_space, copies, seed)


def load_policy(
    directory: str | Path,
    *,
    agent: int = 0,
    best: bool | None = None,
    greedy: bool = True,
    copies: int | None = None,
    seed: int = 0,
) -> Actor:
    """The policy of a run directory as a plain function, see `Actor`.

    Args:
        directory: of a run.
        agent: which of its agents, from 0.
        best: the parameters that evaluated best during training, or the newest ones (False); None: the best, if there
            was any evaluation.
        greedy: or sampled actions (False).
        copies: episodes side by side; None: one.
        seed: of what is random in the policy.

    Raises FileNotFoundError if there is no run, ValueError if it cannot be rebuilt by name, for an agent that it does
    not have, or for the best of a run that was never evaluated.
    """
    if is_sweep(Path(directory)):
        raise ValueError(
            f"{directory} is a sweep: agent = purerl.sweep.load(directory).agent(number), then "
            f"export_policy(agent.policy(), agent.environment)"
        )
    run = saved.load(directory)
    count, environment = len(run.metadata["seeds"]), run.algorithm.environment or run.evaluated_on
    if not 0 <= agent < count:
        raise ValueError(f"{directory} has {count} agents: agent must be between 0 and {count - 1}, got {agent}")
    if environment is None:
        raise ValueError(f"{directory}: its learner has no environment, so that nobody knows what it acts on")
    policies = saved.load_policies(run)
    evaluated = bool(np.isfinite(policies.best_score[agent]))
    if best:
        require_best(policies.best_score[agent], directory)
    states = policies.best if best or (best is None and evaluated) else policies.last
    state = jax.tree.map(lambda x: x[agent], states)
    return export_policy(run.algorithm.policy(state, greedy=greedy), environment, copies=copies, seed=seed)


def evaluate_in_gymnasium(
    policy: Policy,
    environment: Environment,
    simulator: Any,
    *,
    episodes: int = 100,
    seed: int = 0,
    max_episode_steps: int | None = None,
) -> Evaluation:
    """Play whole episodes in Gymnasium with an exported policy: what `purerl.evaluate` does, without purerl's dynamics.

    Args:
        policy: for example `algorithm.policy(state)`.
        environment: what it was trained on.
        simulator: an id of Gymnasium ("CartPole-v1"), a function that makes a `gymnasium.Env`, or one that can be made
            again.
        episodes: how many, side by side, each in a simulator of its own.
        seed: episode i is reset with `seed + i`.
        max_episode_steps: another time limit than that of the simulator.

    Returns undiscounted returns and lengths, each `[episodes]`, in NumPy. Raises ValueError if there are no episodes,
    or for observations or actions of another kind.
    """
    act = export_policy(policy, environment, copies=episodes, seed=seed)
    make, title = gymnasium_bridge.maker(simulator, max_episode_steps)
    simulators = [make()]
    try:
        found = gymnasium_bridge.interface(title, simulators[0])
        require_same_spaces(environment, found, title)
        simulators += [make() for _ in range(episodes - 1)]
        return _played(act, simulators, found.conversion, seed)
    finally:
        for one in simulators:
            one.close()


def _played(act: Actor, simulators: Sequence[Any], conversion: Conversion, seed: int) -> Evaluation:
    """One episode in every simulator, side by side."""
    observe, decode = conversion
    episodes = len(simulators)
    observations = np.stack([observe(one.reset(seed=seed + i)[0]) for i, one in enumerate(simulators)])
    returns, lengths, alive = np.zeros(episodes), np.zeros(episodes, np.int32), np.ones(episodes, bool)
    while alive.any():
        actions = act(observations)
        for i in np.flatnonzero(alive).tolist():
            shown, reward, terminated, truncated, _ = simulators[i].step(decode(actions[i]))
            observations[i] = observe(shown)
            returns[i] += float(reward)
            lengths[i] += 1
            alive[i] = not (terminated or truncated)
    return Evaluation(returns, lengths)  # pyright: ignore[reportArgumentType]


def require_same_spaces(trained_on: Any, other: Any, name: str | None = None) -> None:
    """Raise ValueError unless a policy for one environment can see and act in the other (bounds may differ)."""
    for what in ("observation_space", "action_space"):
        here, there = getattr(trained_on, what), getattr(other, what)
        if _kind(here) != _kind(there):
            raise ValueError(
                f"a policy for {trained_on.name} cannot act in {name or other.name}: {what} {here}, {there}"
            )


def _kind(space: Space) -> Any:
    if isinstance(space, Discrete | MultiDiscrete):
        return space
    return "Box", tuple(space.shape), np.dtype(space.dtype)
