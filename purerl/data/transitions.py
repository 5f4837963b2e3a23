"""A dataset of transitions, and how to collect one.

Offline learners are made with a dataset, `make(environment, dataset, config)`: the environment gives the spaces and is
what the policy is evaluated on, everything learned comes from the dataset. All agents share it. It belongs to the
arguments of a compiled program, so that the program is the same for every dataset of that size and holds no copy:

    program = jax.jit(lambda data, key: train(fitted_iteration.make(environment, data, config), key, 50))
    program(data, key)
    jax.vmap(program, in_axes=(None, 0))(data, keys)

A dataset that is closed over becomes a constant of the program, which is fine for some thousands of transitions.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from purerl import trees
from purerl.environments.vectorize import VectorState, vectorize
from purerl.replay import Replay, uniform_replay
from purerl.types import Array, Discrete, Environment, Key, Memory, MultiDiscrete, Observation, Policy


class Transitions(NamedTuple):
    """N steps of some behaviour, `[N, ...]`; a truncated one is not terminated, its successor is worth something."""

    observation: Observation  # [N, ...]
    action: Array  # [N, ...]
    reward: Array  # [N]
    terminated: Array  # [N] bool: the MDP ended, bootstrap with 0
    truncated: Array  # [N] bool: a time limit cut the episode, bootstrap with the value of the successor
    successor: Observation  # [N, ...] the true one, never that of a reset

    @property
    def size(self) -> int:
        """N."""
        return self.reward.shape[0]


def transitions_replay(environment: Environment, capacity: int, block: int, num_envs: int) -> Replay:
    """A replay of single transitions of `environment`; ValueError for a capacity that is no multiple of `block`."""
    space, actions = environment.observation_space, environment.action_space
    observation, no = jnp.zeros(space.shape, space.dtype), jnp.zeros((), bool)
    action = jnp.zeros(actions.shape, actions.dtype)
    return uniform_replay(
        capacity, block, Transitions(observation, action, jnp.zeros(()), no, no, observation), num_envs
    )


def check_transitions(algorithm: str, environment: Environment, dataset: Transitions) -> None:
    """Raise ValueError unless the transitions can be those of `environment`; traced actions cannot be looked at."""
    space, actions = environment.observation_space, environment.action_space
    expected = {"observation": space.shape, "successor": space.shape, "action": actions.shape}
    expected |= dict.fromkeys(("reward", "terminated", "truncated"), ())
    for name, shape in expected.items():
        found = tuple(getattr(dataset, name).shape)
        if found != (dataset.size, *shape):
            raise ValueError(
                f"{algorithm}: {name} of the dataset has the shape {found}, but {environment.name} needs "
                f"{(dataset.size, *shape)}; pass the environment that the dataset was collected in"
            )
    if isinstance(actions, Discrete | MultiDiscrete) and not isinstance(dataset.action, Tracer):
        taken = np.asarray(dataset.action)  # NumPy, for a dataset that a function to be compiled has closed over
        most = np.asarray(actions.sizes if isinstance(actions, MultiDiscrete) else actions.n) - 1
        if np.any((taken < 0) | (taken > most)):
            raise ValueError(
                f"{algorithm}: actions of the dataset lie in [{taken.min(0)}, {taken.max(0)}], but those of "
                f"{environment.name} in [0, {most}]; pass the environment that the dataset was collected in"
            )


def collect(
    environment: Environment, policy: Policy | None, key: Key, num: int, num_envs: int | None = None
) -> Transitions:
    """`num` transitions of `policy` (None: uniformly random actions), in one scan; pure, so `jit` and `vmap` it.

    Args:
        environment: where to act; episodes follow one another.
        policy: how to act; its memory is made anew at the start of an episode.
        key: all randomness.
        num: N.
        num_envs: environments side by side; it divides N. By default the largest divisor of N that is at most 10. The
            transitions are ordered by time, those of one time by environment: `[N / num_envs, num_envs]` flattened.

    Raises ValueError if `num` is not a positive multiple of `num_envs`.
    """
    if num < 1:
        raise ValueError(f"num must be at least 1 transition, got {num}")
    if num_envs is None:
        num_envs = max(n for n in range(1, 11) if num % n == 0)
    if num_envs < 1 or num % num_envs:
        raise ValueError(f"num ({num}) must be a multiple of num_envs ({num_envs}), which must be positive")
    environments = vectorize(environment, num_envs)
    acting = policy or random_policy(environment)
    reset_key, memory_key, run_key = jax.random.split(key, 3)

    def new_memories(key: Key) -> Memory:
        return jax.vmap(acting.init)(jax.random.split(key, num_envs))

    def body(carry: tuple[VectorState, Memory], key: Key) -> tuple[tuple[VectorState, Memory], Transitions]:
        state, memory = carry
        step_key, act_key, memory_key = jax.random.split(key, 3)
        memory, action = jax.vmap(acting.act)(jax.random.split(act_key, num_envs), memory, state.observation)
        after, timestep = environments.step(step_key, state, action)
        done = timestep.terminated | timestep.truncated
        memory = trees.strongly_typed(trees.where(done, new_memories(memory_key), memory))
        transition = Transitions(
            observation=state.observation,
            action=action,
            reward=timestep.reward,
            terminated=timestep.terminated,
            truncated=timestep.truncated,
            successor=timestep.observation,
        )
        return (after, memory), transition

    start = (environments.reset(reset_key), trees.strongly_typed(new_memories(memory_key)))
    _, transitions = jax.lax.scan(body, start, jax.random.split(run_key, num // num_envs))
    return jax.tree.map(lambda x: x.reshape(num, *x.shape[2:]), transitions)


def random_policy(environment: Environment) -> Policy:
    """Uniformly random actions (standard normal ones where there are no bounds)."""

    def act(key: Key, memory: Memory, observation: Observation) -> tuple[Memory, Array]:
        return memory, jnp.asarray(environment.action_space.sample(key))

    return Policy(init=lambda key: (), act=act)
