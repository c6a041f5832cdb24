"""The tables and figures by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from experiments.reproduction.item import Item
from marl_hpo_env import InputError

NAMES = (
    *("table4", "table5", "table6", "table7"),
    *("fig3", "fig9", "fig10", "fig11", "fig12", "fig13"),
    "overhead",
)
"""In the order in which they are listed; each is a file of this folder."""


def items() -> Mapping[str, Item]:
    """Every table and figure."""
    return {name: import_module(f"experiments.reproduction.{name}").ITEM for name in NAMES}


def item(name: str) -> Item:
    """The one of this name.

    Raises:
        InputError: if there is none.
    """
    if name not in NAMES:
        raise InputError.unknown("table or figure to reproduce,", name, NAMES)
    return items()[name]
