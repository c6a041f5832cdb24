"""Processes that are known by a mark in their environment, which whatever they start inherits."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from experiments.faults.cases import Fault

_NAME = "MARL_HPO_FAULTS"

PATIENCE = 20.0
"""Seconds in which all processes of a command that was told to end, or killed, are to be gone; two commands run side by side."""


class Marked:
    """The processes of one command, however often it is started."""

    there: ClassVar[set[Marked]] = set()
    """Those that are not yet at their end."""

    def __init__(self) -> None:
        self.there.add(self)
        self._mark = f"{_NAME}={secrets.token_hex(8)}"

    def start(self, arguments: Sequence[str], folder: Path, output: Path) -> subprocess.Popen[bytes]:
        """Starts a process in a session of its own, as a terminal does.

        Args:
            arguments: the program and what stands behind it.
            folder: where it works.
            output: the file for what it prints and says.
        """
        name, _, value = self._mark.partition("=")
        with output.open("wb") as file:
            return subprocess.Popen(
                arguments,
                cwd=folder,
                env={**os.environ, name: value},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_as_from_a_terminal,  # noqa: PLW1509  # nothing of threads in it
            )

    def alive(self) -> dict[int, int]:
        """The processes that there are, with the parent of each."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, IndexError):  # gone meanwhile, or somebody else's
                if self._mark.encode() in (place / "environ").read_bytes().split(b"\0"):
                    found[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        return found

    def wait_until_gone(self) -> None:
        """Waits for the end of all of them.

        Raises:
            Fault: if some are still there after `PATIENCE`; they are killed.
        """
        if not wait_until(lambda: not self.alive(), PATIENCE):
            left = [_command(pid) for pid in self.alive()]
            self.end()
            if left:
                raise Fault("left behind", f"After {PATIENCE:g} s there are still {len(left)}: {'; '.join(left)}.")

    def end(self) -> None:
        """Kills those that are there."""
        while alive := self.alive():
            for pid in alive:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        self.there.discard(self)


def end_all() -> None:
    """Kills all processes that the campaign has started."""
    for marked in list(Marked.there):
        marked.end()


def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    """Whether the condition came to hold in as many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()[:200]
    except OSError:
        return str(pid)


def _as_from_a_terminal() -> None:
    """Without core files; and what ends the command is not ignored because whoever started the campaign ignores it (`nohup`)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
