"""What a training hangs on beside its task: rules and tasks that were registered, and torch's numeric settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from marl_hpo_env.catalog import registry
from marl_hpo_env.catalog.task import Task
from marl_hpo_env.networks import rules

_SETTINGS: Mapping[str, tuple[Callable[[], Any], Callable[[Any], None], Any]] = {
    "dtype": (torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    "matmul": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
    "deterministic": (
        torch.are_deterministic_algorithms_enabled,
        lambda on: torch.use_deterministic_algorithms(
            on, warn_only=torch.is_deterministic_algorithms_warn_only_enabled()
        ),
        False,
    ),
    "cudnn-benchmark": (
        lambda: torch.backends.cudnn.benchmark,
        lambda on: setattr(torch.backends.cudnn, "benchmark", on),
        False,
    ),
    "cudnn-deterministic": (
        lambda: torch.backends.cudnn.deterministic,
        lambda on: setattr(torch.backends.cudnn, "deterministic", on),
        False,
    ),
    "mkldnn": (
        lambda: torch.backends.mkldnn.enabled,
        lambda on: setattr(torch.backends.mkldnn, "enabled", on),
        True,
    ),
}
"""Of torch's settings that change the bits of a training: how each is read and set, and torch's own value."""


def numeric_settings() -> dict[str, Any]:
    """Those of torch's numeric settings that are not as torch has them, by a name of ours."""
    values = {name: (read(), own) for name, (read, _, own) in _SETTINGS.items()}
    return {name: value for name, (value, own) in values.items() if value != own}


def fingerprint(task: Task, kind: str) -> str:
    """What trials of a task depend on beside their request: the task's fingerprint, and the kind of device, such as `"cpu"`; on a
    CPU one thread trains, which is part of it, as are torch's numeric settings where they are not its own."""
    settings = "".join(f"-{name}={value}" for name, value in sorted(numeric_settings().items()))
    return f"{task.fingerprint}-{kind}{'-1-thread' if kind == 'cpu' else ''}{settings}"


@dataclass(frozen=True)
class Surroundings:
    """What is to be as here in another process.

    Args:
        rules: for modules of a user's types, see `register_rule`.
        tasks: that were registered, by name.
        settings: torch's, see `numeric_settings`.
    """

    rules: Mapping[type, Any]
    tasks: Mapping[str, Any]
    settings: Mapping[str, Any]

    @classmethod
    def here(cls) -> Surroundings:
        """Those of this process."""
        return cls(rules.registered(), registry.registered(), numeric_settings())

    def apply(self) -> None:
        """Makes this process' the same."""
        for kind, rule in self.rules.items():
            rules.register_rule(kind, rule)
        for name, factory in self.tasks.items():
            registry.add(name, factory)
        for name, value in self.settings.items():
            _SETTINGS[name][1](value)
