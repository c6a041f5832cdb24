"""What the options say of the reward."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.commands.reward_options import read_reward
from marl_hpo_env import PaperReward, task


def test_eq_2_takes_another_weight_and_score_and_keeps_the_rest():
    vgg16 = task("vgg16-cifar10")
    assert repr(read_reward([], [], 0.8)(vgg16)) == repr(PaperReward(0.8))
    assert repr(read_reward([], [], None, "per_epoch")(vgg16)) == repr(PaperReward(0.5, "per_epoch"))
    own = replace(vgg16, reward=PaperReward(0.3, "per_epoch", "printed"))
    assert repr(read_reward([], [], 0.8, "final")(own)) == repr(PaperReward(0.8, "final", "printed"))
    assert read_reward([], [])(vgg16) is None


def test_within_is_a_bound_on_the_task_s_score_in_points_or_in_its_own_units():
    digits = task("digits-convnet")

    def bound(of):
        (constraint,) = read_reward(["parameters=1"], [], within=0.5)(of).constraints
        return constraint

    assert bound(digits) == "validation_accuracy >= original - 0.005"
    assert bound(replace(digits, score="validation_loss")) == "validation_loss <= original + 0.5"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--accuracy-weight", "1.5"], "The accuracy weight of Eq. 2 is 1.5; it is a number at least 0 and at most 1."),
        (["--accuracy-score", "last"], "There is no accuracy score 'last'"),
        (
            ["--accuracy-weight", "0.8", "--weight", "parameters=1"],
            "Both --weight or --within and --accuracy-weight say",
        ),
        (["--accuracy-score", "final", "--within", "1"], "Both --weight or --within and --accuracy-score say"),
        (
            ["--accuracy-weight", "0.8", "--task", "digits-convnet"],
            "The reward of 'digits-convnet' is not Eq. 2, so --acc",
        ),
        (["--accuracy-weight", "0.8", "--constraint", "parameters <= 5"], "Eq. 2 takes no constraints"),
        (["--accuracy-score", "final", "--epochs", "running"], "leave out --accuracy-score final"),
        (["--baseline", "randm"], "There is no learner 'randm'; did you mean 'random'"),
        (["--baseline", "pairwise-q"], "The baseline 'pairwise-q' is the learner itself; name another."),
    ],
)
def test_what_does_not_fit_is_one_sentence(marl_hpo, tmp_path, arguments, sentence):
    given = [] if "--task" in arguments else ["--task", "vgg16-cifar10"]
    code, _, err = marl_hpo("tune", *given, *arguments, "--out", tmp_path / "run")
    assert code == 2
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
