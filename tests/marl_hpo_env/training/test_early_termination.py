"""The early termination of an episode (paper V-E, Fig. 7)."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import marl_hpo_env
from marl_hpo_env import Limits, Request
from marl_hpo_env.training.early_termination import EarlyTermination, Restart, Terminated

FAST, SLOW = ("batch", 10.0), ("batch", 10.001)  # the limit is 10 ms
LOW, HIGH = ("epoch", 2.0), ("epoch", 2.001)  # the limit is 2
LIMITS = Limits(loss=2.0, loss_epochs=2, batch_ratio=10.0, batches=3)


def outcome(script, limits=LIMITS):
    """What became of a training: where it was restarted and where it ended, as indices of the script."""
    watch = EarlyTermination(limits, limits.loss, original_ms=1.0)
    restarts = []
    for index, (what, value) in enumerate(script):
        try:
            getattr(watch, what)(value)
        except Restart:
            restarts.append(index)
        except Terminated:
            return restarts, index
    return restarts, None


@pytest.mark.parametrize(
    ("script", "restarts", "end"),
    [
        # A value at its limit violates nothing.
        ([FAST, LOW] * 20, [], None),
        # Batch time over t_th for N_t consecutive batches: at once, without a restart.
        ([SLOW, SLOW, SLOW], [], 2),
        ([FAST, SLOW, SLOW, SLOW, FAST], [], 3),
        # A batch within the limit begins the count anew.
        ([SLOW, SLOW, FAST, SLOW, SLOW, FAST], [], None),
        ([SLOW, SLOW, FAST, SLOW, SLOW, SLOW], [], 5),
        # The count goes on over the end of an epoch.
        ([SLOW, SLOW, LOW, SLOW], [], 3),
        # Epoch loss over l_th for N_l consecutive epochs: one restart, then the end.
        ([HIGH, HIGH], [1], None),
        ([HIGH, HIGH, HIGH], [1], None),
        ([HIGH, HIGH, HIGH, HIGH], [1], 3),
        ([HIGH, HIGH, LOW, LOW, LOW], [1], None),
        # An epoch within the limit begins the count anew, before the restart and after it.
        ([HIGH, LOW, HIGH, LOW, HIGH, LOW], [], None),
        ([HIGH, LOW, HIGH, HIGH, HIGH, LOW, HIGH, LOW], [3], None),
        ([HIGH, LOW, HIGH, HIGH, HIGH, LOW, HIGH, HIGH], [3], 7),
        # A batch within its limit does not touch the count of epochs, nor the other way round.
        ([HIGH, FAST, HIGH, FAST, HIGH, FAST, HIGH], [2], 6),
        # The restarted training begins with no violation, of either kind.
        ([HIGH, SLOW, SLOW, HIGH, SLOW, SLOW, FAST], [3], None),
        ([HIGH, SLOW, SLOW, HIGH, SLOW, SLOW, SLOW], [3], 6),
        # After a restart the batch limit still ends it at once.
        ([HIGH, HIGH, SLOW, SLOW, SLOW], [1], 4),
    ],
)
def test_figure_7(script, restarts, end):
    assert outcome(script) == (restarts, end)


@given(
    st.lists(st.tuples(st.sampled_from(["batch", "epoch"]), st.sampled_from([1.0, 99.0])), max_size=60),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_it_ends_at_the_last_tolerated_consecutive_violation(script, batches, loss_epochs):
    runs, restarts, end = {"batch": 0, "epoch": 0}, [], None
    for index, (what, value) in enumerate(script):
        runs[what] = runs[what] + 1 if value == 99.0 else 0
        if runs["batch"] == batches or (runs["epoch"] == loss_epochs and restarts):
            end = index
            break
        if runs["epoch"] == loss_epochs:
            restarts.append(index)
            runs = {"batch": 0, "epoch": 0}
    limits = Limits(loss=50.0, loss_epochs=loss_epochs, batch_ratio=50.0, batches=batches)
    assert outcome(script, limits) == (restarts, end)


def test_a_limit_that_is_off_is_never_violated():
    assert outcome([HIGH] * 4 + [SLOW] * 9, Limits(loss=2.0)) == ([1], 3)
    assert outcome([HIGH] * 9 + [SLOW] * 9, Limits(batch_ratio=10.0)) == ([], 13)
    assert outcome([("batch", 1e9), ("epoch", 1e9), ("flops", 1e18)] * 20, Limits()) == ([], None)


def test_no_clock_reaches_a_reward_unless_it_is_asked_for():
    assert Limits().batch_ratio is None
    assert marl_hpo_env.task("digits-convnet").limits.batch_ratio is None


def test_the_reason_says_which_limit_was_violated_and_how_often():
    watch = EarlyTermination(LIMITS, LIMITS.loss, original_ms=1.0)
    watch.batch(11)
    watch.batch(12)
    with pytest.raises(Terminated, match="3 consecutive batches took longer than 10 ms"):
        watch.batch(13)
    watch = EarlyTermination(Limits(loss_epochs=1), loss=2.5)
    with pytest.raises(Restart):
        watch.epoch(3)
    with pytest.raises(Terminated, match=r"above 2\.5 for 1 consecutive epochs"):
        watch.epoch(3)


@pytest.mark.parametrize(
    ("settings", "mentioned"),
    [
        ({"loss": 0.0}, "loss"),
        ({"loss": float("nan")}, "loss"),
        ({"batch_ratio": -1.0}, "batch_ratio"),
        ({"flops_ratio": 0.0}, "flops_ratio"),
        ({"loss_epochs": 0}, "loss_epochs"),
        ({"batches": 0}, "batches"),
        ({"loss": "guess"}, "'guess'"),
        ({"loss": "2.0"}, "'2.0'"),
        ({"batch_ratio": "guessing"}, "'guessing'"),
    ],
)
def test_a_limit_outside_its_range_is_refused(refused, settings, mentioned):
    with refused(mentioned):
        Limits(**settings)


# --- the loss of guessing -------------------------------------------------------------------------------------------


def with_targets(targets, **limits):
    """A task of these training targets."""
    import torch
    from torch import nn

    from marl_hpo_env.data.splits import Data

    examples = torch.zeros(len(targets), 1, 2, 2), targets
    limits = marl_hpo_env.Limits(**{"loss": "guessing"} | limits)
    return marl_hpo_env.Task("any", nn.Conv2d(1, 1, 1), Data(examples, examples, examples), limits=limits)


def test_the_limit_of_ten_classes_is_095_ln_10():
    import torch

    expected = 0.95 * 2.302585
    assert marl_hpo_env.task("digits-convnet").loss_limit == pytest.approx(expected)
    assert with_targets(torch.arange(10)).loss_limit == pytest.approx(expected)
    assert with_targets(torch.tensor([0, 1])).loss_limit == pytest.approx(0.95 * 0.693147)


def test_the_limit_of_masks_is_by_hand():
    import torch

    masks = torch.zeros(2, 1, 2, 2)
    masks[0, 0, 0] = masks[1, 0, 0, 0] = 1
    # One half in each of 8 pixels, 3 of them inside: 1 - (2 * 1.5 + 1) / (4 + 3 + 1) = 0.5.
    assert with_targets(masks).loss_limit == pytest.approx(0.95 * 0.5)
    # A second plane, with nothing inside: 1 - (0 + 1) / (4 + 0 + 1) = 0.8; the mean of both.
    both = torch.cat([masks, torch.zeros_like(masks)], dim=1)
    assert with_targets(both).loss_limit == pytest.approx(0.95 * 0.65)


def test_a_limit_in_numbers_is_taken_as_it_is():
    import torch

    assert with_targets(torch.arange(10), loss=1.5).loss_limit == 1.5
    assert with_targets(torch.arange(10), loss=None).loss_limit is None


def test_a_network_that_goes_on_guessing_is_terminated_and_one_that_learns_is_not():
    ours = marl_hpo_env.task("digits-convnet")
    assert ours.limits.loss == "guessing"
    numb = dataclasses.replace(ours, recipe=dataclasses.replace(ours.recipe, learning_rate=1e-12))
    learned, stuck = (
        next(marl_hpo_env.TrainingEvaluator(task, "cpu").evaluate([Request((3, 3, 3, 1, 2), 0, 2)]))
        for task in (ours, numb)
    )
    assert learned.status == "completed"
    assert stuck.status == "terminated"
    assert stuck.reason == ("The training loss stayed above 2.18746 for 2 consecutive epochs, also after a restart.")


# --- in training -----------------------------------------------------------------------------------------------------


def train(limits, epochs=5):
    """The trial of the design of the digits that is as the original, under these limits."""
    task = dataclasses.replace(marl_hpo_env.task("digits-convnet"), limits=limits)
    _, trial = task.trainer(torch.device("cpu")).train(Request((3, 3, 3, 1, 2), 0, epochs))
    return trial


def scripted(monkeypatch, losses):
    """Lets the epochs' training losses be these."""
    from marl_hpo_env.training.trainer import Trainer

    remaining = iter(losses)

    def epoch(trainer, network, optimizer, generator, limits, times, examples):
        times.append(1.0)
        return next(remaining), 0.5

    monkeypatch.setattr(Trainer, "_epoch", epoch)
    return remaining


def test_a_slow_network_is_terminated_at_once():
    trial = train(Limits(batch_ratio=1e-9, batches=3))
    assert trial.status == "terminated"
    assert trial.reason.startswith("3 consecutive batches took longer than ")
    assert len(trial.history) == 0


def test_a_network_of_too_many_flops_is_terminated_before_its_first_batch():
    trial = train(Limits(flops_ratio=0.99))
    assert trial.status == "terminated"
    flops = f"{trial.metrics['flops']:,}"
    assert trial.reason == f"Its {flops} FLOPs are over 0.99 times the original network's {flops}."
    assert (trial.metrics["parameters"] > 0, trial.metrics["epochs"], trial.history) == (True, None, ())
    assert train(Limits(flops_ratio=1.0), epochs=1).metrics["flops"] == trial.metrics["flops"]


def test_a_limit_of_flops_changes_nothing_of_the_trainings_that_keep_it():
    free, limited = train(Limits(), epochs=1), train(Limits(flops_ratio=1.0), epochs=1)
    assert limited.status == "completed"
    assert limited.history == free.history


def test_a_network_that_does_not_learn_is_restarted_once_and_then_terminated():
    trial = train(Limits(loss=1e-9, loss_epochs=2))
    assert trial.status == "terminated"
    assert len(trial.history) == trial.metrics["epochs"] == 2
    assert trial.metrics["test_accuracy"] is None


def test_a_terminated_design_gets_minus_one():
    task = dataclasses.replace(marl_hpo_env.task("digits-convnet"), limits=Limits(batch_ratio=1e-9, batches=1))
    env = marl_hpo_env.env(
        task, evaluator=marl_hpo_env.TrainingEvaluator(task, device="cpu"), reward=marl_hpo_env.PaperReward()
    )
    env.reset()
    for _ in range(5):
        env.step(0)
    assert set(env.rewards.values()) == {-1.0}
    assert env.infos["conv1"]["terminated"] == 1.0


def test_the_restart_has_fresh_weights(monkeypatch):
    from marl_hpo_env.training.trainer import Trainer

    first_losses = []
    epoch = Trainer._epoch

    def recorded(*arguments):
        seen = epoch(*arguments)
        first_losses.append(seen[0])
        return seen

    monkeypatch.setattr(Trainer, "_epoch", recorded)
    train(Limits(loss=1e-9, loss_epochs=1))
    assert len(first_losses) == 2
    # Had the second training gone on from the first one's weights, its loss would be about half as high.
    assert first_losses[1] == pytest.approx(first_losses[0], rel=0.3)
    assert first_losses[1] != first_losses[0]


def test_losses_are_watched_epoch_by_epoch(monkeypatch):
    remaining = scripted(monkeypatch, [3, 1, 3, 3, 3, 1, 3, 3, 0])
    trial = train(Limits(loss=2.0, loss_epochs=2))
    assert trial.status == "terminated"
    assert [epoch["train_loss"] for epoch in trial.history] == [3, 1, 3, 3]
    assert list(remaining) == [0]


def test_a_training_that_recovers_after_its_restart_completes(monkeypatch):
    scripted(monkeypatch, [3, 3, 3, 1, 1])
    trial = train(Limits(loss=2.0, loss_epochs=2), epochs=3)
    assert trial.status == "completed"
    assert [epoch["train_loss"] for epoch in trial.history] == [3, 1, 1]
    assert trial.metrics["epochs"] == 3
