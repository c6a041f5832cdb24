"""The command `marl-hpo compare`, as a user runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from agents import learners
from agents.registry import split
from experiments.commands.compare import _default
from experiments.comparison import contest as comparison
from experiments.comparison import suite
from experiments.pages.results import RESULTS

pytestmark = pytest.mark.usefixtures("strangers")

LEARNERS = "pairwise-q, pairwise-q(update=averaged,alpha=0.5), strangers:Climber, strangers:Climber(restart=0.5)"


def test_learners_are_compared_and_what_is_there_is_not_run_again(marl_hpo, five, chain, tmp_path, monkeypatch):
    out = tmp_path / "out"
    *first, last = names = split(LEARNERS)
    given = ["--task", five, "--task", chain, "--learners", ",".join(first), "--learner", last]
    given += ["--seeds", 2, "--episodes", 4, "--jobs", 1]
    code, said, err = marl_hpo("compare", *given, "--out", out)
    assert code == 0, err
    pictures = {"regret-five.png", "regret-digits-convnet.png", "attainment-digits-convnet.png", "profiles.png"}
    assert {path.name for path in out.iterdir()} == {"runs.jsonl", "runs.csv", "report.md", *pictures}
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    lines = [json.loads(line) for line in (out / "runs.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * 2 * 4
    assert len((out / "runs.csv").read_text().splitlines()) == 1 + 2 * 2 * 4
    report = (out / "report.md").read_text()
    for name in names:
        assert name in said
        # Regret on each task, the two hypervolumes of the task with two objectives, and the summary.
        assert report.count(f"| {name} |") == 5
    assert report.count("- strangers:Climber: restart=0.0\n") == 1
    assert "All benchmarks" in said
    assert str(out / "report.md") in said
    # A user's second command: the same report, and nobody plays.
    monkeypatch.setattr(comparison, "run", lambda contest: pytest.fail("it was run again"))
    assert marl_hpo("compare", *given, "--out", out)[0] == 0
    assert (out / "report.md").read_text() == report


def test_who_has_played_already_needs_no_package_of_an_extra(marl_hpo, tmp_path, monkeypatch):
    for package in ("nevergrad", "optuna"):
        monkeypatch.setitem(sys.modules, package, None)
    folder = tmp_path / "mine"
    folder.mkdir()
    lines = (RESULTS / "compare-accuracy" / "runs.jsonl").read_text().splitlines()
    of_table = [line for line in lines if json.loads(line)[1] == "digits-convnet"]
    (folder / "runs.jsonl").write_text("\n".join(of_table) + "\n")
    given = ["--suite", "accuracy", "--task", "digits-convnet", "--jobs", 1, "--out", folder]
    code, said, err = marl_hpo("compare", *given)
    assert code == 0, err
    assert "nevergrad" in said
    assert "optuna-tpe" in said
    assert len((folder / "runs.jsonl").read_text().splitlines()) == len(of_table)
    # A run of Nevergrad's is missing, and another one: that is said before the other is played.
    rest = [line for line in of_table if json.loads(line)[:5:4] not in (["nevergrad", 3], ["random", 0])]
    assert len(rest) == len(of_table) - 2
    (folder / "runs.jsonl").write_text("\n".join(rest) + "\n")
    code, _, err = marl_hpo("compare", *given)
    assert code == 2
    assert "install it with: pip install 'marl-hpo-env[nevergrad]'" in err
    assert len((folder / "runs.jsonl").read_text().splitlines()) == len(rest)


@pytest.mark.parametrize(
    ("name", "sentence"), [("randm", "There is no learner 'randm'"), ("random(a=1)", "no settings")]
)
def test_who_cannot_be_made_is_said_where_runs_are_too(marl_hpo, chain, tmp_path, name, sentence):
    given = ["compare", "--task", chain, "--seeds", 2, "--episodes", 2, "--jobs", 1, "--out", tmp_path]
    assert marl_hpo(*given, "--learners", "random")[0] == 0
    runs = (tmp_path / "runs.jsonl").read_text()
    code, _, err = marl_hpo(*given, "--learners", f"random,vdn,{name}")
    assert code == 2
    assert sentence in err.strip().splitlines()[-1]
    assert (tmp_path / "runs.jsonl").read_text() == runs


def test_no_number_is_broken_in_two_in_a_narrow_terminal(marl_hpo, chain, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    given = ["--task", chain, "--learners", "random,pairwise-q,regularized-evolution,local-search", "--seeds", 5]
    code, said, err = marl_hpo("compare", *given, "--episodes", 201, "--jobs", 1, "--out", tmp_path / "out")
    assert code == 0, err
    report = (tmp_path / "out" / "report.md").read_text()
    words = {word for line in report.splitlines() if line.startswith("| ") for word in line.split()} - {"|", "---"}
    assert all(word in said for word in words)
    *lines, _ = said.splitlines()  # the last one has a path
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--learners", "randm"], "There is no learner 'randm'; did you mean 'random'"),
        (["--learners", "random,random"], "name each once"),
        (["--learners", "random", "--learner", "random"], "name each once"),
        (["--learner", "nowhere:Mine"], "There is no module 'nowhere' for the learner 'nowhere:Mine'"),
        (["--learners", ","], "name at least one"),
        (["--learners", ""], "name at least one"),
        (["--task", "digits-convnet,digits-branches"], "repeat --task for each"),
        (["--learners", "random(alpha=1)"], "The learner 'random' has no settings; got 'alpha'."),
        (["--learners", "pairwise-q(alpha=2"], "cannot be read; write it as pairwise-q(setting=value)"),
        (["--learners", "pairwise-q(alpha=2)"], "alpha is 2"),
        (["--learners", "nowhere:Mine"], "There is no module 'nowhere' for the learner 'nowhere:Mine'"),
        (["--learners", "strangers:Silent"], "asks for nothing"),
        (["--task", "nowhere"], "There is no task or table 'nowhere'"),
        (["--task", "digits-convnt"], "There is no task or table 'digits-convnt'; did you mean 'digits-convnet'"),
        (["--device", "cpu"], "Nothing is trained on tables; leave out --device."),
        (["--strict"], "Nothing is trained on tables; leave out --strict."),
        (["--task", "nowhere.npz"], "The table 'nowhere.npz' cannot be read: No such file"),
        (["--weight", "accuracy=1"], "There is no metric 'accuracy'"),
        (["--weight", "validation_accuracy"], "The weight 'validation_accuracy' cannot be read"),
        (["--weight", "flops=1"], "flops"),
        (["--constraint", "model_size_mb <= 3"], "give it with --weight"),
        (["--task", "own:make"], "There is no module 'own' for the task 'own:make'"),
        (["--suite", "acuracy"], "There is no suite 'acuracy'; did you mean 'accuracy'?"),
        (["--weight", "validation_accuracy=1", "--constraint", "model_size_mb <= 0"], "have the same reward"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(marl_hpo, five, tmp_path, arguments, sentence):
    given = ["--task", five] if "--task" not in arguments else []
    code, _, err = marl_hpo(
        "compare", *given, *arguments, "--seeds", 2, "--episodes", 2, "--jobs", 1, "--out", tmp_path / "out"
    )
    assert code == 2
    last = err.strip().splitlines()[-1]
    assert last.startswith("marl-hpo: ")
    assert sentence in last
    if "Silent" not in str(arguments):  # which can be known by playing only
        assert err.strip() == last
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("several", [False, True])
def test_without_names_it_is_everyone_who_fits_the_reward_but_the_slowest_and_nevergrad(several):
    by_name, for_several = {"nevergrad", "optuna-gp", "optuna-mogp", "smac"}, {"optuna-motpe", "optuna-nsga2"}
    assert set(_default(several)) <= set(learners()) - by_name
    assert {"optuna-tpe", "pairwise-q", "random"} < set(_default(several))
    assert for_several.issubset(_default(several)) == several


def test_a_learner_of_an_extra_that_is_not_installed_is_left_out_with_a_word(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert not [name for name in _default(True) if name.startswith("optuna")]
    assert "optuna-tpe is left out: Learners of Optuna need the package 'optuna'" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--seeds", "1"], ["--seeds", "many"], ["--episodes", "0"], ["--jobs", "0"]])
def test_numbers_that_cannot_be_are_refused(marl_hpo, five, tmp_path, option):
    code, _, err = marl_hpo("compare", "--task", five, *option, "--out", tmp_path / "out")
    assert code == 2
    assert option[0] in err
    assert not (tmp_path / "out").exists()


def test_two_tables_of_one_task_are_refused(marl_hpo, five, tmp_path):
    copy = tmp_path / "copy.npz"
    copy.write_bytes(Path(five).read_bytes())
    code, _, err = marl_hpo("compare", "--task", five, "--task", copy, "--out", tmp_path / "out")
    assert code == 2
    assert "There are 2 tables of 'five'" in err
    assert not (tmp_path / "out").exists()


# --- suites ----------------------------------------------------------------------------------------------------------


def test_neither_a_task_nor_a_suite_is_one_sentence(marl_hpo, tmp_path):
    code, _, err = marl_hpo("compare", "--out", tmp_path / "out")
    assert code == 2
    assert err.startswith("marl-hpo: Say what to compare on: --task with a name, or --suite with one of accuracy, ")
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture
def small(monkeypatch, tmp_path, five, chain):
    """A suite of two tables in place of those of the package."""
    monkeypatch.setattr(suite, "FOLDER", tmp_path / "suites")
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "small.toml").write_text(
        f"# Which?\ntasks = [{five!r}, {chain!r}]\nlearners = ['random', 'local-search']\nseeds = 3\nepisodes = 4\n"
        "weights = { validation_accuracy = 1, model_size_mb = 0.5 }\n"
    )
    return tmp_path / "suites" / "small.toml"


def runs_in(folder):
    """Of each finished run: learner, table, weights, seed and evaluations."""
    lines = [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]
    return [(learner, table, tuple(map(tuple, weights)), seed, n) for learner, table, weights, _, seed, n, *_ in lines]


def test_a_suite_fills_in_what_no_option_says(small, marl_hpo, five, chain, strangers):
    code, _, err = marl_hpo("compare", "--suite", "small", "--jobs", 1)
    assert code == 0, err
    weights = (("validation_accuracy", 1.0), ("model_size_mb", 0.5))
    assert runs_in(strangers / "experiments" / "results" / "compare-small") == [
        (name, table, weights, seed, 4)
        for seed in range(3)
        for table in (five, chain)
        for name in ("random", "local-search")
    ]


def test_what_options_say_counts_over_a_suite(small, marl_hpo, chain, tmp_path):
    given = ["--task", chain, "--seeds", 2, "--episodes", 3, "--weight", "validation_accuracy=2", "--jobs", 1]
    out = tmp_path / "out"
    code, _, err = marl_hpo("compare", "--suite", "small", *given, "--learner", "strangers:Climber", "--out", out)
    assert code == 0, err
    names = ("random", "local-search", "strangers:Climber")
    weights = (("validation_accuracy", 2.0),)
    assert runs_in(out) == [(name, chain, weights, seed, 3) for seed in range(2) for name in names]
    code, _, err = marl_hpo("compare", "--suite", "small", *given, "--learners", "random", "--out", tmp_path / "one")
    assert code == 0, err
    assert [name for name, *_ in runs_in(tmp_path / "one")] == ["random"] * 2


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("learner = 'random'", "There is no setting of a suite, such as 'small', called 'learner'; did you mean"),
        ("tasks = [", "small.toml' cannot be read: "),
    ],
)
def test_a_suite_s_file_that_says_what_there_is_not_is_one_sentence(small, marl_hpo, tmp_path, line, sentence):
    small.write_text(line)
    code, _, err = marl_hpo("compare", "--suite", "small", "--out", tmp_path / "out")
    assert code == 2
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_synthetic_tasks_are_computed_those_that_are_small_as_tables(marl_hpo, tmp_path):
    given = ["--learners", "random,pairwise-q", "--seeds", 2, "--episodes", 5, "--jobs", 1]
    code, said, err = marl_hpo("compare", "--task", "synthetic-chain-20", *given, "--out", tmp_path / "chain")
    assert code == 0, err
    assert "synthetic-chain-20: best reward" in said
    assert "in which the best design has 100" in (tmp_path / "chain" / "report.md").read_text()
    code, said, err = marl_hpo("compare", "--task", "synthetic-orders-8", *given, "--out", tmp_path / "orders")
    assert code == 0, err
    assert "synthetic-orders-8: regret" in said
