"""Files that are whole whenever they are there."""

from __future__ import annotations

import glob
import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PARTIAL = ".partial"


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Where to write what is to become a file: it takes its name, and the place of an older one, when it is on the disk.

    Whoever reads the file has the older one or the whole new one, however many write it at once and whenever they may end. What a
    process of this machine left that was killed while it wrote the file is removed by the next one that writes it.

    Args:
        path: of the file.

    Returns:
        The path of another file in the same folder, which nobody else writes; it is gone if the writing raises.

    Raises:
        OSError: if it cannot be written.
    """
    path = Path(path)
    writer = f"{path.name}.{platform.node()}-"
    for left in path.parent.glob(f"{glob.escape(writer)}*{_PARTIAL}"):
        pid = left.name.removeprefix(writer).partition("-")[0]
        if pid.isdecimal() and _is_gone(int(pid)):
            left.unlink(missing_ok=True)
    partial = path.with_name(f"{writer}{os.getpid()}-{secrets.token_hex(4)}{_PARTIAL}")
    try:
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _is_gone(pid: int) -> bool:
    """Whether a process of this machine has ended, where the system says so of others' without harm."""
    if os.name != "posix":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
