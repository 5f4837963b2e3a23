"""Pictures of MuJoCo models by MuJoCo's own renderer, where an OpenGL context can be made.

A machine without a screen may still have one through EGL (a GPU's driver, or Mesa in software) or OSMesa. Which of them
works is tried in a process of its own, once: a broken driver may end the process that asks it. `MUJOCO_GL` names the
only one to try, as for MuJoCo itself.
"""

import atexit
import copy
import functools
import importlib
import itertools
import os
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np

PLATFORMS = {"linux": ("egl", "osmesa", "glfw"), "darwin": ("cgl", "glfw"), "win32": ("glfw",)}
SECONDS = 60  # what a trial may take
KEPT = 4  # models whose renderers are kept: each holds the model's meshes and textures
MAX_GEOMS = 10_000
SMOOTHING = 2  # drawn this much larger, then shrunk: smooth edges
TILES = 14  # on each side of the centre
FAR = 1 - 1e-6  # the depth of what is beyond everything

TRIAL = """
import importlib, sys
import mujoco
context = importlib.import_module("mujoco." + sys.argv[1]).GLContext(16, 16)
context.make_current()
model = mujoco.MjModel.from_xml_string("<mujoco/>")
mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
context.free()
"""


@functools.cache
def backend() -> str | None:
    """The name of the first kind of OpenGL context that works here ("egl", "osmesa", "glfw", "cgl"), or None."""
    asked = os.environ.get("MUJOCO_GL", "").lower().strip()
    if asked in ("disable", "disabled", "off", "false", "0"):
        return None
    known = {name for names in PLATFORMS.values() for name in names}
    candidates = (asked,) if asked in known else PLATFORMS.get(sys.platform, ())
    return next((name for name in candidates if _works(name)), None)


def _works(name: str) -> bool:
    """Whether another process can make such a context."""
    if name == "glfw" and sys.platform == "linux" and not ({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()):
        return False
    try:
        command = [sys.executable, "-c", TRIAL, name]
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, env=os.environ | {"MUJOCO_GL": name})
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


class Picture(NamedTuple):
    """What to draw, besides the pose: colours are 0 to 255, lengths metres."""

    centre: np.ndarray  # [3] what the camera looks at
    height: float  # that the picture spans vertically at the centre
    azimuth: float  # degrees about z; 0 looks along +y
    elevation: float  # degrees above the horizon
    colours: dict[int, tuple[int, int, int]]  # of geoms, by number; the others keep their own
    sky: tuple[int, int, int]
    ground: tuple[int, int, int]
    tiles: tuple[int, int, int]  # every other square of the ground
    tile: float  # side of a square of the ground


class Renderer:
    """MuJoCo's renderer of one model: its shapes and meshes, in one light and on one ground for all models.

    To be used on the thread that made it.
    """

    def __init__(self, model: Any, width: int, height: int, kind: str):
        self.mujoco: Any = importlib.import_module("mujoco")
        self.source = model  # kept, so that no other model gets its identity
        self.model, self.size = copy.copy(model), (SMOOTHING * width, SMOOTHING * height)
        light = self.model.vis.headlight
        light.active, light.ambient[:], light.diffuse[:], light.specular[:] = 1, 0.8, 0.2, 0.1
        self.model.light_diffuse[:] = np.minimum(self.model.light_diffuse, 0.25)
        self.model.light_specular[:] = np.minimum(self.model.light_specular, 0.1)
        self.gl = importlib.import_module(f"mujoco.{kind}").GLContext(*self.size)
        self.gl.make_current()
        self.scene = self.mujoco.MjvScene(self.model, MAX_GEOMS)
        for flag in ("SKYBOX", "REFLECTION", "HAZE"):
            self.scene.flags[getattr(self.mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        self.context = self.mujoco.MjrContext(self.model, self.mujoco.mjtFontScale.mjFONTSCALE_100.value)
        self.mujoco.mjr_resizeOffscreen(*self.size, self.context)
        self.mujoco.mjr_setBuffer(self.mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self.context)

    def draw(self, data: Any, picture: Picture) -> np.ndarray:
        """uint8 `[height, width, 3]`: the model in the pose of `data`."""
        from PIL import Image

        self.gl.make_current()
        everything = self.mujoco.mjtCatBit.mjCAT_ALL.value
        arguments = self.model, data, self.mujoco.MjvOption(), None, self._camera(picture), everything
        self.mujoco.mjv_updateScene(*arguments, self.scene)
        self._paint(picture)
        view = self.mujoco.MjrRect(0, 0, *self.size)
        self.mujoco.mjr_render(view, self.scene, self.context)
        pixels = np.zeros((*self.size[::-1], 3), np.uint8)
        depth = np.zeros(self.size[::-1], np.float32)
        self.mujoco.mjr_readPixels(pixels, depth, view, self.context)
        pixels = np.where((depth > FAR)[..., None], np.array(picture.sky, np.uint8), pixels)[::-1]
        return np.asarray(Image.fromarray(pixels).reduce(SMOOTHING))

    def close(self) -> None:
        """Give back what the context holds."""
        self.gl.make_current()
        self.context.free()
        self.gl.free()

    def _camera(self, picture: Picture) -> Any:
        camera = self.mujoco.MjvCamera()
        camera.lookat[:] = picture.centre
        camera.distance = picture.height / (2 * np.tan(np.radians(self.model.vis.global_.fovy) / 2))
        camera.azimuth, camera.elevation = picture.azimuth + 90, -picture.elevation
        return camera

    def _paint(self, picture: Picture) -> None:
        """Colour the geoms of the scene, and lay tiles on its planes."""
        kinds, planes = self.mujoco.mjtGeom, []
        for drawn in self.scene.geoms[: self.scene.ngeom]:
            if drawn.objtype != self.mujoco.mjtObj.mjOBJ_GEOM.value:
                continue
            if drawn.type == kinds.mjGEOM_PLANE:
                drawn.matid, drawn.rgba[:3] = -1, np.array(picture.ground) / 255
                planes.append(float(drawn.pos[2]))
            elif drawn.objid in picture.colours:
                drawn.matid, drawn.rgba[:3] = -1, np.array(picture.colours[drawn.objid]) / 255
        for level in planes[:1]:
            self._lay_tiles(picture, level)

    def _lay_tiles(self, picture: Picture, level: float) -> None:
        side, box = picture.tile, self.mujoco.mjtGeom.mjGEOM_BOX.value
        size, flat = np.array([side / 2, side / 2, side / 1000]), np.eye(3).ravel()
        colour = np.array([*(np.array(picture.tiles) / 255), 1.0], np.float32)
        middle = np.round(picture.centre[:2] / (2 * side)) * 2 * side
        for i, j in itertools.product(range(-TILES, TILES), repeat=2):
            if (i + j) % 2 and self.scene.ngeom < self.scene.maxgeom:
                place = np.array([*(middle + side * np.array([i + 0.5, j + 0.5])), level])
                self.mujoco.mjv_initGeom(self.scene.geoms[self.scene.ngeom], box, size, place, flat, colour)
                self.scene.ngeom += 1


_renderers: dict[tuple[int, int, int], Renderer] = {}


def close_all() -> None:
    """Close every renderer, while there still is what closes them."""
    while _renderers:
        _renderers.popitem()[1].close()


def renderer(model: Any, width: int, height: int) -> Renderer | None:
    """The renderer of a `mujoco.MjModel`, made at the first call and kept; None where there is no OpenGL."""
    kind = backend()
    if kind is None:
        return None
    key = (id(model), width, height)
    if key not in _renderers:
        while len(_renderers) >= KEPT:
            _renderers.pop(next(iter(_renderers))).close()
        _renderers[key] = Renderer(model, width, height, kind)
        atexit.unregister(close_all)
        atexit.register(close_all)  # after what closes the display was: the last to be registered is the first to run
    return _renderers[key]
