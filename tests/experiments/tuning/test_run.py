"""A run's sub-folder: what identifies it, and that nothing in it is ever torn."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from agents.episodes_file import file_name
from experiments.tuning.run import Run, label_of, replace_text, runs_in
from marl_hpo_env import InputError


def test_the_same_identity_goes_on_and_another_one_gets_a_folder_of_its_own(tmp_path):
    first = Run.claim(tmp_path, "random-seed0", {"seed": 0, "start": [(1, 2)]}, ended=None)
    first.update(network={"design": [1, 2]}, ended="so")
    other = Run.claim(tmp_path, "random-seed0", {"seed": 0, "start": []})
    third = Run.claim(tmp_path, "random-seed0", {"seed": 0, "start": [(2, 2)]})
    assert [run.path.name for run in (first, other, third)] == ["random-seed0", "random-seed0-2", "random-seed0-3"]
    again = Run.claim(tmp_path, "random-seed0", {"seed": 0, "start": [(1, 2)]}, ended=None)
    assert again.path == first.path
    # What it was said to be by the claim is said anew, the rest stays.
    assert (again.settings["network"], again.settings["ended"]) == ({"design": [1, 2]}, None)
    assert [run.path.name for run in runs_in(tmp_path)] == ["random-seed0", "random-seed0-2", "random-seed0-3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["random-seed0", "random-seed0-2", "random-seed0-3"]


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "random-seed0").mkdir()
    (tmp_path / "random-seed0" / "precious").write_text("yes")
    assert Run.claim(tmp_path, "random-seed0", {"seed": 0}).path.name == "random-seed0-2"
    assert [path.name for path in (tmp_path / "random-seed0").iterdir()] == ["precious"]


def test_runs_that_begin_at_once_each_have_a_folder(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda seed: Run.claim(tmp_path, f"random-seed{seed}", {"seed": seed}), range(8)))
    assert [run.settings["identity"]["seed"] for run in runs] == list(range(8))
    assert len({run.path for run in runs}) == 8


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"identity": 1}', '{"identity": {}}', "[" * 100_000])
def test_settings_that_cannot_be_read_are_one_sentence(tmp_path, text):
    run = Run.claim(tmp_path, "mine", {"seed": 0})
    (run / "settings.json").write_text(text)
    with pytest.raises(InputError, match=r"settings of a run, .*settings\.json', cannot be read; move the folder away"):
        Run(run.path)


def test_a_text_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "report.md"
    replace_text(path, "before")

    def full(*_):
        raise OSError("full")

    with monkeypatch.context() as patch:
        patch.setattr("marl_hpo_env.files.os.replace", full)
        with pytest.raises(OSError, match="full"):
            replace_text(path, "after")
    assert path.read_text() == "before"
    replace_text(path, "after")
    assert path.read_text() == "after"


@pytest.mark.parametrize(
    ("learner", "label", "file"),
    [
        ("random", "random", "random"),
        ("pairwise-q(update=averaged, gamma=0.5)", "pairwise-q", "pairwise-q"),
        ("my.module:Mine(a='/..')", "my.module:Mine", "my.module-Mine"),
        ("../../up", "../../up", "up"),
    ],
)
def test_names_of_learners_are_safe_in_names_of_files(learner, label, file):
    assert label_of(learner) == label
    assert file_name(label) == file
    assert len(file_name(100 * "long")) <= 80
