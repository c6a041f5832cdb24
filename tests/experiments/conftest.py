"""What the experiments' tests share: the command line, run in this process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from experiments.commands import main as command_line


@pytest.fixture
def marl_hpo(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs the command with these arguments: exit code, output and error stream. It installs signal handlers of its own."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            command_line.main(list(map(str, arguments)))
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
