"""Learners that play the game of `marl_hpo_env` for the whole team of agents.

They use only the environment's public names, so that a stranger's learner has all that these have.
"""

from agents.pairwise_q import PairwiseQ
from agents.playing import play
from agents.protocol import Episode, Learner, TurnBasedLearner
from agents.random_search import RandomSearch
from agents.registry import learner, learners

__all__ = ["Episode", "Learner", "PairwiseQ", "RandomSearch", "TurnBasedLearner", "learner", "learners", "play"]
