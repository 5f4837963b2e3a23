"""The picture of last resort: what was observed, done and earned, as curves over the time steps of an episode."""

import math
from collections.abc import Sequence

import numpy as np

from purerl.environments.drawing import (
    BLUE,
    GOLD,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    RED,
    Colour,
    Shape,
    channels,
    disc,
    line,
    rectangle,
    scene,
    words,
)

WIDTH, HEIGHT = 400, 300
LEFT, RIGHT = 62, 12  # margins in pixels
CURVES = 6  # more numbers than this are rows of shaded cells
COLOURS = (BLUE, ORANGE, GREEN, RED, (129, 114, 179), GOLD)


def chart(observations: np.ndarray, actions: np.ndarray, rewards: np.ndarray, now: int) -> np.ndarray:
    """An episode up to step `now`, uint8 `[H, W, 3]`.

    Args:
        observations: `[steps + 1, ...]` of the whole episode, which sets the scales. Images `[rows, columns]` or
            `[rows, columns, channels]` are shown as images, what has more axes as its numbers in a row.
        actions: `[steps, ...]`.
        rewards: `[steps]`.
        now: how many steps have been made, 0 to `steps`.
    """
    if observations.ndim in (3, 4) and min(observations.shape[1:3]) > 1:
        low, high = float(observations.min()), float(observations.max())
        return channels((observations[now].astype(float) - low) / max(high - low, 1e-9))
    steps = len(rewards)
    rows = (
        ("observation", observations, np.arange(steps + 1), now + 1, 150),
        ("action", actions, np.arange(steps), now, 60),
        ("reward", rewards, np.arange(steps) + 1, now, 50),
    )
    shapes: list[Shape] = []
    top = HEIGHT - 8
    for name, values, times, shown, height in rows:
        shapes += _panel(name, values.reshape(len(times), -1).astype(float), times, shown, steps, top, height)
        top -= height + 12
    shapes.append(words((WIDTH - RIGHT, top - 2), f"step {steps}", 11, GREY, "rm"))
    shapes.append(words((LEFT, top - 2), "0", 11, GREY))
    return scene(shapes, 0, WIDTH, 0, HEIGHT, width=WIDTH)


def _panel(
    name: str, values: np.ndarray, times: np.ndarray, shown: int, steps: int, top: float, height: float
) -> list[Shape]:
    """One quantity `[times, numbers]` in a frame below `top`, its first `shown` times drawn."""
    bottom, across = top - height, (WIDTH - LEFT - RIGHT) / max(steps, 1)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    frame = rectangle(((LEFT + WIDTH - RIGHT) / 2, (top + bottom) / 2), WIDTH - LEFT - RIGHT, height, (255, 255, 255))
    edge = [(LEFT, bottom), (WIDTH - RIGHT, bottom), (WIDTH - RIGHT, top), (LEFT, top), (LEFT, bottom)]
    shapes = [frame, line(edge, 1, PALE), words((LEFT + 5, top - 9), name, 11, GREY, "lm")]
    if values.shape[1] > CURVES:
        return [*shapes[:2], *_cells(values, times, shown, across, top, height, (low, high)), *_rows_named(values, top)]
    scale = (height - 28) / (high - low) if high > low else 0.0
    ends = ((low, bottom + 8), (high, top - 20)) if high > low else ((low, (top + bottom) / 2),)
    shapes += [words((LEFT - 5, y), f"{x:.3g}", 11, GREY, "rm") for x, y in ends]
    for number in range(values.shape[1]):
        at = [ends[0][1] + scale * (value - low) for value in values[:shown, number]]
        points = [(LEFT + across * time, y) for time, y in zip(times[:shown], at, strict=True)]
        shapes += _curve(points, COLOURS[number % len(COLOURS)], dots=steps <= 40)
    if values.shape[1] > 1:
        shapes += _numbers(values.shape[1], top)
    return shapes


def _curve(points: Sequence[tuple[float, float]], colour: Colour, dots: bool) -> list[Shape]:
    shapes = [line(points, 1.6, colour)] if len(points) > 1 else []
    return [*shapes, *(disc(point, 2.6, colour) for point in (points if dots else points[-1:]))]


def _numbers(count: int, top: float) -> list[Shape]:
    """Which colour is which number."""
    places = [WIDTH - RIGHT - 12 - 22 * (count - 1 - i) for i in range(count)]
    return [words((x, top - 9), f"[{i}]", 11, COLOURS[i % len(COLOURS)]) for i, x in enumerate(places)]


def _cells(
    values: np.ndarray, times: np.ndarray, shown: int, across: float, top: float, height: float, ends: tuple
) -> list[Shape]:
    """Many numbers: a row each, dark where it is large. Of what shares a pixel only the first is drawn."""
    (low, high), stride, skip = ends, math.ceil(1 / across), math.ceil(values.shape[1] / height)
    strength = (values[:shown:stride, ::skip] - low) / max(high - low, 1e-9)
    wide, tall = across * stride, height / max(strength.shape[1], 1)
    shapes: list[Shape] = []
    for time, column in zip(times[:shown:stride], strength, strict=True):
        x = min(LEFT + across * time, WIDTH - RIGHT - wide)
        for row, shade in enumerate(1 - column):
            colour = (int(INK[0] + shade * 205), int(INK[1] + shade * 205), int(INK[2] + shade * 200))
            shapes.append(rectangle((x + wide / 2, top - tall * (row + 0.5)), wide, tall, colour))
    return shapes


def _rows_named(values: np.ndarray, top: float) -> list[Shape]:
    lines = ("[0]", "to", f"[{values.shape[1] - 1}]")
    return [words((LEFT - 5, top - 8 - 16 * i), text, 11, GREY, "rm") for i, text in enumerate(lines)]
