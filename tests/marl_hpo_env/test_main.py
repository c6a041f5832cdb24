"""The command's entry: whose packages it starts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from marl_hpo_env import __main__ as entry

ROOT = Path(__file__).resolve().parents[2]


def run(*python_path: Path, cwd: Path, code: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command, or this code, in a folder with these folders first on the path."""
    command = [sys.executable, "-m", "marl_hpo_env", "tasks"] if code is None else [sys.executable, "-c", code]
    path = os.pathsep.join(map(str, python_path))
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


def package(folder: Path, name: str, content: str | None) -> Path:
    """A stranger's package in a folder; without content, it has no `__init__.py`."""
    (folder / name).mkdir(parents=True)
    (folder / name / ("module.py" if content is None else "__init__.py")).write_text(content or "")
    return folder


def test_the_command_starts_where_the_packages_are_ours(tmp_path):
    ended = run(ROOT, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "digits-convnet" in ended.stdout


@pytest.mark.parametrize("name", ["agents", "experiments"])
def test_a_stranger_s_package_first_on_the_path_is_one_sentence_and_not_imported(tmp_path, name):
    package(tmp_path / "theirs", name, "raise RuntimeError('imported')")
    ended = run(tmp_path / "theirs", ROOT, cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert len(ended.stderr.strip().splitlines()) == 1
    where = str(tmp_path / "theirs" / name / "__init__.py")
    assert f"The package {name!r} in {where!r} is another than that of marl-hpo-env; run it" in ended.stderr


@pytest.mark.parametrize("script", [False, True])
def test_a_stranger_s_package_in_the_current_folder_is_one_sentence(tmp_path, script):
    # A script's path begins with the script's folder; workers, and a task of one's own, need the current one too.
    code = "import sys; sys.path.remove(''); from marl_hpo_env.__main__ import main; main()"
    ended = run(ROOT, cwd=package(tmp_path, "agents", ""), code=code if script else None)
    assert ended.returncode == 2
    assert "The package 'agents' in" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_folder_of_the_name_that_is_no_package_does_no_harm(tmp_path):
    (tmp_path / "agents").mkdir()
    assert run(ROOT, cwd=tmp_path).returncode == 0


def test_a_stranger_s_package_installed_over_ours_is_one_sentence(tmp_path):
    for name in ("marl_hpo_env", "agents"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    package(tmp_path, "experiments", "answer = 42")
    ended = run(cwd=tmp_path)
    assert ended.returncode == 2
    assert "The package 'experiments' in" in ended.stderr
    assert "was overwritten by another of this name" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_packages_that_are_not_there_or_have_no_file_of_their_own_are_one_sentence(monkeypatch, tmp_path):
    assert entry._fault("a_package_that_is_not_there") == (
        "There is no package 'a_package_that_is_not_there', which comes with marl-hpo-env; install that again."
    )
    monkeypatch.syspath_prepend(package(tmp_path, "a_folder_of_modules", None))
    fault = entry._fault("a_folder_of_modules")
    assert fault is not None
    assert str(tmp_path / "a_folder_of_modules") in fault


def test_our_packages_are_ours_through_a_link_too(tmp_path):
    assert [entry._fault(name) for name in entry.PARTS] == [None, None]
    (tmp_path / "linked").symlink_to(ROOT)
    assert run(tmp_path / "linked", cwd=tmp_path).returncode == 0


def test_the_start_is_light(tmp_path):
    code = """
import sys
from marl_hpo_env.__main__ import main
sys.argv = ["marl-hpo", "tasks"]
try:
    main()
finally:
    print("torch" in sys.modules, "matplotlib" in sys.modules)
"""
    assert run(ROOT, cwd=tmp_path, code=code).stdout.endswith("False False\n")


STOPPED_IN_AN_IMPORT = """
import os, sys
from importlib.abc import MetaPathFinder

class Stop(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == os.environ["WHEN_IMPORTED"]:
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))

sys.meta_path.insert(0, Stop())
"""


@pytest.mark.parametrize(
    ("module", "number"),
    [
        ("numpy", signal.SIGINT),
        ("pettingzoo", signal.SIGTERM),
        ("experiments.commands.main", signal.SIGINT),
        ("torch", signal.SIGTERM),
        ("torch._dynamo", signal.SIGINT),
        ("matplotlib.pyplot", signal.SIGTERM),
    ],
)
def test_a_command_that_is_stopped_in_an_import_ends_in_a_sentence(tmp_path, module, number):
    (tmp_path / "sitecustomize.py").write_text(STOPPED_IN_AN_IMPORT)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        "WHEN_IMPORTED": module,
        "SIGNAL": str(int(number)),
    }
    command = [
        sys.executable,
        "-m",
        "marl_hpo_env",
        "tune",
        "--task",
        "digits-convnet",
        "--out",
        "run",
        "--workers",
        "1",
    ]
    ended = subprocess.run(
        [*command, "--epochs", "1", "--episodes", "1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 130, ended.stderr
    (sentence,) = ended.stderr.strip().splitlines()
    assert sentence.startswith("Stopped")
