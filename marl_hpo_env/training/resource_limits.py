"""What one training may take of time and memory. Unlike `Limits`, which are the task's, these are of where it is trained."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields

from marl_hpo_env.errors import InputError
from marl_hpo_env.trial import Request, Trial

_MET = re.compile(r"Took (?:longer than (\S+) s|more than (\S+) GB of memory)\.")


@dataclass(frozen=True)
class ResourceLimits:
    """Limits whose breach makes a trial `failed`; it is stored, and taken again where the limit is higher.

    Args:
        timeout: seconds that an episode's training may take; None for any.
        fit_timeout: likewise for the original network's training, and for final training.
        memory_gb: 10^9 bytes that a training may take of the machine's memory; None for all there is.

    Raises:
        InputError: for a value that is not above 0.
    """

    timeout: float | None = None
    fit_timeout: float | None = None
    memory_gb: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and (isinstance(value, bool | str) or not 0 < value < math.inf):
                raise InputError(f"The {field.name} is {value!r}; it is above 0, or None for no limit.")

    def seconds(self, request: Request) -> float | None:
        """What this request may take."""
        return self.fit_timeout if request.design is None or request.epochs is None else self.timeout

    def took_longer(self, request: Request) -> str:
        """The reason of a trial that took longer."""
        return f"Took longer than {self.seconds(request):g} s."

    def took_more(self) -> str:
        """The reason of a trial that took more memory."""
        return f"Took more than {self.memory_gb:g} GB of memory."

    def stands(self, trial: Trial) -> bool:
        """Whether a stored trial is what it would be with these limits: not where it met a lower one."""
        met = _MET.fullmatch(trial.reason or "")
        if met is None:
            return True
        limit = self.seconds(trial.request) if met[1] else self.memory_gb
        return limit is not None and limit <= float(met[1] or met[2])
