"""The paper's learner, pairwise Q-learning.

Iranfar, Zapater, Atienza, sections V-D to VI-D. In the first phase the agents explore by Algorithm 1; in the second they
exploit by Algorithm 3 or, with probability epsilon, act at random; after every episode the tables are updated by
Algorithm 2. Where the paper is silent or contradicts itself, the reading is marked "ours", with its alternative as a
setting.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from agents.protocol import Episode, TurnBasedLearner
from marl_hpo_env import Design, InputError, SearchSpace, whole_number

PAPER_EPISODES: Mapping[str, int] = {
    **dict.fromkeys(("vgg16-cifar10", "vgg16-cifar100", "vgg16-imagenet"), 500),
    **dict.fromkeys(("unet-brats18", "unet-isic18"), 2000),
    **dict.fromkeys(("googlenet-cifar10", "googlenet-cifar100", "googlenet-imagenet"), 4500),
}
"""Length of the first phase in the paper's own tasks (VIII-D)."""


class QTable:
    """The table that two connected layers share (V-D): shape (actions of the feeding, actions of the fed), zeros at first.

    The paper reads "Q = 0" as "never visited"; a value can also be zero by chance, so visits are marked beside it (ours).
    Rows are plain lists: at a few dozen columns they are several times faster than arrays.

    Attributes:
        q: the values, `q[row][column]`.
        unvisited: per row, the columns that no episode has updated yet.
        unasked: per row, the columns that no design has used yet, told or not; what exploration draws from.
        row_max: the highest value of each row.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self.q = [[0.0] * columns for _ in range(rows)]
        self.unvisited = [set(range(columns)) for _ in range(rows)]
        self.unasked = [list(range(columns)) for _ in range(rows)]
        self.row_max = [0.0] * rows
        self.cells = rows * columns

    def mark_asked(self, row: int, column: int) -> None:
        """A design uses this cell."""
        if column in self.unasked[row]:
            self.unasked[row].remove(column)

    def update(self, row: int, column: int, value: float) -> None:
        """Sets a cell and marks it visited."""
        values = self.q[row]
        old, values[column] = values[column], value
        self.unvisited[row].discard(column)
        if value >= self.row_max[row]:
            self.row_max[row] = value
        elif old == self.row_max[row]:
            self.row_max[row] = max(values)


class _Asked(NamedTuple):
    """A design that was asked for: whether it was greedy, whether in the first phase, and after how many updates."""

    design: Design
    greedy: bool
    exploring: bool
    updates: int


class PairwiseQ(TurnBasedLearner):
    """The paper's team: Q-learning agents with one table per pair of connected layers.

    Args:
        exploration_episodes: length of the first phase. VIII-D asks for slightly more than the largest table has cells
            (VI-A); None takes the paper's own number in its tasks, and elsewhere 1.25 times as many (ours).
        max_exploitation_episodes: the second phase ends after as many, converged or not (ours; Fig. 9 shows 350).
        convergence_episodes: converged once as many greedy episodes in a row, each with an update of a table since the
            one before, chose the same design (VI-C says "several episodes"; 5 is ours). Where every design has been
            seen, nothing can change the tables any more, and the same design in as many greedy episodes is enough.
        alpha: learning rate of the first phase (VI-B: 0.95).
        alpha_decay: alpha is multiplied by `alpha_decay ** n` in the second phase (Eq. 3: 0.999), n its episodes so far.
        epsilon_decay: epsilon is `epsilon_decay ** n` (VIII-G: 0.99).
        compound_alpha, compound_epsilon: read Eq. 3 literally, where each episode multiplies the last value by
            `decay ** n` rather than the first one; for epsilon this contradicts Fig. 9 and VIII-G.
        gamma: discount of line 8 of Algorithm 2. The paper gives none; 0.9 is ours.
        update: `"printed"` adds `alpha * R` in lines 3 and 6 as Algorithm 2 prints it, so that a cell grows with its
            visits; `"averaged"` moves the cell towards R, as Eq. 1 would.
        epsilon_per: one draw of epsilon per `"episode"` for the whole team, or one per `"agent"`.
        next_unvisited: line 5 asks for an unvisited cell in the `"row"` that the next agent stands in, as Algorithm 2
            prints it, or anywhere in the next `"table"`, as the prose of VI-B says.

    Raises:
        InputError: for a setting outside its range.
    """

    def __init__(
        self,
        exploration_episodes: int | None = None,
        max_exploitation_episodes: int = 400,
        convergence_episodes: int = 5,
        alpha: float = 0.95,
        alpha_decay: float = 0.999,
        epsilon_decay: float = 0.99,
        compound_alpha: bool = False,
        compound_epsilon: bool = False,
        gamma: float = 0.9,
        update: Literal["printed", "averaged"] = "printed",
        epsilon_per: Literal["episode", "agent"] = "episode",
        next_unvisited: Literal["row", "table"] = "row",
    ) -> None:
        for name, number in (
            ("alpha", alpha),
            ("alpha_decay", alpha_decay),
            ("epsilon_decay", epsilon_decay),
            ("gamma", gamma),
        ):
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise InputError(f"The setting {name} is {number!r}; it is a number.")
        for name, rate in (("alpha", alpha), ("alpha_decay", alpha_decay), ("epsilon_decay", epsilon_decay)):
            if not 0 < rate <= 1:
                raise InputError(f"The setting {name} is {rate}; it is above 0 and at most 1.")
        if not 0 <= gamma <= 1:
            raise InputError(f"The setting gamma is {gamma}; it lies within 0 and 1.")
        for name, value, allowed in (
            ("update", update, ("printed", "averaged")),
            ("epsilon_per", epsilon_per, ("episode", "agent")),
            ("next_unvisited", next_unvisited, ("row", "table")),
        ):
            if value not in allowed:
                raise InputError(f"The setting {name} is {value!r}; it is {allowed[0]!r} or {allowed[1]!r}.")
        for name, count, least in (
            ("exploration_episodes", exploration_episodes, 0),
            ("max_exploitation_episodes", max_exploitation_episodes, 0),
            ("convergence_episodes", convergence_episodes, 1),
        ):
            if count is not None:
                whole_number(f"setting {name}", count, least)
        self.exploration_episodes = exploration_episodes
        self.max_exploitation_episodes = max_exploitation_episodes
        self.convergence_episodes = convergence_episodes
        self.alpha = alpha
        self.alpha_decay = alpha_decay
        self.epsilon_decay = epsilon_decay
        self.compound_alpha = compound_alpha
        self.compound_epsilon = compound_epsilon
        self.gamma = gamma
        self.update = update
        self.epsilon_per = epsilon_per
        self.next_unvisited = next_unvisited
        self._papers: int | None = None

    # --- the phases (VI) -------------------------------------------------------------------------------------------

    def prepare(self, task: str) -> None:
        """Takes the paper's length of the first phase, where the task is one of the paper's."""
        self._papers = PAPER_EPISODES.get(task)

    def reset(self, space: SearchSpace, seed: int) -> None:
        """Empty tables, first phase."""
        super().reset(space, seed)
        self._space = space
        self._random = random.Random(whole_number("seed", seed, 0))
        self.tables = {(i, j): QTable(space.sizes[i], space.sizes[j]) for i, j in space.pairs}
        # A layer that neither feeds nor is fed has no table in the paper; it gets one of a single row (ours).
        self._alone = {j for j in range(len(space)) if not space.feeding[j] and not space.fed[j]}
        self.tables |= {(j, j): QTable(1, space.sizes[j]) for j in self._alone}
        self._incoming = [
            [self.tables[i, j] for i in ((j,) if j in self._alone else space.feeding[j])] for j in range(len(space))
        ]
        self._outgoing = [[self.tables[i, j] for j in space.fed[i]] for i in range(len(space))]
        # Of each table: its layers, and the tables in which the layers fed by the second one stand.
        self._updates = [(i, j, table, self._outgoing[j]) for (i, j), table in sorted(self.tables.items())]
        largest = max(table.cells for table in self.tables.values())
        lengths = (self.exploration_episodes, self._papers, math.ceil(1.25 * largest))
        self._exploration = next(length for length in lengths if length is not None)
        self._asked = 0
        self._passed = 0
        self._picks: list[int] = []
        self._mode = "explore"
        self._next_mode: str | None = None
        self._pending: deque[_Asked] = deque()
        self._seen: set[Design] = set()
        self._greedy_design: Design | None = None
        self._greedy_streak = 0
        self._greedy_updates = -1
        self._update_count = 0

    @property
    def phase(self) -> str:
        """`"exploration"` or `"exploration-exploitation"`, of the next design to be asked."""
        return "exploration" if self._asked < self._exploration else "exploration-exploitation"

    @property
    def total_episodes(self) -> int:
        """The most episodes that both phases take."""
        return self._exploration + self.max_exploitation_episodes

    @property
    def exploration_length(self) -> int:
        """Episodes in the first phase."""
        return self._exploration

    @property
    def converged(self) -> bool:
        """Whether the greedy design has stopped changing (VI-C)."""
        return self._greedy_streak >= self.convergence_episodes

    @property
    def greedy_design(self) -> Design | None:
        """The design of the last greedy episode: once converged, the paper's answer. The best seen may be another."""
        return self._greedy_design

    @property
    def finished(self) -> bool:
        """Converged, or at the end of the second phase."""
        return self.converged or self._asked >= self.total_episodes

    # --- choosing actions (Algorithms 1 and 3) -----------------------------------------------------------------------

    def act(self, agent: str, observation: Mapping[str, Any]) -> int:
        """The agent's action: Algorithm 1, Algorithm 3 or random, by phase and epsilon."""
        layer = self._space.position(agent)
        if layer == 0:
            self._picks = []
            self._begin_episode()
        elif self.epsilon_per == "agent" and self.phase != "exploration":
            self._mode = self._draw_mode()
        if self._mode == "random":
            action = self._any(layer)
        else:
            choose = self._explore if self._mode == "explore" else self._exploit
            action = choose(layer, self._rows(layer, observation["observation"]))
        if self._mode != "exploit":
            self._greedy_so_far = False
        self._picks.append(action)
        if len(self._picks) == len(self._space):
            self._end_episode()
        return action

    def _rows(self, layer: int, observation: npt.NDArray[np.int64]) -> list[tuple[QTable, int]]:
        """The rows that the layer stands in: of each table that it shares with a feeding layer."""
        tables = self._incoming[layer]
        if len(tables) == 1:
            # The row 0 of a layer alone: its observation is the constant 0.
            return [(tables[0], max(0, int(observation[0]) - 1))]
        return [(table, pick - 1) for table, pick in zip(tables, observation.tolist(), strict=False)]

    @property
    def waits_for_rewards(self) -> bool:
        """Whether the next design depends on the rewards of those asked before: a greedy one does, and it may converge.

        So a batch holds what the paper's one-by-one order would have asked anyway, and its size changes no result.
        """
        if self.phase == "exploration":
            return False
        if self.epsilon_per == "agent":
            return True
        if self._next_mode is None:
            self._next_mode = self._draw_mode()
        return self._next_mode == "exploit" or any(asked.greedy for asked in self._pending)

    def _begin_episode(self) -> None:
        if self.phase == "exploration":
            self._mode = "explore"
        else:
            self._mode = self._draw_mode() if self._next_mode is None else self._next_mode
        self._next_mode = None
        self._greedy_so_far = True

    def _draw_mode(self) -> str:
        n = self._asked - self._exploration
        power = n * (n + 1) / 2 if self.compound_epsilon else n
        return "random" if self._random.random() < self.epsilon_decay**power else "exploit"

    def _end_episode(self) -> None:
        self._pending.append(self._note(tuple(self._picks), self._greedy_so_far))

    def _explore(self, layer: int, rows: list[tuple[QTable, int]]) -> int:
        """Algorithm 1; with its change of VI-D for a first layer that feeds several."""
        if not rows:
            # Line 3: a cell drawn from all unvisited ones. By turns, this layer draws its row with weight the number of
            # unvisited cells in it, and the next layer the cell, which is the same distribution. Where the layer feeds
            # several, each table counts.
            after = self._outgoing[layer]
            weights = [sum(len(table.unasked[a]) for table in after) for a in range(self._space.sizes[layer])]
            return self._random.choices(range(len(weights)), weights)[0] if any(weights) else self._any(layer)
        if len(rows) == 1:
            table, row = rows[0]
            return self._one_of(table.unasked[row]) if table.unasked[row] else self._any(layer)  # line 5
        # Fig. 8b: the action that is unvisited in most of the incoming rows (ours, where none is so in all).
        counts = [0] * self._space.sizes[layer]
        for table, row in rows:
            for action in table.unasked[row]:
                counts[action] += 1
        return self._one_of_highest(counts) if any(counts) else self._any(layer)

    def _exploit(self, layer: int, rows: list[tuple[QTable, int]]) -> int:
        """Algorithm 3; with its changes of VI-D."""
        if not rows:
            # Line 3: the joint argmax; the next layer's argmax in this row completes it. Fig. 8a: over all tables.
            after = self._outgoing[layer]
            return self._one_of_highest([max(values) for values in zip(*(t.row_max for t in after), strict=True)])
        if len(rows) == 1:
            table, row = rows[0]
            return self._one_of_highest(table.q[row])  # line 5
        # Fig. 8b: the action that is the argmax of most incoming rows; if several are, the highest mean over the rows.
        votes = [0] * self._space.sizes[layer]
        means = [0.0] * self._space.sizes[layer]
        for table, row in rows:
            for action, value in enumerate(table.q[row]):
                votes[action] += value == table.row_max[row]
                means[action] += value / len(rows)
        winners = [action for action, count in enumerate(votes) if count == max(votes)]
        return winners[0] if len(winners) == 1 else self._one_of_highest(means)

    def _any(self, layer: int) -> int:
        return int(self._random.random() * self._space.sizes[layer])

    def _one_of(self, actions: Sequence[int]) -> int:
        return actions[int(self._random.random() * len(actions))]

    def _one_of_highest(self, values: Sequence[float]) -> int:
        """Ties are broken at random (ours)."""
        highest = max(values)
        if values.count(highest) == 1:
            return values.index(highest)
        return self._one_of([action for action, value in enumerate(values) if value == highest])

    # --- learning (Algorithm 2, Equation 3) --------------------------------------------------------------------------

    def tell(self, episodes: Sequence[Episode]) -> None:
        """Updates the tables with each episode, in order; also with ones that this learner did not ask for, which count as
        episodes of the phase that they fall in (ours)."""
        for episode in episodes:
            asked = self._take(episode.design)
            if asked.greedy:
                self._count_greedy(asked)
            # VI-C: in the second phase a design that was seen before leaves the tables alone; the rates go on.
            if asked.exploring or episode.design not in self._seen:
                self._update(episode.design, episode.reward, self._learning_rate())
            self._seen.add(episode.design)
            self._passed += not asked.exploring

    def _take(self, design: Design) -> _Asked:
        """What was noted when this design was asked for; those asked before it will not be told any more."""
        if any(asked.design == design for asked in self._pending):
            while True:
                asked = self._pending.popleft()
                if asked.design == design:
                    return asked
        return self._note(design, greedy=False)

    def _note(self, design: Design, greedy: bool) -> _Asked:
        """Counts a design as an episode of the phase that it falls in, and its cells as explored."""
        for table, row, column in self._cells(design):
            table.mark_asked(row, column)
        noted = _Asked(design, greedy, self.phase == "exploration", self._update_count)
        self._asked += 1
        return noted

    def _count_greedy(self, asked: _Asked) -> None:
        """Counts greedy choices of one design, where the tables changed between them, or nothing is left to change them."""
        if asked.design != self._greedy_design:
            self._greedy_design, self._greedy_streak = asked.design, 1
        elif asked.updates > self._greedy_updates or len(self._seen) == self._space.size:
            self._greedy_streak += 1
        self._greedy_updates = asked.updates

    def _learning_rate(self) -> float:
        """Equation 3; n is the number of episodes already passed in the second phase."""
        n = self._passed
        return self.alpha * self.alpha_decay ** (n * (n + 1) / 2 if self.compound_alpha else n)

    def _update(self, design: Design, reward: float, alpha: float) -> None:
        """Algorithm 2, pairs ascending: each reads the tables after it before those are updated."""
        keep = 1.0 if self.update == "printed" else 1 - alpha
        for i, j, table, opened in self._updates:
            row = 0 if j in self._alone else design[i]
            column = design[j]  # the row in which the next layers stand, in each opened table
            old = table.q[row][column]
            if not opened or any(self._has_unvisited(after, column) for after in opened):
                value = keep * old + alpha * reward  # lines 3 and 6
            else:
                # Line 8; Fig. 8a: over the union of the rows.
                highest = max([after.row_max[column] for after in opened])
                value = (1 - alpha) * old + alpha * (reward + self.gamma * highest)
            table.update(row, column, value)
        self._update_count += 1

    def _has_unvisited(self, table: QTable, row: int) -> bool:
        """Line 5."""
        if self.next_unvisited == "row":
            return bool(table.unvisited[row])
        return any(table.unvisited)

    def _cells(self, design: Design) -> Iterable[tuple[QTable, int, int]]:
        """The cell of each table that a design uses."""
        for i, j, table, _ in self._updates:
            yield table, 0 if j in self._alone else design[i], design[j]
