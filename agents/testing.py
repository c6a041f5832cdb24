"""The conformance suite: what every learner owes to those who play with it, as tests for anybody's learner.

    from agents.testing import LearnerConformance


    class TestMine(LearnerConformance):
        def make(self):
            return Mine()

pytest finds the inherited tests; they need no other package. They say nothing about how well a learner learns.
"""

from __future__ import annotations

import copy
import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from agents.protocol import Episode, Learner
from marl_hpo_env import Design, SearchSpace
from marl_hpo_env.testing import SPACES, chain

LONG_CHAIN = chain(*[6] * 40)
"""A search space that no learner gets to the end of."""

Outcome = Callable[[Design], Episode]


def _completed(design: Design) -> Episode:
    """An episode whose reward, within -1 and 1, depends on every action."""
    reward = sum(math.sin(3 * position + 5 * action) for position, action in enumerate(design)) / len(design)
    return Episode(design, reward, {"validation_accuracy": (1 + reward) / 2}, False, {"validation_accuracy": +1})


def _terminated(design: Design) -> Episode:
    """An episode with a penalty below every reward of a completed one."""
    return Episode(design, -2.0, {"validation_accuracy": math.nan}, True, {"validation_accuracy": +1})


class LearnerConformance:
    """A learner's conformance tests; a subclass, whose name begins with `Test`, says how the learner is made.

    Attributes:
        episodes: the length of each run; enough to leave the first phase of most learners.
    """

    episodes = 40

    def make(self) -> Learner:
        """A new learner, not yet reset."""
        raise NotImplementedError("A subclass of LearnerConformance makes its learner in make().")

    # --- what is asked ---------------------------------------------------------------------------------------------

    def test_it_asks_for_designs_of_any_space_and_replays_them(self) -> None:
        for shape, space in {**SPACES, "chain of 40 layers": LONG_CHAIN}.items():
            described = space.describe()
            first = self._run(self.make(), space, when=f"on {shape}")
            assert space.describe() == described, f"The learner changed the search space, {shape}."
            again = self._run(self.make(), space, when=f"on {shape}")
            assert again == first, f"On {shape}, after the same seed and told the same, the learner asked for others."

    def test_it_asks_for_all_that_is_wanted_at_once(self) -> None:
        for n in (1, 2, 50):
            self._run(self.make(), SPACES["diamond"], batches=(n,), when=f"{n} at a time")

    def test_it_can_be_asked_again_before_it_is_told(self) -> None:
        for shape in ("diamond", "single", "one design"):
            learner, space = self.make(), SPACES[shape]
            learner.reset(space, 0)
            for _ in range(self.episodes // 12 + 1):
                asked = [self._ask(learner, space, n, f"on {shape}, not told of those before") for n in (1, 3, 8)]
                learner.tell([_completed(design) for designs in asked for design in designs])

    def test_once_it_has_no_more_designs_it_stays_so(self) -> None:
        learner, space = self.make(), SPACES["one design"]
        learner.reset(space, 0)
        for _ in range(self.episodes):
            if not (designs := learner.ask(1)):
                assert learner.ask(3) == [], "The learner had no more designs, was told nothing, and asked for one."
                return
            learner.tell([_completed(design) for design in designs])

    def test_the_lists_it_gave_and_got_are_its_caller_s(self) -> None:
        def clear(designs: list[Design], told: list[Episode]) -> None:
            designs.clear()
            told.clear()

        kept = self._run(self.make(), SPACES["diamond"])
        cleared = self._run(self.make(), SPACES["diamond"], after=clear)
        assert cleared == kept, "The learner asked for other designs after its caller had cleared the lists passed."

    # --- seeds and state -------------------------------------------------------------------------------------------

    def test_other_seeds_are_other_runs(self) -> None:
        runs = [self._run(self.make(), LONG_CHAIN, seed) for seed in range(3)]
        assert all(a != b for a, b in itertools.combinations(runs, 2)), "Two seeds asked for the same designs."

    def test_reset_forgets_everything(self) -> None:
        learner = self.make()
        for before, after in (("diamond", "diamond"), ("diamond", "chain"), ("one design", "merge")):
            self._run(learner, SPACES[before], seed=1)
            learner.ask(3)  # never told
            reset = self._run(learner, SPACES[after], seed=2)
            assert reset == self._run(self.make(), SPACES[after], seed=2), (
                f"Reset after a run on {before}, the learner did not ask on {after} what a new one asks."
            )

    def test_two_learners_share_nothing(self) -> None:
        alone = self._run(self.make(), SPACES["diamond"])
        other = self.make()
        other.reset(SPACES["diamond"], 7)

        def play_other(designs: list[Design], told: list[Episode]) -> None:
            other.tell([_completed(design) for design in other.ask(2)])

        beside = self._run(self.make(), SPACES["diamond"], after=play_other)
        assert beside == alone, "The learner asked for other designs while another one of its class played."

    def test_the_global_random_states_stay_as_they_are(self) -> None:
        before = _global_random_states()
        self._run(self.make(), SPACES["diamond"])
        for package, state in _global_random_states().items():
            assert state == before[package], f"The learner drew from, or seeded, the global generator of {package}."

    # --- what is told ----------------------------------------------------------------------------------------------

    def test_it_takes_in_terminated_episodes(self) -> None:
        def every_other(design: Design) -> Episode:
            return _terminated(design) if sum(design) % 2 else _completed(design)

        self._run(self.make(), SPACES["diamond"], outcome=every_other, when="told of terminated episodes")
        self._run(self.make(), SPACES["diamond"], outcome=_terminated, when="told of terminated episodes only")

    def test_it_takes_in_rewards_of_any_size(self) -> None:
        # Huge ones come of an unscaled number of operations. NumPy's silent NaN and infinity are errors here; a learner that
        # means them says so with an np.errstate of its own.
        sizes: dict[str, Callable[[float], float]] = {
            "huge": lambda reward: 1e15 * reward,
            "tiny": lambda reward: 1e-15 * reward,
            "all negative": lambda reward: reward - 1e6,
            "equal": lambda reward: 1.0,
            "zero": lambda reward: 0.0,
            "infinitesimally different": lambda reward: math.nextafter(1.0, 2.0) if reward > 0 else 1.0,
        }
        for size, change in sizes.items():

            def changed(design: Design, change: Callable[[float], float] = change) -> Episode:
                return _completed(design)._replace(reward=change(_completed(design).reward))

            with np.errstate(over="raise", invalid="raise", divide="raise"):
                self._run(self.make(), SPACES["diamond"], outcome=changed, when=f"told of rewards that are {size}")

    def test_it_does_not_change_what_it_is_told(self) -> None:
        learner, space = self.make(), SPACES["diamond"]
        learner.reset(space, 0)
        for played in range(0, self.episodes, 5):
            if not (designs := learner.ask(5)):
                return
            told = [_terminated(design) if played % 2 else _completed(design) for design in designs]
            before = copy.deepcopy(told)
            learner.tell(told)
            assert told == before, "The learner changed the episodes that it was told."

    def test_it_takes_any_sequence_of_episodes_also_an_empty_one(self) -> None:
        learner, space = self.make(), SPACES["diamond"]
        learner.reset(space, 0)
        learner.tell([])
        learner.tell(tuple(_completed(design) for design in learner.ask(3)))
        self._ask(learner, space, 3, "told a tuple of episodes")

    def test_it_takes_in_designs_that_it_never_asked_for(self) -> None:
        learner, space = self.make(), SPACES["diamond"]
        learner.reset(space, 0)
        strangers = [space.sample(np.random.default_rng(seed)) for seed in range(12)]
        learner.tell([_completed(design) for design in strangers[:4]])
        for stranger in strangers[4:]:
            designs = self._ask(learner, space, 2, "told of a design that it never asked for")
            learner.tell([_completed(stranger), *(_completed(design) for design in designs)])

    def test_it_takes_in_designs_that_are_known_before_the_first_is_asked_for(self) -> None:
        # As `play` tells its `start`: at once after reset, in batches, with repeats and terminated ones among them.
        for shape in ("chain", "diamond", "single", "one design"):
            space = SPACES[shape]
            rng = np.random.default_rng(0)
            known = [space.sample(rng) for _ in range(5)]
            batches = [[_terminated(known[0])], [*map(_completed, known[1:]), _completed(known[1])]]
            runs = []
            for learner in (self.make(), self.make()):
                learner.reset(space, 0)
                for told in batches:
                    learner.tell(told)
                asked = []
                for _ in range(0, self.episodes, 3):
                    designs = self._ask(learner, space, 3, f"on {shape}, told of designs before it asked")
                    learner.tell([_completed(design) for design in designs])
                    asked.append(designs)
                runs.append(asked)
            assert runs[0] == runs[1], f"On {shape}, told twice of the same designs, the learner asked for others."

    # --- how it is played ------------------------------------------------------------------------------------------

    def _run(
        self,
        learner: Learner,
        space: SearchSpace,
        seed: int = 0,
        *,
        batches: Sequence[int] = (1, 3, 8, 2),
        outcome: Outcome = _completed,
        after: Callable[[list[Design], list[Episode]], None] = lambda designs, told: None,
        when: str = "in an ordinary run",
    ) -> list[tuple[Design, ...]]:
        """Plays from the beginning, and returns what was asked for, batch by batch."""
        learner.reset(space, seed)
        asked: list[tuple[Design, ...]] = []
        for n in itertools.cycle(batches):
            designs = self._ask(learner, space, n, when)
            assert designs or asked, f"The learner asked for nothing at all, {when}."
            asked.append(tuple(designs))
            if not designs or sum(map(len, asked)) >= self.episodes:
                break
            told = [outcome(design) for design in designs]
            learner.tell(told)
            after(designs, told)
        return asked

    def _ask(self, learner: Learner, space: SearchSpace, n: int, when: str) -> list[Design]:
        """Asks for up to `n` designs, and checks them."""
        designs = learner.ask(n)
        assert isinstance(designs, list), f"The learner asked for {designs!r}, which is no list, {when}."
        assert len(designs) <= n, f"The learner asked for {len(designs)} designs where up to {n} were wanted, {when}."
        for design in designs:
            plain = type(design) is tuple and all(type(action) is int for action in design)
            assert plain, f"The learner asked for {design!r}, which is no tuple of int, {when}."
            assert len(design) == len(space), f"The learner asked for {design} of {len(space)} layers, {when}."
            legal = all(0 <= action < size for action, size in zip(design, space.sizes, strict=True))
            assert legal, f"The learner asked for {design} where the layers have {space.sizes} actions, {when}."
        return designs


def _global_random_states() -> dict[str, Any]:
    """The states of the generators that all code of a process shares, in a form that compares."""
    import torch

    return {
        "random": random.getstate(),
        "numpy": repr(np.random.get_state()),  # noqa: NPY002
        "torch": torch.get_rng_state().tolist(),
    }
