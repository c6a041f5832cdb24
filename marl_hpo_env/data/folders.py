"""Folders of data as users name them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def expanded(path: Path | str) -> Path:
    """The folder, with `~` written out."""
    return Path(path).expanduser()


def subfolders(path: Path) -> list[str]:
    """The names of the folders in this one, in alphabetical order; hidden ones are left out."""
    return sorted(one.name for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))


def files_ending_in(paths: Iterable[Path], endings: Iterable[str]) -> list[Path]:
    """Those that end so, in any case, in alphabetical order; hidden ones are left out.

    Args:
        paths: such as those of a folder, or of all folders in it.
        endings: in lower case, such as `".jpg"`.
    """
    wanted = tuple(endings)
    return sorted(path for path in paths if path.suffix.lower() in wanted and not path.name.startswith("."))
