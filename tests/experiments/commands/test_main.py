import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import pytest
import typer

from experiments.commands import main as command_line
from experiments.tuning import session
from marl_hpo_env import InputError, Store, task
from marl_hpo_env.catalog import registry
from marl_hpo_env.trial import CLOCK_METRICS

# A tiny run, with two workers so that trials finish out of order.
TUNE = [
    "tune",
    "--task",
    "digits-convnet",
    "--learner",
    "random",
    "--episodes",
    "10",
    "--workers",
    "2",
    "--device",
    "cpu",
]


def start(*arguments: str) -> subprocess.Popen:
    """The command in a process group of its own, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.commands.main", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def rows(folder: Path) -> list:
    """Every stored trial, without what is read off a clock."""
    store = Store(folder / "trials.sqlite")
    stored = []
    for fingerprint, trial in store.trials():
        repeatable = [value for name, value in trial.metrics.items() if name not in CLOCK_METRICS]
        stored.append((fingerprint, trial.request, trial.status, trial.history, repeatable))
    store.close()
    return stored


def wait_for_trials(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (folder / "trials.sqlite").exists() and len(rows(folder)) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"fewer than {count} trials in two minutes")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    process = start(*TUNE, "--out", str(folder))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return folder, out


def test_tune_ends_in_a_table_a_picture_and_its_files(uninterrupted):
    folder, out = uninterrupted
    run = folder / "random-seed0"
    for text in ("original", "random", "test %", "conv3", "best reward", str(run / "rewards-random.png")):
        assert text in out
    assert (run / "rewards-random.png").read_bytes().startswith(b"\x89PNG")
    assert len((run / "episodes-random.csv").read_text().splitlines()) == 1 + 10
    report = (run / "report.md").read_text()
    assert "| original |" in report
    command = " ".join(["python -m experiments.commands.main", *TUNE, "--out", str(folder)])
    assert f"Measured by `{command}` with marl-hpo-env " in report
    # The original and ten designs for four epochs; the original and the best to convergence.
    budgets = [request.epochs for _, request, *_ in rows(folder)]
    assert sorted(budgets, key=str) == [4] * 11 + [None] * 2


@pytest.mark.parametrize("stop", ["ctrl-c", "kill -9"])
def test_a_run_that_was_stopped_continues_to_the_same_store_and_report(uninterrupted, tmp_path, stop):
    process = start(*TUNE, "--out", str(tmp_path))
    wait_for_trials(tmp_path, 4)
    if stop == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches the whole group
    else:
        os.kill(process.pid, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    if stop == "ctrl-c":
        assert process.returncode == 130
        assert "the same command continues" in err
        assert "Traceback" not in err
    partial = rows(tmp_path)
    assert 4 <= len(partial) < 13
    process = start(*TUNE, "--out", str(tmp_path))
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert rows(tmp_path) == rows(uninterrupted[0])
    episodes = "random-seed0/episodes-random.csv"
    assert (tmp_path / episodes).read_text() == (uninterrupted[0] / episodes).read_text()


LONG = ["tune", "--task", "digits-convnet", "--learner", "random", "--workers", "1", "--device", "cpu"]


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_is_reported_while_it_is_going_on_and_after_it_was_stopped(marl_hpo, tmp_path, stop):
    process = start(*LONG, "--episodes", "400", "--out", str(tmp_path))
    wait_for_trials(tmp_path, 1 + 8 + 1)
    code, going_on, err = marl_hpo("report", tmp_path)
    assert code == 0, err
    assert process.poll() is None
    os.kill(process.pid, stop)
    _, said = process.communicate(timeout=60)
    code, stopped, err = marl_hpo("report", tmp_path / "random-seed0")
    assert code == 0, err
    for shown in (going_on, stopped):
        assert "random: best reward" in shown
        assert "distinct designs so far" in shown
    assert (tmp_path / "random-seed0" / "report.md").read_text().startswith("# digits-convnet: so far\n")
    assert "| random-seed0 | random | 0 |" in (tmp_path / "report.md").read_text()
    if stop == signal.SIGTERM:
        assert process.returncode == 130
        assert "the same command continues" in said
        assert "Traceback" not in said


def test_two_runs_at_once_share_a_folder(tmp_path):
    command = [*LONG, "--episodes", "3", "--start", "original", "--out", str(tmp_path)]
    runs = [start(*command, "--seed", str(seed)) for seed in range(2)]
    for process in runs:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    report = (tmp_path / "report.md").read_text()
    assert [report.count(f"| random-seed{seed} | random | {seed} | 3 | 3 |") for seed in range(2)] == [1, 1]
    # The original network and the original's design once, two more designs each, and at most three final trainings.
    budgets = [request.epochs for _, request, *_ in rows(tmp_path)]
    assert budgets.count(4) == 2 + 2 * 2
    assert 2 <= budgets.count(None) <= 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--hours", "0"], "The option --hours is 0.0; it is a positive number."),
        (["--hours", "nan"], "The option --hours is nan; it is a positive number."),
        (["--target", "inf"], "The option --target is inf; it is a reward, a finite number."),
        (["--trial-timeout", "-1"], "The option --trial-timeout is -1.0; it is a positive number."),
        (["--fit-timeout", "0"], "The option --fit-timeout is 0.0; it is a positive number."),
        (["--trial-memory", "0"], "The option --trial-memory is 0.0; it is a positive number."),
        (["--start", "1,2"], "A design of this space has 5 actions, one per layer; got 2."),
        (["--start", "original,1"], "The design 'original,1' is not a list of action indices"),
        (["--task", "digits-convnt"], "There is no task 'digits-convnt'; did you mean 'digits-convnet'"),
        (["--learner", "pairwise"], "There is no learner 'pairwise'; did you mean 'pairwise-q'?"),
        (["--weight", "validation_accuracy=-1"], "The weight of 'validation_accuracy' is -1.0; weights are positive"),
        (["--weight", "accuracy=1"], "did you mean 'train_accuracy' or 'validation_accuracy'?"),
        (["--weight", "test_accuracy=1"], "test figures never reach a learner"),
        (["--weight", "validation_accuracy"], "The weight 'validation_accuracy' cannot be read"),
        (["--constraint", "parameters < 5"], "The constraint 'parameters < 5' cannot be read"),
        (["--constraint", "inference_ms_per_batch <= 5", "--workers", "2"], "use one worker"),
        (["--device", "abacus"], "The device 'abacus' cannot be used on this machine"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2_and_writes_nothing(marl_hpo, tmp_path, arguments, sentence):
    given = ["--task", "digits-convnet"] if "--task" not in arguments else []
    code, _, err = marl_hpo("tune", *given, *arguments, "--out", str(tmp_path / "run"))
    assert code == 2
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments", [["tune", "--episodes", "0"], ["tune", "--nonsense"], ["tune", "--task"], ["dem"]]
)
def test_options_that_cannot_be_read_end_with_exit_code_2(marl_hpo, arguments):
    code, _, err = marl_hpo(*arguments)
    assert code == 2
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("design", "sentence"),
    [
        ("0,0,0,3,0", "Action 3 of layer 'pool' does not exist; its actions are 0 to 2."),
        ("0,0,0", "A design of this space has 5 actions, one per layer; got 3."),
        ("a,b", "The design 'a,b' is not a list of action indices"),
    ],
)
def test_a_design_that_does_not_exist_is_refused_before_anything_is_written(marl_hpo, tmp_path, design, sentence):
    code, _, err = marl_hpo("fit", "--task", "digits-convnet", "--design", design, "--out", str(tmp_path / "run"))
    assert (code, sentence in err) == (2, True)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_task_is_refused_and_left_as_it_was(marl_hpo, tmp_path, monkeypatch, uninterrupted):
    monkeypatch.setitem(registry._FACTORIES, "other", lambda: replace(task("digits-convnet"), name="other"))
    before = rows(uninterrupted[0])
    code, _, err = marl_hpo("tune", "--task", "other", "--out", str(uninterrupted[0]))
    assert code == 2
    assert "holds a run of the task 'digits-convnet'; choose another with --out." in err
    assert rows(uninterrupted[0]) == before


def test_a_folder_that_cannot_be_written_is_refused(marl_hpo, tmp_path):
    (tmp_path / "file").write_text("precious")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        code, _, err = marl_hpo("tune", "--task", "digits-convnet", "--out", str(out))
        assert code == 2
        assert len(err.strip().splitlines()) == 1
        assert str(out) in err
    assert (tmp_path / "file").read_text() == "precious"


def _broken_model():
    import torch
    from torch import nn

    class Broken(nn.Module):
        """Its two halves fit only while the original's eight kernels do not change."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 8, 3, padding=1)
            self.scale = nn.Parameter(torch.ones(8, 1, 1))
            self.output = nn.Linear(8 * 64, 10)

        def forward(self, x):
            return self.output(torch.flatten(torch.einsum("nchw,cij->nchw", self.conv(x), self.scale), 1))

    return Broken()


def _broken_choices():
    from torch import nn

    return {nn.Conv2d: {"out_channels": (4, 8)}}


def test_a_design_that_cannot_be_trained_is_one_sentence(marl_hpo, tmp_path, monkeypatch):
    broken = replace(task("digits-convnet"), name="broken", model=_broken_model, choices=_broken_choices)
    monkeypatch.setitem(registry._FACTORIES, "broken", lambda: broken)
    code, _, err = marl_hpo("fit", "--task", "broken", "--design", "0", "--device", "cpu", "--out", str(tmp_path))
    assert code == 2
    assert "The design [0] cannot be trained: The network cannot be built" in err
    assert len(rows(tmp_path)) == 2  # the original's trial and the failed one's are kept


@pytest.mark.parametrize("command", [["tune"], ["fit"], ["compare"], ["show"], ["table", "build"], ["table", "check"]])
def test_help_says_every_default(marl_hpo, command):
    code, out, _ = marl_hpo(*command, "--help")
    assert code == 0
    said = "".join(out.replace("│", "").split())
    found = typer.main.get_command(command_line.app)
    for name in command:
        found = found.commands[name]
    described = [option.show_default for option in found.params if isinstance(option.show_default, str)]
    assert described
    for default in described:
        assert f"[default:({''.join(default.split())})]" in said
    for option in found.params:
        assert (
            "".join((option.help or "").split()) in said
        )  # all of it: what stands in square brackets would be swallowed


def test_tasks_and_learners_are_listed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    command_line.app(["tasks"], standalone_mode=False)
    command_line.app(["learners"], standalone_mode=False)
    out = capsys.readouterr().out
    assert "digits-convnet" in out
    assert "pairwise-q" in out
    assert "(population_size=20, sample_size=5)" in out
    assert max(map(len, out.splitlines())) <= 80


# --- the paper's tasks, and the epoch budget -------------------------------------------------------------------------


@pytest.fixture
def prepared(monkeypatch):
    """The tasks that runs were prepared for; each run ends there."""
    tasks = []

    def stop(task, *settings):
        tasks.append(task)
        raise InputError("Far enough.")

    monkeypatch.setattr(session, "prepare", stop)
    return tasks


@pytest.mark.parametrize(("text", "epochs"), [("calibrated", "calibrated"), ("running", "running"), ("7", 7)])
def test_the_epoch_budget_reaches_the_task(marl_hpo, prepared, text, epochs):
    marl_hpo("tune", "--task", "digits-convnet", "--epochs", text)
    assert prepared[0].recipe.epochs == epochs


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nonsense", "There is no epoch budget 'nonsense'"),
        ("calibrate", "There is no epoch budget 'calibrate'; did you mean 'calibrated'?"),
        ("0", "The number of epochs is 0; it is a whole number from 1, or 'calibrated' or 'running'."),
        ("2.5", "There is no epoch budget '2.5'"),
    ],
)
def test_an_epoch_budget_that_there_is_not_is_one_sentence(marl_hpo, prepared, tmp_path, text, sentence):
    code, _, err = marl_hpo("tune", "--task", "digits-convnet", "--epochs", text, "--out", str(tmp_path / "run"))
    assert (code, prepared) == (2, [])
    assert sentence in err
    assert len(err.strip().splitlines()) == 1


@pytest.fixture
def small_paper_task(monkeypatch):
    """VGG-16 on CIFAR-10 with a network that is traced at once."""
    made = registry._FACTORIES["vgg16-cifar10"]
    small = {"model": _small_model, "choices": _broken_choices, "input_shape": (3, 8, 8)}
    monkeypatch.setitem(
        registry._FACTORIES, "vgg16-cifar10", lambda data_dir: replace(made(data_dir=data_dir), **small)
    )


def _small_model():
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 10))


def _no_network(*settings, **more):
    raise URLError("no network")


@pytest.mark.usefixtures("small_paper_task")
@pytest.mark.parametrize("command", [["tune", "--learner", "random"], ["fit", "--design", "0"]])
def test_data_that_are_not_there_are_one_sentence(marl_hpo, tmp_path, monkeypatch, command):
    import torchvision.datasets.cifar

    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", _no_network)
    given = [*command, "--task", "vgg16-cifar10", "--device", "cpu", "--out", str(tmp_path / "run")]
    for data, sentence in (
        ([], "The task 'vgg16-cifar10' needs its data; name a folder that holds cifar-10-batches-py"),
        (["--data-dir", str(tmp_path / "nowhere")], "There is no file '" + str(tmp_path / "nowhere")),
    ):
        code, _, err = marl_hpo(*given, *data)
        assert code == 2
        assert sentence in err
        assert len(err.strip().splitlines()) == 1
        assert not (tmp_path / "run").exists()


def test_data_for_a_task_that_brings_its_own_are_refused(marl_hpo, tmp_path):
    code, _, err = marl_hpo("tune", "--task", "digits-convnet", "--data-dir", str(tmp_path))
    assert code == 2
    assert "The task 'digits-convnet' brings its own data" in err


def test_a_paper_task_is_shown_without_its_data(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    picture = tmp_path / "pictures" / "layers.png"
    command_line.app(["show", "--task", "vgg16-cifar10", "--picture", str(picture)], standalone_mode=False)
    said = capsys.readouterr().out
    # Thirteen convolutions, five pools and the dense layer, with the choices of Table III; the output has none.
    assert "19 layers" in said
    assert "kernels 16 32 64 128 256; size 3 5; stride 1 2" in said
    assert "units 128 256 512 1024 2048 4096" in said
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_every_layer_of_googlenet_is_shown_in_80_columns(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    given = ["--task", "googlenet-cifar10", "--picture", str(tmp_path / "layers.png")]
    command_line.app(["show", *given], standalone_mode=False)
    *lines, picture = capsys.readouterr().out.splitlines()
    assert picture == f"Layer graph: {tmp_path / 'layers.png'}"
    assert max(map(len, lines)) <= 80
    # A line for each layer, with the letter of its choices, which stand below; what feeds it by number.
    space = task("googlenet-cifar10").space
    first = lines.index(next(line for line in lines if line.startswith("─"))) + 1
    numbered = lines[first : first + len(space)]
    assert [line.split()[0] for line in numbered] == [str(n + 1) for n in range(74)]
    for line, layer, feeding in zip(numbered, space.layers, space.feeding, strict=True):
        name = line.split()[1]
        assert name == layer.name or (len(name.split("…")) == 2 and layer.name.startswith(name.split("…")[0]))
        assert line.endswith(", ".join(str(position + 1) for position in feeding) or "-")
    below = " ".join(" ".join(lines[first + len(space) :]).split())
    assert "A kernels 32 48 64 80 96 112 128 160 208 384; size 1 3 5; stride 1 2 B size 2 3 5 7" in below
