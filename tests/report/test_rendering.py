"""Episodes as films: what is on the frames, several agents side by side, and the files."""

import io
import itertools

import imageio.v3 as imageio
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from purerl.data import random_policy
from purerl.environments import drawing
from purerl.report import films
from purerl.report.rendering import Episode, film, film_agents, lay_out, play, save
from purerl.types import Policy
from tests.toy_learner import corridor

BLUE = (0, 114, 178)  # of the walker in the corridor's picture
KEY = jax.random.key(0)


def walker(action) -> Policy:
    return Policy(lambda key: (), lambda key, memory, observation: (memory, jnp.asarray(action, jnp.int32)))


def right() -> Policy:
    return walker(1)


def column(picture) -> float:
    """Where the walker is, in pixels from the left."""
    return float(np.flatnonzero((picture == BLUE).all(axis=2).any(axis=0)).mean())


def test_a_film_shows_every_state_of_one_episode():
    made = film(right(), corridor(), KEY, captions=False)
    assert made.returns == (1.0,)
    assert made.episode_return == 1.0
    assert 4 <= len(made.frames) <= 6  # from -1, 0 or 1 to 4, with the first state
    assert {frame.shape for frame in made.frames} == {(16, 64, 3)}
    np.testing.assert_array_equal(np.diff([column(frame) for frame in made.frames]), 6.0)
    assert len(film(right(), corridor(), KEY, max_steps=2).frames) == 3


def test_a_film_and_its_captions_have_the_same_pictures():
    plain, captioned = (film(right(), corridor(), KEY, captions=choice, width=192) for choice in (False, True))
    for without, with_caption in zip(plain.frames, captioned.frames, strict=True):
        np.testing.assert_array_equal(with_caption[:48], without)
    strips = [frame[48:] for frame in captioned.frames]
    assert all((a != b).any() for a, b in itertools.pairwise(strips))  # the step is written there


@pytest.mark.parametrize("every", [1, 2, 3, 7, 40])
def test_every_so_many_states_and_the_last(every):
    environment = corridor(length=100, limit=70)
    [whole] = play(lambda _: (right(), environment), jnp.zeros(1), KEY[None])
    [sparse] = play(lambda _: (right(), environment), jnp.zeros(1), KEY[None], every=every)
    assert len(whole.pictures) == 71  # more than two chunks
    assert len(whole.rewards) == len(sparse.rewards) == 70
    wanted = [*range(0, 70, every), 70]
    assert len(sparse.pictures) == len(wanted)
    for number, step in enumerate(wanted):
        assert sparse.step(number) == step
        np.testing.assert_array_equal(sparse.pictures[number], whole.pictures[step])
    assert (whole.end, sparse.end) == ("truncated", "truncated")


def test_agents_side_by_side_are_one_program_and_the_same_films_as_alone():
    calls = []

    def policy(action):
        calls.append(action)
        return walker(action)

    actions = jnp.array([1, 0, 1])
    episodes = play(lambda action: (policy(action), corridor()), actions, KEY)
    assert len(calls) <= 4  # traced as a whole, not once per agent and step
    for episode, action in zip(episodes, (1, 0, 1), strict=True):
        [alone] = play(lambda _, action=action: (walker(action), corridor()), jnp.zeros(1), KEY[None])
        np.testing.assert_array_equal(episode.rewards, alone.rewards)
        np.testing.assert_array_equal(np.stack(episode.pictures), np.stack(alone.pictures))
        assert episode.end == "terminated"
    assert episodes[0].rewards.sum() == 1.0
    assert episodes[1].rewards.sum() == -1.0
    starts = [column(episode.pictures[0]) for episode in episodes]
    assert len(set(starts)) == 1  # one key: one start
    keys = jax.random.split(KEY, 16)
    several = play(lambda _: (right(), corridor()), jnp.zeros(16), keys, max_steps=1)
    assert len({column(episode.pictures[0]) for episode in several}) > 1  # keys of their own: starts of their own


def flat(colour, steps, end="", label="") -> Episode:
    pictures = [np.full((30, 40, 3), colour, np.uint8)] * (steps + 1)
    return Episode(pictures, np.ones(steps, np.float32), 1, end, label)


def test_the_layout_of_several_agents():
    episodes = [flat((200, 0, 0), 4), flat((0, 200, 0), 2, "terminated"), flat((0, 0, 200), 4)]
    made = lay_out(episodes, columns=2, captions=False)
    gap = 2
    assert {frame.shape for frame in made.frames} == {(30 + gap + 30, 40 + gap + 40, 3)}
    assert len(made.frames) == 5
    assert made.returns == (4.0, 2.0, 4.0)
    for number, frame in enumerate(made.frames):
        assert tuple(frame[15, 20]) == (200, 0, 0)
        assert tuple(frame[47, 20]) == (0, 0, 200)
        assert tuple(frame[47, 62]) == (255, 255, 255)  # nobody there
        green = tuple(frame[15, 62])
        assert (green == (0, 200, 0)) == (number <= 2)  # dimmed after its end
        assert green[1] >= 200
    assert lay_out(episodes, captions=False).frames[0].shape == made.frames[0].shape  # 2 columns by default
    assert lay_out(episodes, columns=3, width=20, captions=False).frames[0].shape == (15, 3 * 20 + 2 * gap, 3)


def test_labels_and_ends_are_written_below():
    plain = lay_out([flat(90, 3)]).frames[-1]
    labelled = lay_out([flat(90, 3, label="seed 7")]).frames[-1]
    ended = lay_out([flat(90, 3, "terminated")]).frames[-1]
    assert len(labelled) > len(plain)  # one more line
    assert plain.shape == ended.shape
    assert (plain != ended).any()
    mixed = lay_out([flat(90, 3, label="seed 7"), flat(90, 3)])
    assert len({frame.shape for frame in mixed.frames}) == 1


def test_long_labels_are_cut():
    frames = lay_out([flat(90, 1, label="learning_rate=0.000123456, widths=(64, 64)")]).frames
    assert frames[0].shape[:2] == (120 + 2 * 14 + 4, 160)  # as wide as a caption needs
    assert (frames[0][120:, -4:] == 255).all()


def test_an_environment_without_a_picture_is_shown_as_curves():
    environment = corridor()._replace(render=None)
    made = film(right(), environment, KEY)
    for frame in made.frames:
        assert frame.dtype == np.uint8
        assert frame.shape[2] == 3
        assert len(np.unique(frame.reshape(-1, 3), axis=0)) > 5
    pictures = [frame[:300] for frame in made.frames]
    assert all((a != b).any() for a, b in itertools.pairwise(pictures))


@pytest.mark.filterwarnings("ignore:os.fork")
def test_films_are_saved_as_gif_and_mp4(tmp_path):
    made = film(right(), corridor(), KEY, max_steps=4)
    gif = made.save(tmp_path / "new" / "film.gif")
    assert gif.read_bytes()[:6] == b"GIF89a"
    read = imageio.imread(gif)
    assert len(read) == len(made.frames)
    odd = [np.pad(frame, ((0, 1), (0, 1), (0, 0))) for frame in made.frames]
    mp4 = save(odd, tmp_path / "film.mp4", frames_per_second=60)
    read = imageio.imread(mp4, plugin="FFMPEG")
    assert len(read) == len(odd)
    assert all(size % 2 == 0 for size in read.shape[1:3])
    assert 0 <= read.shape[1] - odd[0].shape[0] <= 1
    for got, wanted in zip(read, odd, strict=True):
        assert np.abs(got[:40, :160].astype(int) - wanted[:40, :160]).mean() < 10


def test_a_gif_keeps_its_colours(tmp_path):
    frames = []
    for i in range(5):
        frame = np.full((40, 60, 3), drawing.PAPER, np.uint8)
        frame[5:15, 10 * i : 10 * i + 10] = drawing.RED
        frame[20:30, 50 - 10 * i : 60 - 10 * i] = drawing.BLUE
        frames.append(frame)
    read = imageio.imread(save(frames, tmp_path / "film.gif"))
    for got, wanted in zip(read, frames, strict=True):
        assert np.abs(got[..., :3].astype(int) - wanted).max() <= 4


@pytest.mark.parametrize("speed", [10, 24, 30, 40, 45, 50])
def test_a_gif_is_as_fast_as_it_is_told(speed):
    frames = [np.zeros((5, 10, 3), np.uint8) for _ in range(50)]
    for number, frame in enumerate(frames):
        frame[number // 10, number % 10] = 255
    with Image.open(io.BytesIO(films.gif_bytes(frames, speed))) as gif:
        durations = []
        for number in range(gif.n_frames):
            gif.seek(number)
            durations.append(gif.info["duration"])
    assert durations[-1] == 1000
    assert sum(durations[:-1]) == pytest.approx(1000 * 49 / speed, abs=5)
    assert max(durations[:-1]) - min(durations[:-1]) <= 10


def test_a_notebook_shows_a_film():
    made = film(right(), corridor(), KEY, max_steps=1)
    assert "data:image/gif;base64," in made._repr_html_()
    assert repr(made).startswith("Film(2 frames of 160x")


@pytest.mark.parametrize(
    ("out", "speed", "message"),
    [
        ("film.avi", 30, r"a \.gif or an \.mp4, got film\.avi"),
        ("film", 30, r"a \.gif or an \.mp4"),
        ("film.gif", 0, "must be > 0"),
        ("film.gif", 60, "at most 50 frames per second"),
    ],
)
def test_what_cannot_be_saved_is_said_before(out, speed, message):
    with pytest.raises(ValueError, match=message):
        films.check_output(out, speed)


def test_a_missing_encoder_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install .purerl\[video\]"):
        films.check_output("film.mp4")
    films.check_output("film.gif")


def test_mistakes():
    with pytest.raises(ValueError, match="2 agents need as many labels, got 1"):
        film_agents(lambda _: right(), jnp.zeros(2), corridor(), KEY, ["one"], max_steps=1)
    for options in ({"max_steps": 0}, {"every": 0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            film(right(), corridor(), KEY, **options)
    for options in ({"columns": 0}, {"width": 0}):
        with pytest.raises(ValueError, match="columns and width must be at least 1"):
            lay_out([flat(90, 1)], **options)
    with pytest.raises(ValueError, match="at least one episode"):
        lay_out([])
    with pytest.raises(ValueError, match="all the same"):
        lay_out([flat(90, 1), flat(90, 1)._replace(every=2)])


def test_random_actions_are_within_the_space():
    environment = corridor()
    actions = jax.vmap(lambda key: random_policy(environment).act(key, (), jnp.zeros(1))[1])(jax.random.split(KEY, 64))
    assert set(np.asarray(actions)) == {0, 1}
