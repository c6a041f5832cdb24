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
    total, own = losses((main, side, side), targets, LOSSES["classes"])
    assert total == pytest.approx(float(expected))
    assert own == pytest.approx(float(ce(main, targets)))
    score = Accuracy("classes")
    score.add((main, side), targets)
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
