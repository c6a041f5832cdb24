"""Every layer of a CNN is an agent: the environment in which multi-agent learners design networks.

The game is that of Iranfar, Zapater and Atienza, "Multi-Agent Reinforcement Learning for Hyperparameter Optimization of
Convolutional Neural Networks". Importing this package registers its tasks with PettingZoo and Gymnasium, and does not
import torch.

    >>> import marl_hpo_env
    >>> marl_hpo_env.tasks()[:2]
    ['digits-branches', 'digits-convnet']
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from marl_hpo_env.augmentation import Augmentation
from marl_hpo_env.builtin_tasks import task, tasks
from marl_hpo_env.errors import InputError
from marl_hpo_env.evaluator import Evaluator, StoredEvaluator
from marl_hpo_env.game import Game
from marl_hpo_env.padded import PaddedObservations
from marl_hpo_env.pareto import hypervolume, non_dominated
from marl_hpo_env.recipe import Limits, Recipe
from marl_hpo_env.registration import env, parallel_env, register
from marl_hpo_env.reward import PaperReward, Reward, WeightedReward
from marl_hpo_env.space import Design, Layer, SearchSpace
from marl_hpo_env.store import Store
from marl_hpo_env.table import Table
from marl_hpo_env.table_evaluator import TableEvaluator
from marl_hpo_env.trial import METRICS, Request, Trial
from marl_hpo_env.tuning_task import Task

if TYPE_CHECKING:
    from marl_hpo_env.brats import brats18
    from marl_hpo_env.cifar_files import cifar
    from marl_hpo_env.data import Data
    from marl_hpo_env.image_files import ImageFiles
    from marl_hpo_env.imagenet_files import imagenet
    from marl_hpo_env.images import image_folder
    from marl_hpo_env.isic import isic18
    from marl_hpo_env.saved_network import load_network, save_network
    from marl_hpo_env.training_evaluator import TrainingEvaluator
    from marl_hpo_env.tunable_network import TunableNetwork

__all__ = [
    "METRICS",
    "Augmentation",
    "Data",
    "Design",
    "Evaluator",
    "Game",
    "ImageFiles",
    "InputError",
    "Layer",
    "Limits",
    "PaddedObservations",
    "PaperReward",
    "Recipe",
    "Request",
    "Reward",
    "SearchSpace",
    "Store",
    "StoredEvaluator",
    "Table",
    "TableEvaluator",
    "Task",
    "TrainingEvaluator",
    "Trial",
    "TunableNetwork",
    "WeightedReward",
    "brats18",
    "cifar",
    "env",
    "hypervolume",
    "image_folder",
    "imagenet",
    "isic18",
    "load_network",
    "non_dominated",
    "parallel_env",
    "save_network",
    "task",
    "tasks",
]

_WITH_TORCH = {
    "Data": "data",
    "ImageFiles": "image_files",
    "TrainingEvaluator": "training_evaluator",
    "TunableNetwork": "tunable_network",
    "brats18": "brats",
    "cifar": "cifar_files",
    "image_folder": "images",
    "imagenet": "imagenet_files",
    "isic18": "isic",
    "load_network": "saved_network",
    "save_network": "saved_network",
}


def __getattr__(name: str) -> Any:
    """Imports what needs torch when it is first asked for."""
    if name in _WITH_TORCH:
        import importlib

        return getattr(importlib.import_module(f"marl_hpo_env.{_WITH_TORCH[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


register()
