"""Simulators of Gymnasium on the host, driven by states that are values.

A simulator changes when it is stepped, a state of purerl does not. What makes one of the other is that a state says how
it came about: by the reset with a seed, by so many steps since, and by a checksum of their actions and observations.
`Simulators` remembers what was done in every episode, so

- the newest state of an episode is stepped by the simulator that has just made it, at the simulator's own speed;
- the same step asked for twice is answered twice with the same;
- any older state is stepped too: another simulator is reset with the seed and does again what was done before. That
  takes as many steps as the episode is old, and is noticed, as an error, if the simulator does not repeat itself;
- a state at which an episode ended stays where it is, with reward 0.

States that another process made, or that have been forgotten since, raise LookupError.
"""

import threading
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

ASIDE = 16  # times `kept`: unfinished episodes without a simulator that are remembered


class Outcome(NamedTuple):
    """What a reset or a step came to."""

    observation: np.ndarray
    reward: float
    terminated: bool
    truncated: bool


class Conversion(NamedTuple):
    """Between the simulator's spaces and purerl's."""

    observation: Callable[[Any], np.ndarray]  # what the simulator shows, in the shape and type of the space
    action: Callable[[np.ndarray], Any]  # the action of an agent, as the simulator wants it


class Episode:
    """What has happened since one reset. It has a simulator unless it is over or was set aside."""

    __slots__ = ("actions", "checksums", "last", "seed", "simulator", "width")

    def __init__(self, seed: int, simulator: Any, last: Outcome, width: int):
        self.seed, self.simulator, self.last, self.width = seed, simulator, last, width
        self.actions = bytearray()  # `width` bytes each
        self.checksums = array("I", [_checksum(seed, b"", last)])  # after the reset and after every step

    @property
    def length(self) -> int:
        return len(self.checksums) - 1

    @property
    def over(self) -> bool:
        return self.last.terminated or self.last.truncated

    def action(self, number: int) -> bytes:
        return bytes(self.actions[number * self.width : (number + 1) * self.width])

    def passed(self, length: int, checksum: int) -> bool:
        return length <= self.length and self.checksums[length] == checksum


def _checksum(before: int, action: bytes, outcome: Outcome) -> int:
    return zlib.crc32(np.ascontiguousarray(outcome.observation).data, zlib.crc32(action, before))


class Camera(NamedTuple):
    """A simulator that does an episode again to be looked at."""

    simulator: Any
    episode: Episode
    length: int  # steps done


class Simulators:
    """As many simulators as there are episodes going on, and a memory of what was done in each.

    Args:
        make: a simulator, a `gymnasium.Env`.
        conversion: between its spaces and those of the `Environment`.
        action: one, for its shape and type.
        kept: simulators that unfinished episodes may keep, and finished episodes that are remembered. Both are at least
            four times the number of states that are stepped at once, which `expect` tells. Unfinished episodes without
            a simulator are remembered too, `ASIDE` times as many.
        name: for messages.
    """

    def __init__(self, make: Callable[[], Any], conversion: Conversion, action: np.ndarray, kept: int, name: str):
        self.make, self.conversion, self.like, self.kept, self.name = make, conversion, action, kept, name
        self.lock = threading.RLock()  # several devices may ask at the same time
        self.idle: list[Any] = []
        self.episodes: dict[int, list[Episode]] = {}  # by seed; more than one where a state was stepped in two ways
        self.running: OrderedDict[int, Episode] = OrderedDict()  # with a simulator; least recently stepped first
        self.aside: OrderedDict[int, Episode] = OrderedDict()  # unfinished, without a simulator; longest so first
        self.finished: OrderedDict[int, Episode] = OrderedDict()  # least recently stepped first
        self.camera: Camera | None = None

    def expect(self, states: int) -> None:
        """So many states are going to be stepped side by side, by however many calls."""
        with self.lock:
            self.kept = max(self.kept, 4 * states)

    def reset(self, seeds: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, list[np.ndarray | None]]:
        """Begin an episode for every one of the seeds `[N]` that is wanted: checksums `[N]`, observations (or None)."""
        with self.lock:
            checksums, observations = np.zeros(len(seeds), np.uint32), []
            for i, seed in enumerate(seeds.tolist()):
                episode = self._begin(seed) if wanted[i] else None
                checksums[i] = episode.checksums[0] if episode else 0
                observations.append(episode.last.observation if episode else None)
            return checksums, observations

    def step(
        self, seeds: np.ndarray, lengths: np.ndarray, checksums: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, list[Outcome]]:
        """Step the N states: their next lengths and checksums, each `[N]`, and what came of it. Actions `[N, ...]`."""
        with self.lock:
            after = [
                self._step(seed, length, checksum, action)
                for seed, length, checksum, action in zip(
                    seeds.tolist(), lengths.tolist(), checksums.tolist(), actions, strict=True
                )
            ]
            next_lengths = np.array([length for length, _, _ in after], np.int32)
            return next_lengths, np.array([x for _, x, _ in after], np.uint32), [outcome for _, _, outcome in after]

    def picture(self, seed: int, length: int, checksum: int) -> Any:
        """What the simulator draws of a state."""
        with self.lock:
            episode = self._find(seed, length, checksum, b"")
            if episode.length == length and not episode.over:
                return self._with_simulator(episode).render()
            camera = self.camera
            begin = camera.length if camera and camera.episode is episode and camera.length <= length else 0
            simulator = camera.simulator if camera else self._take()
            self.camera = None  # if it fails, nobody knows where the simulator is
            self._repeat(simulator, episode, length, begin)
            self.camera = Camera(simulator, episode, length)
            return simulator.render()

    def _step(self, seed: int, length: int, checksum: int, action: np.ndarray) -> tuple[int, int, Outcome]:
        done = action.tobytes()
        episode = self._find(seed, length, checksum, done)
        if episode.length == length and episode.over:
            self.finished.move_to_end(id(episode))
            return length, checksum, episode.last._replace(reward=0.0)
        if not (episode.length == length + 1 and episode.action(length) == done):
            if episode.length > length:
                episode = self._branched(episode, length)
            self._advance(episode, action, done)
        return length + 1, episode.checksums[length + 1], episode.last

    def _find(self, seed: int, length: int, checksum: int, action: bytes) -> Episode:
        """The episode that has come to this state; of several, the one that need not be done again."""
        found = [episode for episode in self.episodes.get(seed, ()) if episode.passed(length, checksum)]
        for episode in found:
            if episode.length == length:
                return episode
        for episode in found:
            if episode.length == length + 1 and episode.action(length) == action:
                return episode
        if found:
            return found[0]
        if length > 0:
            raise LookupError(
                f"{self.name}: a state was stepped whose simulator is not here. Its states are good only in the "
                f"process that made them, and only while the episode is remembered: a training on it cannot be resumed "
                f"from a checkpoint (train anew), and a state that was finished or left alone long ago cannot be "
                f"stepped again (reset instead)"
            )
        episode = self._begin(seed)
        if episode.checksums[0] != checksum:
            raise RuntimeError(_unlike(self.name))
        return episode

    def _begin(self, seed: int) -> Episode:
        for episode in self.episodes.get(seed, ()):
            if episode.length == 0:
                return episode
        simulator = self._take()
        episode = Episode(seed, simulator, self._begun(simulator, seed), self.like.nbytes)
        return self._remembered(episode)

    def _advance(self, episode: Episode, action: np.ndarray, done: bytes) -> None:
        """One step of the newest state."""
        outcome = self._play(self._with_simulator(episode), action)
        episode.actions += done
        episode.checksums.append(_checksum(episode.checksums[-1], done, outcome))
        episode.last = outcome
        if not episode.over:
            self.running.move_to_end(id(episode))
            return
        del self.running[id(episode)]
        self.idle.append(episode.simulator)
        episode.simulator = None
        self.finished[id(episode)] = episode
        while len(self.finished) > self.kept:
            self._forget(self.finished.popitem(last=False)[1])

    def _play(self, simulator: Any, action: np.ndarray) -> Outcome:
        observation, reward, terminated, truncated, _ = simulator.step(self.conversion.action(action))
        ended = bool(terminated)
        return Outcome(self.conversion.observation(observation), float(reward), ended, bool(truncated) and not ended)

    def _branched(self, episode: Episode, length: int) -> Episode:
        """A new episode with the first `length` steps of another one."""
        simulator = self._take()
        last = self._repeat(simulator, episode, length)
        branch = Episode(episode.seed, simulator, last, episode.width)
        branch.actions = episode.actions[: length * episode.width]
        branch.checksums = episode.checksums[: length + 1]
        return self._remembered(branch)

    def _remembered(self, episode: Episode) -> Episode:
        self.episodes.setdefault(episode.seed, []).append(episode)
        self.running[id(episode)] = episode
        return episode

    def _with_simulator(self, episode: Episode) -> Any:
        """The simulator of an unfinished episode, in its newest state."""
        if episode.simulator is None:
            self.aside.pop(id(episode), None)  # first, lest it is the one that is forgotten
            simulator = self._take()
            self._repeat(simulator, episode, episode.length)
            episode.simulator = simulator
            self.running[id(episode)] = episode
        return episode.simulator

    def _begun(self, simulator: Any, seed: int) -> Outcome:
        observation, _ = simulator.reset(seed=seed)
        return Outcome(self.conversion.observation(observation), 0.0, False, False)

    def _repeat(self, simulator: Any, episode: Episode, length: int, begin: int = 0) -> Outcome:
        """Do the first `length` steps of an episode again, with a simulator that has done the first `begin` of them."""
        outcome, checksum = episode.last, episode.checksums[begin]
        if begin == 0:
            outcome = self._begun(simulator, episode.seed)
            checksum = _checksum(episode.seed, b"", outcome)
        for number in range(begin, length):
            done = episode.action(number)
            outcome = self._play(simulator, np.frombuffer(done, self.like.dtype).reshape(self.like.shape))
            checksum = _checksum(checksum, done, outcome)
        if checksum != episode.checksums[length]:
            raise RuntimeError(_unlike(self.name))
        return outcome

    def _take(self) -> Any:
        """A simulator that nobody uses: an idle one, that of an episode long unattended, or a new one."""
        if not self.idle and len(self.running) >= self.kept:
            episode = self.running.popitem(last=False)[1]
            self.idle.append(episode.simulator)
            episode.simulator = None
            self._set_aside(episode)
        return self.idle.pop() if self.idle else self.make()

    def _set_aside(self, episode: Episode) -> None:
        """Remember an unfinished episode without its simulator, and forget those that have been so for longest."""
        if episode.length == 0:  # a reset with its seed makes it again
            self._forget(episode)
            return
        self.aside[id(episode)] = episode
        while len(self.aside) > ASIDE * self.kept:
            self._forget(self.aside.popitem(last=False)[1])

    def _forget(self, episode: Episode) -> None:
        left = self.episodes[episode.seed]
        left.remove(episode)
        if not left:
            del self.episodes[episode.seed]


def _unlike(name: str) -> str:
    return (
        f"{name}: an older state was stepped again, and doing again what had led to it led elsewhere. This environment "
        f"draws random numbers that `reset(seed=...)` does not set, so each of its states can be stepped only once"
    )
