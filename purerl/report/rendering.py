"""Pictures of policies at work: episodes played, drawn on the host, and laid out side by side.

Several agents are one vmapped program. An environment that cannot draw itself is shown as curves of what was observed,
done and earned.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl import trees
from purerl.environments import charts, drawing
from purerl.report.films import Film, save
from purerl.types import Environment, Key, Policy, State

__all__ = ["Episode", "Film", "film", "film_agents", "lay_out", "play", "save"]

CHUNK = 32  # steps that are played at once; what is played beyond the end of an episode is dropped
WIDEST = 1280  # pixels of a film of several agents, unless told otherwise
NARROWEST = 160  # pixels that a caption needs
DIMMED = 0.55  # of an episode that has ended while others go on


class Episode(NamedTuple):
    """What one agent did, drawn."""

    pictures: list[np.ndarray]  # uint8 [H, W, 3], of every `every`-th state from the reset on, and of the last one
    rewards: np.ndarray  # float32 [steps]
    every: int
    end: str  # "terminated", "truncated", or "" if it was cut by `max_steps`
    label: str = ""

    def step(self, number: int) -> int:
        """How many steps have been made in a picture."""
        return min(number * self.every, len(self.rewards))


class _Record(NamedTuple):
    """Of one agent, on the host, by the step."""

    states: list[Any]  # every `every`-th one
    observations: list[np.ndarray]
    actions: list[np.ndarray]
    rewards: list[float]


def film(policy: Policy, environment: Environment, key: Key, max_steps: int | None = None, **options: Any) -> Film:
    """Play one episode (at most `max_steps` steps; default: the environment's own bound) and draw every state.

    `options` are `every`, `captions` and `width` of `film_agents`, which says what they mean.
    """
    alone = {"columns": 1, **options}
    return film_agents(lambda _: policy, jnp.zeros(1), environment, key[None], [""], max_steps, **alone)


def film_agents(
    policy: Callable[[State], Policy],
    agents: State,
    environment: Environment,
    keys: Key,
    labels: Sequence[str] | None = None,
    max_steps: int | None = None,
    *,
    every: int = 1,
    columns: int | None = None,
    width: int | None = None,
    captions: bool = True,
) -> Film:
    """One episode of each of N agents, side by side: `film_agents(algorithm.policy, policies.best, environment, key)`.

    Args:
        policy: what makes a policy of one agent's state.
        agents: states of N agents, batched along their first axis.
        environment: where they act.
        keys: one key for all, so that all begin in the same state and differ by what they do, or keys `[N]`.
        labels: `[N]` what is written above the agents (default: their numbers).
        max_steps: cut episodes after so many steps (default: the environment's bound).
        every: draw only every so many states (and the last).
        columns: agents in a row (default: nearly as many as rows).
        width: of the picture of one agent, in pixels (default: its own; for several, such that all fit in 1280).
        captions: write label, step and return under each agent.

    Raises ValueError for a number below 1 or a wrong number of labels.
    """
    episodes = play(lambda agent: (policy(agent), environment), agents, keys, max_steps, every=every)
    if labels is None:
        labels = [f"agent {i}" for i in range(len(episodes))]
    if len(labels) != len(episodes):
        raise ValueError(f"{len(episodes)} agents need as many labels, got {len(labels)}")
    labelled = [episode._replace(label=label) for episode, label in zip(episodes, labels, strict=True)]
    return lay_out(labelled, columns=columns, width=width, captions=captions)


def play(
    make: Callable[[Any], tuple[Policy, Environment]],
    agents: Any,
    keys: Key,
    max_steps: int | None = None,
    *,
    every: int = 1,
    environments: Sequence[Environment] | None = None,
) -> list[Episode]:
    """Play an episode with each of N agents in one vmapped program, and draw it.

    Args:
        make: policy and environment of one agent; both may hold traced numbers.
        agents: what `make` is given, batched along the first axis.
        keys: one for all agents, or one for each `[N]`.
        max_steps: cut episodes after so many steps (default: the environment's bound).
        every: draw only every so many states (and the last).
        environments: `[N]`, with concrete numbers, to draw with (default: those of `make`, called outside the program).

    Raises ValueError if `max_steps` or `every` is below 1.
    """
    count = len(jax.tree.leaves(agents)[0])
    each = [jax.tree.map(lambda x, i=i: x[i], agents) for i in range(count)]
    environments = environments or [make(agent)[1] for agent in each[:1]] * count
    bound = environments[0].max_steps if max_steps is None else max_steps
    if bound < 1 or every < 1:
        raise ValueError(f"max_steps and every must be at least 1, got {bound} and {every}")
    keys = jnp.broadcast_to(keys, (count,))
    records, ends = _record(make, agents, keys, bound, every)
    return [
        Episode(_pictures(record, environment, every), np.array(record.rewards, np.float32), every, end)
        for record, environment, end in zip(records, environments, ends, strict=True)
    ]


def _record(
    make: Callable[[Any], tuple[Policy, Environment]], agents: Any, keys: Key, bound: int, every: int
) -> tuple[list[_Record], list[str]]:
    """Play in chunks until all have ended or `bound` steps are made."""
    length = min(CHUNK, bound)

    def reset(agent: Any, key: Key) -> tuple[Any, Any]:
        policy, environment = make(agent)
        reset_key, memory_key, step_key = jax.random.split(key, 3)
        state, observation = environment.reset(reset_key)
        return trees.strongly_typed((state, observation, policy.init(memory_key))), step_key

    def advance(agent: Any, key: Key, carry: Any, start: jax.Array) -> tuple[Any, Any]:
        policy, environment = make(agent)

        def one(carry: Any, time: jax.Array) -> tuple[Any, Any]:
            state, observation, memory = carry
            act_key, environment_key = jax.random.split(jax.random.fold_in(key, time))
            memory, action = policy.act(act_key, memory, observation)
            state, timestep = environment.step(environment_key, state, action)
            seen = (state, timestep.observation, action, timestep.reward, timestep.terminated, timestep.truncated)
            return trees.strongly_typed((state, timestep.observation, memory)), seen

        return jax.lax.scan(one, carry, start + jnp.arange(length))

    carry, step_keys = jax.jit(jax.vmap(reset))(agents, keys)
    go_on = jax.jit(jax.vmap(advance, in_axes=(0, 0, 0, None)))
    first_states, first_observations = jax.device_get(carry[:2])
    records = [
        _Record([jax.tree.map(lambda x, i=i: x[i], first_states)], [first_observations[i]], [], [])
        for i in range(len(keys))
    ]
    ends: list[str | None] = [None] * len(keys)
    for start in range(0, bound, length):
        carry, seen = go_on(agents, step_keys, carry, jnp.int32(start))
        seen = jax.device_get(seen)
        for i in [i for i, end in enumerate(ends) if end is None]:
            of_agent = jax.tree.map(lambda x, i=i: x[i], seen)
            ends[i] = _note(records[i], of_agent, min(length, bound - start), every)
        if None not in ends:
            break
    return records, [end or "" for end in ends]


def _note(record: _Record, seen: Any, steps: int, every: int) -> str | None:
    """Add a chunk of one agent to its record, up to the end of the episode; how it ended, None if it goes on."""
    states, observations, actions, rewards, terminated, truncated = seen
    for i in range(steps):
        record.observations.append(observations[i])
        record.actions.append(actions[i])
        record.rewards.append(float(rewards[i]))
        over = terminated[i] or truncated[i]
        if over or i == steps - 1 or len(record.rewards) % every == 0:
            _remember(record, jax.tree.map(lambda x, i=i: x[i], states), every)
        if over:
            return "terminated" if terminated[i] else "truncated"
    return None


def _remember(record: _Record, state: Any, every: int) -> None:
    """Keep a state in the place of the picture it belongs to: the last one gives way unless it is every `every`-th."""
    place = -(-len(record.rewards) // every)
    del record.states[place:]
    record.states.append(state)


def _pictures(record: _Record, environment: Environment, every: int) -> list[np.ndarray]:
    if environment.render is not None:
        return [np.asarray(environment.render(state)) for state in record.states]
    observations, rewards = np.stack(record.observations), np.array(record.rewards)
    actions = np.stack(record.actions)
    times = [min(i * every, len(rewards)) for i in range(len(record.states))]
    return [charts.chart(observations, actions, rewards, now) for now in times]


# Layout


def lay_out(
    episodes: Sequence[Episode], *, columns: int | None = None, width: int | None = None, captions: bool = True
) -> Film:
    """Episodes side by side, of one environment or of several; those that have ended wait, dimmed.

    Raises ValueError without episodes, for columns or a width below 1, or if they differ in `every`.
    """
    if not episodes:
        raise ValueError("a film needs at least one episode")
    if len({episode.every for episode in episodes}) > 1:
        raise ValueError("episodes side by side must be drawn every so many steps, all the same")
    across = int(np.ceil(np.sqrt(len(episodes)))) if columns is None else columns
    own = max(episode.pictures[0].shape[1] for episode in episodes)
    own = max(own, NARROWEST) if captions else own
    default = own if len(episodes) == 1 else min(own, WIDEST // max(across, 1))
    wide = default if width is None else width
    if across < 1 or wide < 1:
        raise ValueError(f"columns and width must be at least 1, got {columns} and {width}")
    rows = [episodes[start : start + across] for start in range(0, len(episodes), across)]
    gap = 0 if len(episodes) == 1 else max(2, wide // 60)
    frames = []
    for number in range(max(len(episode.pictures) for episode in episodes)):
        strips = [_row(row, number, across, wide, gap, captions) for row in rows]
        frames.append(np.concatenate(_spaced(strips, gap, axis=0), axis=0))
    return Film(frames, tuple(float(episode.rewards.sum()) for episode in episodes))


def _row(episodes: Sequence[Episode], number: int, columns: int, width: int, gap: int, captions: bool) -> np.ndarray:
    """Frame `number` of one row of episodes, as high as the highest of them, filled up to `columns` with white."""
    shapes = [episode.pictures[0].shape for episode in episodes]
    height = max(round(shape[0] * width / shape[1]) for shape in shapes)
    cells = [_cell(episode, number, (width, height), captions) for episode in episodes]
    deepest = max(len(cell) for cell in cells)
    cells = [np.pad(cell, ((0, deepest - len(cell)), (0, 0), (0, 0)), constant_values=255) for cell in cells]
    blanks = [np.full_like(cells[0], 255)] * (columns - len(cells))
    return np.concatenate(_spaced([*cells, *blanks], gap, axis=1), axis=1)


def _cell(episode: Episode, number: int, size: tuple[int, int], captions: bool) -> np.ndarray:
    """The picture of an episode in frame `number`, with its caption below."""
    last = len(episode.pictures) - 1
    picture = _fitted(episode.pictures[min(number, last)], size)
    if number > last:
        picture = (DIMMED * picture + (1 - DIMMED) * np.array(drawing.PAPER)).astype(np.uint8)
    if not captions:
        return picture
    step = episode.step(min(number, last))
    status = f"step {step}   return {episode.rewards[:step].sum():.4g}"
    status += f"   {episode.end}" if number >= last and episode.end else ""
    lines = [line for line in (episode.label, status) if line]
    return np.concatenate([picture, _caption(lines, size[0])])


def _fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture as large as `size` (width, height) allows, in the middle of it."""
    from PIL import Image

    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    scale = min(size[0] / width, size[1] / height)
    method = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    small = Image.fromarray(picture).resize((round(width * scale), round(height * scale)), method)
    ground = Image.new("RGB", size, drawing.PAPER)
    ground.paste(small, ((size[0] - small.width) // 2, (size[1] - small.height) // 2))
    return np.asarray(ground)


def _caption(lines: Sequence[str], width: int) -> np.ndarray:
    """Lines of text as a strip `width` pixels wide; what does not fit is cut with an ellipsis."""
    from PIL import Image, ImageDraw

    size = int(np.clip(width // 20, 10, 15))
    font, high = drawing.font(size), round(1.35 * size)
    strip = Image.new("RGB", (width, high * len(lines) + 4), (255, 255, 255))
    canvas = ImageDraw.Draw(strip)
    for i, text in enumerate(lines):
        colour = drawing.INK if i == 0 else (90, 96, 108)
        canvas.text((6, 2 + high * (i + 0.5)), _cut(text, font, width - 12), fill=colour, font=font, anchor="lm")
    return np.asarray(strip)


def _cut(text: str, font: Any, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _spaced(pictures: Sequence[np.ndarray], gap: int, axis: int) -> list[np.ndarray]:
    """Pictures with a white gap between them."""
    shape = list(pictures[0].shape)
    shape[axis] = gap
    white = np.full(shape, 255, np.uint8)
    return [part for picture in pictures for part in (picture, white)][:-1]
