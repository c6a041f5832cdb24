import pytest

from marl_hpo_env import InputError, Limits, Request, Trial
from marl_hpo_env.evaluators.epoch_budget import calibrated, lowered


def trial(met, status="completed"):
    return Trial(Request((0,), 0, 10), status, None, {"epochs_to_threshold": met})


@pytest.mark.parametrize(
    ("epochs", "met", "after"),
    [
        (10, [None], 10),  # nobody met the limit
        (10, [8, 6, None], 6),
        (6, [8], 6),  # never up again
        (10, [1], 3),  # never under three
        (3, [3], 3),
    ],
)
def test_the_budget_is_lowered_to_the_fewest_epochs_that_met_the_limit(epochs, met, after):
    assert lowered(epochs, [trial(value) for value in met]) == after


def test_designs_that_were_terminated_do_not_lower_it():
    assert lowered(10, [trial(4, "terminated"), trial(7)]) == 7


class Scripted:
    """Designs meet the limit in as many epochs as a script says; it notes what it was asked."""

    fingerprint = "scripted"
    measures_time = False

    def __init__(self, space, script):
        self.space, self.script, self.asked = space, script, []

    def evaluate(self, requests):
        for request in reversed(requests):  # in any order
            self.asked.append(request)
            met = self.script(request.design)
            metrics = {"validation_accuracy": 0.5, "model_size_mb": 1.0, "epochs_to_threshold": met}
            yield Trial(request, "completed", None, metrics)


def test_calibration_trains_the_original_and_three_designs_for_ten_epochs(spaces):
    evaluator = Scripted(spaces["chain"], lambda design: 9 if design is None else 5)
    assert calibrated(evaluator, seed=0) == 5
    assert evaluator.asked[-1] == Request(None, 0, 10)
    assert {request.epochs for request in evaluator.asked} == {10}
    assert len(evaluator.asked) == 4


def test_a_calibrated_budget_is_fixed_from_the_first_episode_on(spaces, make_env):
    evaluator = Scripted(spaces["chain"], lambda design: 9 if design is None else 5)
    env = make_env(evaluator, "calibrated")
    (first,) = env.evaluate([spaces["chain"].design_at(0)])
    (second,) = env.evaluate([spaces["chain"].design_at(1)])
    assert (first.request.epochs, second.request.epochs) == (5, 5)


def test_a_running_budget_is_lowered_after_each_batch(spaces, make_env):
    space = spaces["chain"]
    script = {space.design_at(0): 8, space.design_at(1): 4, space.design_at(2): 1}
    env = make_env(Scripted(space, script.get), "running")
    batch = list(env.evaluate([space.design_at(0), space.design_at(1)]))
    assert [t.request.epochs for t in batch] == [10, 10]
    (third,) = env.evaluate([space.design_at(2)])
    (fourth,) = env.evaluate([space.design_at(3)])
    assert (third.request.epochs, fourth.request.epochs) == (4, 3)


@pytest.fixture
def make_env():
    from dataclasses import replace

    import marl_hpo_env

    def make(evaluator, epochs, limits=None):
        task = replace(marl_hpo_env.task("digits-convnet"), limits=limits or Limits(loss=2.0))
        reward = marl_hpo_env.PaperReward()
        return marl_hpo_env.env(task, evaluator=evaluator, reward=reward, epochs=epochs).unwrapped

    return make


def test_a_budget_by_the_loss_limit_needs_one_and_others_do_not_exist(spaces, make_env):
    evaluator = Scripted(spaces["chain"], lambda design: 5)
    with pytest.raises(InputError, match="needs a loss limit"):
        make_env(evaluator, "running", Limits())
    with pytest.raises(InputError, match="There is no epoch budget 'walking'"):
        make_env(evaluator, "walking")
    with pytest.raises(InputError, match="whole number from 1"):
        make_env(evaluator, 0)
