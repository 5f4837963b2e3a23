"""A contact sheet: one frame of many environments, after some random actions.

    python experiments/environment_pictures.py            # writes docs/images/environments.png
    python experiments/environment_pictures.py --quick    # a few of them, into runs/experiments

With MuJoCo's renderer where there is OpenGL; PURERL_RENDERER=outlines draws without.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import tyro
from PIL import Image, ImageDraw

from purerl import make
from purerl.data import random_policy
from purerl.environments import drawing
from purerl.report.rendering import play

SHOWN = (
    *("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Pendulum-v1", "Breakout-MinAtar", "Freeway-MinAtar"),
    *("Seaquest-MinAtar", "Catch-bsuite", "DiscountingChain-bsuite", "UmbrellaChain-bsuite", "SimpleBandit-bsuite"),
    *("FourRooms-misc", "MetaMaze-misc", "FrozenLake-misc", "PointRobot-misc", "Reacher-misc", "Swimmer-misc"),
    *("RoboParking", "goal/planar_arm", "goal/four_goals", "finite/cliff_walking", "finite/dyna_maze"),
    *("finite/garnet", "game/tic_tac_toe", "game/connect_four", "probe/memory", "brax/fast", "brax/ant"),
    *("brax/halfcheetah", "brax/humanoid", "mjx/cartpole_swingup", "mjx/hopper", "mjx/gripper", "mjx/peg_insertion"),
    *("mjx/canada2d", "mjx/swimmer6"),
)
COLUMNS, WIDTH, HEIGHT, TITLE, GAP = 6, 150, 140, 18, 6  # pixels
SOME = ("CartPole-v1", "game/tic_tac_toe", "probe/memory")


def main(quick: bool = False, out: Path = Path("docs/images/environments.png"), steps: int = 12) -> None:
    """Draw them.

    Args:
        quick: only three environments; writes runs/experiments/environments.png.
        out: the picture.
        steps: random actions before the picture.
    """
    out = Path("runs/experiments/environments.png") if quick else out
    cells = []
    for name in SOME if quick else SHOWN:
        cells.append(cell(name, last_picture(name, steps)))
        print(name, flush=True)
    rows = -(-len(cells) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (WIDTH + GAP), rows * (HEIGHT + GAP)), "white")
    for i, picture in enumerate(cells):
        sheet.paste(picture, (i % COLUMNS * (WIDTH + GAP), i // COLUMNS * (HEIGHT + GAP)))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(128, dither=Image.Dither.NONE).save(out, optimize=True)
    print(f"{out}: {out.stat().st_size} bytes")


def last_picture(name: str, steps: int) -> Image.Image:
    """After some random actions; of robots, which would fall, after one."""
    environment = make(name)
    policy = random_policy(environment)
    steps = 1 if name.startswith(("brax/", "mjx/")) and environment.render is not None else steps
    [episode] = play(lambda _: (policy, environment), jnp.zeros(1), jax.random.key(2), steps, every=steps)
    return Image.fromarray(episode.pictures[-1])


def cell(name: str, picture: Image.Image) -> Image.Image:
    """The picture in a frame of one size, its name above."""
    framed = Image.new("RGB", (WIDTH, HEIGHT), "white")
    ImageDraw.Draw(framed).text((2, 8), name, fill=drawing.INK, font=drawing.font(12), anchor="lm")
    picture.thumbnail((WIDTH, HEIGHT - TITLE), Image.Resampling.LANCZOS)
    framed.paste(picture, ((WIDTH - picture.width) // 2, TITLE))
    return framed


if __name__ == "__main__":
    tyro.cli(main)
