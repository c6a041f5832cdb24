"""What the game and the paper's learner cost beside the trainings.

Claim (aims of the project; the paper's VIII-D reports 2 ms of overhead per episode):
- the learner alone stays under 0.2 ms per episode on a chain of 20 layers of 20 actions each;
- a live step of the environment costs no more than one of PettingZoo's tic-tac-toe, raw beside raw and wrapped beside
  wrapped, measured alternately in the same run;
- learner and live steps grow linearly from 10 to 1,000 layers.

Rewards are instant (a formula), so nothing else is measured. A live step is one `last()` and one `step()` of an agent that
has not terminated; PettingZoo's bookkeeping of finished agents, which is quadratic in their number, is reported apart.
Each figure is the median over repetitions. Run: `python -m experiments.benchmarks.overhead` (needs the extra `benchmarks`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

from agents import Episode, PairwiseQ
from experiments.benchmarks.results import write_results
from marl_hpo_env import METRICS, Layer, Request, SearchSpace, Trial, WeightedReward, env, task
from marl_hpo_env.environments.turn_based import TurnBasedEnvironment

ACTIONS = 20
LAYERS = (10, 20, 100, 1000)


class InstantEvaluator:
    """Rewards by formula: the mean action, as a fraction."""

    fingerprint = "instant"
    measures_time = False

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Trial]:
        for request in requests:
            assert request.design is not None
            accuracy = sum(request.design) / (len(request.design) * ACTIONS)
            metrics: dict[str, float | None] = dict.fromkeys(METRICS)
            yield Trial(request, "completed", None, {**metrics, "validation_accuracy": accuracy})


def chain(layers: int) -> SearchSpace:
    """Layers of 20 actions, each feeding the next."""
    names = [f"conv{i}" for i in range(layers)]
    return SearchSpace(
        Layer(name, "Conv2d", {"out_channels": range(ACTIONS)}, (names[i - 1],) if i else ())
        for i, name in enumerate(names)
    )


def learner_ms(layers: int, episodes: int) -> dict[str, float]:
    """Milliseconds per episode of `ask(1)` and `tell`, in each phase."""
    learner = PairwiseQ(
        exploration_episodes=episodes, max_exploitation_episodes=episodes, convergence_episodes=episodes
    )
    learner.reset(chain(layers), 0)
    times: dict[str, list[float]] = {}
    for _ in range(2 * episodes):
        phase = learner.phase
        start = time.perf_counter()
        (design,) = learner.ask(1)
        learner.tell([Episode(design, sum(design) / (layers * ACTIONS), {}, False)])
        times.setdefault(phase, []).append(1e3 * (time.perf_counter() - start))
    return {phase: median(values) for phase, values in times.items()}


def loop_ms(layers: int, episodes: int) -> float:
    """Milliseconds per episode of a user's own loop: environment, learner and reward."""
    learner = PairwiseQ(exploration_episodes=episodes)
    game = _environment(layers, wrapped=True)
    learner.reset(game.unwrapped.space, 0)
    times = []
    for _ in range(episodes):
        start = time.perf_counter()
        game.reset()
        for agent in game.agent_iter():
            observation, _, termination, _, _ = game.last()
            game.step(None if termination else learner.act(agent, observation))
        inner = game.unwrapped
        learner.tell([Episode(inner.design, inner.score(inner.trial), inner.objectives(inner.trial), False)])
        times.append(1e3 * (time.perf_counter() - start))
    return median(times)


def step_us(
    make: Callable[[], Any], action: Callable[[Any], int], live_steps: int, episodes: int
) -> tuple[float, float]:
    """Microseconds per live step, and per step of a finished agent."""
    game = make()
    live, dead = [], []
    for _ in range(episodes):
        game.reset(seed=0)
        start = time.perf_counter()
        for _ in range(live_steps):
            game.last()
            game.step(action(game))
        live.append(1e6 * (time.perf_counter() - start) / live_steps)
        finished = 0
        start = time.perf_counter()
        while game.agents and all(game.terminations.values()):
            game.step(None)
            finished += 1
        if finished:
            dead.append(1e6 * (time.perf_counter() - start) / finished)
    return median(live), median(dead) if dead else 0.0


def _environment(layers: int, wrapped: bool) -> Any:
    accurate = replace(task("digits-convnet"), reward=WeightedReward({"validation_accuracy": 1.0}))
    make = env if wrapped else TurnBasedEnvironment
    return make(accurate, evaluator=InstantEvaluator(chain(layers)))


def beside_tictactoe(ours: Callable[[], float], theirs: Callable[[], float]) -> dict[str, float]:
    """The medians of both games' figures, measured alternately, and of their ratio."""
    pairs = [(ours(), theirs()) for _ in range(20)]
    return {
        "ours_us": median(a for a, _ in pairs),
        "tictactoe_us": median(b for _, b in pairs),
        "ratio": median(a / b for a, b in pairs),
    }


def first_legal_move(game: Any) -> int:
    """An action of tic-tac-toe."""
    return int(game.unwrapped.board.legal_moves()[0])


def _live_steps(wrapped: bool) -> dict[str, float]:
    """Live steps of both games; ours on as many live steps as theirs, without the evaluation."""
    from pettingzoo.classic.tictactoe import tictactoe

    make = tictactoe.env if wrapped else tictactoe.raw_env
    return beside_tictactoe(
        lambda: step_us(lambda: _environment(20, wrapped), lambda game: 3, 5, 100)[0],
        lambda: step_us(make, first_legal_move, 5, 100)[0],
    )


def measure() -> dict[str, Any]:
    """Everything that the header claims."""
    growth = {}
    for layers in LAYERS:
        episodes = max(20, 4000 // layers)
        phases = learner_ms(layers, episodes)
        steps = {
            wrapped: step_us(partial(_environment, layers, wrapped), lambda game: 3, layers, max(3, 2000 // layers))
            for wrapped in (False, True)
        }
        growth[str(layers)] = {
            "learner_exploration_ms_per_episode": phases["exploration"],
            "learner_exploitation_ms_per_episode": phases["exploration-exploitation"],
            "loop_ms_per_episode": loop_ms(layers, max(5, 2000 // layers)),
            "raw_live_step_us": steps[False][0],
            "live_step_us": steps[True][0],
            "finished_step_us": steps[True][1],
        }
    return {
        "raw": _live_steps(wrapped=False),
        "wrapped": _live_steps(wrapped=True),
        "layers": growth,
        # Per layer at 1,000 layers relative to per layer at 10: 1 is linear.
        "growth_per_layer": {
            "learner_exploration": _per_layer(growth, "learner_exploration_ms_per_episode"),
            "learner_exploitation": _per_layer(growth, "learner_exploitation_ms_per_episode"),
            "raw_live_step": growth["1000"]["raw_live_step_us"] / growth["10"]["raw_live_step_us"],
            "live_step": growth["1000"]["live_step_us"] / growth["10"]["live_step_us"],
        },
    }


def _per_layer(growth: dict[str, dict[str, float]], figure: str) -> float:
    return (growth["1000"][figure] / 1000) / (growth["10"][figure] / 10)


if __name__ == "__main__":
    write_results("overhead", ["pettingzoo", "numpy"], measure())
