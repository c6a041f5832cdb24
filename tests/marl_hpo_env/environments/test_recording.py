"""Recorded episodes: of every kind of environment, from any loop."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import gymnasium
from gymnasium.utils.env_checker import check_env
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.test import api_test, parallel_api_test

import marl_hpo_env
from marl_hpo_env import RecordEpisodes


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_finished_design_is_a_line_with_its_reward_behind_one_that_says_what_was_played(
    spaces, turn_based, simultaneous, single_controller, tmp_path
):
    space, design = spaces["unequal"], (1, 4, 0, 2)
    played = {}
    env = RecordEpisodes(
        turn_based(space, observations="padded", masks=None, seed=3, epochs=2), tmp_path / "turns.jsonl"
    )
    assert isinstance(env, AECEnv)
    for picks in (design, (0, 4, 1), design):  # the second ends by an action that is not there
        env.reset()
        for action in picks:
            env.step(action)
    env.reset()
    env.step(0)  # never finished
    played["turns"] = env.unwrapped
    env = RecordEpisodes(simultaneous(space, observations="padded", seed=3, epochs=2), tmp_path / "at once.jsonl")
    assert isinstance(env, ParallelEnv)
    for picks in (design, (0, 4, 1, 0), design):
        env.reset()
        env.step(dict(zip(space.agents, picks, strict=True)))
    played["at once"] = env.unwrapped
    env = RecordEpisodes(single_controller(space, seed=3, epochs=2), tmp_path / "alone.jsonl")
    assert isinstance(env, gymnasium.Env)
    for picks in (design, (0, 4, 1), design):
        env.reset()
        for action in picks:
            env.step(action)
    played["alone"] = env.unwrapped
    for name, game in played.items():
        header, *episodes = lines(tmp_path / f"{name}.jsonl")
        assert header == {
            "recording": 1,
            "task": "digits-convnet",
            "fingerprint": "formula",
            "reward": str(game.reward),
            "seed": 3,
            "epochs": 2,
            "version": header["version"],
        }
        (trial,) = game.evaluate([design])
        full = {"design": list(design), "reward": game.score(trial), "seconds": trial.metrics["seconds"]}
        assert episodes == [full, {"design": None, "reward": game.reward.penalty, "seconds": None}, full]


def test_the_wrapper_passes_the_frameworks_tests(spaces, turn_based, simultaneous, single_controller, tmp_path):
    space = spaces["diamond"]
    flat = {"observations": "flat", "masks": None}
    api_test(RecordEpisodes(turn_based(space, **flat), tmp_path / "a.jsonl"), num_cycles=30)
    parallel_api_test(RecordEpisodes(simultaneous(space), tmp_path / "b.jsonl"), num_cycles=30)
    check_env(RecordEpisodes(single_controller(space), tmp_path / "c.jsonl").unwrapped)
    assert len(lines(tmp_path / "a.jsonl")) > 2


def test_environments_of_one_process_share_a_file_and_no_other_run_adds_to_it(
    spaces, simultaneous, tmp_path, refused, monkeypatch
):
    space, path = spaces["single"], tmp_path / "folder" / "run.jsonl"
    envs = [RecordEpisodes(simultaneous(space), path) for _ in range(2)]
    assert not path.exists()  # until an episode has ended
    with refused(str(path), "seed", "1"):
        RecordEpisodes(simultaneous(space, seed=1), path)
    for action in (0, 1, 2):
        for env in envs:
            env.reset()
            env.step({"conv": action})
    assert [line["design"] for line in lines(path)[1:]] == [[0], [0], [1], [1], [2], [2]]
    process = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: process + 1)
    with refused(str(path), "there already"):
        RecordEpisodes(simultaneous(space), path)


def test_an_environment_that_was_sent_to_another_process_records_where_nothing_is_yet(tmp_path, refused):
    path = tmp_path / "run.jsonl"
    env = RecordEpisodes(marl_hpo_env.parallel_env("digits-convnet", evaluator="table"), path)
    sent = tmp_path / "env.pickle"
    sent.write_bytes(pickle.dumps(env))
    code = (
        "import pickle, sys; env = pickle.load(open(sys.argv[1], 'rb')); env.reset(); "
        "env.step(dict.fromkeys(env.agents, 0))"
    )
    subprocess.run([sys.executable, "-c", code, str(sent)], check=True)
    assert [line["design"] for line in lines(path)[1:]] == [[0, 0, 0, 0, 0]]
    env.reset()
    with refused(str(path), "file of its own"):
        env.step(dict.fromkeys(env.agents, 0))


def test_another_environment_is_refused(refused, tmp_path):
    with refused("not TimeLimit"):
        RecordEpisodes(gymnasium.make("CartPole-v1"), tmp_path / "run.jsonl")
    with refused("not NoneType"):
        RecordEpisodes(None, tmp_path / "run.jsonl")
