"""What the suite of frameworks reads and reports."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import marl_hpo_env
from experiments.comparison.recorded import recordings
from experiments.suites import frameworks
from experiments.suites.frameworks import (
    PLAYERS,
    ahead_from,
    best_at_random,
    compressed,
    head,
    lines_of_code,
    report,
    trained,
)
from marl_hpo_env import InputError, RecordEpisodes

SCRIPT = '''# /// script
# requires-python = ">=3.11"
# dependencies = ["marl-hpo-env", "some-package[all]>=2.9", "other"]
# ///
"""A training.

In two paragraphs.
"""

import argparse

# a comment
print(argparse)
'''


def test_a_head_says_what_a_script_needs():
    needs = head(SCRIPT)
    assert needs.requires_python == ">=3.11"
    assert needs.names == ["marl-hpo-env", "some-package", "other"]


@pytest.mark.parametrize(
    "text", ["print()\n", "# /// script\n# dependencies = [\n# ///\n", "# /// script\n# a = 1\n# ///\n"]
)
def test_a_script_without_a_head_is_refused_in_a_sentence(text):
    with pytest.raises(InputError, match="PEP 723"):
        head(text)


def test_lines_of_code_are_neither_head_nor_docstring_nor_comments():
    assert lines_of_code(SCRIPT) == 2


def test_random_search_is_expected_to_have_the_mean_at_first_and_nearly_the_best_at_last():
    rewards = np.array([0.0, 1.0, 3.0, 4.0])
    expected = best_at_random(rewards, 100)
    assert expected[0] == pytest.approx(2.0)
    assert expected[1] == pytest.approx(np.mean([max(a, b) for a in rewards for b in rewards]))
    assert expected[-1] == pytest.approx(4.0)


def test_a_training_is_ahead_from_the_last_time_that_it_was_not():
    at_random = np.array([1.0, 2.0, 3.0, 4.0])
    assert ahead_from(np.array([[2.0, 0.0, 2.0, 9.0]]), at_random) == 4
    assert ahead_from(np.array([[2.0, 3.0, 4.0, 5.0]]), at_random) == 1
    assert ahead_from(np.array([[9.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]), at_random) == 1
    assert ahead_from(np.array([[9.0, 0.0, 0.0, 0.0], [-9.0, -9.0, -9.0, -9.0]]), at_random) is None


@pytest.fixture
def recorded(tmp_path):
    def record(table, seed, episodes):
        env = marl_hpo_env.parallel_env(table, evaluator="table")
        env = RecordEpisodes(env, tmp_path / f"{table}-{seed}.jsonl")
        rng = np.random.default_rng(seed)
        for _ in range(episodes):
            env.reset()
            env.step(dict(zip(env.agents, env.unwrapped.space.sample(rng), strict=True)))
        ((recording,),) = recordings([f"x={tmp_path}/{table}-{seed}.jsonl"]).values()
        return recording

    return record


def test_a_compressed_recording_is_read_as_the_run_that_it_is(recorded, tmp_path):
    recording = recorded("digits-convnet", 0, 6)
    (tmp_path / "a.jsonl.gz").write_bytes(compressed(recording, 4))
    ((read,),) = recordings([f"x={tmp_path}/a.jsonl.gz"]).values()
    assert (read.header, list(read.episodes)) == (recording.header, list(recording.episodes[:4]))
    assert compressed(recording, 4) == compressed(recording, 4)


def test_a_compressed_recording_that_was_cut_short_is_refused(recorded, tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(compressed(recorded("digits-convnet", 0, 6), 6)[:-9])
    with pytest.raises(InputError, match="cut short"):
        recordings([f"x={tmp_path}/a.jsonl.gz"])


def test_the_report_has_every_training_and_how_rewards_rise_on_each_table(recorded):
    played = {
        "maskable_ppo": [
            recorded(table, seed, 120) for table in ("digits-branches", "digits-convnet") for seed in (0, 1)
        ],
        "skrl_ippo": [recorded("digits-convnet", 2, 50)],
    }
    measured = {
        "maskable_ppo": {"versions": {"sb3-contrib": "2.9.2"}, "ours": 1234.5, "theirs": 2345.0},
        "skrl_ippo": {"versions": {"skrl": "2.1.1"}, "ours": 400.0, "theirs": None},
    }
    text = report(played, measured)
    lines = text.splitlines()
    of_first = [line for line in lines if line.startswith(f"| {PLAYERS['maskable_ppo'].title} |")]
    convnet = np.array([[one["reward"] for one in run.episodes] for run in played["maskable_ppo"][2:]])
    assert "| sb3-contrib 2.9.2 | " in of_first[0]
    assert of_first[0].endswith(
        f"| 120 | {convnet[:, :50].mean():.3f} | {convnet[:, -50:].mean():.3f} | 1,234 | 2,345 |"
    )
    assert len(of_first) == 5  # the overview, and two tables for each of both benchmarks
    of_second = [line for line in lines if line.startswith(f"| {PLAYERS['skrl_ippo'].title} |")]
    assert of_second[0].endswith("| 400 | - |")
    assert of_second[1].endswith(" | - |")
    assert len(of_second) == 2


def test_a_training_that_fails_or_ends_too_early_is_said_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(frameworks, "EXAMPLES", tmp_path)
    monkeypatch.setattr(frameworks, "python_of", lambda file: sys.executable)
    (tmp_path / "mine.py").write_text("raise ValueError('no such thing')")
    with pytest.raises(InputError, match=r"Mine on 'digits-convnet' with seed 0 has failed: ValueError: no such thing"):
        trained(frameworks.Player("Mine", "mine"), "digits-convnet", 0)
