import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from experiments import provenance


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A commit of two files, in one of which `provenance` stands."""
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    for name in ("provenance.py", "report.md"):
        (tmp_path / name).write_text("committed")
    named = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], [*named, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    head = ["git", "rev-parse", "HEAD"]
    return tmp_path, subprocess.run(head, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()[:7]


def versions():
    return provenance.software.__wrapped__().split(", ")


def test_versions_commit_and_python_are_told(checkout):
    names = ["marl-hpo-env", "numpy", "torch", "optuna"]
    installed = [f"{name} {importlib.metadata.version(name)}" for name in names]
    assert versions() == [*installed, f"commit {checkout[1]}", f"Python {platform.python_version()}"]


def test_a_checkout_whose_code_differs_from_its_commit_says_so(checkout):
    folder, commit = checkout
    (folder / "report.md").write_text("changed")
    assert f"commit {commit}" in versions()
    (folder / "provenance.py").write_text("changed")
    assert f"commit {commit}-dirty" in versions()


def test_no_commit_is_told_where_there_is_no_git_or_no_checkout(checkout, tmp_path_factory, monkeypatch):
    with monkeypatch.context() as without:
        without.setenv("PATH", "")
        assert len(versions()) == 5
    monkeypatch.setattr(provenance, "__file__", str(checkout[0] / "installed.py"))
    assert len(versions()) == 5
    monkeypatch.setattr(provenance, "__file__", str(tmp_path_factory.mktemp("installed") / "provenance.py"))
    assert len(versions()) == 5


def test_an_extra_that_is_not_installed_is_left_out(checkout, monkeypatch):
    def version(name):
        if name == "optuna":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(provenance, "version", version)
    assert versions()[:4] == ["marl-hpo-env 1", "numpy 1", "torch 1", f"commit {checkout[1]}"]


def test_the_machine_is_what_last_bits_depend_on():
    assert provenance.machine() == provenance.machine(torch.device("cpu"))
    assert provenance.machine().startswith(f"{platform.system()} {platform.machine()}, ")
    assert torch.backends.cpu.get_cpu_capability() in provenance.machine()


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_of_a_script_is_its_name_and_arguments_as_they_are_typed(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/marl-hpo", "tune", "--weight", "model_size_mb / original=1"])
    assert provenance.command() == "marl-hpo tune --weight 'model_size_mb / original=1'"
    assert provenance.measured_by("numpy 2", "an abacus") == (
        "Measured by `marl-hpo tune --weight 'model_size_mb / original=1'` with numpy 2, on an abacus"
    )


@pytest.mark.parametrize("package", [False, True])
def test_the_command_of_a_module_names_the_module(tmp_path, package):
    (tmp_path / "suite").mkdir()
    module = "suite.__main__" if package else "suite.ablation"
    place = tmp_path / Path(*module.split(".")).with_suffix(".py")
    place.write_text("from experiments.provenance import command\nprint(command())")
    called = "suite" if package else module
    root = str(Path(__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, "-m", called, "--seeds", "a b"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == f"python -m {called} --seeds 'a b'\n"


def test_there_is_at_least_one_core():
    assert 1 <= provenance.cores() <= (os.cpu_count() or 1)
