"""Improvements, worked by hand."""

from __future__ import annotations

import pytest

from experiments.reproduction.finds import Find, improvement, improvements, labels, values
from experiments.reproduction.paper import TABLE_V, papers_case
from experiments.reproduction.table5 import reasons
from experiments.reproduction.trainings import the_papers_learner
from marl_hpo_env import METRICS, PaperReward, Request, Trial, WeightedReward


def find(network, seed, accuracy, size, train, inference=None):
    measured = {
        "test_accuracy": accuracy,
        "model_size_mb": size,
        "train_ms_per_batch": train,
        "inference_ms_per_batch": inference,
    }
    trial = Trial(Request(None, seed, None), "completed", None, dict.fromkeys(METRICS) | measured)
    return Find("task", network, seed, None, 3, 3, 4, 0.5, 1.0, 2.0, trial)


FOUND = [
    find("original", 0, 0.5, 8.0, 10.0),
    find("pairwise-q", 0, 0.75, 2.0, 5.0),
    find("original", 1, 0.5, 8.0, 10.0),
    find("pairwise-q", 1, 0.5, 1.0, 20.0),
]


def test_networks_are_compared_seed_by_seed():
    better = improvements(FOUND, "pairwise-q", "original")
    assert better == {"accuracy": [25.0, 0.0], "size": [4.0, 8.0], "training": [50.0, -100.0], "inference": []}
    assert labels(FOUND) == ["original", "pairwise-q"]
    assert values(FOUND, "pairwise-q", "model_size_mb") == [2.0, 1.0]
    assert values(FOUND, "pairwise-q", "inference_ms_per_batch") == []


def test_why_a_find_is_larger_or_less_accurate_than_the_original_is_said_with_the_figures():
    assert reasons(FOUND, PaperReward()) == []
    worse = [find("original", 0, 0.5, 2.0, 10.0), find("pairwise-q", 0, 0.25, 8.0, 5.0)]
    worse[1].final.metrics["epochs"] = 12
    assert reasons(worse, PaperReward(accuracy_weight=0.2)) == [
        "Why it is no smaller: in points of accuracy a megabyte costs 4 by Eq. 2 with c_A = 0.2, and all of the original's "
        "2 MB cost 8.",
        "Why it is less accurate: it is the best of 3 designs after an episode's epochs, while final training took 12; the "
        "original was not one of them.",
    ]
    assert len(reasons(worse, WeightedReward({"validation_accuracy": 1}))) == 1


def test_the_papers_own_improvements_come_from_its_table_5():
    proposed, original, random = (row._asdict() for row in TABLE_V["GoogLeNet", "CIFAR100"])
    against = improvement(proposed, original)
    assert against["inference"] == pytest.approx(100 * (1 - 13 / 35))  # the 63% of reading 13
    assert against["size"] == pytest.approx(48 / 22)
    assert improvement(proposed, random)["accuracy"] == pytest.approx(8.8)


@pytest.mark.parametrize(
    ("task", "case"),
    [
        ("vgg16-cifar100", ("VGG-16", "CIFAR100")),
        ("vgg16-cifar10-1-4", ("VGG-16", "CIFAR100")),
        ("googlenet-imagenet", ("GoogLeNet", "ImageNet")),
        ("unet-isic18-1-8", ("U-Net", "ISIC'18")),
        ("resnet18-cifar10", None),
        ("digits-unet", None),
        ("unet", None),
    ],
)
def test_a_task_stands_beside_the_papers_network_and_data(task, case):
    assert papers_case(task) == case


def test_episodes_are_three_fifths_in_the_first_phase():
    assert the_papers_learner(60) == "pairwise-q(exploration_episodes=36,max_exploitation_episodes=24)"
    assert the_papers_learner(None) == "pairwise-q"
