"""Settings in TOML files."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from marl_hpo_env import InputError


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a file.

    Args:
        path: of the file.
        what: kind of file it is, such as `"suite"`, for the sentence.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"The {what} {str(path)!r} cannot be read: {error}.") from error
