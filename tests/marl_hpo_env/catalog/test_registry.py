"""Tasks by name: the package's, registered ones, and those named by module and function."""

from __future__ import annotations

import dataclasses
import sys

import gymnasium
import pettingzoo
import pytest

import marl_hpo_env
from marl_hpo_env import Task
from marl_hpo_env.catalog import registry

MODULE = """
import dataclasses
import marl_hpo_env

READY = marl_hpo_env.task("digits-convnet")

def make():
    return dataclasses.replace(READY, name="made")

def make_from(data_dir):
    return dataclasses.replace(READY, name=f"from {data_dir}")

def make_nothing():
    return 3
"""


@pytest.fixture
def own_tasks(tmp_path, monkeypatch):
    """A module of tasks in the current folder, which is not on the path."""
    (tmp_path / "own_tasks.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_tasks", raising=False)


@pytest.fixture
def no_lasting_names(monkeypatch):
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))


def own() -> Task:
    return dataclasses.replace(marl_hpo_env.task("digits-convnet"), name="own")


def test_a_task_is_named_by_its_module_and_function(own_tasks, tmp_path):
    assert marl_hpo_env.task("own_tasks:make").name == "made"
    assert marl_hpo_env.task("own_tasks:READY").name == "digits-convnet"
    assert marl_hpo_env.task("own_tasks:make_from", tmp_path).name == f"from {tmp_path}"
    assert marl_hpo_env.task("own_tasks:make_from").name == "from None"
    env = marl_hpo_env.env("own_tasks:make")
    assert env.unwrapped.task.name == "made"


@pytest.mark.parametrize(
    ("name", "data_dir", "sentence"),
    [
        ("own_tasks:make", "photos", "brings its own data"),
        ("own_tasks:make_nothing", None, "makes a int; it must make a Task"),
        ("own_tasks:MODULE", None, "cannot be found"),
        ("own_tasks:dataclasses", None, "is a module; name a function"),
        ("nowhere:make", None, "There is no module 'nowhere' for the task"),
        ("digits-convnett", None, "did you mean 'digits-convnet'"),
        ("digits-convnet", "photos", "leave out data_dir, which is 'photos'"),
    ],
)
def test_what_is_no_task_is_one_sentence(own_tasks, refused, name, data_dir, sentence):
    with refused(sentence):
        marl_hpo_env.task(name, data_dir)


def test_a_registered_task_is_known_everywhere(no_lasting_names):
    marl_hpo_env.register_task("own-digits", own)
    assert "own-digits" in marl_hpo_env.tasks()
    assert marl_hpo_env.task("own-digits").name == "own"
    for env in (
        marl_hpo_env.env("own-digits"),
        pettingzoo.make("aec", "marl_hpo_env/own-digits-v1"),
        pettingzoo.make("parallel", "marl_hpo_env/own-digits-v1"),
        gymnasium.make("marl_hpo_env/own-digits-v1"),
    ):
        assert env.unwrapped.task.name == "own"


def test_a_pettingzoo_without_a_registry_will_do(no_lasting_names, monkeypatch):
    monkeypatch.delattr(pettingzoo, "register")
    marl_hpo_env.register_task("own-older", own)
    assert gymnasium.make("marl_hpo_env/own-older-v1").unwrapped.task.name == "own"


def test_a_registered_task_is_given_its_folder(no_lasting_names, tmp_path):
    given = []

    def make(data_dir):
        given.append(data_dir)
        return own()

    marl_hpo_env.register_task("own-photos", make)
    marl_hpo_env.env("own-photos", data_dir=str(tmp_path))
    marl_hpo_env.task("own-photos")
    assert given == [tmp_path, None]


def test_a_name_is_registered_for_one_factory_only(no_lasting_names, refused):
    marl_hpo_env.register_task("own-twice", own)
    marl_hpo_env.register_task("own-twice", own)  # as a module that is imported again does
    with refused("There is a task 'own-twice' already"):
        marl_hpo_env.register_task("own-twice", lambda: marl_hpo_env.task("digits-unet"))
    with refused("There is a task 'digits-convnet' already"):
        marl_hpo_env.register_task("digits-convnet", own)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a/b", "-a", "a.b"])
def test_a_name_that_an_environment_cannot_have_is_refused(no_lasting_names, refused, name):
    with refused("cannot be a task's"):
        marl_hpo_env.register_task(name, own)
