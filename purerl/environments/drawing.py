"""Pictures of environments: pure functions from numbers to uint8 images `[H, W, 3]`, on the host.

Everything is drawn with Pillow at three times the final size and shrunk, which smooths the edges. A *scene* is a list
of shapes in world coordinates (y upwards); a *grid* is an array of colours, one per cell.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Colour = tuple[int, int, int]
Point = tuple[float, float]
Shape = Callable[[Any, Callable[[Point], Point], float], None]  # (canvas, world -> pixels, pixels per unit) -> None

PAPER, INK, GREY, PALE = (250, 249, 246), (38, 43, 54), (150, 155, 165), (223, 225, 228)
BLUE, ORANGE, GREEN, RED, GOLD = (56, 108, 176), (230, 126, 34), (60, 160, 100), (200, 60, 60), (240, 190, 50)
# Ten colours that stay apart on a dark ground, for the channels of an image observation.
CHANNELS: tuple[Colour, ...] = (
    *((86, 180, 233), (240, 228, 66), (213, 94, 0), (0, 158, 115), (204, 121, 167)),
    *((230, 159, 0), (0, 114, 178), (187, 187, 187), (153, 102, 255), (255, 127, 127)),
)
NIGHT = (24, 26, 33)
SMOOTHING = 3


def disc(centre: Point, radius: float, colour: Colour) -> Shape:
    """A filled circle; `radius` in world units."""

    def draw(canvas, pixel, scale):
        (x, y), r = pixel(centre), radius * scale
        canvas.ellipse([x - r, y - r, x + r, y + r], fill=colour)

    return draw


def line(points: Sequence[Point], width: float, colour: Colour) -> Shape:
    """A polyline with round ends; `width` in world units."""

    def draw(canvas, pixel, scale):
        places = [pixel(point) for point in points]
        canvas.line(places, fill=colour, width=max(1, round(width * scale)), joint="curve")
        r = width * scale / 2
        for x, y in (places[0], places[-1]):
            canvas.ellipse([x - r, y - r, x + r, y + r], fill=colour)

    return draw


def polygon(points: Sequence[Point], colour: Colour) -> Shape:
    """A filled polygon."""
    return lambda canvas, pixel, scale: canvas.polygon([pixel(point) for point in points], fill=colour)


def rectangle(centre: Point, width: float, height: float, colour: Colour) -> Shape:
    """A filled rectangle with sides along the axes."""
    x, y, w, h = *centre, width / 2, height / 2
    return polygon([(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)], colour)


@functools.cache
def font(size: int) -> Any:
    """The font that comes with Pillow, `size` pixels high."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def words(place: Point, text: str, size: float, colour: Colour = INK, anchor: str = "mm") -> Shape:
    """A line of text; `size` in world units, `anchor` in Pillow's letters ("mm": centred, "lm": begins at `place`)."""

    def draw(canvas, pixel, scale):
        canvas.text(pixel(place), text, fill=colour, font=font(max(1, round(size * scale))), anchor=anchor)

    return draw


def scene(
    shapes: Sequence[Shape], left: float, right: float, bottom: float, top: float, width: int = 400
) -> np.ndarray:
    """Draw `shapes` in order. The part of the world to show sets the height; `width` is in pixels."""
    from PIL import Image, ImageDraw

    height = round(width * (top - bottom) / (right - left))
    scale = SMOOTHING * width / (right - left)
    image = Image.new("RGB", (SMOOTHING * width, SMOOTHING * height), PAPER)
    canvas = ImageDraw.Draw(image)

    def pixel(point: Point) -> Point:
        return (float(point[0]) - left) * scale, (top - float(point[1])) * scale

    for draw in shapes:
        draw(canvas, pixel, scale)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def grid(colours: np.ndarray, width: int = 400) -> np.ndarray:
    """Square cells of the given colours `[rows, columns, 3]`, with thin gaps between them."""
    rows, columns = colours.shape[:2]
    cell = max(4, width // max(rows, columns))
    image = np.repeat(np.repeat(colours.astype(np.uint8), cell, axis=0), cell, axis=1)
    gap = np.arange(cell * max(rows, columns)) % cell == 0
    shaded = (image * 0.82).astype(np.uint8)
    return np.where((gap[: image.shape[0], None] | gap[None, : image.shape[1]])[..., None], shaded, image)


def channels(observation: np.ndarray, names: Sequence[str] = ()) -> np.ndarray:
    """An image observation `[rows, columns, channels]` or `[rows, columns]`: one colour per channel, later on top.

    With `names`, a legend stands below it.
    """
    observation = observation if observation.ndim == 3 else observation[..., None]
    colours = np.broadcast_to(np.array(NIGHT, float), (*observation.shape[:2], 3))
    for channel in range(observation.shape[2]):
        strength = np.clip(observation[..., channel, None].astype(float), 0, 1)
        colours = (1 - strength) * colours + strength * np.array(CHANNELS[channel % len(CHANNELS)])
    picture = grid(colours)
    return np.concatenate([picture, legend(names, picture.shape[1])]) if names else picture


def legend(names: Sequence[str], width: int) -> np.ndarray:
    """The names of channels beside their colours, in columns of `width` / 4 pixels, uint8 `[H, width, 3]`."""
    columns, high = 4, 20
    shapes = []
    for i, name in enumerate(names):
        x, y = 6 + (i % columns) * width / columns, -high * (i // columns) - high / 2
        shapes.append(rectangle((x + 5, y), 10, 10, CHANNELS[i % len(CHANNELS)]))
        shapes.append(words((x + 14, y), name, 12, PAPER, "lm"))
    rows = -(-len(names) // columns)
    ground = rectangle((width / 2, -high * rows / 2), width, high * rows, NIGHT)
    return scene([ground, *shapes], 0, width, -high * rows, 0, width=width)


def bars(values: np.ndarray, names: Sequence[str] = (), marked: int | None = None) -> np.ndarray:
    """A vector as upright bars with their values, squashed by x / (1 + |x|): positive ones blue, negative ones orange.

    `names` stand below them (numbers if there are none); there is a mark under the bar number `marked`.
    """
    values = np.ravel(values).astype(float)
    heights = values / (1 + np.abs(values))
    middle, half = (len(values) - 1) / 2, max(len(values) / 2, 1.5)
    size = 0.045 * 2 * half
    floor = -half if heights.min() < 0 else -1.4 * size
    names = names or [str(i) for i in range(len(values))]
    shapes = [line([(-0.5, 0), (len(values) - 0.5, 0)], 0.01 * half, GREY)]
    for i, (value, height, name) in enumerate(zip(values, heights, names, strict=True)):
        shapes.append(
            rectangle((i, height * half / 2), 0.6, abs(height) * half + 0.01, BLUE if height >= 0 else ORANGE)
        )
        shapes.append(words((i, height * half + np.copysign(0.7 * size, height)), f"{value:.3g}", 0.8 * size))
        shapes.append(words((i, floor), name, 0.8 * size))
        if i == marked:
            tip = floor - 0.8 * size
            shapes.append(polygon([(i, tip), (i - 0.15, tip - size), (i + 0.15, tip - size)], RED))
    return scene(shapes, middle - half, middle + half, floor - 2.2 * size, half + 1.2 * size)


def chains(rewards: np.ndarray, when: np.ndarray, chosen: int, time: int) -> np.ndarray:
    """Chains that each pay once: `rewards` `[n]` after `when` `[n]` steps; on `chosen` (or -1) the time has come."""
    across = np.log1p(np.asarray(when, float))
    right = float(across.max())
    shapes = [words((0, len(across) - 0.4), "time (logarithmic)", 0.2, GREY, "lm")]
    for i, (end, reward) in enumerate(zip(across, np.asarray(rewards, float), strict=True)):
        y, colour = len(across) - 1 - i, BLUE if i == chosen else PALE
        shapes += [line([(0, y), (end, y)], 0.06, colour), disc((end, y), 0.17, GREEN if reward > 0 else GREY)]
        shapes += [words((-0.3, y), str(i), 0.25), words((end, y - 0.32), f"{reward:.3g}", 0.2)]
    now = (min(np.log1p(time), right), len(across) - 1 - chosen)
    shapes += [disc(now, 0.13, RED)] if chosen >= 0 else []
    return scene(shapes, -0.6, right + 0.5, -0.6, len(across) - 0.1)


def state_graph(reachable: np.ndarray, position: int, names: Sequence[str] = ()) -> np.ndarray:
    """States on a circle, with lines to those that can be next (bool `[S, S]`); strong ones leave `position`."""
    count = len(reachable)
    angles = np.pi / 2 - 2 * np.pi * np.arange(count) / count
    places = [(float(np.cos(a)), float(np.sin(a))) for a in angles]
    links = [(s, t) for s in range(count) for t in range(count) if reachable[s, t] and s != t]
    links.sort(key=lambda link: link[0] == position)
    shapes = []
    for s, t in links:
        shapes.append(line([places[s], places[t]], *((0.02, BLUE) if s == position else (0.008, PALE))))
    radius = min(0.16, 2.0 / count)
    for i, place in enumerate(places):
        shapes.append(disc(place, radius, RED if i == position else PALE))
        text = names[i] if names else str(i)
        shapes.append(words(place, text, 0.9 * radius, PAPER if i == position else INK))
    return scene(shapes, -1.25, 1.25, -1.25, 1.25)


def board(stones: np.ndarray) -> np.ndarray:
    """A board seen from above or from the front, `[rows, columns]`: 1 is the learner's stone, -1 the opponent's."""
    rows, columns = stones.shape
    shapes = [rectangle((columns / 2, rows / 2), columns, rows, PALE)]
    shapes += [line([(x, 0), (x, rows)], 0.04, PAPER) for x in range(columns + 1)]
    shapes += [line([(0, y), (columns, y)], 0.04, PAPER) for y in range(rows + 1)]
    for (row, column), stone in np.ndenumerate(stones):
        if stone:
            shapes.append(disc((column + 0.5, rows - row - 0.5), 0.38, BLUE if stone > 0 else ORANGE))
    size = 0.055 * columns
    key = (("the learner", BLUE, 0.0), ("the opponent", ORANGE, columns / 2))
    for name, colour, x in key:
        shapes += [disc((x + size, -size), 0.4 * size, colour), words((x + 1.8 * size, -size), name, size, INK, "lm")]
    return scene(shapes, -0.05, columns + 0.05, -2 * size, rows + 0.05)


def robo_parking(position: np.ndarray, velocity: np.ndarray, goal_radius: float) -> np.ndarray:
    """The lot of RoboParking: goal, robot, and its velocity as a line."""
    ahead = tuple(np.asarray(position) + np.asarray(velocity))
    shapes = [
        *(line([(i / 2, -1.5), (i / 2, 1.5)], 0.008, PALE) for i in range(-3, 4)),
        *(line([(-1.5, i / 2), (1.5, i / 2)], 0.008, PALE) for i in range(-3, 4)),
        disc((0, 0), float(goal_radius), (190, 222, 200)),
        disc((0, 0), 0.02, GREEN),
        line([tuple(position), ahead], 0.03, ORANGE),
        disc(tuple(position), 0.06, BLUE),
    ]
    return scene(shapes, -1.6, 1.6, -1.6, 1.6)


def goal_point(position: np.ndarray, goal: np.ndarray, tolerance: float) -> np.ndarray:
    """The square of goal/point_robot with its goal and the robot."""
    shapes = [
        line([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)], 0.02, GREY),
        disc(tuple(goal), float(tolerance), (190, 222, 200)),
        disc(tuple(goal), 0.015, GREEN),
        disc(tuple(position), 0.04, BLUE),
    ]
    return scene(shapes, -1.1, 1.1, -1.1, 1.1)


def goal_arm(joints: np.ndarray, goal: np.ndarray, tolerance: float) -> np.ndarray:
    """The arm of goal/planar_arm: shoulder, elbow and fingertip (`joints` `[3, 2]`), and its goal."""
    shoulder, elbow, tip = (tuple(joint) for joint in joints)
    shapes = [
        disc(tuple(goal), float(tolerance), (190, 222, 200)),
        disc(tuple(goal), 0.015, GREEN),
        line([shoulder, elbow], 0.07, BLUE),
        line([elbow, tip], 0.07, ORANGE),
        *(disc(joint, 0.03, INK) for joint in (shoulder, elbow, tip)),
    ]
    return scene(shapes, -1.15, 1.15, -1.15, 1.15)
