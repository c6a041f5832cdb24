"""How the process of the command `marl-hpo` ends when it is told to before there is anything to keep: at once.

The package imports this first, for importing the rest takes most of a second, in which Ctrl-C would be a traceback. The command
itself then ends more gently (`experiments/command_line.py`).
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What tells a command to end: Ctrl-C, and the system."""

EXIT_CODE = 130
"""Of a command that was told to end."""


def is_command() -> bool:
    """Whether this process was started as the command, and is not a process of its, nor one that merely uses the package."""
    program = sys.orig_argv[1:3]
    name, _ = os.path.splitext(os.path.basename(program[0])) if program else ("", "")
    return program == ["-m", "marl_hpo_env"] or name == "marl-hpo"


def end_at_once_when_told() -> None:
    """From here on Ctrl-C and SIGTERM end the process in one word, whatever it is doing."""
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: end_at_once())


def end_at_once() -> NoReturn:
    """Ends the process. An exception would be lost in some imports, and be a traceback in others."""
    os.write(2, b"\nStopped.\n")
    os._exit(EXIT_CODE)


if is_command():
    end_at_once_when_told()
