"""Each learner solves the easiest table there is, in which every layer has its own best action; a deaf one does not.

Random search finds the best of the 4^6 = 4,096 designs within N evaluations in N / 4,096 of all runs: at most one in 8.
"""

import numpy as np
import pytest

from agents import Episode
from agents.independent_q import IndependentQ
from agents.rivals.local_search import LocalSearch
from agents.rivals.manas import Manas
from agents.rivals.regularized_evolution import RegularizedEvolution
from marl_hpo_env.testing import chain

LAYERS, ACTIONS = 6, 4
SPACE = chain(*[ACTIONS] * LAYERS)

# Local search: ten starts, and 18 neighbours at each step; a climb improves each layer at most 3 times, 1.5 on average.
EVALUATIONS = {LocalSearch: 60, RegularizedEvolution: 250, IndependentQ: 250, Manas: 500}


def solves(learner, seed, evaluations):
    """Whether the learner asks for the best design of a random additive table within so many distinct designs."""
    terms = np.random.default_rng(1000 + seed).random((LAYERS, ACTIONS))
    best = tuple(terms.argmax(axis=1).tolist())
    learner.reset(SPACE, seed)
    evaluated = set()
    for _ in range(5000):
        (design,) = learner.ask(1)
        evaluated.add(design)
        if len(evaluated) > evaluations:
            return False
        if design == best:
            return True
        learner.tell([Episode(design, float(sum(terms[range(LAYERS), design])), {}, False)])
    return False


@pytest.mark.parametrize("kind", EVALUATIONS)
def test_it_is_solved_in_19_of_20_runs(kind):
    assert sum(solves(kind(), seed, EVALUATIONS[kind]) for seed in range(20)) >= 19


@pytest.mark.parametrize("kind", EVALUATIONS)
def test_a_learner_that_is_deaf_does_not_solve_it(kind):
    class Deaf(kind):
        def tell(self, episodes):
            pass

    assert sum(solves(Deaf(), seed, EVALUATIONS[kind]) for seed in range(20)) < 10
