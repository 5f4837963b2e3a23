"""What to suggest for the name of an environment that there is not."""

import difflib
import re
from collections.abc import Sequence

from purerl.environments.gymnasium_bridge import PREFIX

# Ids of Gymnasium that nothing here resembles: their newest versions.
GYMNASIUM = (
    *("LunarLander-v3", "LunarLanderContinuous-v3", "BipedalWalker-v3", "BipedalWalkerHardcore-v3", "CarRacing-v3"),
    *("Taxi-v4", "Blackjack-v1"),
)
PREFERRED = ("brax/", "mjx/", "finite/")  # a name of MuJoCo's is meant for these before any other suite


def suggestion(name: str, names: Sequence[str]) -> str:
    """A sentence for the error message: the names that `name` may stand for.

    Versions (`-v4`), prefixes (`ALE/`), suffixes (`NoFrameskip`, `-MinAtar`), case and punctuation are ignored: what is
    left, the core, is compared, first for equality and then by likeness.

    Args:
        name: what was asked for.
        names: every name that there is.
    """
    wanted = _core(name)
    cores = {known: _core(known) for known in names}
    same = [known for known, core in cores.items() if core == wanted]
    if same:
        return f"Did you mean {' or '.join(sorted(same, key=_rank)[:3])}?"
    foreign = _of_gymnasium(name, wanted)
    if foreign:
        return f"It is an environment of Gymnasium, which simulates it on the host: {PREFIX}{foreign}."
    if not wanted:
        return LISTED
    near = difflib.get_close_matches(wanted, sorted(set(cores.values())), n=3, cutoff=0.7)
    close = [known for core in near for known in cores if cores[known] == core]
    return f"Did you mean {' or '.join(close[:3])}?" if close else LISTED


LISTED = "`purerl list` and purerl.environments.names() have all of them."


def _core(name: str) -> str:
    """'hopper' of 'Hopper-v4' and 'brax/hopper', 'pong' of 'PongNoFrameskip-v4'."""
    core = re.sub(r"-v\d+$", "", name.rpartition("/")[2])
    core = re.sub(r"(NoFrameskip|Deterministic|-ram|-MinAtar|-bsuite|-misc)+$", "", core, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]", "", core.casefold())


def _rank(known: str) -> int:
    prefix = next((i for i, prefix in enumerate(PREFERRED) if known.startswith(prefix)), len(PREFERRED))
    return prefix if "/" in known else -1 if re.search(r"-v\d+$", known) else len(PREFERRED)


def _of_gymnasium(name: str, wanted: str) -> str:
    """The id that Gymnasium has for it; "" if none is known."""
    for known in GYMNASIUM:
        if _core(known) == wanted:
            return known
    atari = re.fullmatch(r"(?:ALE/)?([A-Za-z]+?)(?:NoFrameskip|Deterministic)?-v\d", name)
    is_atari = atari is not None and (name.startswith("ALE/") or "NoFrameskip" in name or "Deterministic" in name)
    return f"ALE/{atari[1]}-v5" if atari is not None and is_atari else ""
