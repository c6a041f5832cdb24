import pytest
from torch import nn

import marl_hpo_env
from experiments.commands.scoring_options import read_scoring
from marl_hpo_env import Metric, PaperReward, WeightedReward
from marl_hpo_env.metrics import macro_f1, mean_squared_error


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "my_scoring.py").write_text(
        "from marl_hpo_env import Metric\n"
        "def right(outputs, targets):\n    return float((outputs.argmax(1) == targets).float().mean())\n"
        "wrong = Metric(lambda outputs, targets: 1 - right(outputs, targets), -1, 'fraction')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def digits(**changed):
    return marl_hpo_env.task("digits-convnet", **changed)


def test_nothing_given_changes_nothing():
    task = digits()
    assert read_scoring([], None, None)(task) is task


def test_metrics_loss_and_score_are_the_task_s_and_the_reward_follows_the_score(own_module):
    options = ["f1=marl_hpo_env.metrics:macro_f1", "right = my_scoring:right", "wrong=my_scoring.py:wrong"]
    task = read_scoring(options, "torch.nn:CrossEntropyLoss", "validation_f1")(digits())
    assert task.metrics["f1"] is macro_f1
    assert (task.metrics["right"].better, task.metrics["right"].unit) == (1, "fraction")
    assert task.metrics["wrong"].better == -1
    assert isinstance(task.loss, nn.CrossEntropyLoss)
    assert (task.score, str(task.reward)) == ("validation_f1", "1 validation_f1 - 0.2 model_size_mb / original")


def test_a_score_whose_lower_values_are_better_counts_negatively(own_module):
    task = read_scoring(["wrong=my_scoring:wrong"], None, "validation_wrong")(digits())
    assert str(task.reward) == "- 1 validation_wrong - 0.2 model_size_mb / original"


def test_equation_2_takes_the_score_by_itself(own_module):
    from dataclasses import replace

    task = read_scoring(["f1=marl_hpo_env.metrics:macro_f1"], None, "validation_f1")(
        replace(digits(), reward=PaperReward())
    )
    assert [objective.metric for objective in task.reward.objectives] == ["validation_f1", "model_size_mb"]


@pytest.mark.parametrize(
    ("metrics", "loss", "mentioned"),
    [
        (["f1"], None, ("'f1'", "f1=package.module:function")),
        (["=math:hypot"], None, ("'=math:hypot'",)),
        (["f1=macro_f1"], None, ("'macro_f1'", "package.module:name")),
        (["f1=marl_hpo_env.metrics:f2"], None, ("f2",)),
        (["f1=math:pi"], None, ("3.14", "function")),
        (["f1=torch.nn:MSELoss"], None, ("the class MSELoss",)),
        (["a=math:hypot", "a=math:dist"], None, ("'a'", "twice")),
        ([], "torch.nn:HubberLoss", ("HubberLoss",)),
    ],
)
def test_what_cannot_be_read_is_refused_before_the_task_is_loaded(refused, metrics, loss, mentioned):
    with refused(*mentioned):
        read_scoring(metrics, loss, None)


def test_a_score_that_the_task_has_not_is_refused(refused):
    with refused("score", "'validation_f1'"):
        read_scoring([], None, "validation_f1")(digits())


def test_the_reward_keeps_its_constraints_and_other_weights(own_module):
    from dataclasses import replace

    reward = WeightedReward({"validation_accuracy / original": 2, "flops": 0.5}, ["model_size_mb <= 1"])
    task = read_scoring(["e=marl_hpo_env.metrics:mean_squared_error"], None, "validation_loss")(
        replace(digits(), reward=reward)
    )
    assert task.reward.weights == {"validation_loss / original": 2, "flops": 0.5}
    assert task.reward.constraints == ("model_size_mb <= 1",)
    assert isinstance(mean_squared_error, Metric)
