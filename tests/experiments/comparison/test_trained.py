"""Learners on networks that are trained while they play."""

from __future__ import annotations

import csv
import json
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.commands.task_options import TaskOptions
from experiments.comparison import trained
from experiments.comparison.contest import Contest, Run
from experiments.comparison.report import BETTER, reward_table
from experiments.comparison.trained import RewardCurves, Trainings, is_timed
from marl_hpo_env import (
    InputError,
    PaperReward,
    RecordEpisodes,
    Request,
    Store,
    Task,
    TrainingEvaluator,
    Trial,
    WeightedReward,
    parallel_env,
)
from marl_hpo_env import task as named_task
from marl_hpo_env.catalog import registry
from marl_hpo_env.catalog.surrogate import EPOCHS, SURROGATE
from marl_hpo_env.evaluators import surrogate
from marl_hpo_env.evaluators.forest import Forest
from marl_hpo_env.evaluators.surrogate import packed

BOTH = ("compare", "--learners", "pairwise-q,random", "--seeds", 2, "--episodes", 3, "--jobs", 1, "--device", "cpu")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Task:
    """A task without a table, whose trainings last one epoch."""
    digits = named_task("digits-convnet")
    made = replace(digits, name="tiny", recipe=replace(digits.recipe, epochs=1, max_epochs=1))
    monkeypatch.setitem(registry._FACTORIES, "tiny", lambda: made)
    return made


def curves_of(reward: object, best: dict[str, list[list[float]]]) -> RewardCurves:
    made = RewardCurves.__new__(RewardCurves)
    made.name, made.reward, made.evaluations, made.checkpoints = "tiny", reward, 2, [1, 2]
    made.best = {name: np.array(rewards) for name, rewards in best.items()}
    made.by_episode = {}
    made.seconds = {name: np.array([60.0, 180.0]) for name in best}
    contests = [Contest("random", "tiny", (), (), seed, 2) for seed in (0, 1)]
    made.runs = {name: [Run(contest, [4, 4, 5], 0.5, "these versions") for contest in contests] for name in best}
    return made


def test_the_table_by_hand():
    curves = curves_of(
        WeightedReward({"validation_accuracy": 1}),
        {"random": [[0.5, 0.7], [0.5, 0.7]], "pairwise-q": [[0.6, 0.8], [0.6, 0.8]]},
    )
    title, header, rows = reward_table(curves)
    assert title == "tiny: best reward, 1 validation_accuracy, in hundredths"
    assert header == ["learner", "at 1", "at 2", "distinct", "episodes", "trained, min", "ms/episode", BETTER]
    assert rows == [
        ["pairwise-q", "60 [60,60]", "80 [80,80]", "2", "3", "2.0", "0.5", "-"],
        ["random", "50 [50,50]", "70 [70,70]", "2", "3", "2.0", "0.5", "0 [0,0]"],
    ]
    # Eq. 2 is in percentage points already.
    title, _, rows = reward_table(curves_of(PaperReward(), {"random": [[3.0, 31.5], [3.0, 31.5]]}))
    assert title == "tiny: best reward, Eq. 2 with c_A = 0.5"
    assert rows[0][2] == "31.5 [31.5,31.5]"


def test_learners_of_a_seed_share_its_trainings_and_nothing_is_done_again(marl_hpo, tiny, tmp_path, monkeypatch):
    out = tmp_path / "out"
    code, _, err = marl_hpo(*BOTH, "--task", "tiny", "--out", out)
    assert code == 0, err
    assert {path.name for path in out.iterdir()} >= {"runs.jsonl", "runs.csv", "report.md", "rewards-tiny.png"}
    store = Store(out / "trials.sqlite")
    trials = {(trial.design, trial.request.seed): trial for _, trial in store.trials()}
    store.close()
    assert {seed for _, seed in trials} == {0, 1}
    with (out / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["learner"], row["seed"], row["distinct"]) for row in rows] == [
        (name, seed, "3") for name in ("pairwise-q", "random") for seed in ("0", "1")
    ]
    # The best reward is that of the trainings that are kept.
    runs = trained.Trainings(out, TaskOptions().task, "cpu", True)
    (played,) = [run for run in map(_run, (out / "runs.jsonl").read_text().splitlines()) if run[:2] == ("random", 1)]
    designs = [tiny.space.design_at(number) for number in played[2]]
    score = runs.environment("tiny", 1).score
    best = max(score(trials[design, 1]) for design in designs)
    assert float(rows[-1]["reward_3"]) == pytest.approx(best, rel=1e-5)
    report = (out / "report.md").read_text()
    assert "## tiny: best reward, " in report
    assert " on cpu for " in report
    assert "| random |" in report
    # A user's second command: nobody plays again.
    contests = []
    monkeypatch.setattr(Trainings, "run", lambda self, contest: contests.append(contest))
    assert marl_hpo(*BOTH, "--task", "tiny", "--out", out)[0] == 0
    assert contests == []


def _run(line: str) -> tuple:
    """Learner, seed and designs of a finished run."""
    name, _, _, _, seed, _, designs, *_ = json.loads(line)
    return name, seed, designs


def test_two_jobs_come_to_the_same_as_one(marl_hpo, tmp_path):
    given = ["--task", "digits-convnet", "--width", "1/2", "--learners", "random", "--seeds", 2, "--episodes", 2]
    rewards = []
    for jobs in (1, 2):
        out = tmp_path / str(jobs)
        code, _, err = marl_hpo("compare", *given, "--device", "cpu", "--jobs", jobs, "--out", out)
        assert code == 0, err
        with (out / "runs.csv").open() as file:
            rewards.append([(row["task"], row["seed"], row["reward_2"]) for row in csv.DictReader(file)])
    assert rewards[0] == rewards[1]
    assert rewards[0][0][0] == "digits-convnet-1-2"


def test_each_device_has_a_job_and_other_vector_instructions_are_refused_by_who_is_strict(marl_hpo, tmp_path):
    given = ["compare", "--task", "digits-convnet", "--width", "1/2", "--learners", "random", "--seeds", 2]
    given += ["--out", tmp_path]
    rewarded = ["--weight", "inference_ms_per_batch=1"]
    code, _, err = marl_hpo(*given, "--device", "cpu,cpu:0", "--jobs", 2, "--episodes", 1, *rewarded)
    assert code == 0, err  # with one job per device times are measured alone
    store = Store(tmp_path / "trials.sqlite")
    for fingerprint, trial in list(store.trials()):
        store.put(fingerprint, replace(trial, machine="NEON"))
    store.close()
    code, _, err = marl_hpo(*given, "--jobs", 1, "--device", "cpu", "--episodes", 2, "--strict")
    assert (code, "made with NEON, and a new one with" in err) == (2, True)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--task", "tiny", "--task", "digits-convnet"],
            "The task 'tiny' is trained and 'digits-convnet' is a table; com",
        ),
        (["--task", "TABLE", "--width", "1/2"], "is not trained, so it takes none of --data-dir, --images"),
        (["--task", "tiny", "--data-dir", "."], "The task 'tiny' brings its own data"),
        (["--task", "tiny", "--images", "a.npz"], "The task 'tiny' brings its own data; leave out --images"),
        (["--task", "vgg16-cifar10"], "The task 'vgg16-cifar10' needs its data"),
        (["--task", "tiny", "--width", "2"], "The width '2' is not one over a whole number"),
        (["--task", "tiny", "--weight", "flops=1", "--learner", "randm"], "There is no learner 'randm'"),
        (
            ["--task", "tiny", "--weight", "inference_ms_per_batch=1", "--jobs", "2"],
            "measured only alone; use --jobs 1.",
        ),
        (
            ["--task", "tiny", "--weight", "peak_memory_mb=1"],
            "The reward needs 'peak_memory_mb', which is not measured",
        ),
        (["--task", "tiny", "--device", "abacus"], "The device 'abacus' cannot be used on this machine"),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_writes_nothing(marl_hpo, five, tmp_path, arguments, sentence):
    given = [five if argument == "TABLE" else argument for argument in arguments]
    code, _, err = marl_hpo(
        "compare", *(["--jobs", 1] if "--jobs" not in given else []), *given, "--out", tmp_path / "out"
    )
    assert code == 2
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_surrogate_is_played_and_nothing_is_trained(tmp_path, monkeypatch):
    leaf = dict.fromkeys(("feature", "threshold", "left", "right", "roots", "base"), np.zeros(1)) | {
        "value": np.array([0.3])
    }
    original = Trial(Request(None, 0, EPOCHS), "completed", None, {"flops": 4e7, "model_size_mb": 4.0})
    about, noise = {"limits": {"flops_ratio": None}}, dict.fromkeys(("design", "seed"), np.zeros((2, 2)))
    content = packed(
        SURROGATE, named_task(SURROGATE).space, EPOCHS, [original], {"accuracy": Forest(leaf)}, noise, about
    )
    (tmp_path / f"{SURROGATE}.npz").write_bytes(content)
    monkeypatch.setattr(surrogate, "_SHIPPED", tmp_path)
    made = Trainings(tmp_path / "out", named_task, "cpu", True, (("validation_accuracy", 1.0),))
    made.check(SURROGATE)
    played = made.run(Contest("random", SURROGATE, (), (), 0, 4))
    assert made.replayed(played)[0].tolist() == pytest.approx([0.3] * 4)


def test_times_count_only_where_nothing_runs_beside(tiny, tmp_path):
    limited = replace(tiny, limits=replace(tiny.limits, batch_ratio=2.0))
    assert is_timed(limited, tiny.reward)
    assert is_timed(tiny, WeightedReward({"inference_ms_per_batch": 1}))
    assert not is_timed(tiny, tiny.reward)
    for alone in (True, False):
        made = Trainings(tmp_path, lambda name: limited, "cpu", alone)
        assert made.task("limited").limits.batch_ratio == (2.0 if alone else None)
    timed = Trainings(tmp_path, lambda name: tiny, "cpu", False, (("inference_ms_per_batch", 1.0),))
    with pytest.raises(InputError, match="use --jobs 1"):
        timed.check("tiny")


def test_a_run_hangs_on_trainings_reward_epochs_and_the_learner_s_code(tiny, tmp_path):
    contest = Contest("random", "tiny", (), (), 0, 2)

    def basis(task: Task, weights: tuple = ()) -> str:
        return Trainings(tmp_path, lambda name: task, "cpu", True, weights).basis(contest)

    longer = replace(tiny, recipe=replace(tiny.recipe, epochs=2))
    slower = replace(tiny, recipe=replace(tiny.recipe, learning_rate=1e-4))
    rewarded = replace(tiny, reward=PaperReward())
    told = [basis(task) for task in (tiny, longer, slower, rewarded)] + [basis(tiny, (("flops", 1.0),))]
    assert len(set(told)) == 5
    assert basis(tiny) == told[0]


def test_trainings_can_be_sent_to_another_process_and_load_there(tmp_path):
    made = Trainings(tmp_path / "out", TaskOptions(divisor=2).task, "cpu", True)
    made.check("digits-convnet")
    sent = pickle.loads(pickle.dumps(made))
    assert sent.task("digits-convnet").space == made.task("digits-convnet").space
    assert not (tmp_path / "out").exists()


def test_a_training_that_was_recorded_elsewhere_stands_beside_learners_whose_networks_are_trained(
    marl_hpo, tiny, tmp_path
):
    trains = TrainingEvaluator(tiny, device="cpu")
    for seed in (0, 1):
        env = parallel_env(tiny, trains, seed=seed)
        env = RecordEpisodes(env, tmp_path / f"ppo-{seed}.jsonl")
        for action in (0, 1):
            env.reset()
            env.step(dict.fromkeys(env.agents, action))
    out = tmp_path / "out"
    code, said, err = marl_hpo(*BOTH, "--task", "tiny", "--recorded", f"my PPO={tmp_path}/ppo-*.jsonl", "--out", out)
    assert code == 0, err
    assert "my PPO" in said
    assert (out / "rewards-tiny-episodes.png").exists()
    with (out / "runs.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["learner"] == "my PPO"]
    for seed, row in enumerate(rows):
        lines = (tmp_path / f"ppo-{seed}.jsonl").read_text().splitlines()
        episodes = [json.loads(line) for line in lines[1:]]
        assert float(row["reward_3"]) == pytest.approx(max(episode["reward"] for episode in episodes), rel=1e-5)
        assert float(row["training_seconds"]) == pytest.approx(sum(one["seconds"] for one in episodes), rel=1e-5)
        assert (row["seed"], row["distinct"], row["episodes"]) == (str(seed), "2", "2")
    code, _, err = marl_hpo(
        *BOTH, "--task", "tiny", "--weight", "flops=1", "--recorded", f"my PPO={tmp_path}/ppo-*.jsonl", "--out", out
    )
    assert (code, "has the reward" in err) == (2, True)


def test_a_run_is_replayed_in_its_order_with_repeats(tmp_path):
    # The reward of an episode hangs on how many came before, as under a running budget.
    class Falling:
        def __init__(self) -> None:
            self.space = SimpleNamespace(design_at=lambda number: (number,))
            self.reward, self.played = None, 0

        def evaluate(self, designs):
            self.played += len(designs)
            yield SimpleNamespace(request=(designs[0], self.played), metrics={"seconds": 2.0})

        def score(self, trial):
            return 1.0 / self.played

    made = Trainings(tmp_path, lambda name: None, "cpu", True)
    made.environment = lambda name, seed: Falling()  # type: ignore[method-assign]
    run = Run(Contest("random", "tiny", (), (), 0, 2), [7, 7, 3], 0.5, "these versions")
    rewards, seconds = made.replayed(run)
    assert rewards.tolist() == pytest.approx([1, 1 / 2, 1 / 3])
    assert seconds == 6.0


def test_the_suite_live_trains_also_where_there_is_a_table(marl_hpo, tmp_path, monkeypatch):
    asked: list[tuple[str, Path]] = []

    def stop(self: Trainings, name: str) -> None:
        asked.append((name, self.folder))
        raise InputError("Far enough.")

    monkeypatch.setattr(Trainings, "check", stop)
    code, _, err = marl_hpo("compare", "--suite", "live", "--out", tmp_path / "out")
    assert (code, err.strip()) == (2, "marl-hpo: Far enough.")
    assert asked == [("digits-convnet", tmp_path / "out")]
