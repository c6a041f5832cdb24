"""Learners that play the game of `marl_hpo_env` for the whole team of agents.

They use only the environment's public names, so that a stranger's learner has all that these have.
"""

from agents.independent_q import IndependentQ
from agents.local_search import LocalSearch
from agents.manas import Manas
from agents.pairwise_q import PairwiseQ
from agents.playing import play
from agents.protocol import Episode, Learner, TurnBasedLearner
from agents.random_search import RandomSearch
from agents.registry import learner, learners
from agents.regularized_evolution import RegularizedEvolution

__all__ = [
    "Episode",
    "IndependentQ",
    "Learner",
    "LocalSearch",
    "Manas",
    "PairwiseQ",
    "RandomSearch",
    "RegularizedEvolution",
    "TurnBasedLearner",
    "learner",
    "learners",
    "play",
]
