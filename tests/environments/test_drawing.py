"""Every environment can be filmed, and its film shows what changes; MuJoCo models with and without OpenGL."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.environments import charts, drawing, geometry_drawing, make, mjx, names, opengl
from purerl.environments.geometry_drawing import Camera, draw_model
from purerl.report.rendering import play
from purerl.types import Environment, Policy

FAMILIES = (  # most kinds of pictures; those of other tests are left out
    *("CartPole-v1", "Breakout-MinAtar", "UmbrellaChain-bsuite", "DiscountingChain-bsuite", "GaussianBandit-misc"),
    *("FourRooms-misc", "goal/point_robot", "finite/garnet", "game/tic_tac_toe", "probe/memory"),
)
PENDULUM = """
<mujoco>
  <worldbody>
    <geom type="plane" size="5 5 0.1"/>
    <body pos="0 0 1"><joint type="hinge" axis="0 1 0"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.05"/>
    </body>
  </worldbody>
</mujoco>
"""
CAMERA = Camera(height=2.0, centre=(0.0, 0.0, 0.8))


def busy(environment: Environment) -> Policy:
    """Uniform actions, but of a game one that is allowed, so that it lasts."""

    def act(key, memory, observation):
        if environment.name.startswith("game/"):
            return memory, jnp.argmax(observation.reshape(-1)[: environment.action_space.n] == 0)
        return memory, environment.action_space.sample(key)

    return Policy(lambda key: (), act)


def check(name: str) -> None:
    environment = make(name)
    [episode] = play(lambda _: (busy(environment), environment), jnp.zeros(1), jax.random.key(1)[None], 12)
    assert len(episode.pictures) == len(episode.rewards) + 1
    first = episode.pictures[0]
    for picture in episode.pictures:
        assert (picture.shape, picture.dtype) == (first.shape, np.uint8)
        assert picture.ndim == 3
        assert picture.shape[2] == 3
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 2
    if name not in ("SimpleBandit-bsuite", "finite/slippery_corridor"):  # one has one state, in the other one may stay
        assert any((picture != first).any() for picture in episode.pictures)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_shows_what_changes(name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in names() if not name.startswith("playground/")])
def test_every_environment_shows_what_changes(name):
    check(name)


def test_the_stones_of_a_game_keep_their_colours_to_the_end():
    """The learner fills a row and wins; the state after its last ply is as the opponent sees it."""
    game = make("game/tic_tac_toe")
    for seed in range(20):
        match, observation = game.reset(jax.random.key(seed))
        if (observation[3:] == 0).all():  # the opponent has not begun in the lower two rows
            break
    stones = match.game.at[:].set(jnp.array([1, 1, 0, -1, -1, 0, 0, 0, 0]))
    match = match._replace(game=stones)
    won, timestep = game.step(jax.random.key(0), match, jnp.int32(2))
    assert float(timestep.reward) == 1.0
    before, after = game.render(match), game.render(won)
    corner, middle = (60, 60), (190, 60)
    assert tuple(before[corner]) == tuple(after[corner]) == drawing.BLUE
    assert tuple(before[middle]) == tuple(after[middle]) == drawing.ORANGE


def test_legends_and_names():
    image = np.zeros((4, 4, 5))
    picture = drawing.channels(image, ("a", "b", "c", "d", "e"))
    assert picture.shape == (400 + 2 * 20, 400, 3)
    named, plain = drawing.bars(np.array([1.0, -0.5]), ("up", "down")), drawing.bars(np.array([1.0, -0.5]))
    assert (named != plain).any()
    assert (drawing.bars(np.array([1.0, 0.5]), marked=0) != drawing.bars(np.array([1.0, 0.5]), marked=1)).any()


@pytest.mark.parametrize("shape", [(), (3,), (30,), (8, 8, 3)])
def test_the_chart_shows_numbers_vectors_and_images(shape):
    random = np.random.default_rng(0)
    observations, actions, rewards = random.normal(size=(6, *shape)), random.normal(size=(5, 2)), random.normal(size=5)
    pictures = [charts.chart(observations, actions, rewards, now) for now in range(6)]
    assert all((a != b).any() for a, b in itertools.pairwise(pictures))
    constant = charts.chart(np.zeros((2, *shape)), np.zeros((1, 2)), np.zeros(1), 1)
    assert constant.dtype == np.uint8


@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 2), (2, 3, 3, 2)])
def test_the_chart_shows_booleans_and_many_axes(shape):
    seen = np.random.default_rng(0).random((4, *shape)) < 0.5
    pictures = [charts.chart(seen, np.zeros((3, 1)), np.zeros(3), now) for now in range(4)]
    assert all((a != b).any() for a, b in itertools.pairwise(pictures))
    assert len(np.unique(pictures[0].reshape(-1, 3), axis=0)) > 2


def test_the_chart_draws_at_most_a_cell_per_pixel():
    steps, numbers = 1000, 400
    values, times = np.random.default_rng(0).random((steps, numbers)), np.arange(steps)
    across, height = 326 / steps, 150
    shapes = charts._cells(values, times, steps, across, 300, height, (0.0, 1.0))
    assert 200 * 100 < len(shapes) <= 326 * height
    few = charts._cells(values[:20, :10], times, 20, 326 / 20, 300, height, (0.0, 1.0))
    assert len(few) == 20 * 10


def model_pictures() -> list[np.ndarray]:
    model = mjx.load_model(PENDULUM)
    return [draw_model(model, CAMERA, np.array([angle])) for angle in (0.0, 0.8)]


def check_pendulum(pictures: list[np.ndarray]) -> None:
    """It hangs from the middle, or stands out to the left (turned about +y, seen along +y)."""
    masses = []
    for picture in pictures:
        assert (picture.shape, picture.dtype) == ((240, 320, 3), np.uint8)
        rows = picture[60:140].astype(int)  # between the joint and the lower end
        coloured = np.ptp(rows, axis=2) > 60
        assert coloured.sum() > 100
        masses.append(np.nonzero(coloured)[1].mean())
    assert abs(masses[0] - 160) < 4
    assert masses[1] < 150
    sky = pictures[0][2, 2]
    assert np.abs(sky.astype(int) - geometry_drawing.SKY).max() <= 2


def test_models_without_opengl(monkeypatch):
    monkeypatch.setenv("PURERL_RENDERER", "auto")
    monkeypatch.setattr(opengl, "backend", lambda: None)
    check_pendulum(model_pictures())
    monkeypatch.setenv("PURERL_RENDERER", "opengl")
    with pytest.raises(OSError, match="no OpenGL context can be made here: install EGL"):
        model_pictures()
    monkeypatch.setenv("PURERL_RENDERER", "vulkan")
    with pytest.raises(ValueError, match="auto, opengl, outlines, got 'vulkan'"):
        model_pictures()


def test_models_with_opengl(monkeypatch):
    if opengl.backend() is None:
        pytest.skip("no OpenGL context can be made here")
    monkeypatch.setenv("PURERL_RENDERER", "outlines")
    outlines = model_pictures()
    monkeypatch.setenv("PURERL_RENDERER", "opengl")
    pictures = model_pictures()
    check_pendulum(pictures)
    assert all((a != b).any() for a, b in zip(pictures, outlines, strict=True))
    for _ in range(opengl.KEPT + 1):  # more models than renderers are kept
        np.testing.assert_array_equal(model_pictures()[1], pictures[1])
    assert len(opengl._renderers) <= opengl.KEPT


def test_a_kind_of_context_that_cannot_be_made_is_found_out(monkeypatch):
    assert not opengl._works("nonsense")
    monkeypatch.setattr(opengl, "TRIAL", "import os; os.abort()")
    assert not opengl._works("egl")
    monkeypatch.setenv("MUJOCO_GL", "off")
    assert opengl.backend.__wrapped__() is None
