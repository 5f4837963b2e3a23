"""Films: frames with their returns, saved as GIF or MP4 and shown in notebooks."""

import base64
import importlib.util
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FRAMES_PER_SECOND = 30.0
FASTEST_GIF = 50.0  # frames per second: browsers slow down what claims to be faster
LAST_FRAME = 1.0  # seconds that a GIF rests before it begins again
KINDS = (".gif", ".mp4")


class Film(NamedTuple):
    """One episode, or several side by side. A notebook that evaluates to a film shows it."""

    frames: list[np.ndarray]  # uint8 [H, W, 3], all of one shape
    returns: tuple[float, ...]  # of the episodes (undiscounted, up to the last frame)
    frames_per_second: float = FRAMES_PER_SECOND

    @property
    def episode_return(self) -> float:
        """The return of the episode; the mean over several."""
        return float(np.mean(self.returns))

    def save(self, out: str | Path, frames_per_second: float | None = None) -> Path:
        """Write the film as a .gif or an .mp4 and return its path; see `save`."""
        return save(self.frames, out, self.frames_per_second if frames_per_second is None else frames_per_second)

    def _repr_html_(self) -> str:
        data = base64.b64encode(gif_bytes(self.frames, min(self.frames_per_second, FASTEST_GIF))).decode()
        return f'<img src="data:image/gif;base64,{data}" alt="{self!r}"/>'

    def __repr__(self) -> str:
        height, width = self.frames[0].shape[:2]
        returns = ", ".join(f"{value:.4g}" for value in self.returns)
        return f"Film({len(self.frames)} frames of {width}x{height}, return {returns})"


def check_output(out: str | Path, frames_per_second: float = FRAMES_PER_SECOND) -> None:
    """Find out that a film cannot be saved before it is made.

    Raises:
        ValueError: neither .gif nor .mp4, no positive frame rate, or one that is too fast for a GIF.
        ImportError: an MP4 needs the package imageio-ffmpeg.
    """
    kind = Path(out).suffix.lower()
    if kind not in KINDS:
        raise ValueError(f"a film is saved as a .gif or an .mp4, got {out}")
    if not frames_per_second > 0:
        raise ValueError(f"frames_per_second must be > 0, got {frames_per_second}")
    if kind == ".gif" and frames_per_second > FASTEST_GIF:
        raise ValueError(
            f"a GIF shows at most {FASTEST_GIF:g} frames per second, got {frames_per_second:g}: film only every n-th "
            "step (--every), or save an .mp4"
        )
    if kind == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise ImportError(
            'an .mp4 needs the package imageio-ffmpeg: pip install "purerl[video]" (a .gif needs nothing)'
        )


def save(frames: Sequence[np.ndarray], out: str | Path, frames_per_second: float = FRAMES_PER_SECOND) -> Path:
    """Write frames (uint8 `[H, W, 3]`, all of one shape) as a GIF or an MP4, as the suffix of `out` says.

    A GIF repeats endlessly and rests for a second on its last frame. Missing directories are made. Returns the path;
    raises like `check_output`.
    """
    check_output(out, frames_per_second)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() == ".gif":
        out.write_bytes(gif_bytes(frames, frames_per_second))
    else:
        _save_mp4(frames, out, frames_per_second)
    return out


def gif_bytes(frames: Sequence[np.ndarray], frames_per_second: float = FRAMES_PER_SECOND, colours: int = 255) -> bytes:
    """An endlessly repeating GIF. All frames share one palette, so that only what moves takes space."""
    from PIL import Image

    palette = _palette(frames, colours)
    pictures = [Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    begins = np.round(np.arange(len(pictures)) * 100 / frames_per_second)  # a GIF counts hundredths of a second
    durations = [*(10 * np.diff(begins)).astype(int).tolist(), round(1000 * LAST_FRAME)]
    into = io.BytesIO()
    pictures[0].save(into, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=True)
    return into.getvalue()


def _palette(frames: Sequence[np.ndarray], colours: int, samples: int = 6) -> Any:
    """A picture whose colours are those of some frames, among them the first and the last."""
    from PIL import Image

    chosen = np.unique(np.linspace(0, len(frames) - 1, samples).round().astype(int))
    joined = np.concatenate([frames[i] for i in chosen])
    return Image.fromarray(joined).quantize(colours, method=Image.Quantize.MEDIANCUT)


def _save_mp4(frames: Sequence[np.ndarray], out: Path, frames_per_second: float) -> None:
    """H.264 in the format that every browser plays, which wants even sizes: an odd edge is repeated."""
    import imageio.v3 as imageio

    height, width = frames[0].shape[:2]
    even = ((0, height % 2), (0, width % 2), (0, 0))
    stacked = np.stack([np.pad(frame, even, mode="edge") for frame in frames])
    options: dict[str, Any] = {"codec": "libx264", "quality": 8, "macro_block_size": 2}
    with warnings.catch_warnings():  # JAX warns of every fork; this one becomes ffmpeg at once
        warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)
        imageio.imwrite(out, stacked, plugin="FFMPEG", fps=frames_per_second, **options)
