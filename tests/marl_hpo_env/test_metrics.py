"""Metrics that come with the package, and what one of a user's own may be."""

import pytest
import torch

from marl_hpo_env import Loss, Metric, metrics
from marl_hpo_env.metrics import measures

SCORES = torch.tensor([[2.0, 1.0, 0.0], [3.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 5.0]])
CLASSES = torch.tensor([0, 0, 0, 2])  # predicted 0, 0, 1, 2
LABELS = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
LOGITS = torch.tensor([[3.0, -1.0], [-2.0, 1.0], [-3.0, 2.0], [-1.0, 3.0]])  # labels 1 0, 0 1, 0 1, 0 1
VALUES = torch.tensor([[1.0, 10.0], [3.0, 10.0]])
GIVEN = torch.tensor([[1.0, 12.0], [2.0, 10.0]])


def planes(*rows):
    """One example of as many planes of one row."""
    return torch.tensor(rows, dtype=torch.float32)[None, :, None]


MASKS, PIXELS = planes([1, 1, 0, 0], [0, 0, 0, 0]), planes([1, -1, 1, -1], [-1, -1, -1, -1])


@pytest.mark.parametrize(
    ("metric", "outputs", "targets", "expected"),
    [
        # Of class 0 two of three are found, of class 2 its one; nobody is of class 1.
        (metrics.balanced_accuracy, SCORES, CLASSES, (2 / 3 + 1) / 2),
        # Of the first label half of those with it and all without; of the second all with it and half without.
        (metrics.balanced_accuracy, LOGITS, LABELS, ((1 / 2 + 1) / 2 + (1 + 1 / 2) / 2) / 2),
        # F1 of class 0 is 2*2 / (2 + 3), of class 1, which is predicted once and never right, 0, of class 2 it is 1.
        (metrics.macro_f1, SCORES, CLASSES, (4 / 5 + 0 + 1) / 3),
        (metrics.macro_f1, LOGITS, LABELS, (2 / 3 + 4 / 5) / 2),
        (metrics.macro_f1, LOGITS[:, :1], LABELS[:, :1], 2 / 3),
        # Class 0 has the softmax .67, .84, .21 against .007: every pair in order; class 2 likewise.
        (metrics.auc, SCORES, CLASSES, 1.0),
        # First label: of the pairs (3, -2) against (-3, -1) three are in order. Second: (1, 3) against (-1, 2) likewise.
        (metrics.auc, LOGITS, LABELS, 3 / 4),
        # First plane: two pixels predicted, two there, one both. The second is empty on both sides.
        (metrics.dice, PIXELS, MASKS, (2 * 1 / 4 + 1) / 2),
        (metrics.iou, PIXELS, MASKS, (1 / 3 + 1) / 2),
        (metrics.iou.of_output(0), PIXELS, MASKS, 1 / 3),
        (metrics.mean_squared_error, GIVEN, VALUES, (0 + 4 + 1 + 0) / 4),
        (metrics.mean_absolute_error, GIVEN, VALUES, 3 / 4),
        # First value: squares of 1 against a variance of 2 * 1.
        (metrics.r2.of_output(0), GIVEN, VALUES, 1 - 1 / 2),
    ],
)
def test_a_metric_by_hand(metric, outputs, targets, expected):
    assert metric.function(outputs, targets) == pytest.approx(expected)


def test_a_split_whose_metric_cannot_be_computed_says_so():
    with pytest.warns(UserWarning, match="Only one class"):
        assert metrics.auc.function(LOGITS, torch.ones(4, 2)) != metrics.auc.function(LOGITS, torch.ones(4, 2))  # NaN


def test_own_metrics_are_of_validation_and_test_in_their_unit_and_direction():
    found = measures({"cost": Metric(len, -1, "euros")})
    assert found["validation_cost"][:3] == ("euros", -1, "epoch")
    assert found["test_cost"][:3] == ("euros", -1, "training")
    assert not found["validation_cost"].fraction
    assert found["validation_r2"].fraction


@pytest.mark.parametrize(
    ("name", "metric", "mentioned"),
    [
        ("test_f1", Metric(len), ("'test_f1'", "leave out")),
        ("validation_f1", Metric(len), ("'validation_f1'", "leave out")),
        ("accuracy", Metric(len), ("'accuracy'", "taken")),
        ("loss", Metric(len), ("'loss'", "taken")),
        ("r2", metrics.r2, ("'r2'", "taken")),
        ("flops", Metric(len), ("'flops'", "taken")),
        ("f1 score", Metric(len), ("'f1 score'",)),
        (1, Metric(len), ("name 1",)),
        ("f1", len, ("'f1'", "Metric(function")),
    ],
)
def test_a_metric_that_cannot_be_told_from_others_is_refused(refused, name, metric, mentioned):
    with refused(*mentioned):
        measures({name: metric})


@pytest.mark.parametrize(
    ("make", "mentioned"),
    [
        (lambda: Metric("f1"), ("'f1'", "function")),
        (lambda: Metric(torch.nn.MSELoss), ("the class MSELoss",)),
        (lambda: Metric(len, better="high"), ("'high'", "+1")),
        (lambda: Metric(len, better=True), ("True", "+1")),
        (lambda: Metric(len, unit=""), ("unit", "''")),
        (lambda: Metric(len, name=3), ("name", "3")),
        (lambda: Loss(torch.nn.CrossEntropyLoss), ("the class CrossEntropyLoss",)),
        (lambda: Loss(0.5), ("0.5",)),
    ],
)
def test_what_is_no_metric_or_loss_is_refused(refused, make, mentioned):
    with refused(*mentioned):
        make()
