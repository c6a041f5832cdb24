from dataclasses import replace

import pytest
import torch

import marl_hpo_env
from marl_hpo_env import InputError, PaperReward, Request, Trial, WeightedReward
from marl_hpo_env.evaluators.epoch_budget import THRESHOLD_FRACTION, calibrated, epochs_to, loss_threshold, lowered


def losses(met, epochs=10):
    """A history whose loss is 2 until it becomes 1 in epoch `met`."""
    return tuple({"train_loss": 1.0 if met and number >= met else 2.0} for number in range(1, epochs + 1))


def trial(met, status="completed"):
    return Trial(Request((0,), 0, 10), status, None, {}, losses(met))


def test_the_threshold_lies_between_guessing_and_the_original_s_last_loss():
    original = Trial(Request(None, 0, 10), "completed", None, {}, losses(7))
    assert loss_threshold(3.0, original) == pytest.approx(3.0 - THRESHOLD_FRACTION * 2.0)
    assert 0 < THRESHOLD_FRACTION < 1


def test_the_threshold_is_by_the_original_s_loss_after_its_last_epoch():
    history = tuple({"train_loss": loss} for loss in (2.5, 0.5, 1.5))
    original = Trial(Request(None, 0, 3), "completed", None, {}, history)
    assert loss_threshold(3.5, original) == pytest.approx(3.5 - THRESHOLD_FRACTION * 2.0)


@pytest.mark.parametrize(("met", "expected"), [(1, 1), (4, 4), (10, 10), (None, None)])
def test_epochs_to_the_threshold_are_read_from_the_history(met, expected):
    assert epochs_to(1.5, losses(met)) == expected
    assert epochs_to(1.0, losses(met)) == expected  # the threshold itself meets it
    assert epochs_to(0.5, losses(met)) is None


@pytest.mark.parametrize(
    ("epochs", "met", "after"),
    [
        (10, [None], 10),  # nobody met the threshold
        (10, [8, 6, None], 6),
        (6, [8], 6),  # never up again
        (10, [1], 3),  # never under three
        (3, [3], 3),
    ],
)
def test_the_budget_is_lowered_to_the_fewest_epochs_that_met_the_threshold(epochs, met, after):
    assert lowered(epochs, [trial(value) for value in met], 1.5) == after


def test_designs_that_were_terminated_do_not_lower_it():
    assert lowered(10, [trial(4, "terminated"), trial(7)], 1.5) == 7


class Scripted:
    """Designs learn in as many epochs as a script says; it notes what it was asked."""

    fingerprint = "scripted"
    measures_time = False

    def __init__(self, space, script):
        self.space, self.script, self.asked = space, script, []

    def evaluate(self, requests):
        for request in reversed(requests):  # in any order
            self.asked.append(request)
            history = losses(self.script(request.design), request.epochs)
            metrics = {"validation_accuracy": 0.5, "model_size_mb": 1.0, "epochs": request.epochs}
            yield Trial(request, "completed", None, metrics, history)


def test_calibration_trains_the_original_and_three_designs_for_ten_epochs(spaces):
    evaluator = Scripted(spaces["chain"], lambda design: 9 if design is None else 5)
    assert calibrated(evaluator, 0, 1.5) == 5
    assert evaluator.asked[-1] == Request(None, 0, 10)
    assert {request.epochs for request in evaluator.asked} == {10}
    assert len(evaluator.asked) == 4


@pytest.fixture
def make_env():
    def make(evaluator, epochs, reward=None):
        task = marl_hpo_env.task("digits-convnet")  # guessing among ten classes is a loss of ln 10
        return marl_hpo_env.env(task, evaluator=evaluator, reward=reward or PaperReward(), epochs=epochs).unwrapped

    return make


def test_a_calibrated_budget_is_fixed_from_the_first_episode_on(spaces, make_env):
    evaluator = Scripted(spaces["chain"], lambda design: 9 if design is None else 5)
    env = make_env(evaluator, "calibrated")
    (first,) = env.evaluate([spaces["chain"].design_at(0)])
    (second,) = env.evaluate([spaces["chain"].design_at(1)])
    assert (first.request.epochs, second.request.epochs) == (5, 5)
    # The original's loss after ten epochs is 1.
    ln_10 = float(torch.tensor(10.0).log())
    assert env.threshold == pytest.approx(ln_10 - THRESHOLD_FRACTION * (ln_10 - 1), rel=1e-6)


def test_a_running_budget_is_lowered_after_each_design_also_within_a_batch(spaces, make_env):
    space = spaces["chain"]
    script = {None: 9, space.design_at(0): 8, space.design_at(1): 4, space.design_at(2): 1}
    env = make_env(Scripted(space, script.get), "running")
    batch = list(env.evaluate([space.design_at(number) for number in range(4)]))
    assert [t.request.epochs for t in batch] == [10, 8, 4, 3]
    assert [t.design for t in batch] == [space.design_at(number) for number in range(4)]
    (again,) = env.evaluate([space.design_at(0)])
    assert again.request.epochs == 3


def test_a_running_budget_divides_the_accuracy_of_equation_2_by_the_epochs(spaces, make_env):
    space = spaces["chain"]
    script = {None: 9, space.design_at(0): 8, space.design_at(1): None}
    env = make_env(Scripted(space, script.get), "running")
    first, second = env.evaluate([space.design_at(0), space.design_at(1)])
    assert first.metrics["epochs_to_threshold"] == 8
    assert env.score(first) == pytest.approx(0.5 * 50 / 8 - 0.5)
    assert second.metrics["epochs_to_threshold"] is None
    assert env.score(second) == pytest.approx(0.5 * 50 / 8 - 0.5)  # it needed all its epochs, 8, and did not get there
    assert env.objectives(first)["epochs_to_threshold"] == 8
    fixed = make_env(Scripted(space, script.get), 10)
    (trained,) = fixed.evaluate([space.design_at(0)])
    assert fixed.score(trained) == pytest.approx(0.5 * 50 - 0.5)
    assert "epochs_to_threshold" not in trained.metrics


def test_a_score_per_epoch_works_with_a_fixed_budget_and_reads_trials_from_anywhere(spaces, make_env):
    space = spaces["chain"]
    evaluator = Scripted(space, lambda design: 2)
    env = make_env(evaluator, 4, PaperReward(accuracy_score="per_epoch"))
    (trained,) = evaluator.evaluate([Request(space.design_at(0), 0, 4)])  # not by the environment
    assert env.score(trained) == pytest.approx(0.5 * 50 / 2 - 0.5)


class Learning(Scripted):
    """Designs have one accuracy; the original's grows with its epochs."""

    def evaluate(self, requests):
        for trial in super().evaluate(requests):
            accuracy = 0.6 if trial.design is not None else trial.request.epochs / 20
            yield replace(trial, metrics={**trial.metrics, "validation_accuracy": accuracy})


def test_a_relative_reward_under_a_running_budget_compares_with_the_original_after_as_many_epochs(spaces, make_env):
    space = spaces["chain"]
    script = {None: 9, space.design_at(0): 8, space.design_at(1): 4}
    env = make_env(Learning(space, script.get), "running", WeightedReward({"validation_accuracy / original": 1.0}))
    # Trained for 10, 8 and 4 epochs, in which the original comes to 10/20, 8/20 and 4/20.
    trials = list(env.evaluate([space.design_at(number) for number in (0, 1, 2)]))
    assert [env.score(trial) for trial in trials] == pytest.approx([0.6 * 20 / 10, 0.6 * 20 / 8, 0.6 * 20 / 4])
    assert [env.objectives(trial)["validation_accuracy / original"] for trial in trials] == pytest.approx([1.2, 1.5, 3])
    assert env.original.request.epochs == env.epochs == 4
    # And turn by turn, where the budget falls with the last pick.
    env = make_env(Learning(space, script.get), "running", WeightedReward({"validation_accuracy / original": 1.0}))
    for number, reward in ((0, 1.2), (1, 1.5), (2, 3.0)):
        env.reset()
        for action in space.design_at(number):
            env.step(action)
        assert list(env.rewards.values()) == pytest.approx([reward] * 3)
        assert env.infos["conv1"]["validation_accuracy / original"] == pytest.approx(reward)


def test_the_designs_of_a_calibration_and_their_trainings_are_of_the_environments_seed(spaces):
    def asked(seed):
        evaluator = Scripted(spaces["chain"], lambda design: 5)
        calibrated(evaluator, seed, 1.5)
        assert {request.seed for request in evaluator.asked} == {seed}
        return [request.design for request in evaluator.asked]

    assert asked(7) == asked(7)
    assert len({tuple(asked(seed)) for seed in range(5)}) == 5


def test_under_a_fixed_budget_the_threshold_is_by_the_original_after_as_many_epochs(spaces, make_env):
    space = spaces["chain"]
    evaluator = Scripted(space, {None: 6, space.design_at(0): 2}.get)  # in 4 epochs the original stays at a loss of 2
    env = make_env(evaluator, 4, PaperReward(accuracy_score="per_epoch"))
    ln_10 = float(torch.tensor(10.0).log())
    assert env.threshold == pytest.approx(ln_10 - THRESHOLD_FRACTION * (ln_10 - 2), rel=1e-6)
    assert [env.score(trial) for trial in env.evaluate([space.design_at(0)])] == pytest.approx([0.5 * 50 / 1 - 0.5])
    assert {request.epochs for request in evaluator.asked} == {4}


def test_epochs_to_the_threshold_can_be_relative_to_the_originals(spaces, make_env):
    space = spaces["chain"]
    evaluator = Scripted(space, {None: 8, space.design_at(0): 2, space.design_at(1): None}.get)
    env = make_env(evaluator, 10, WeightedReward({"epochs_to_threshold / original": 1.0}))
    trials = list(env.evaluate([space.design_at(0), space.design_at(1)]))
    # The second never meets it: it needed all ten epochs.
    assert [env.objectives(trial) for trial in sorted(trials, key=lambda trial: trial.design)] == [
        {"epochs_to_threshold / original": 2 / 8},
        {"epochs_to_threshold / original": 10 / 8},
    ]


def test_budgets_that_do_not_exist_are_refused(spaces, make_env):
    evaluator = Scripted(spaces["chain"], lambda design: 5)
    with pytest.raises(InputError, match="There is no epoch budget 'walking'"):
        make_env(evaluator, "walking")
    with pytest.raises(InputError, match="whole number from 1"):
        make_env(evaluator, 0)


def test_a_real_task_without_a_loss_limit_can_be_calibrated():
    task = marl_hpo_env.task("digits-convnet")
    env = marl_hpo_env.env(replace(task, limits=marl_hpo_env.Limits()), epochs="calibrated").unwrapped
    assert 3 <= env.epochs <= 10
    assert 0 < env.threshold < env.task.guessing_loss
