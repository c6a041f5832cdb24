"""What the three environments share: a game, an evaluator and a reward."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from statistics import fmean
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from marl_hpo_env.catalog.task import Task
from marl_hpo_env.environments.game import Game
from marl_hpo_env.environments.views import Kind, Masks
from marl_hpo_env.errors import InputError, is_number, whole_number
from marl_hpo_env.evaluators.epoch_budget import MOST_EPOCHS, calibrated, epochs_to, loss_threshold, lowered
from marl_hpo_env.evaluators.evaluator import (
    Evaluator,
    StoredEvaluator,
    check_answers,
    evaluate_one,
    is_exhaustive,
    known_best,
    own_epochs,
    unmeasured,
    unmeasured_of_original,
)
from marl_hpo_env.evaluators.folds import FoldsEvaluator
from marl_hpo_env.evaluators.store import Store
from marl_hpo_env.reward import PaperReward, Reward, reward_of
from marl_hpo_env.space import Design, SearchSpace
from marl_hpo_env.training.recipe import Budget, check_budget
from marl_hpo_env.trial import CLOCK_METRICS, Request, Trial

FloatArray = npt.NDArray[np.float64]
Frame = str | npt.NDArray[np.uint8]

RENDER_MODES = ("ansi", "rgb_array")

MOST_LISTED = 10_000_000
"""So many designs at most are asked for all at once, of an evaluator that answers for every one."""


class Recorder(Protocol):
    """Is told of finished episodes."""

    def record(self, design: Design | None, reward: float, trial: Trial | None) -> None:
        """An episode has ended; by an action that its layer does not have where there is no design."""
        ...


class DesignEnvironment:
    """The part of an environment that knows nothing of turns.

    Args:
        task: what is tuned.
        evaluator: turns designs into trials. They are kept in memory, so that a design is evaluated once.
        reward: in place of the task's.
        epochs: of one episode, in place of the recipe's, or of those that the evaluator answers for alone: a number,
            `"calibrated"` or `"running"` (see `epoch_budget`). With `"running"` designs are evaluated one after the other, and
            Equation 2 divides A by the epochs (VI-A).
        seed: of every trial, in place of the task's. The seed of `reset` seeds the spaces only.
        observations, masks: how what is observed is shown, and the masks of actions: see `views`.
        render_mode: `"ansi"` makes `render` return the design so far as text, `"rgb_array"` as pixels.

    Attributes:
        task: the task.
        space: the layers and their actions.
        game: the picks of the current episode.
        trial: the finished episode's; None until then.
        seed: of every trial.
        budget: the epochs of an episode, as given: a number, `"calibrated"` or `"running"`.
        recorders: are told of every finished episode (`RecordEpisodes`).

    Raises:
        InputError: if the reward needs what the evaluator does not measure, an unknown metric or a test figure; or if there is no
            such seed, render mode, or way to observe.
    """

    def __init__(
        self,
        task: Task,
        evaluator: Evaluator,
        reward: Reward | None = None,
        *,
        epochs: Budget | None = None,
        seed: int | None = None,
        observations: Kind = "dict",
        masks: Masks = "observation",
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, *RENDER_MODES, "human"):
            raise _no_mode(render_mode)
        if not (isinstance(evaluator, StoredEvaluator) or is_exhaustive(evaluator)):
            evaluator = StoredEvaluator(evaluator, Store(), needs_time=evaluator.measures_time)
        if task.folds is not None and is_exhaustive(evaluator):
            raise InputError(
                f"A table has one trial per design, and {task.name!r} has {task.folds} folds; leave them out."
            )
        self.task = task
        self.evaluator = evaluator
        self._asked: Evaluator = evaluator if task.folds is None else FoldsEvaluator(evaluator, task.folds)
        self.reward = reward_of(task.reward if reward is None else reward, task.measures, task.score)
        own = own_epochs(evaluator)
        self.budget = check_budget(own or task.recipe.epochs if epochs is None else epochs)
        if own is not None and not isinstance(self.budget, int):
            raise InputError(
                f"The epochs are to be {self.budget}, and this evaluator answers for {own} alone; leave them out."
            )
        self._epochs = self.budget if isinstance(self.budget, int) else None
        if self.budget == "running" and isinstance(self.reward, PaperReward):
            self.reward = self.reward.per_epoch()
        self.seed = task.seed if seed is None else whole_number("seed", seed, 0)
        if self._epochs is not None:
            check_answers(evaluator, self.seed, self._epochs)
        # By the number of epochs: the original's trial, the answers of a table, and the best reward found.
        self._originals: dict[int, Trial] = {}
        self._answers: dict[int, tuple[FloatArray, FloatArray]] = {}
        self._found: dict[int, float] = {}
        self._check_reward()
        self.space: SearchSpace = evaluator.space
        self.game = Game(self.space)
        self.trial: Trial | None = None
        self.render_mode = render_mode
        self.recorders: list[Recorder] = []
        self._make_spaces(observations, masks)

    def _check_reward(self) -> None:
        """Whether the evaluator measures what the reward sees.

        Raises:
            InputError: if not.
        """
        for objective in self.reward.objectives:
            if objective.metric in unmeasured(self.evaluator):
                raise InputError(
                    f"The reward needs {objective.metric!r}, which is not measured here: memory is on a GPU alone, a table "
                    "answers what it holds, on shared weights no design is trained, and values have R2 and no accuracy; reward "
                    "something else."
                )
            if objective.metric in CLOCK_METRICS and not self.evaluator.measures_time:
                raise InputError(
                    f"The reward needs {objective.metric!r}, which is measured only where nothing runs beside it; use one worker."
                )
        compared: frozenset[str] = getattr(self.reward, "of_original", frozenset())
        if lacking := sorted(compared and compared & unmeasured_of_original(self.evaluator)):
            raise InputError(
                f"The reward compares {lacking[0]!r} with the original network's, which is no design of the space and has "
                "none on shared weights; put the original's values among the choices, or reward something else."
            )

    def _make_spaces(self, observations: Kind, masks: Masks) -> None:
        """Makes what the environment's own interface says of observations and actions."""
        raise NotImplementedError

    @property
    def design(self) -> Design | None:
        """The finished design of the current episode; None until every agent has picked."""
        return self.game.design

    @property
    def epochs(self) -> int:
        """How many epochs the next episode trains; a calibrated budget is found out when it is first asked for."""
        if self._epochs is None:
            running = self.budget == "running"
            self._epochs = MOST_EPOCHS if running else calibrated(self._asked, self.seed, self.threshold)
        return self._epochs

    @cached_property
    def threshold(self) -> float:
        """The training loss that says enough of a design (VI-A), fixed before the first episode: it hangs on the original's
        trial alone.

        Raises:
            InputError: if the original network cannot be trained.
        """
        epochs = self.budget if isinstance(self.budget, int) else MOST_EPOCHS
        return loss_threshold(self.task.guessing_loss, self._original_after(epochs))

    @property
    def original(self) -> Trial:
        """The original network's trial, under the same epochs and seed as the next episode's design.

        Raises:
            InputError: if the original network cannot be trained.
        """
        return self._with_threshold(self._original_after(self.epochs))

    def _original_after(self, epochs: int) -> Trial:
        if epochs not in self._originals:
            trial = evaluate_one(self._asked, Request(None, self.seed, epochs))
            if trial.status != "completed":
                raise InputError(f"The original network of {self.task.name!r} cannot be trained: {trial.reason}")
            self._originals[epochs] = trial
        return self._originals[epochs]

    def _with_threshold(self, trial: Trial) -> Trial:
        """The trial with the epochs that it took to the threshold, where the reward sees them."""
        wanted = any(objective.metric == "epochs_to_threshold" for objective in self.reward.objectives)
        if not wanted or trial.status != "completed":
            return trial
        epochs = epochs_to(self.threshold, trial.history)
        return replace(trial, metrics={**trial.metrics, "epochs_to_threshold": epochs})

    @property
    def regret(self) -> float:
        """The reward of the table's best design minus the best found so far in this environment; infinite before the first.

        Raises:
            AttributeError: if the best design is not known. It is where the evaluator is exhaustive, as a table is, and either
                knows it itself or has few enough designs to be asked for all.
        """
        if not is_exhaustive(self.evaluator):
            raise AttributeError(
                "The best design is known on a table, or of a synthetic task, and not where trials are trained or predicted; "
                "make the environment with evaluator='table'."
            )
        epochs = self.epochs
        known = known_best(self.evaluator, self.reward, self.seed)
        if known is not None:
            highest = self.score(evaluate_one(self.evaluator, Request(known, self.seed, epochs)))
        elif self.space.size <= MOST_LISTED:
            highest = float(self.answers(epochs)[0].max())
        else:
            raise AttributeError(f"The best design is not known under the reward {self.reward}.")
        return highest - self._found.get(epochs, -math.inf)

    def answers(self, epochs: int) -> tuple[FloatArray, FloatArray]:
        """What a table says of every design after so many epochs, by the design's number, asked once.

        Returns:
            The rewards, shape (designs,), and the infos, shape (designs, keys).
        """
        if epochs not in self._answers:
            designs = map(self.space.design_at, range(self.space.size))
            trials = self.evaluator.evaluate([Request(design, self.seed, epochs) for design in designs])
            of_all = {self.space.index(trial.design): trial for trial in trials if trial.design is not None}
            in_order = [of_all[number] for number in range(self.space.size)]
            told = [list(self.told(trial).values()) for trial in in_order]
            self._answers[epochs] = np.array([self.score(trial) for trial in in_order]), np.array(told)
        return self._answers[epochs]

    def evaluate(self, designs: Sequence[Design]) -> Iterator[Trial]:
        """One trial per design, as they finish: many at once, beside the game. For learners that ask in batches.

        Raises:
            InputError: if a design is not one of the space; nothing is evaluated then.
        """
        checked = [self.space.check(design) for design in designs]
        # Under a running budget every design may change the next one's epochs, so they are evaluated one by one.
        batches = [[design] for design in checked] if self.budget == "running" else [checked]
        return (trial for batch in batches for trial in self._evaluate(batch))

    def _evaluate(self, designs: Sequence[Design]) -> Iterator[Trial]:
        epochs = self.epochs
        for measured in self._asked.evaluate([Request(design, self.seed, epochs) for design in designs]):
            trial = self._with_threshold(measured)
            if is_exhaustive(self.evaluator):
                self._note(epochs, self.score(trial))
            if self.budget == "running":
                self._epochs = lowered(epochs, [trial], self.threshold)
            yield trial

    def _note(self, epochs: int, reward: float) -> None:
        """Notes a reward that was found on a table."""
        self._found[epochs] = max(self._found.get(epochs, -math.inf), reward)

    def score(self, trial: Trial) -> float:
        """The reward that every agent gets for this trial; of one on several folds the mean of theirs.

        Raises:
            InputError: if it is no finite number.
        """
        if trial.folds and trial.status == "completed":
            return fmean(map(self.score, trial.folds))
        reward = self.reward(self._with_threshold(trial), self._reference(trial))
        if not is_number(reward):
            design = "the original network" if trial.design is None else f"the design {list(trial.design)}"
            raise InputError(f"The reward of {design} is {reward!r}; a reward is a finite number.")
        return float(reward)

    def objectives(self, trial: Trial) -> dict[str, float]:
        """What the reward sees of this trial, by name, or of its folds in the mean; NaN where the trial did not complete."""
        if trial.status != "completed":
            return {str(objective): float("nan") for objective in self.reward.objectives}
        if trial.folds:
            of_each = [self.objectives(part) for part in trial.folds]
            return {name: fmean(values[name] for values in of_each) for name in of_each[0]}
        reference, trial = self._reference(trial), self._with_threshold(trial)
        return {str(objective): objective.value(trial, reference) for objective in self.reward.objectives}

    @property
    def directions(self) -> dict[str, int]:
        """Which way each of what the reward sees is better, by name: +1 the higher, -1 the lower."""
        measures = self.task.measures
        return {str(objective): measures[objective.metric].better for objective in self.reward.objectives}

    def render(self) -> Frame | None:
        """The design so far, one line per layer: text with `render_mode="ansi"`, pixels with `"rgb_array"`.

        Raises:
            InputError: if the render mode is "human": PettingZoo's tests make such an environment, whatever its modes are.
        """
        return None if self.render_mode is None else self._frame(self.game)

    def _frame(self, game: Game) -> Frame:
        if self.render_mode == "human":
            raise _no_mode(self.render_mode)
        if self.render_mode == "ansi":
            return game.render()
        from marl_hpo_env.environments.picture import picture

        return picture(game.render())

    def close(self) -> None:
        """Nothing to release: worker processes end with their evaluator."""

    def _reference(self, trial: Trial) -> Trial | None:
        """The original's trial of as many epochs, which a running budget may have lowered since, and on the same fold; where the
        reward needs it."""
        if not self.reward.relative:
            return None
        original, fold = self._original_after(trial.request.epochs or self.epochs), trial.request.fold
        return self._with_threshold(original if fold is None else original.folds[fold])

    def _restart(self) -> None:
        self.game.reset()
        self.trial = None

    def _finish(self) -> tuple[float, dict[str, Any]]:
        """Evaluates the complete design; returns the reward and the info."""
        design = self.game.design
        assert design is not None
        (self.trial,) = self.evaluate([design])
        reward = self.score(self.trial)
        self._record(design, reward, self.trial)
        return reward, self._info()

    def _forfeit(self) -> tuple[float, dict[str, Any]]:
        """Ends an episode by a pick that the layer does not have; returns the penalty and the info."""
        penalty = float(self.reward.penalty)
        self._record(None, penalty, None)
        return penalty, {**self._info(), "terminated": np.float64(1)}

    def _record(self, design: Design | None, reward: float, trial: Trial | None) -> None:
        for recorder in self.recorders:
            recorder.record(design, reward, trial)

    def _info(self) -> dict[str, Any]:
        return {key: np.float64(value) for key, value in self.told(self.trial).items()}

    def told(self, trial: Trial | None) -> dict[str, float]:
        """An info's numbers under fixed keys (strings break vectorised frameworks): what the reward sees, 0 until there is a
        trial, and whether the trial was terminated or failed."""
        told = dict.fromkeys(map(str, self.reward.objectives), 0.0)
        if trial is not None and trial.status == "completed":
            told |= self.objectives(trial)
        return {**told, "terminated": float(trial is not None and trial.status != "completed")}


def _no_mode(render_mode: object) -> InputError:
    return InputError(
        f"The render mode is {render_mode!r}; it is 'ansi' or 'rgb_array' for the design so far, or None."
    )
