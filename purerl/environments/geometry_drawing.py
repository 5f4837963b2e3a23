"""Pictures of MuJoCo models: by MuJoCo's renderer where there is OpenGL, else geoms as shaded outlines, with Pillow.

MuJoCo's own renderer needs a GL context (`opengl`), which a bare server may not have. A convex solid seen from far away
is the convex hull of its projected surface points, so a capsule is the hull of two circles and a box of eight corners;
drawn from the farthest to the nearest, with a shadow on the ground, that is all an agent's GIF needs. Everything here
runs on the host.
"""

import importlib
import os
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from purerl.environments import opengl

RENDERER = "PURERL_RENDERER"  # the environment variable that chooses among RENDERERS
RENDERERS = ("auto", "opengl", "outlines")
SKY, GROUND, GRID, INK = (236, 241, 247), (214, 220, 228), (198, 206, 216), (44, 52, 64)
LIGHT = np.array([0.4, -0.5, 0.77])  # direction towards the light, in the world
PALETTE = ((79, 129, 189), (230, 145, 56), (90, 160, 100), (196, 78, 82), (129, 114, 179), (100, 181, 205))
SUPERSAMPLING = 3  # drawn this much larger, then shrunk: smooth edges


class Camera(NamedTuple):
    """An orthographic camera."""

    azimuth: float = 0.0  # degrees about z; 0 looks along +y (x to the right, z up)
    elevation: float = 8.0  # degrees above the horizon; 90 looks straight down (x to the right, y up)
    height: float | None = None  # metres that the picture spans vertically; None: 2.2 times the model's extent
    centre: tuple[float, float, float] | None = None  # what it looks at; None: the centre of the model at rest
    follow: bool = False  # whether the picture moves horizontally with the agent's centre of mass
    size: tuple[int, int] = (320, 240)  # pixels: width, height


def draw_model(
    model: Any,
    camera: Camera,
    qpos: np.ndarray | None = None,
    mocap_pos: np.ndarray | None = None,
    mocap_quat: np.ndarray | None = None,
) -> np.ndarray:
    """A picture of a `mujoco.MjModel` in the pose `qpos` `[nq]`: uint8 `[height, width, 3]`.

    `mocap_pos` `[nmocap, 3]` and `mocap_quat` `[nmocap, 4]` place the mocap bodies. MuJoCo's renderer draws it, in
    perspective, if an OpenGL context can be made; outlines, which are orthographic, leave out meshes and height fields.
    Geoms of groups above 2 are hidden. The environment variable PURERL_RENDERER chooses: "auto", "opengl", "outlines".

    Raises ValueError if that is something else, OSError if it asks for OpenGL and there is none.
    """
    mujoco: Any = importlib.import_module("mujoco")

    data = mujoco.MjData(model)
    if qpos is not None:
        data.qpos[:] = qpos
    if mocap_pos is not None:
        data.mocap_pos[:] = mocap_pos
    if mocap_quat is not None:
        data.mocap_quat[:] = mocap_quat
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_camlight(model, data)

    height = camera.height or 2.2 * model.stat.extent
    centre = np.array(camera.centre if camera.centre is not None else model.stat.center, float)
    if camera.follow and model.nbody > 1:
        centre[:2] = data.subtree_com[1, :2]
    renderer = _renderer(model, camera)
    if renderer is None:
        return _outlines(model, data, camera, height, centre)
    keeps_its_own = (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_MESH, mujoco.mjtGeom.mjGEOM_HFIELD)
    solids = [geom for geom in range(model.ngeom) if model.geom_type[geom] not in keeps_its_own]
    turned = (camera.azimuth, camera.elevation)
    tile = _round_length(height / 8)
    return renderer.draw(
        data, opengl.Picture(centre, height, *turned, _colours(model, solids), SKY, GROUND, GRID, tile)
    )


def _renderer(model: Any, camera: Camera) -> opengl.Renderer | None:
    """What draws this model with OpenGL; None: outlines do."""
    wanted = os.environ.get(RENDERER, "auto").lower()
    if wanted not in RENDERERS:
        raise ValueError(f"{RENDERER} must be one of {', '.join(RENDERERS)}, got {wanted!r}")
    if wanted == "outlines":
        return None
    if wanted == "opengl" and opengl.backend() is None:
        raise OSError(
            f"{RENDERER}=opengl, but no OpenGL context can be made here: install EGL or OSMesa (on Debian: apt-get "
            f"install libegl1 libgl1, or libosmesa6), or take {RENDERER}=outlines, which needs none"
        )
    return opengl.renderer(model, *camera.size)


def _outlines(model: Any, data: Any, camera: Camera, height: float, centre: np.ndarray) -> np.ndarray:
    """Convex solids from the farthest to the nearest, with shadows on the ground."""
    mujoco: Any = importlib.import_module("mujoco")

    canvas = _Canvas(camera, height, centre)
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    planes = [geom for geom in range(model.ngeom) if model.geom_type[geom] == plane]
    solids = [geom for geom in range(model.ngeom) if model.geom_type[geom] != plane and model.geom_group[geom] <= 2]
    outlines = {geom: surface_points(model, data, geom) for geom in solids}
    outlines = {geom: points for geom, points in outlines.items() if points is not None}
    if planes:
        level = float(data.geom_xpos[planes[0]][2])
        canvas.ground(level, tile=_round_length(height / 8))
        for geom, points in outlines.items():
            if model.geom_rgba[geom, 3] > 0:
                canvas.shadow(points, level)
    colours = _colours(model, list(outlines))
    depth = {geom: canvas.depth(data.geom_xpos[geom]) for geom in outlines}
    for geom in sorted(outlines, key=lambda geom: -depth[geom]):
        canvas.solid(outlines[geom], colours[geom], float(model.geom_rgba[geom, 3]))
    return canvas.picture()


def surface_points(model: Any, data: Any, geom: int) -> np.ndarray | None:
    """Points `[n, 3]` in the world whose convex hull is the geom; None for a kind that is not drawn."""
    mujoco: Any = importlib.import_module("mujoco")

    kind, size = model.geom_type[geom], model.geom_size[geom]
    kinds = mujoco.mjtGeom
    if kind == kinds.mjGEOM_SPHERE:
        local = _SPHERE * size[0]
    elif kind == kinds.mjGEOM_ELLIPSOID:
        local = _SPHERE * size
    elif kind == kinds.mjGEOM_CAPSULE:
        ends = np.array([[0, 0, size[1]], [0, 0, -size[1]]])
        local = (_SPHERE * size[0] + ends[:, None]).reshape(-1, 3)
    elif kind == kinds.mjGEOM_CYLINDER:
        ends = np.array([[0, 0, size[1]], [0, 0, -size[1]]])
        local = (_CIRCLE * size[0] + ends[:, None]).reshape(-1, 3)
    elif kind == kinds.mjGEOM_BOX:
        local = _CORNERS * size
    else:
        return None
    return local @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom]


class _Canvas:
    """A picture being drawn: the projection, and brushes for ground, shadows and solids."""

    def __init__(self, camera: Camera, height: float, centre: np.ndarray):
        from PIL import Image, ImageDraw

        self.camera = camera
        self.width, self.height = camera.size[0] * SUPERSAMPLING, camera.size[1] * SUPERSAMPLING
        self.scale = self.height / height  # pixels per metre
        self.centre = centre
        azimuth, elevation = np.radians(camera.azimuth), np.radians(camera.elevation)
        self.right = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
        away = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
        self.forward = np.cos(elevation) * away - np.sin(elevation) * np.array([0.0, 0.0, 1.0])
        self.up = np.cross(self.right, self.forward)
        self.away = away
        self.image = Image.new("RGB", (self.width, self.height), SKY)
        self.brush = ImageDraw.Draw(self.image, "RGBA")

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels `[n, 2]` of points `[n, 3]` in the world."""
        offset = np.asarray(points, float) - self.centre
        across = self.width / 2 + self.scale * (offset @ self.right)
        down = self.height / 2 - self.scale * (offset @ self.up)
        return np.stack([across, down], axis=-1)

    def depth(self, point: np.ndarray) -> float:
        """How far from the camera a point is."""
        return float((point - self.centre) @ self.forward)

    def ground(self, level: float, tile: float) -> None:
        """A ground of square tiles at height `level`, fixed in the world so that motion shows."""
        reach = 40 * tile
        middle = np.array([*(np.round(self.centre[:2] / (2 * tile)) * 2 * tile), level])
        self.brush.polygon(_flat(self.project(middle + reach * np.array(_SQUARE))), fill=GROUND)
        if self.camera.elevation < 2.0:  # edge on: everything below the line is ground
            top = float(self.project(middle[None])[0, 1])
            self.brush.rectangle((0, min(top, self.height), self.width, self.height), fill=GROUND)
        for i in range(-40, 40):
            for j in range(-40, 40):
                if (i + j) % 2:
                    corner = middle + tile * np.array([i, j, 0.0])
                    square = self.project(corner + tile * np.array(_TILE))
                    if self._visible(square):
                        self.brush.polygon(_flat(square), fill=GRID)

    def shadow(self, points: np.ndarray, level: float) -> None:
        """The shadow of a solid, straight below it."""
        fallen = points.copy()
        fallen[:, 2] = level
        self.brush.polygon(_flat(convex_hull(self.project(fallen))), fill=(*INK, 36))

    def solid(self, points: np.ndarray, colour: tuple[int, int, int], alpha: float) -> None:
        """A convex solid: dark rim, body, and a lighter core towards the light."""
        if alpha <= 0:
            return
        hull = convex_hull(self.project(points))
        if len(hull) < 3:
            return
        opacity = int(255 * alpha)
        rim = max(1.0, 0.004 * self.height)
        self.brush.polygon(_flat(hull), fill=(*_shade(colour, 0.62), opacity))
        towards_light = np.array([LIGHT @ self.right, -(LIGHT @ self.up)])
        thickness = _thickness(hull)
        for depth, brightness in ((min(rim, 0.3 * thickness), 1.0), (0.4 * thickness, 1.12), (0.7 * thickness, 1.24)):
            layer = _inset(hull, depth) + 0.25 * depth * towards_light
            self.brush.polygon(_flat(layer), fill=(*_shade(colour, brightness), opacity))

    def picture(self) -> np.ndarray:
        """The finished picture, uint8 `[height, width, 3]`."""
        from PIL import Image

        return np.asarray(self.image.resize(self.camera.size, Image.Resampling.LANCZOS))

    def _visible(self, pixels: np.ndarray) -> bool:
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        return bool(high[0] > 0 and high[1] > 0 and low[0] < self.width and low[1] < self.height)


def convex_hull(points: np.ndarray) -> np.ndarray:
    """The corners of the convex hull of points `[n, 2]`, in order (Andrew's monotone chain)."""
    points = np.unique(np.round(points, 3), axis=0)  # sorted by x, then y
    if len(points) < 3:
        return points

    def chain(points: np.ndarray) -> list[np.ndarray]:
        kept: list[np.ndarray] = []
        for point in points:
            while len(kept) >= 2:
                (ax, ay), (bx, by) = kept[-1] - kept[-2], point - kept[-2]
                if ax * by - ay * bx > 0:
                    break
                kept.pop()
            kept.append(point)
        return kept[:-1]

    return np.array(chain(points) + chain(points[::-1]))


def _thickness(hull: np.ndarray) -> float:
    """Half the smallest width of a convex polygon, in pixels."""
    edges = np.roll(hull, -1, axis=0) - hull
    normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1) / (np.linalg.norm(edges, axis=1, keepdims=True) + 1e-9)
    return float(np.min(np.ptp(hull @ normals.T, axis=0))) / 2


def _inset(hull: np.ndarray, distance: float) -> np.ndarray:
    """A convex polygon with every side moved inwards by `distance` pixels."""
    edges = np.roll(hull, -1, axis=0) - hull
    normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1) / (np.linalg.norm(edges, axis=1, keepdims=True) + 1e-9)
    bisector = normals + np.roll(normals, 1, axis=0)  # at each corner, between its two sides
    bisector /= np.maximum(np.sum(bisector**2, axis=1, keepdims=True) / 2, 0.3)
    return hull + distance * bisector


def _colours(model: Any, geoms: list[int]) -> dict[int, tuple[int, int, int]]:
    """Each geom's own colour (or its material's); a colour per body where the model gives all of them the same."""
    own = {geom: model.geom_rgba[geom] for geom in geoms}
    own |= {geom: model.mat_rgba[model.geom_matid[geom]] for geom in geoms if model.geom_matid[geom] >= 0}
    (commonest, count), *_ = [*Counter(tuple(rgba) for rgba in own.values()).most_common(1), (None, 0)]
    plain = count > len(own) / 2
    colours = {}
    for geom, rgba in own.items():
        if plain and tuple(rgba) == commonest:
            colours[geom] = PALETTE[int(model.geom_bodyid[geom]) % len(PALETTE)]
        else:
            colours[geom] = (int(255 * rgba[0]), int(255 * rgba[1]), int(255 * rgba[2]))
    return colours


def _shade(colour: tuple[int, int, int], brightness: float) -> tuple[int, int, int]:
    red, green, blue = (int(min(255, c * brightness + 12 * (brightness > 1))) for c in colour)
    return red, green, blue


def _round_length(length: float) -> float:
    """The nearest length of the form 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(min((power * step for step in (1, 2, 5, 10)), key=lambda candidate: abs(candidate - length)))


def _flat(points: np.ndarray) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points]


def _sphere(rings: int = 7, around: int = 16) -> np.ndarray:
    polar = np.linspace(0, np.pi, rings)[:, None]
    angle = np.linspace(0, 2 * np.pi, around, endpoint=False)[None]
    points = np.stack(np.broadcast_arrays(np.sin(polar) * np.cos(angle), np.sin(polar) * np.sin(angle), np.cos(polar)))
    return points.reshape(3, -1).T


_SPHERE = _sphere()
_CIRCLE = np.stack([np.cos(a := np.linspace(0, 2 * np.pi, 24, endpoint=False)), np.sin(a), 0 * a], axis=1)
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
_SQUARE = [[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]
_TILE = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
