"""Figures need no display, whatever the environment asks of matplotlib."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "backend", ["module://matplotlib_inline.backend_inline", "module://nowhere", "nonsense", "TkAgg"]
)
def test_figures_are_drawn_without_a_display_whatever_backend_is_asked_for(tmp_path, backend):
    code = """
import sys
from pathlib import Path
from experiments.figures import plt, save
figure, axes = plt.subplots()
axes.plot([1, 2])
save(figure, Path(sys.argv[1]))
print(plt.get_backend())
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "figure.png")],
        env={**os.environ, "MPLBACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout.lower()) == (0, "agg\n"), ended.stderr
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
