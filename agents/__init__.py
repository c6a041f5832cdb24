"""Learners that play the game of `marl_hpo_env` for the whole team of agents.

They use only the environment's public names, so that a stranger's learner has all that these have.
"""

from agents.callbacks import Callback
from agents.coordination_graph import CoordinationGraph
from agents.independent_q import IndependentQ
from agents.pairwise_q import PairwiseQ
from agents.playing import play
from agents.protocol import Episode, Learner, TurnBasedLearner
from agents.random_search import RandomSearch
from agents.registry import learner, learners
from agents.rivals.local_search import LocalSearch
from agents.rivals.manas import Manas
from agents.rivals.optuna_samplers import OptunaGP, OptunaMOTPE, OptunaNSGA2, OptunaTPE
from agents.rivals.predictor import Predictor
from agents.rivals.regularized_evolution import RegularizedEvolution
from agents.rivals.reinforce import Reinforce
from agents.rivals.sequential_q import SequentialQ
from agents.rivals.vdn import ValueDecomposition

__all__ = [
    "Callback",
    "CoordinationGraph",
    "Episode",
    "IndependentQ",
    "Learner",
    "LocalSearch",
    "Manas",
    "OptunaGP",
    "OptunaMOTPE",
    "OptunaNSGA2",
    "OptunaTPE",
    "PairwiseQ",
    "Predictor",
    "RandomSearch",
    "RegularizedEvolution",
    "Reinforce",
    "SequentialQ",
    "TurnBasedLearner",
    "ValueDecomposition",
    "learner",
    "learners",
    "play",
]
