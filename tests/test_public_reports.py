"""Each public report in `public_reports.toml` has a test that is there."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REPORTS = tomllib.loads((Path(__file__).parent / "public_reports.toml").read_text())["report"]


def test_there_are_forty_of_them_each_once():
    sources = [report["source"] for report in REPORTS]
    assert len(set(sources)) == len(sources) >= 40
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+ #\d+", source) for source in sources)


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report["source"])
def test_the_test_of_a_report_is_there(report):
    assert set(report) == {"source", "situation", "here", "test"}
    file, name = report["test"].split("::")
    assert Path(file).name.startswith("test_")
    functions = [node for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)]
    assert name.startswith("test_")
    assert name in [function.name for function in functions]
