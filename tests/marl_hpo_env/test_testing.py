"""The shipped conformance suites: what is the package's own passes them, and what breaks a protocol does not."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import nn

from marl_hpo_env import (
    Limits,
    PaperReward,
    Recipe,
    Store,
    StoredEvaluator,
    Table,
    TableEvaluator,
    Task,
    TrainingEvaluator,
    WeightedReward,
    image_folder,
)
from marl_hpo_env.data.digits import digits, digits_on_ground
from marl_hpo_env.testing import SPACES, DataConformance, EvaluatorConformance, RewardConformance

TABLE = Table.open("digits-convnet")


# --- the package's own -----------------------------------------------------------------------------------------------


def tiny_task(learning_rate=0.01, limits=Limits()):
    """A training of milliseconds, which worker processes can be sent."""
    generator = torch.Generator().manual_seed(0)
    examples = torch.rand(60, 4, generator=generator), torch.arange(60) % 3
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    recipe = Recipe(batch_size=16, epochs=2, optimizer="sgd", learning_rate=learning_rate)
    return Task("tiny", model, examples, {nn.Linear: {"out_features": (2, 4, 8)}}, recipe, limits=limits)


EVALUATORS = {
    "formula": lambda formula: formula(SPACES["diamond"]),
    "formula without times": lambda formula: formula(SPACES["dotted names"], measures_time=False),
    "formula where nothing completes": lambda formula: formula(
        SPACES["single"], statuses={None: "failed", (0,): "terminated", (1,): "failed", (2,): "terminated"}
    ),
    "formula of one design": lambda formula: formula(SPACES["one design"]),
    "stored formula": lambda formula: StoredEvaluator(formula(SPACES["chain"]), Store()),
    "stored table": lambda formula: StoredEvaluator(TableEvaluator(TABLE), Store()),
    "table": lambda formula: TableEvaluator(TABLE),
    "training": lambda formula: TrainingEvaluator(tiny_task(), "cpu"),
    "training that diverges": lambda formula: TrainingEvaluator(tiny_task(learning_rate=1e30), "cpu"),
    "training that is terminated": lambda formula: TrainingEvaluator(
        tiny_task(limits=Limits(loss=0.01, loss_epochs=1)), "cpu"
    ),
    "training in two processes": lambda formula: TrainingEvaluator(tiny_task(), "cpu", workers=2),
    "stored training": lambda formula: StoredEvaluator(TrainingEvaluator(tiny_task(), "cpu"), Store()),
}


class TestEveryEvaluator(EvaluatorConformance):
    @pytest.fixture(autouse=True, params=EVALUATORS)
    def _named(self, request, formula_evaluator):
        self.name, self.formula = request.param, formula_evaluator

    def make(self):
        return EVALUATORS[self.name](self.formula)


REWARDS = {
    "accuracy": lambda: WeightedReward({"validation_accuracy": 1}),
    "a sum of many": lambda: WeightedReward({"validation_accuracy": 3, "model_size_mb": 0.1, "flops": 1e-6, "epochs": 1}),
    "relative": lambda: WeightedReward({"validation_accuracy": 1, "model_size_mb / original": 0.2}),
    "losses and times": lambda: WeightedReward({"validation_loss": 1, "inference_ms_per_batch / original": 1}),
    "constrained": lambda: WeightedReward({"validation_accuracy": 1}, ["inference_ms_per_batch <= 5"]),
    "constrained by the original": lambda: WeightedReward(
        {"model_size_mb": 1}, ["validation_accuracy >= original - 0.1", "flops / original <= 2"]
    ),
}


class TestEveryWeightedReward(RewardConformance):
    @pytest.fixture(autouse=True, params=REWARDS)
    def _named(self, request):
        self.name = request.param

    def make(self):
        return REWARDS[self.name]()


class TestEquation2(RewardConformance):
    penalty_is_lowest = False  # as printed it gives no order between the two

    def make(self):
        return PaperReward()


class TestEquation2PerEpoch(TestEquation2):
    def make(self):
        return PaperReward(accuracy_weight=0.9, accuracy_score="per_epoch")


class TestDigits(DataConformance):
    def make(self):
        return digits()


class TestDigitsOnGround(DataConformance):
    def make(self):
        return digits_on_ground()


class TestImageFolder(DataConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path
        for number in range(30):
            place = tmp_path / "abc"[number % 3]
            place.mkdir(exist_ok=True)
            Image.new("RGB", (9, 7), (8 * number, 100, 200)).save(place / f"{number}.png")
        (tmp_path / "a" / "torn.png").write_bytes(b"")

    def make(self):
        return image_folder(self.folder, 6)
