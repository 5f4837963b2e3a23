"""Where the experiments' results and figures lie."""

import json
from pathlib import Path
from typing import Any

from .entries import Entry

EXPERIMENTS = Path(__file__).parent.parent
RESULTS, FIGURES = EXPERIMENTS / "results", EXPERIMENTS / "figures"


def stored(entry: Entry) -> dict[str, Any]:
    """The results of an experiment's last full run: `command`, `date`, `machine`, and `numbers`, what it wrote."""
    return json.loads((RESULTS / f"{entry.name}.json").read_text(encoding="utf-8"))
