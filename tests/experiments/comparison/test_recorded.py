"""Runs that were played elsewhere, beside those that the command plays."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import marl_hpo_env
from experiments.comparison.contest import Benchmark, Contest
from experiments.comparison.curves import Curves
from experiments.comparison.recorded import recordings
from marl_hpo_env import InputError, RecordEpisodes, TableEvaluator, WeightedReward


def record(path, table, episodes=6, seed=0, illegal=(), trainings=0, **settings):
    """Any loop of a user's own, with illegal picks in these episodes, behind as many trainings."""
    evaluator = TableEvaluator(table)
    env = marl_hpo_env.parallel_env(
        evaluator.task, evaluator, seed=seed, observations="padded", **{"epochs": evaluator.table.epochs, **settings}
    )
    env = RecordEpisodes(env, path, trainings=trainings)
    rng = np.random.default_rng(seed)
    space = env.unwrapped.space
    most, short = max(space.sizes), np.argmin(space.sizes)
    for episode in range(episodes):
        env.reset()
        picks = list(space.sample(rng))
        if episode in illegal:
            assert space.sizes[short] < most
            picks[short] = most - 1
        env.step(dict(zip(env.agents, picks, strict=True)))


@pytest.fixture
def command(marl_hpo, tmp_path):
    def run(*given):
        common = ["--learners", "random,pairwise-q", "--seeds", 2, "--episodes", 4, "--jobs", 1]
        return marl_hpo("compare", *given, *common, "--out", tmp_path / "out")

    return run


@pytest.fixture(scope="module")
def unequal(tmp_path_factory, table_of, spaces):
    """The path of a table whose layers have unequal numbers of actions."""
    path = tmp_path_factory.mktemp("tables") / "unequal.npz"
    table_of(spaces["unequal"]).save(path)
    return str(path)


def test_recorded_runs_stand_in_tables_curves_and_statistics(command, unequal, tmp_path):
    for seed in (0, 1):
        record(tmp_path / f"ppo-{seed}.jsonl", unequal, episodes=30, seed=seed, illegal=(0, 3))
    code, said, err = command("--task", unequal, "--recorded", f"my PPO={tmp_path}/ppo-*.jsonl")
    assert code == 0, err
    assert "my PPO" in said
    out = tmp_path / "out"
    names = {path.name for path in out.iterdir()}
    assert names >= {"report.md", "regret-digits-convnet.png", "regret-digits-convnet-episodes.png"}
    report = (out / "report.md").read_text()
    assert "by episodes" in report
    header, _, *rows = (line for line in report.split("by episodes (")[1].splitlines() if line.startswith("| "))
    assert header == "| learner | at 25 | at 30 | episodes | without a design |"
    assert next(row for row in rows[:3] if row.startswith("| my PPO |")).endswith("| 30 | 2 |")
    with (out / "runs.csv").open() as file:
        by_run = {(row["learner"], row["table_seed"]): row for row in csv.DictReader(file)}
    for seed in ("0", "1"):
        episodes = [json.loads(line) for line in (tmp_path / f"ppo-{seed}.jsonl").read_text().splitlines()][1:]
        table, row = TableEvaluator(unequal), by_run["my PPO", seed]
        env = marl_hpo_env.env(table.task, table, seed=int(seed), epochs=table.table.epochs).unwrapped
        designs = [tuple(episode["design"]) for episode in episodes if episode["design"]]
        list(env.evaluate(list(dict.fromkeys(designs))[:4]))
        assert float(row["regret_4"]) == pytest.approx(env.regret, rel=1e-5)
        assert (row["distinct"], row["episodes"]) == (str(len(set(designs))), "30")
        assert (row["ms_per_episode"], row["learner_code"]) == ("", "")
        assert "recorded" in row["played_with"]


def test_files_in_a_folder_are_one_run_whose_episodes_take_turns(unequal, tmp_path):
    for name, episodes in (("a", 3), ("b", 5)):
        record(tmp_path / "seed0" / f"{name}.jsonl", unequal, episodes=episodes)
    (recording,) = recordings([f"mine={tmp_path}/seed*"])["mine"]
    rows = {
        name: [
            json.loads(line)["design"] for line in (tmp_path / "seed0" / f"{name}.jsonl").read_text().splitlines()[1:]
        ]
        for name in "ab"
    }
    a, b = rows["a"], rows["b"]
    assert [episode["design"] for episode in recording.episodes] == [a[0], b[0], a[1], b[1], a[2], b[2], b[3], b[4]]


def test_a_line_at_which_its_process_was_killed_is_left_out(unequal, tmp_path):
    path = tmp_path / "run.jsonl"
    record(path, unequal, episodes=4)
    path.write_text(path.read_text()[:-5])
    ((recording,),) = recordings([f"mine={path}"]).values()
    assert len(recording.episodes) == 3


def test_a_run_begins_behind_the_trainings_that_came_before_it(unequal, tmp_path):
    record(tmp_path / "run.jsonl", unequal, episodes=1, trainings=2.5)
    ((recording,),) = recordings([f"mine={tmp_path}/run.jsonl"]).values()
    benchmark = Benchmark(unequal)
    run = recording.run(Contest("mine", unequal, (), (), 0, 5), benchmark.table.space)
    curves = Curves(benchmark, {"mine": [run]}, 5)
    (number,), rewards, penalty = run.designs, benchmark.rewards(0), benchmark.reward.penalty
    nothing, found = rewards.max() - penalty, rewards.max() - rewards[number]
    assert found < nothing
    assert curves.regret["mine"].tolist() == [[nothing] * 3 + [found] * 2]
    assert curves.by_episode["mine"].tolist() == [[nothing] * 3 + [found]]
    worth = benchmark.worth.max() - np.array([penalty, benchmark.worth[number]])
    assert curves.worth["mine"].tolist() == [[worth[0]] * 3 + [worth[1]] * 2]
    too_few = Curves(benchmark, {"mine": [run]}, 3)
    assert too_few.regret["mine"].tolist() == [[nothing] * 3]
    every = range(benchmark.table.space.size)
    before = 3 * benchmark.seconds(every, 0) / len(every)
    assert too_few.seconds["mine"].tolist() == [before]
    assert curves.seconds["mine"].tolist() == [before + benchmark.seconds([number], 0)]


@pytest.mark.parametrize("trainings", [-1, "many"])
def test_trainings_before_are_a_number(unequal, tmp_path, trainings):
    with pytest.raises(InputError, match="trainings"):
        record(tmp_path / "run.jsonl", unequal, trainings=trainings)
    assert not (tmp_path / "run.jsonl").exists()
    record(tmp_path / "run.jsonl", unequal, episodes=1)
    header, *episodes = (tmp_path / "run.jsonl").read_text().splitlines()
    (tmp_path / "run.jsonl").write_text(
        "\n".join([json.dumps(json.loads(header) | {"trainings": trainings}), *episodes, ""])
    )
    with pytest.raises(InputError, match="cannot be read in line 1"):
        recordings([f"mine={tmp_path}/run.jsonl"])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"epochs": 2}, "has the epochs 2, and here it is 4"),
        (
            {"reward": WeightedReward({"validation_accuracy": 1})},
            "has the reward '1 validation_accuracy', and here it is",
        ),
    ],
)
def test_what_was_played_otherwise_is_refused_before_anything_is_written(command, unequal, tmp_path, changed, sentence):
    record(tmp_path / "ppo-0.jsonl", unequal)
    record(tmp_path / "ppo-1.jsonl", unequal, **changed)
    code, _, err = command("--task", unequal, "--recorded", f"my PPO={tmp_path}/ppo-*.jsonl")
    assert code == 2
    assert "ppo-1.jsonl" in err
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_another_table_or_task_is_refused(command, unequal, five, chain, tmp_path):
    for seed in (0, 1):
        record(tmp_path / f"ppo-{seed}.jsonl", unequal, seed=seed)
    pattern = f"my PPO={tmp_path}/ppo-*.jsonl"
    code, _, err = command("--task", chain, "--recorded", pattern)  # a task of the same name
    assert (code, "has the fingerprint 'table-" in err) == (2, True)
    code, _, err = command("--task", five, "--recorded", pattern)
    assert (code, "has the task 'digits-convnet', and here it is 'five'" in err) == (2, True)
    code, _, err = command("--task", five, "--task", unequal, "--recorded", pattern)
    assert (code, "0 of 'five', 2 of 'digits-convnet'" in err) == (2, True)


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["ppo.jsonl"], "write it as 'my PPO=ppo-*.jsonl'"),
        (["=ppo.jsonl"], "write it as 'my PPO=ppo-*.jsonl'"),
        (["mine=nowhere-*.jsonl"], "There is no file 'nowhere-*.jsonl'"),
        (["mine={0}/run.jsonl", "mine={0}/run.jsonl"], "there twice"),
        (["mine={0}/run.jsonl"], "There are 1 of 'digits-convnet' recorded runs of 'mine'"),
        (["random={0}/run.jsonl"], "'random' of --recorded is a learner's"),
        (["mine={0}/bad.jsonl"], "cannot be read in line 3"),
        (["mine={0}/empty.jsonl"], "cannot be read in line 1"),
        (["mine={0}/other.txt"], "cannot be read in line 1"),
        (["mine={0}/none"], "has no file that ends in .jsonl"),
        (["mine={0}/mixed"], "is not of the same run as"),
        (["mine={0}/longer*.jsonl"], "got 5"),
        (["mine={0}/illegal*.jsonl"], "has no design in it"),
    ],
)
def test_what_is_no_recording_is_one_sentence(command, unequal, tmp_path, texts, sentence):
    record(tmp_path / "run.jsonl", unequal)
    header, *lines = (tmp_path / "run.jsonl").read_text().splitlines()
    (tmp_path / "bad.jsonl").write_text("\n".join([header, lines[0], lines[1].replace("{", "["), ""]))
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "other.txt").write_text("some text\n")
    (tmp_path / "none").mkdir()
    record(tmp_path / "mixed" / "a.jsonl", unequal)
    record(tmp_path / "mixed" / "b.jsonl", unequal, seed=1)
    for seed in (0, 1):
        (tmp_path / f"longer{seed}.jsonl").write_text(
            f'{header}\n{{"design": [0, 0, 0, 0, 0], "reward": 1, "seconds": 1}}\n'
        )
        record(tmp_path / f"illegal{seed}.jsonl", unequal, episodes=2, illegal=(0, 1))
    given = [part for text in texts for part in ("--recorded", text.format(tmp_path))]
    code, _, err = command("--task", unequal, *given)
    assert (code, len(err.strip().splitlines())) == (2, 1), err
    assert sentence in err
    assert not (tmp_path / "out").exists()
