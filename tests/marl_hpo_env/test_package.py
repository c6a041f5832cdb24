"""What the packages import, and what they export."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import agents
import marl_hpo_env

ROOT = Path(__file__).resolve().parents[2]
FILES = {package: sorted((ROOT / package).rglob("*.py")) for package in ("marl_hpo_env", "agents", "experiments")}


def imported(file: Path) -> set[tuple[str, str | None]]:
    """Every (module, name) that a file imports, wherever in it; the name is None in `import module`."""
    found: set[tuple[str, str | None]] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {(alias.name, None) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            found |= {(str(node.module), alias.name) for alias in node.names}
    return found


def top_level_packages(package: str) -> set[str]:
    """What a package imports, but for the command's entry, which alone may import upwards."""
    files = [file for file in FILES[package] if file.name != "__main__.py"]
    return {module.split(".")[0] for file in files for module, _ in imported(file)}


def run_fresh(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout.strip()


@pytest.mark.parametrize("package", ["marl_hpo_env", "marl_hpo_env.testing", "agents", "experiments"])
def test_importing_a_package_does_not_import_torch(package):
    assert (
        run_fresh(f"import sys, {package}; print('torch' in sys.modules, {package!r} in sys.modules)") == "False True"
    )


def test_a_game_is_played_on_a_formula_without_torch():
    code = """
import sys, marl_hpo_env
from marl_hpo_env import METRICS, Layer, SearchSpace, Trial
class Formula:
    space, fingerprint, measures_time = SearchSpace([Layer("conv", "Conv2d", {"stride": (1, 2)})]), "formula", True
    def evaluate(self, requests):
        for request in requests:
            yield Trial(request, "completed", None, dict.fromkeys(METRICS, 0.5), ())
env = marl_hpo_env.env("digits-convnet", evaluator=Formula())
env.reset()
env.step(1)
print(env.rewards, "torch" in sys.modules)
"""
    assert run_fresh(code) == "{'conv': 0.3} False"


@pytest.mark.parametrize("package", [marl_hpo_env, agents])
def test_every_exported_name_can_be_imported(package):
    assert package.__all__
    assert len(set(package.__all__)) == len(package.__all__)
    for name in package.__all__:
        assert getattr(package, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Tasks'"):
        _ = marl_hpo_env.Tasks


def test_the_packages_were_found():
    assert len(FILES["marl_hpo_env"]) > 20
    assert len(FILES["agents"]) >= 5
    assert {"numpy", "gymnasium", "pettingzoo", "torch", "marl_hpo_env"} <= top_level_packages("marl_hpo_env")
    assert "marl_hpo_env" in top_level_packages("agents")


def test_the_game_imports_nothing_of_the_learners_or_the_experiments():
    assert not top_level_packages("marl_hpo_env") & {"agents", "experiments", "tests"}


ROOMS = ("testing", "environments", "evaluators", "catalog", "training", "tables", "networks", "data", "ground")
"""From the top down; each imports only from those below it."""

ABOVE_ALL = {"__init__", "__main__"}


def room_of(module: str) -> str:
    """The room of one of the package's modules; the ground for those that lie in none."""
    first = module.split(".")[1]
    return first if first in ROOMS else "ground"


def names_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("file", FILES["marl_hpo_env"], ids=lambda file: names_of(file).removeprefix("marl_hpo_env."))
def test_imports_run_downwards_room_by_room(file):
    if file.parent.name == "marl_hpo_env" and file.stem in ABOVE_ALL:
        return
    own = room_of(names_of(file))
    for module, _ in imported(file):
        if module.split(".")[0] == "marl_hpo_env":
            assert module != "marl_hpo_env", f"{file} imports from the package as a whole, which holds every room"
            assert ROOMS.index(room_of(module)) >= ROOMS.index(own), f"{own} imports {module}, which lies above it"


def test_the_ground_needs_no_torch():
    ground = [
        file for file in FILES["marl_hpo_env"] if file.parent.name == "marl_hpo_env" and file.stem not in ABOVE_ALL
    ]
    assert len(ground) == 8
    assert not {module.split(".")[0] for file in ground for module, _ in imported(file)} & {"torch", "torchvision"}


def test_every_room_is_there_and_none_hides_a_public_name():
    there = {file.parent.name for file in FILES["marl_hpo_env"] if file.parent.parent.name == "marl_hpo_env"}
    assert there == set(ROOMS) - {"ground"}
    assert not there & set(marl_hpo_env.__all__)


def test_tests_lie_where_what_they_test_lies():
    for test in (ROOT / "tests" / "marl_hpo_env").rglob("test_*.py"):
        place = test.parent.relative_to(ROOT / "tests")
        assert (ROOT / place).is_dir(), f"{test} tests a room that is not there"


def test_the_learners_import_nothing_of_the_experiments():
    assert not top_level_packages("agents") & {"experiments", "tests"}


@pytest.mark.parametrize("file", FILES["agents"], ids=lambda file: file.stem)
def test_a_learner_uses_only_the_games_public_names(file):
    ours = {(module, name) for module, name in imported(file) if module.split(".")[0] == "marl_hpo_env"}
    assert {module for module, _ in ours} <= {"marl_hpo_env", "marl_hpo_env.testing"}
    assert {name for module, name in ours if module == "marl_hpo_env"} <= set(marl_hpo_env.__all__)


def test_every_package_is_typed():
    for package in ("marl_hpo_env", "agents"):
        assert (ROOT / package / "py.typed").exists()


def test_every_task_is_registered_under_its_name():
    import gymnasium
    import pettingzoo

    assert marl_hpo_env.tasks()
    for name in marl_hpo_env.tasks():
        assert marl_hpo_env.task(name).name == name
        assert gymnasium.spec(f"marl_hpo_env/{name}-v1").kwargs == {"task": name}
        for kind in ("aec", "parallel"):
            assert pettingzoo.spec(kind, f"marl_hpo_env/{name}-v1").kwargs == {"task": name}
