"""The command `marl-hpo`, also as `python -m marl_hpo_env`: it starts the command line of the package `experiments`.

The packages `agents` and `experiments` come with this one, but others install packages of these names too. So it is checked
first whose they are. This is the one place in `marl_hpo_env` that imports upwards.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.abc import InspectLoader
from importlib.machinery import PathFinder
from pathlib import Path

from marl_hpo_env.stopping import end_at_once_when_told

PARTS = ("agents", "experiments")
"""The packages of the distribution `marl-hpo-env` that stand above this one."""


def main() -> None:
    """Starts the command line; one sentence and exit code 2 where a package that it needs is not ours."""
    end_at_once_when_told()
    for package in PARTS:
        fault = _fault(package)
        if fault is not None:
            print(f"marl-hpo: {fault}", file=sys.stderr)
            sys.exit(2)
    from experiments.commands.main import main as start

    start()


def _fault(package: str) -> str | None:
    """What is wrong with a package, in a sentence; None if it is ours: beside this one, and not overwritten."""
    # The current folder too: workers, and a task or learner of one's own, are imported with it on the path.
    spec = PathFinder.find_spec(package, [os.getcwd()])
    if spec is None or spec.origin is None:
        spec = importlib.util.find_spec(package)
    if spec is None:
        return f"There is no package {package!r}, which comes with marl-hpo-env; install that again."
    place = Path(spec.origin or next(iter(spec.submodule_search_locations or ()), ""))
    if place.resolve() != Path(__file__).resolve().parents[1] / package / "__init__.py":
        return (
            f"The package {package!r} in {str(place)!r} is another than that of marl-hpo-env; "
            "run it in another folder or environment."
        )
    # Installed into the same folder, another package of the name has put its own file in the place of ours.
    source = spec.loader.get_source(package) if isinstance(spec.loader, InspectLoader) else None
    if "marl_hpo_env" not in (source or ""):
        return (
            f"The package {package!r} in {str(place)!r} was overwritten by another of this name; "
            "install marl-hpo-env in an environment of its own."
        )
    return None


if __name__ == "__main__":
    main()
