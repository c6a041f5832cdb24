"""What a run keeps of a play and shows of it, while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.progress import Progress

from agents import Callback, Episode
from agents.episodes_file import EpisodesFile
from agents.playing import episode_of
from marl_hpo_env import Design, Trial

PHASES = ("exploration", "exploration-exploitation")


class Kept(Callback):
    """Keeps the trials of a play, and the phase of each episode; writes both to files, each at once.

    Args:
        env: of the play, without wrappers.
        exploration: episodes of the learner's first phase; None for one without phases.
        printed: an episode's reward as the paper prints it, or None where it is none of the paper's.
        tried: a file for the distinct designs as their trials end.
        played: one for the episodes.

    Attributes:
        trials: by design.
        phases: of each episode; empty strings for a learner without phases.
    """

    def __init__(
        self,
        env: Any,
        exploration: int | None,
        printed: Callable[[Episode, Trial], float | None],
        tried: EpisodesFile | None = None,
        played: EpisodesFile | None = None,
    ) -> None:
        self.trials: dict[Design | None, Trial] = {}
        self.phases: list[str] = []
        self._env, self._exploration, self._printed = env, exploration, printed
        self._tried, self._played = tried, played

    def on_trial(self, trial: Trial) -> None:
        new = trial.design not in self.trials
        self.trials[trial.design] = trial
        if self._tried is not None and new:
            episode = episode_of(self._env, trial)
            self._tried.write(episode, "", self._printed(episode, trial))

    def on_episode(self, episode: Episode, trial: Trial) -> None:
        phase = "" if self._exploration is None else PHASES[len(self.phases) >= self._exploration]
        self.phases.append(phase)
        if self._played is not None:
            self._played.write(episode, phase, self._printed(episode, trial))


class Shown(Callback):
    """Shows how far a play is.

    Args:
        progress: the bar.
        name: of the learner.
        total: episodes to come, as far as is known.
        phases: of each episode, as `Kept` keeps them, which is told first.
        more: what stands behind the best reward so far.
    """

    def __init__(
        self, progress: Progress, name: str, total: int, phases: Sequence[str], more: Callable[[], str]
    ) -> None:
        self._progress, self._name, self._total, self._phases, self._more = progress, name, total, phases, more
        self._bar = progress.add_task(name, total=total, note="")
        self._best = float("-inf")

    def on_trial(self, trial: Trial) -> None:
        completed = self._progress.tasks[self._bar].completed + 1
        self._progress.update(self._bar, completed=min(self._total, completed))

    def on_episode(self, episode: Episode, trial: Trial) -> None:
        self._best = max(self._best, episode.reward)
        self._progress.update(
            self._bar,
            completed=len(self._phases),
            description=f"{self._name} {self._phases[-1]}".strip(),
            note=f"best {self._best:.4g} {self._more()}".rstrip(),
        )

    def on_end(self, episodes: Sequence[Episode]) -> None:
        self._progress.update(self._bar, total=len(episodes))
