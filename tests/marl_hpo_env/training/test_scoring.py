import math

import pytest
import torch

from marl_hpo_env.data.splits import Data
from marl_hpo_env.training.scoring import LOSSES, Accuracy, Scoring, losses


def test_the_dice_loss_and_coefficient_by_hand():
    # Two planes of 2x2. Logits so large that the sigmoid is 0 or 1.
    big = 100.0
    scores = torch.tensor([[[[big, big], [-big, -big]], [[-big, -big], [-big, -big]]]])
    masks = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    # Plane 1: overlap 1, predicted 2, true 2: (2*1 + 1) / (2 + 2 + 1) = 0.6. Plane 2: (0 + 1) / (0 + 0 + 1) = 1.
    assert float(losses(scores, masks, LOSSES["masks"])[0]) == pytest.approx(1 - (0.6 + 1) / 2)
    score = Accuracy("masks")
    score.add(scores, masks)
    # Without smoothing: plane 1: 2*1 / (2 + 2) = 0.5; plane 2, empty and predicted so: 1.
    assert score.value() == pytest.approx((0.5 + 1) / 2)


def test_the_dice_coefficient_is_that_of_all_batches_together():
    score = Accuracy("masks")
    for predicted, true in ((4, 4), (0, 2)):
        scores, masks = -torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
        scores.view(-1)[:predicted] = 1
        masks.view(-1)[:true] = 1
        score.add(scores, masks)
    assert score.value() == pytest.approx(2 * 4 / (4 + 6))  # not the mean of 1 and 0


def test_accuracy_counts_right_classes_over_all_batches():
    score = Accuracy("classes")
    score.add(torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), torch.tensor([1, 0, 0]))
    score.add(torch.tensor([[0.1, 0.9]]), torch.tensor([1]))
    assert score.value() == 3 / 4


def test_auxiliary_heads_weigh_three_tenths_each_and_only_in_the_loss():
    targets = torch.tensor([0, 1])
    main, side = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 3.0], [3.0, 0.0]])
    ce = torch.nn.functional.cross_entropy
    expected = ce(main, targets) + 0.3 * ce(side, targets) + 0.3 * ce(side, targets)
    for output in (
        (main, side, side),
        {"out": main, "aux": side, "other": side},
    ):  # the second as torchvision's DeepLab
        total, own = losses(output, targets, LOSSES["classes"])
        assert total == pytest.approx(float(expected))
        assert own == pytest.approx(float(ce(main, targets)))
        score = Accuracy("classes")
        score.add(output, targets)
        assert score.value() == 1


def guessing(targets, loss=None, **settings):
    """The loss of guessing of training targets."""
    examples = torch.zeros(len(targets), 1, *(targets.shape[2:] or (1, 1))), targets
    score = "validation_r2" if settings.get("kind") == "values" else "validation_accuracy"
    return Scoring(Data(examples, examples, examples, **settings), loss, score=score).guessing


def test_guessing_knows_nothing():
    assert guessing(torch.tensor([0, 3, 9])) == pytest.approx(math.log(10))
    masks = torch.zeros(1, 1, 10, 10)
    masks[..., :5] = 1
    # Half everywhere: overlap 25, predicted 50, true 50.
    assert guessing(masks) == pytest.approx(1 - 51 / 101)


def test_a_single_example_is_right_or_wrong():
    for target, expected in ((1, 1.0), (0, 0.0)):
        score = Accuracy("classes")
        score.add(torch.tensor([[0.1, 0.9]]), torch.tensor([target]))
        assert score.value() == expected


def test_a_pixel_is_predicted_where_its_probability_is_above_one_half():
    # Scores are logits: above 0, probabilities above one half.
    score = Accuracy("masks")
    score.add(torch.tensor([[[[0.1, -0.1]]]]), torch.tensor([[[[1.0, 1.0]]]]))
    assert score.value() == pytest.approx(2 * 1 / (1 + 2))


def test_labels_are_trained_by_binary_cross_entropy_and_judged_by_the_share_that_is_right():
    scores, labels = torch.tensor([[2.0, -1.0], [0.5, 3.0]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    by_hand = [
        math.log(1 + math.exp(-2)),
        math.log(1 + math.exp(1)),
        math.log(1 + math.exp(0.5)),
        math.log(1 + math.exp(-3)),
    ]
    assert float(losses(scores, labels, LOSSES["labels"])[0]) == pytest.approx(sum(by_hand) / 4)
    accuracy = Accuracy("labels")
    accuracy.add(scores, labels)
    accuracy.add(scores[:1], labels[:1])
    assert accuracy.value() == pytest.approx(3 / 6)


def test_values_are_standardised_on_training_alone_and_have_no_accuracy():
    train, other = torch.tensor([[10.0, 7.0], [30.0, 7.0]]), torch.tensor([[50.0, 9.0]])
    parts = [(torch.zeros(len(targets), 1), targets) for targets in (train, other, other)]
    scoring = Scoring(Data(*parts, kind="values"), score="validation_r2")
    # Mean 20 and deviation 10; a value that never changes stays as it is, less its mean.
    assert scoring.data.train[1].tolist() == [[-1, 0], [1, 0]]
    assert scoring.data.validation[1].tolist() == [[3, 2]]
    assert scoring.units.own(torch.tensor([[3.0, 2.0]])).tolist() == [[50, 9]]
    figures = scoring.figures(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), scoring.data.train[1])
    # In their own units: 20 for 10, 30 for 30, and 7 twice.
    assert figures["mae"] == 10 / 4
    assert Accuracy("values").value() is None


def test_guessing_labels_and_values_is_the_best_constant_in_closed_form():
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert guessing(labels, kind="labels") == pytest.approx((entropy + 0) / 2)
    values = torch.tensor([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]])
    # Standardised, one value has variance 1; the one that never changes has none.
    assert guessing(values, kind="values") == pytest.approx((1 + 0) / 2)


def test_guessing_under_a_loss_of_ones_own_is_the_best_constant_that_is_found():
    classes = torch.tensor([0, 0, 0, 1])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert guessing(classes, torch.nn.CrossEntropyLoss()) == pytest.approx(entropy, rel=1e-5)  # not log 2
    values = torch.tensor([[0.0], [0.0], [9.0]])
    # The median, which is standardised -1/sqrt(2); of three one is off, by 3/sqrt(2).
    assert guessing(values, torch.nn.L1Loss(), kind="values") == pytest.approx(1 / math.sqrt(2), rel=1e-3)
    masks = torch.zeros(3, 1, 2, 2)
    masks[:, :, 0] = 1
    assert guessing(masks, torch.nn.BCEWithLogitsLoss()) == pytest.approx(math.log(2), rel=1e-5)


def test_a_loss_that_is_no_number_for_any_constant_is_refused(refused):
    with refused("loss", "finite"):
        guessing(torch.tensor([0, 1]), lambda outputs, targets: outputs.sum() * math.nan)
