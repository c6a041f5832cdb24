"""What every log shows of an episode, under the same names, and the sentence for a package that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from agents.protocol import Episode
from marl_hpo_env import InputError, Trial


class Figures:
    """The figures of a play's episodes, one after the other."""

    def __init__(self) -> None:
        self._count = 0
        self._best = float("-inf")

    def of(self, episode: Episode, trial: Trial) -> tuple[int, dict[str, float]]:
        """The number of the next episode, from 1, and its figures by name.

        These are `reward`, `best_reward` so far, and every metric that was measured, such as `metrics/validation_accuracy`.
        """
        self._count += 1
        self._best = max(self._best, episode.reward)
        measured = {f"metrics/{name}": value for name, value in trial.metrics.items() if value is not None}
        return self._count, {"reward": episode.reward, "best_reward": self._best, **measured}


def best_design(episodes: Sequence[Episode]) -> str | None:
    """The actions of the design with the highest reward of those that completed, such as `3,5,0`; None where there is none."""
    completed = (episode for episode in episodes if not episode.terminated)
    best = max(completed, key=lambda episode: episode.reward, default=None)
    return None if best is None else ",".join(map(str, best.design))


def check_installed(package: str, extra: str | None = None) -> None:
    """Nothing, if a package that shows runs is there.

    Args:
        package: its name.
        extra: that installs it; of the same name where None.

    Raises:
        InputError: if it is not.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:  # a folder of logs in the current one, such as `wandb`, is no package
        raise InputError(
            f"What was asked for needs the package {package!r}; install it with: "
            f"pip install 'marl-hpo-env[{extra or package}]'."
        )
