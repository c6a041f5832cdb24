"""Files that are whole whenever they are there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Where to write what is to become a file: it takes its name, and the place of an older one, when it is on the disk.

    Whoever reads the file has the older one or the whole new one, however many write it at once and whenever they may end.

    Args:
        path: of the file.

    Returns:
        The path of another file in the same folder, which nobody else writes; it is gone if the writing raises.

    Raises:
        OSError: if it cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
