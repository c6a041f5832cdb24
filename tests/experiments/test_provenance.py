import importlib.metadata
import platform
import subprocess

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
    asked = ["git", "rev-parse", "HEAD"]
    return tmp_path, subprocess.run(asked, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()[:7]


def told():
    return provenance.software.__wrapped__().split(", ")


def test_versions_commit_and_python_are_told(checkout):
    names = ["marl-hpo-env", "numpy", "torch", "optuna"]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    assert told() == [*versions, f"commit {checkout[1]}", f"Python {platform.python_version()}"]


def test_a_checkout_whose_code_differs_from_its_commit_says_so(checkout):
    folder, commit = checkout
    (folder / "report.md").write_text("changed")
    assert f"commit {commit}" in told()
    (folder / "provenance.py").write_text("changed")
    assert f"commit {commit}-dirty" in told()


def test_no_commit_is_told_where_there_is_no_git_or_no_checkout(checkout, tmp_path_factory, monkeypatch):
    with monkeypatch.context() as without:
        without.setenv("PATH", "")
        assert len(told()) == 5
    monkeypatch.setattr(provenance, "__file__", str(checkout[0] / "installed.py"))
    assert len(told()) == 5
    monkeypatch.setattr(provenance, "__file__", str(tmp_path_factory.mktemp("installed") / "provenance.py"))
    assert len(told()) == 5


def test_an_extra_that_is_not_installed_is_left_out(checkout, monkeypatch):
    def version(name):
        if name == "optuna":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(provenance, "version", version)
    assert told()[:4] == ["marl-hpo-env 1", "numpy 1", "torch 1", f"commit {checkout[1]}"]


def test_the_machine_is_what_last_bits_depend_on():
    assert provenance.machine() == provenance.machine(torch.device("cpu"))
    assert provenance.machine().startswith(f"{platform.system()} {platform.machine()}, ")
    assert torch.backends.cpu.get_cpu_capability() in provenance.machine()
