"""The pages that people read: their examples run, what they name is there, their figures are those of the committed results."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import pytest

import agents
import marl_hpo_env
from experiments.documentation import PAGES, ROOT
from marl_hpo_env.catalog import registry

TEXT = {page: (ROOT / page).read_text() for page in (*PAGES, "CONTRIBUTING.md", "CHANGELOG.md")}
BLOCKS = [
    pytest.param(page, block, id=f"{page.removesuffix('README.md').strip('/') or 'first'}-{number}")
    for page, text in TEXT.items()
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
]
PREFIXES = ("marl_hpo_env/", "agents/", "experiments/", "tests/")


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_every_python_example_runs_on_its_own_and_keeps_its_conformance_suite(page, block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))  # what an example registers
    names: dict = {}
    exec(compile(block, page, "exec"), names)
    suites = [value for name, value in names.items() if name.startswith("Test") and isinstance(value, type)]
    for suite in suites:
        for test in (name for name in dir(suite) if name.startswith("test_")):
            getattr(suite(), test)()
    if "save_network" in block:
        assert names["trial"].status == "completed"
        assert names["trial"].metrics["parameters"] == sum(p.numel() for p in names["network"].parameters())


def test_the_examples_are_all_found():
    counts = {page: len(list(found)) for page, found in groupby(block.values[0] for block in BLOCKS)}
    assert counts == {"README.md": 4, "marl_hpo_env/README.md": 16, "agents/README.md": 4}


def test_the_first_page_is_short():
    assert len(TEXT["README.md"].splitlines()) <= 200
    assert f"{len(agents.learners())} learners" in TEXT["README.md"]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", TEXT)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", TEXT[page]):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        place = ((ROOT / page).parent / path) if path else ROOT / page
        assert place.exists(), f"{page} links to {link}"
        assert not anchor or anchor in anchors(place), f"{page} links to {link}"


@pytest.mark.parametrize("page", TEXT)
def test_places_in_the_code_are_there(page):
    """`path`, or `path: name`, or `path: Class.name`."""
    for place in re.findall(r"`([^`\n]+)`", TEXT[page]):
        path, _, name = place.partition(": ")
        if path.startswith(PREFIXES) and not path.startswith("marl_hpo_env/digits-") and "<" not in path:
            assert (ROOT / path).exists() or path.endswith("-v1"), f"{page} names {place}"
            if name:
                source = (ROOT / path).read_text()
                for part in name.split("."):
                    defined = rf"^ *(class|def) {part}\b|^{part}\b.*="
                    assert re.search(defined, source, re.MULTILINE), f"{page} names {place}"


def test_every_task_and_learner_has_a_line():
    for name in marl_hpo_env.tasks():
        assert f"`{name}`" in TEXT["marl_hpo_env/README.md"], name
    for name in agents.learners():
        assert f"**`{name}`**" in TEXT["agents/README.md"], name


def test_the_version_is_one_and_the_same():
    (version,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    cited = (ROOT / "CITATION.cff").read_text()
    released = re.search(r"^## ([\d.]+) - ([\d-]+)$", TEXT["CHANGELOG.md"], re.MULTILINE)
    assert released
    assert released[1] == version
    assert f"\nversion: {version}\n" in cited
    assert f'\ndate-released: "{released[2]}"\n' in cited


def test_no_comment_speaks_of_a_reading_that_is_not_there():
    readings = set(re.findall(r"^### Reading (\d+)$", TEXT["agents/README.md"], re.MULTILINE))
    named = {
        (path.name, number)
        for package in ("marl_hpo_env", "agents", "experiments", "tests")
        for path in (ROOT / package).rglob("*.py")
        for number in re.findall(r"\breading (\d+)\b", path.read_text())
    }
    assert readings == {str(number) for number in range(1, 14)}
    assert named
    assert {number for _, number in named} <= readings
