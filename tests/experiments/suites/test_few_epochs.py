"""What a few epochs say: shorter trainings read off longer ones, and the command on real digits."""

import pytest
from typer.testing import CliRunner

from experiments.suites.few_epochs import app, at_epoch, mean_budget
from marl_hpo_env import Request, Trial


def trained(*losses: float) -> Trial:
    history = tuple(
        {"train_loss": loss, "train_accuracy": 0.5, "validation_loss": loss, "validation_accuracy": 1 - loss / 10}
        for loss in losses
    )
    return Trial(Request((0,), 0, None), "completed", None, {"epochs": len(losses), "model_size_mb": 1.0}, history)


def test_a_shorter_training_is_read_off_a_longer_one():
    shorter = at_epoch(trained(2.0, 1.5, 1.0), 2)
    assert (shorter.metrics["epochs"], shorter.metrics["train_loss"], len(shorter.history)) == (2, 1.5, 2)
    assert shorter.metrics["model_size_mb"] == 1.0
    assert at_epoch(trained(2.0, 1.5), 5).metrics["epochs"] == 2


def test_the_budget_is_the_fewest_epochs_of_the_original_and_three_designs():
    original = trained(*[2.0 - 0.1 * n for n in range(10)])  # from 2.0 to 1.1
    slow, fast = trained(*[2.0] * 10), trained(2.0, 2.0, 2.0, 1.0, *[1.0] * 6)
    # The threshold for a loss of guessing of 2.1: 2.1 - 0.5 * 1 = 1.6, which the original meets in epoch 5, `fast` in 4.
    assert mean_budget(2.1, original, [slow, slow, slow], 0.49) == 5
    assert mean_budget(2.1, original, [slow, slow, fast], 0.49) == 4
    assert mean_budget(2.1, original, [slow, slow, slow, fast], 0.49) == pytest.approx((5 + 3 * 4) / 4)


def test_the_command_trains_once_and_says_what_came_of_it(tmp_path):
    arguments = ["--task", "digits-convnet", "--designs", "3", "--max-epochs", "10", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = (tmp_path / "few-epochs-digits-convnet" / "report.md").read_text()
    for title in ("## After so many epochs", "## By the threshold of the budget", "## Designs whose median batch"):
        assert title in report
    assert "3 random designs and the original" in report
    lines = (tmp_path / "few-epochs-digits-convnet" / "epochs.csv").read_text().splitlines()
    assert len(lines) == 1 + 4 * 10
    store = (tmp_path / "few-epochs-digits-convnet" / "trials.sqlite").stat().st_mtime_ns
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert (tmp_path / "few-epochs-digits-convnet" / "trials.sqlite").stat().st_mtime_ns == store
