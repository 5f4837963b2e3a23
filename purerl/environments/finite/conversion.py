"""From an environment to its `FiniteMDP`: try out every action in every state that can be reached. Runs on the host."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl import trees
from purerl.environments.finite.mdp import FiniteMDP, finite_mdp
from purerl.types import Action, Array, Discrete, Environment, EnvState, Key, Observation, Timestep

CHUNK = 32  # states tried out at once
Identify = Callable[[EnvState, Observation], Array]
Rewards = dict[tuple[int, int, int], list[float]]  # (s, a, s') -> what was earned, once per try


class Enumerated(NamedTuple):
    """The problem found, and what its states look like."""

    mdp: FiniteMDP
    observations: Array  # [S, ...]: the observation in each state


def from_environment(
    environment: Environment,
    discount: Any,
    max_states: int = 2_000,
    samples: int = 64,
    identify: Identify = lambda state, observation: observation,
    seed: int = 0,
) -> Enumerated:
    """The tensors of a small environment with Discrete actions, found breadth first from its resets.

    Every action is tried `samples` times in every state. Deterministic dynamics come out exactly; otherwise the
    probabilities are frequencies, with standard error `sqrt(p (1 - p) / samples)`, and what is rarer than one in
    `samples` may be missed. Rewards are means, their deviations those of the sample. States are sorted by what
    identifies them: with a Discrete observation whose values all occur, the number of a state is its observation.
    Time limits are not part of the problem: truncation is ignored.

    Args:
        environment: its next state and reward must depend on nothing but what `identify` returns and the action.
        discount: in [0, 1].
        max_states: refuse more; the tensors hold `max_states^2` numbers per action.
        samples: tries of every action in every state, and of the reset.
        identify: (environment state, observation) -> array; environment states for which it is equal are one state
            (except that an episode that is over is in another one). The default leaves out counters of time and
            whatever else is not observed.
        seed: of the tries.

    Raises TypeError for actions that are not Discrete, ValueError if there are more than `max_states` states.
    """
    if not isinstance(environment.action_space, Discrete):
        raise TypeError(f"{environment.name}: from_environment needs Discrete actions, got {environment.action_space}")
    actions = environment.action_space.n
    try_out = jax.jit(_experiment(environment, identify, samples))
    key = jax.random.key(seed)
    known, rewards = Known(environment.name, max_states), defaultdict(list)

    def begin(key: Key) -> tuple[EnvState, Array, Observation]:
        state, observation = environment.reset(key)
        return state, identify(state, observation), observation

    keys = jax.random.split(jax.random.fold_in(key, 0), samples)
    states, identities, observations = _on_host(jax.jit(jax.vmap(begin))(keys))
    first = [known.number(states, identities, observations, False, (i,)) for i in range(samples)]
    done = 0
    while done < len(known.examples):
        chunk = range(done, min(done + CHUNK, len(known.examples)))
        examples = [known.examples[s] for s in (*chunk, *[done] * (CHUNK - len(chunk)))]
        stacked = jax.tree.map(lambda *x: jnp.stack(x) if trees.is_key(x[0]) else np.stack(x), *examples)
        states, identities, timestep = _on_host(try_out(jax.random.fold_in(key, 1 + done), stacked))
        for at in np.ndindex(len(chunk), actions, samples):
            source, action = chunk[at[0]], at[1]
            if not known.is_over[source]:
                over = bool(timestep.terminated[at])
                successor = known.number(states, identities, timestep.observation, over, at)
                rewards[source, action, successor].append(float(timestep.reward[at]))
        done += len(chunk)
    return _assemble(known, rewards, first, actions, discount)


def _on_host(tree: Any) -> Any:
    """The same tree with NumPy arrays, from which single elements are taken quickly; typed keys stay as they are."""
    return jax.tree.map(lambda x: x if trees.is_key(x) else np.asarray(x), tree)


def _experiment(
    environment: Environment, identify: Identify, samples: int
) -> Callable[[Key, EnvState], tuple[EnvState, Array, Timestep]]:
    """Take every action `samples` times in each of `CHUNK` states: what comes of it, `[CHUNK, A, samples, ...]`."""
    assert isinstance(environment.action_space, Discrete)
    actions = jnp.arange(environment.action_space.n, dtype=jnp.int32)

    def once(key: Key, state: EnvState, action: Action) -> tuple[EnvState, Array, Timestep]:
        state, timestep = environment.step(key, state, action)
        return state, identify(state, timestep.observation), timestep

    def try_out(key: Key, states: EnvState) -> tuple[EnvState, Array, Timestep]:
        keys = jax.random.split(key, (CHUNK, len(actions), samples))
        every_action = jax.vmap(jax.vmap(once, (0, None, None)), (0, None, 0))
        return jax.vmap(every_action, (0, 0, None))(keys, states, actions)

    return try_out


@dataclass
class Known:
    """The states seen so far, numbered in the order of their first sight."""

    name: str  # of the environment
    max_states: int
    numbers: dict[tuple[bytes, bool], int] = field(default_factory=dict)
    examples: list[EnvState] = field(default_factory=list)  # one environment state for each
    identities: list[np.ndarray] = field(default_factory=list)
    observations: list[np.ndarray] = field(default_factory=list)
    is_over: list[bool] = field(default_factory=list)

    def number(
        self, states: EnvState, identities: np.ndarray, observations: np.ndarray, over: bool, at: tuple[int, ...]
    ) -> int:
        """The number of what lies at the index `at` of these arrays, which is remembered if it is new."""
        mark = ((identities[at] + 0).tobytes(), over)  # 0.0 and -0.0 are the same
        if mark not in self.numbers:
            if len(self.numbers) == self.max_states:
                raise ValueError(
                    f"{self.name} has more than {self.max_states} states; raise max_states, or pass an `identify` "
                    f"that leaves out what does not matter"
                )
            self.numbers[mark] = len(self.numbers)
            self.examples.append(jax.tree.map(lambda x: x[at], states))
            self.identities.append(identities[at])
            self.observations.append(observations[at])
            self.is_over.append(over)
        return self.numbers[mark]


def _assemble(known: Known, rewards: Rewards, first: list[int], actions: int, discount: Any) -> Enumerated:
    """The tensors of what was seen, with the states in the order of their identities."""
    states = len(known.examples)
    identities = np.stack(known.identities).reshape(states, -1)
    order = np.lexsort((known.is_over, *identities.T[::-1]))  # the first element counts most
    place = np.argsort(order)
    transition, reward, deviation = np.zeros((3, states, actions, states))
    for (source, action, successor), earned in rewards.items():
        at = (place[source], action, place[successor])
        transition[at], reward[at], deviation[at] = len(earned), np.mean(earned), np.std(earned)
    transition /= np.maximum(transition.sum(-1, keepdims=True), 1)
    mdp = finite_mdp(
        transition,
        reward,
        discount,
        terminal=np.array(known.is_over)[order],
        initial=np.bincount(place[first], minlength=states) / len(first),
        deviation=deviation,
    )
    return Enumerated(mdp, jnp.asarray(np.stack(known.observations)[order]))
