"""Figures that are written to files, without a display."""

from __future__ import annotations

import os
from pathlib import Path

# Asked for before matplotlib reads it: a notebook names a backend here that other processes may not have.
os.environ["MPLBACKEND"] = "Agg"

import matplotlib as mpl
from matplotlib.figure import Figure

mpl.use("Agg")

from matplotlib import pyplot as plt

__all__ = ["plt", "save"]


def save(figure: Figure, path: Path, dpi: int = 120) -> None:
    """Writes a figure as a PNG file, and closes it."""
    figure.tight_layout()
    figure.savefig(path, dpi=dpi)
    plt.close(figure)
