"""Every layer of a CNN is an agent: the environment in which multi-agent learners design networks.

The game is that of Iranfar, Zapater and Atienza, "Multi-Agent Reinforcement Learning for Hyperparameter Optimization of
Convolutional Neural Networks". Importing this package registers its tasks with PettingZoo and Gymnasium, and does not
import torch.

    >>> import marl_hpo_env
    >>> marl_hpo_env.tasks()[:2]
    ['digits-branches', 'digits-convnet']
"""

from __future__ import annotations

import marl_hpo_env.stopping  # noqa: F401 - before all that takes time to import

# isort: split
from typing import TYPE_CHECKING, Any

from marl_hpo_env.catalog.registry import task, tasks
from marl_hpo_env.catalog.task import Task
from marl_hpo_env.environments.game import Game
from marl_hpo_env.environments.recording import RecordEpisodes
from marl_hpo_env.environments.registration import env, parallel_env, register, register_task
from marl_hpo_env.errors import InputError, first_line, import_object, is_number, whole_number
from marl_hpo_env.evaluators.evaluator import Evaluator, StoredEvaluator
from marl_hpo_env.evaluators.store import Store
from marl_hpo_env.evaluators.surrogate import SurrogateEvaluator
from marl_hpo_env.evaluators.table import TableEvaluator
from marl_hpo_env.metrics import Loss, Metric
from marl_hpo_env.pareto import hypervolume, nadir, non_dominated
from marl_hpo_env.reward import Objective, PaperReward, Reward, WeightedReward
from marl_hpo_env.space import Design, Layer, SearchSpace
from marl_hpo_env.tables.table import Table
from marl_hpo_env.training.augmentation import Augmentation
from marl_hpo_env.training.recipe import Limits, Recipe
from marl_hpo_env.trial import METRICS, Request, Trial

if TYPE_CHECKING:
    from marl_hpo_env.data.brats import brats18
    from marl_hpo_env.data.cifar import cifar
    from marl_hpo_env.data.given import split
    from marl_hpo_env.data.image_folder import image_folder
    from marl_hpo_env.data.image_masks import image_masks
    from marl_hpo_env.data.image_table import image_table
    from marl_hpo_env.data.imagenet import imagenet
    from marl_hpo_env.data.isic import isic18
    from marl_hpo_env.data.lazy_images import ImageFiles
    from marl_hpo_env.data.splits import Data
    from marl_hpo_env.evaluators.ray_cluster import RayEvaluator
    from marl_hpo_env.evaluators.shared import SharedEvaluator
    from marl_hpo_env.evaluators.training import TrainingEvaluator
    from marl_hpo_env.networks.rules import Incoming, Replacement, register_rule
    from marl_hpo_env.networks.saved import load_network, save_network
    from marl_hpo_env.networks.tunable import TunableNetwork
    from marl_hpo_env.training.shared_network import SharedNetwork

__all__ = [
    "METRICS",
    "Augmentation",
    "Data",
    "Design",
    "Evaluator",
    "Game",
    "ImageFiles",
    "Incoming",
    "InputError",
    "Layer",
    "Limits",
    "Loss",
    "Metric",
    "Objective",
    "PaperReward",
    "RayEvaluator",
    "Recipe",
    "RecordEpisodes",
    "Replacement",
    "Request",
    "Reward",
    "SearchSpace",
    "SharedEvaluator",
    "SharedNetwork",
    "Store",
    "StoredEvaluator",
    "SurrogateEvaluator",
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
    "first_line",
    "hypervolume",
    "image_folder",
    "image_masks",
    "image_table",
    "imagenet",
    "import_object",
    "is_number",
    "isic18",
    "load_network",
    "nadir",
    "non_dominated",
    "parallel_env",
    "register_rule",
    "register_task",
    "save_network",
    "split",
    "task",
    "tasks",
    "whole_number",
]

_WITH_TORCH = {
    "Data": "data.splits",
    "ImageFiles": "data.lazy_images",
    "RayEvaluator": "evaluators.ray_cluster",
    "SharedEvaluator": "evaluators.shared",
    "SharedNetwork": "training.shared_network",
    "TrainingEvaluator": "evaluators.training",
    "TunableNetwork": "networks.tunable",
    "Incoming": "networks.rules",
    "Replacement": "networks.rules",
    "register_rule": "networks.rules",
    "brats18": "data.brats",
    "cifar": "data.cifar",
    "image_folder": "data.image_folder",
    "image_masks": "data.image_masks",
    "image_table": "data.image_table",
    "imagenet": "data.imagenet",
    "isic18": "data.isic",
    "load_network": "networks.saved",
    "save_network": "networks.saved",
    "split": "data.given",
}


def __getattr__(name: str) -> Any:
    """Imports what needs torch when it is first asked for."""
    if name in _WITH_TORCH:
        import importlib

        return getattr(importlib.import_module(f"marl_hpo_env.{_WITH_TORCH[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


register()
