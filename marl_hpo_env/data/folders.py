"""Folders of data as users name them, and as their tools leave them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

_HOUSEKEEPING = {
    *("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini"),
}
"""In lower case: what archives, file managers and servers leave beside the user's own."""


def expanded(path: Path | str) -> Path:
    """The folder, with `~` written out."""
    return Path(path).expanduser()


def subfolders(path: Path) -> list[str]:
    """The names of the folders in this one, in alphabetical order; hidden and housekeeping ones are left out."""
    return sorted(one.name for one in path.iterdir() if one.is_dir() and not _is_housekeeping(one.name))


def files_below(folder: Path) -> list[Path]:
    """Every file in this folder and the folders in it, in alphabetical order, but for hidden and housekeeping ones."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _is_housekeeping(name)]  # `os.walk` goes into these only
        found += [Path(place, name) for name in files if not _is_housekeeping(name)]
    return sorted(found)


def files_ending_in(paths: Iterable[Path], endings: Iterable[str]) -> list[Path]:
    """Those that end so, in any case, in alphabetical order; hidden and housekeeping ones are left out.

    Args:
        paths: such as those of a folder, or of all folders in it.
        endings: in lower case, such as `".jpg"`.
    """
    wanted = tuple(endings)
    return sorted(path for path in paths if path.suffix.lower() in wanted and not _is_housekeeping(path.name))


def left_out(paths: Sequence[Path], root: Path, why: str) -> list[str]:
    """The sentence that counts files which are not read, if there are any, by their endings and with an example.

    Args:
        paths: of the files.
        root: the folder that the example's path is told from.
        why: they are not, as the end of the sentence.
    """
    if not paths:
        return []
    endings = Counter(path.suffix.lower() or "no ending" for path in paths).most_common(5)
    kinds = ", ".join(f"{count} {ending}" for ending, count in endings)
    return [f"{len(paths)} files ({kinds}), such as {paths[0].relative_to(root)}, are left out: {why}."]


def _is_housekeeping(name: str) -> bool:
    return name.startswith(".") or name.lower() in _HOUSEKEEPING
