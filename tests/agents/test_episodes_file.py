"""The episodes of a run in a file that can be read at any time."""

from __future__ import annotations

import math

import pytest

from agents import Episode
from agents.episodes_file import EpisodesFile, best_of, read_episodes


def episode(design, reward, terminated=False):
    return Episode(design, reward, {"flops": math.nan if terminated else reward / 2}, terminated)


def test_every_episode_is_there_at_once_and_a_line_that_is_being_written_is_left_out(tmp_path):
    path = tmp_path / "episodes.csv"
    with EpisodesFile(path, ["flops"], ["a", "b"]) as file:
        assert read_episodes(path) == []
        file.write(episode((0, 1), -0.5), "exploration", None)
        (line,) = read_episodes(path)
        assert (line.reward, line.terminated, line.design(2)) == (-0.5, False, (0, 1))
        file.write(episode((10, 2), 0.1 + 0.2), "", None)
        file.write(episode((3, 3), 9.0, terminated=True), "", None)
        assert [line.reward for line in read_episodes(path)] == [-0.5, 0.1 + 0.2, 9.0]
    whole = path.read_text()
    assert whole.splitlines()[0] == "episode,phase,reward,terminated,flops,a,b"
    for cut in range(len(whole)):
        path.write_text(whole[:cut])
        assert [line.reward for line in read_episodes(path)] == [-0.5, 0.1 + 0.2, 9.0][
            : max(0, whole[:cut].count("\n") - 1)
        ]


def test_the_best_is_the_first_of_the_highest_rewards_that_completed(tmp_path):
    path = tmp_path / "episodes.csv"
    with EpisodesFile(path, ["flops"], ["a"]) as file:
        for number, (reward, terminated) in enumerate([(1.0, False), (3.0, True), (2.0, False), (2.0, False)]):
            file.write(episode((number,), reward, terminated), "", None)
    best = best_of(read_episodes(path))
    assert best is not None
    assert best.design(1) == (2,)
    assert best_of([]) is None
    assert best_of([line for line in read_episodes(path) if line.terminated]) is None


def test_the_reward_as_printed_has_a_column(tmp_path):
    path = tmp_path / "episodes.csv"
    with EpisodesFile(path, ["flops"], ["a"]) as file:
        file.write(episode((1,), 1.0), "", -7.0)
    assert path.read_text().splitlines() == [
        "episode,phase,reward,reward_as_printed,terminated,flops,a",
        "1,,1.0,-7.0,0,0.5,1",
    ]
    assert read_episodes(path)[0].design(1) == (1,)


@pytest.mark.parametrize("reward", [b"x", b"0.7u", b"\xf4", b"", b'"' + b"1" * 200_000 + b'"'])
def test_a_damaged_file_is_refused(tmp_path, refused, reward):
    path = tmp_path / "episodes.csv"
    path.write_bytes(b"episode,phase,reward,terminated,flops,a\n1,," + reward + b",0,0.5,3\n")
    with refused(str(path), "cannot be read", "writes them anew"):
        read_episodes(path)
