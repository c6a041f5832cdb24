"""How commands end, and what they say of warnings."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from experiments.command_line import new_app
from marl_hpo_env import InputError


def command(work):
    """A command of one function without arguments."""
    app = new_app()
    app.command()(work)
    return app


def test_a_command_that_ends_well_has_exit_code_0(run_app):
    assert run_app(command(lambda: print("done"))) == (0, "done\n", "")


def bad_input():
    raise InputError("The thing is 3; it is 4.")


def missing_file():
    Path("nowhere.png").read_bytes()


def full_disk():
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        (bad_input, "marl-hpo: The thing is 3; it is 4.\n"),
        (missing_file, "marl-hpo: nowhere.png cannot be written or read: No such file or directory.\n"),
        (full_disk, "marl-hpo: A file cannot be written or read: No space left on device.\n"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence_and_exit_code_2(run_app, work, sentence):
    assert run_app(command(work)) == (2, "", sentence)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_says_that_it_continues(run_app, number):
    code, _, err = run_app(command(lambda: os.kill(os.getpid(), number)))
    assert (code, "the same command continues" in err) == (130, True)


@pytest.mark.filterwarnings("default")
def test_a_warning_for_users_is_one_sentence_and_others_say_where_they_come_from(run_app):
    def work():
        warnings.warn("The store holds others; they do not count.", stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    show = warnings.showwarning
    with pytest.warns(DeprecationWarning, match="old") as shown:
        code, _, err = run_app(command(work))
    assert (code, err) == (0, "marl-hpo: The store holds others; they do not count.\n")
    assert len(shown) == 1
    assert warnings.showwarning is show


# --- stopped at any moment -------------------------------------------------------------------------------------------


def swallow():
    """As code that takes whatever is raised in it for a failure of its own."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException as error:
        raise InputError("The network cannot be traced.") from error


class Collected:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)


def collect():
    """Python cannot raise what is raised in a destructor."""
    Collected()
    time.sleep(60)


def import_what_is_stopped():
    sys.path.insert(0, os.environ["MODULES"])
    import stopped_within  # its import is not broken off

    Path(os.environ["MODULES"], "imported").write_text(str(stopped_within.whole))
    time.sleep(60)


@pytest.mark.parametrize("work", [swallow, collect])
def test_no_code_that_it_meets_makes_a_stop_something_else(run_app, work):
    code, out, err = run_app(command(work))
    assert (code, out, err) == (130, "", "\nStopped; what was finished is stored, and the same command continues.\n")


def test_a_stop_waits_for_the_end_of_an_import(run_app, tmp_path, monkeypatch):
    monkeypatch.setenv("MODULES", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "stopped_within.py").write_text("import os\nos.kill(os.getpid(), 15)\nwhole = True\n")
    code, _, err = run_app(command(import_what_is_stopped))
    assert (code, "the same command continues" in err) == (130, True)
    assert (tmp_path / "imported").read_text() == "True"


def test_whoever_asks_twice_is_not_made_to_wait(tmp_path):
    code = """
import os, signal, time
from experiments.command_line import new_app, run_command
app = new_app()
@app.command()
def work():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
run_command(app, "marl-hpo", [])
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "\nStopped.\n")


# --- what a user writes wrongly --------------------------------------------------------------------------------------

MINE = """
from torch import nn


class Odd(Exception):
    def __str__(self):
        raise RuntimeError


def make(num_classes=3):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))


def raises():
    raise Odd


def number():
    return 3


class Learner:
    def __init__(self, setting):
        raise Odd

    def reset(self, space, seed): ...

    def ask(self, n): ...

    def tell(self, episodes): ...
"""

DIGITS = "--task digits-convnet"

WRONG = [
    *[
        f"{command} --task {task}"
        for command in ("tune", "show", "compare", "reproduce table4")
        for task in (
            "''",
            "nope",
            ":",
            "./mine.py:raises",
            "./mine.py:number",
            "./nowhere.py:task",
            "./raises.py:task",
            "./leaves.py:task",
        )
    ],
    *[
        f"show --model {model}"
        for model in (
            "''",
            "nope",
            "torchvision:nope",
            "./mine.py",
            "./mine.py:raises",
            "./mine.py:number",
            "./mine.py:Odd",
            "builtins:int",
            "./raises.py:make",
            "./text.txt:make",
            "~nobody/mine.py:make",
        )
    ],
    *[f"show --model ./mine.py:make --choices {file}" for file in ("nan.toml", "nowhere.toml", "text.txt", "''")],
    *[f"tune --model ./mine.py:make --data {folder}" for folder in ("nowhere", "text.txt", "''")],
    *[f"tune {DIGITS} --device {device}" for device in ("nope", "privateuseone", "meta", "cuda:99", "''")],
    *[
        f"{command} --out {out}"
        for command in (f"tune {DIGITS}", f"table build {DIGITS}", "demo")
        for out in (
            "''",
            "text.txt",
            "text.txt/x",
            "/proc/nowhere",
        )
    ],
    *[
        f"tune {DIGITS} {option} {value}"
        for option in ("--episodes", "--epochs", "--batch-size", "--workers", "--seed")
        for value in (
            "0.5",
            "nan",
            "-1",
            "''",
            "99999999999999999999",
        )
    ],
    *[f"tune {DIGITS} --learning-rate {value}" for value in ("0", "nan", "inf", "a")],
    *[f"compare {DIGITS} {option} 99999999999999999999" for option in ("--seeds", "--episodes", "--jobs")],
    *[
        f"tune {DIGITS} --learner {learner}"
        for learner in (
            "''",
            "nope",
            "'random('",
            "'reinforce(learning_rate=abc)'",
            "'coordination-graph(multi_objective=maybe)'",
            "'./mine.py:Learner(setting=1)'",
            "./mine.py:make",
            "./raises.py:Learner",
        )
    ],
    *[f"tune {DIGITS} --width {width}" for width in ("''", "0", "1/0", "nan", "1/99999999999999999999")],
    *[
        f"tune --task vgg16-cifar100 --width 1/16 --images {images}"
        for images in ("text.txt", "empty.npz", "floats.npz", "words.npz")
    ],
    *[
        f"{command} {table}"
        for command in ("table describe", "table check", "compare --task")
        for table in (
            "nowhere.npz",
            "empty.npz",
            "floats.npz",
            "deep.json",
        )
    ],
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder where a user is, with files that are not what they should be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = {"mine": MINE, "raises": "raise KeyError", "leaves": "import sys\nsys.exit(3)"}
    for name, content in modules.items():
        (tmp_path / f"{name}.py").write_text(content)
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "nan.toml").write_text("[Conv2d]\nout_channels = [4, nan]\n")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "empty.npz").touch()
    np.savez(tmp_path / "floats.npz", x=np.full((30, 8, 8, 3), np.nan), y=np.zeros(30))
    np.savez(tmp_path / "words.npz", x=np.zeros((30, 8, 8, 3), np.uint8), y=np.array(["a"] * 30))
    yield tmp_path
    for name in modules:
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_line_is_said_and_ends_with_2(marl_hpo, line):
    code, _, err = marl_hpo(*shlex.split(line))
    assert code == 2, err
    assert err.strip()
    assert "Traceback" not in err


@pytest.mark.parametrize("written", ["~/drawn/layers.png", "--picture=~/drawn/layers.png"])
def test_a_tilde_is_the_home_folder_in_every_path(marl_hpo, tmp_path, monkeypatch, written):
    monkeypatch.setenv("HOME", str(tmp_path))
    picture = [written] if written.startswith("--") else ["--picture", written]
    code, out, err = marl_hpo("show", "--task", "digits-convnet", *picture)
    assert (code, err) == (0, "")
    assert str(tmp_path / "drawn" / "layers.png") in out


def test_the_version_is_told(marl_hpo):
    assert marl_hpo("--version") == (0, f"marl-hpo {version('marl-hpo-env')}\n", "")
