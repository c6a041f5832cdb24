"""What is checked of what a user gives, and what stands under a name of the user's own."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import numpy as np
import pytest

from marl_hpo_env.errors import InputError, first_line, import_object, is_number, number, truth_value, whole_number


@pytest.mark.parametrize("value", [0, 7, np.int64(7), np.uint8(7), 2**63 - 1])
def test_whole_numbers_are_plain_ints(value):
    assert whole_number("count", value, 0) == value
    assert type(whole_number("count", value, 0)) is int


@pytest.mark.parametrize("value", [-1, 1.0, "1", None, True, np.float64(1), math.nan, 2**63, 10**30, [1]])
def test_what_is_no_whole_number_from_0_is_one_sentence(value, refused):
    with refused(f"The count is {value!r}; it is a whole number from 0"):
        whole_number("count", value, 0)


@pytest.mark.parametrize(("value", "kind"), [(1, int), (0.5, float), (np.float32(0.5), float), (np.int64(1), float)])
def test_numbers_are_plain(value, kind):
    assert (number("rate", value, above=0, most=1), type(number("rate", value))) == (value, kind)


@pytest.mark.parametrize("value", [0, 1.5, math.nan, math.inf, -math.inf, "0.5", None, True, 1j, [0.5], 10**400])
def test_what_is_no_number_within_its_bounds_is_one_sentence(value, refused):
    with refused("; it is a number above 0 and at most 1."):
        number("rate", value, above=0, most=1)


def test_fractions_are_numbers_and_truth_values_are_not():
    assert [is_number(value) for value in (Fraction(1, 2), True, np.True_)] == [True, False, False]


@pytest.mark.parametrize("value", [0, 1, "True", None, np.True_])
def test_what_is_not_true_or_false_is_one_sentence(value, refused):
    with refused("it is True or False"):
        truth_value("flip", value)


class Odd(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("One.\nTwo."), "One"),
        (ValueError(), "ValueError"),
        (ValueError(" \n"), "ValueError"),
        (Odd(), "Odd"),
    ],
)
def test_the_first_line_of_any_error_can_be_told(error, line):
    assert first_line(error) == line


def test_a_word_without_end_is_cut_and_a_long_sentence_is_not():
    sentence = f"The type '{'x' * 10**5}' is not known."
    assert len(str(InputError(sentence))) < 300
    assert str(InputError(sentence)).startswith("The type 'xxx")
    assert str(InputError(sentence)).endswith("xxx' is not known.")
    assert str(InputError("a sentence of words " * 100)) == "a sentence of words " * 100


MODULES = {
    "raises": "raise KeyError('x')",
    "raises_odd": "class Odd(Exception):\n    def __str__(self):\n        raise RuntimeError\nraise Odd",
    "leaves": "import sys\nsys.exit(3)",
    "is_no_python": "def",
    "needs": "import a_package_that_is_not_there",
    "holds": "thing = 3",
    "json": "thing = 4",
}


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A folder of modules, which is neither the current one nor on the path."""
    for name, content in MODULES.items():
        (tmp_path / "modules").mkdir(exist_ok=True)
        (tmp_path / "modules" / f"{name}.py").write_text(f"{content}\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "modules"
    for name in set(MODULES) - {"json"}:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("place", ["modules/holds.py", "./modules/holds.py", "{}/holds.py", "~/holds.py"])
def test_what_a_file_holds_is_found_under_its_path(modules, monkeypatch, place):
    monkeypatch.setenv("HOME", str(modules))
    assert import_object(f"{place.format(modules)}:thing", "model") == 3
    assert import_object("holds:thing", "model") == 3  # as another process imports it


@pytest.mark.parametrize(
    ("name", "mentioned"),
    [
        ("modules/nowhere.py:thing", "There is no file"),
        ("modules/holds.py:nothing", "nothing"),
        ("modules/holds.py", "path/to/file.py:name"),
        ("modules/holds.py:", "cannot be read"),
        ("modules/json.py:thing", "the name of another module"),
        ("modules/raises.py:thing", "KeyError"),
        ("modules/raises_odd.py:thing", "Odd: Odd"),
        ("modules/leaves.py:thing", "SystemExit: 3"),
        ("modules/is_no_python.py:thing", "SyntaxError"),
        ("modules/needs.py:thing", "needs 'a_package_that_is_not_there'"),
        ("..:thing", "cannot be found"),
    ],
)
@pytest.mark.usefixtures("modules")
def test_what_cannot_be_imported_is_one_sentence(name, mentioned, refused):
    with refused(name, mentioned):
        import_object(name, "model")


def test_of_a_long_value_a_sentence_shows_the_beginning(refused):
    with refused("The rate is [0, 0, 0", "0, 0...; it is a number."):
        number("rate", [0] * 10_000)
