"""With what a figure was measured."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def measured_by(played_with: str, hardware: str) -> str:
    """The beginning of a report's last sentence: the command, the versions and the hardware behind it."""
    return f"Measured by `{command()}` with {played_with}, on {hardware}"


def command() -> str:
    """The command that this process was started with, as it would be typed again."""
    module = getattr(sys.modules["__main__"], "__spec__", None)  # None for a script, as `marl-hpo` is
    program = Path(sys.argv[0]).stem if module is None else f"python -m {module.name.removesuffix('.__main__')}"
    return " ".join([program, *map(shlex.quote, sys.argv[1:])])


@cache
def software() -> str:
    """The versions of what results hang on and, in a checkout, its commit, with `-dirty` where code or tables differ from it."""
    installed = []
    for name in ("marl-hpo-env", "numpy", "torch", "optuna"):
        try:
            installed.append(f"{name} {version(name)}")
        except PackageNotFoundError:  # an extra
            continue
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)  # else it is installed inside of another project
        dirty = "-dirty" if _git("diff", "--name-only", "HEAD", "--", ":/*.py", ":/*.npz") else ""
        installed.append(f"commit {_git('rev-parse', '--short=7', 'HEAD')}{dirty}")
    except (OSError, subprocess.CalledProcessError):  # not a checkout, or without git
        pass
    return ", ".join([*installed, f"Python {platform.python_version()}"])


def _git(*arguments: str) -> str:
    git = ["git", *arguments]
    return subprocess.run(git, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout.strip()


def machine(device: torch.device | None = None) -> str:
    """What the last bits of a training depend on: the GPU, if the device is one; else the operating system, the processor and
    the vector instructions that torch uses."""
    import torch

    if device is not None and device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.system()} {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
