"""Where the figures of a benchmark go."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from experiments.provenance import command, machine

FOLDER = Path(__file__).parent.parent / "results"


def write_results(name: str, packages: Sequence[str], figures: Mapping[str, Any]) -> None:
    """Prints a benchmark's figures, and writes them to `experiments/results/NAME.json`.

    Args:
        name: of the file.
        packages: whose versions matter to the figures.
        figures: as JSON values.
    """
    versions = {package: version(package) for package in packages} | {"python": platform.python_version()}
    results = {"command": command(), "machine": machine(), "versions": versions, **figures}
    text = json.dumps(results, indent=2) + "\n"
    print(text, end="")
    (FOLDER / f"{name}.json").write_text(text)
