"""The one exception for input that cannot be used.

Everything else that is raised is a bug: the command line prints an `InputError` as one sentence with exit code 2 and
lets any other exception through with its traceback.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import math
import numbers
import operator
import os
import re
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_LONGEST = 200
"""Characters of a value that a sentence shows."""


class InputError(ValueError):
    """What was given cannot be used; the message is one sentence with the value and what would be right.

    A word without end, as damaged files hold, is shown by its beginning and its end.
    """

    def __str__(self) -> str:
        return re.sub(
            rf"\S{{{3 * _LONGEST},}}", lambda word: f"{word[0][:_LONGEST]}...{word[0][-9:]}", super().__str__()
        )

    @classmethod
    def unknown(cls, what: str, name: object, known: Iterable[str]) -> InputError:
        """For a name that does not exist, with the names nearest to it.

        Args:
            what: the kind of thing, such as `"task"`.
            name: the name that was given.
            known: every name that would have been right.
        """
        names = sorted(known)
        near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.4)
        if near:
            hint = f"did you mean {' or '.join(repr(n) for n in near)}?"
        else:
            hint = f"there are {', '.join(repr(n) for n in names)}."
        return cls(f"There is no {what} {str(name)!r}; {hint}")


def warn(message: str) -> None:
    """Warns of what is no error, at the line outside this package that it comes from."""
    ours = str(Path(__file__).parent)
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((ours, functools.__file__)):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def whole_number(what: str, value: Any, least: int, most: int = 2**63 - 1) -> int:
    """`value` as a plain int.

    Args:
        what: what it is the number of, such as `"number of workers"`.
        value: what was given.
        least: the lowest that is right.
        most: the highest.

    Raises:
        InputError: if it is no whole number, below `least` or above `most`.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        up_to = f" to {most}" if number is not None and number > most else ""
        raise InputError(f"The {what} is {_shown(value)}; it is a whole number from {least}{up_to}.")
    return number


def number(
    what: str,
    value: Any,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
) -> float:
    """`value` as a plain int or float, if it is a finite number within these bounds.

    Args:
        what: what it is, such as `"recipe's momentum"`.
        value: what was given.
        least, most: the lowest and the highest that is right.
        above: what it has to be above.

    Raises:
        InputError: if it is no number, not finite, or out of bounds.
    """
    bounds = [
        (least, operator.ge, "at least"),
        (above, operator.gt, "above"),
        (most, operator.le, "at most"),
    ]
    told = [(bound, holds, word) for bound, holds, word in bounds if bound is not None]
    if not (is_number(value) and all(holds(value, bound) for bound, holds, _ in told)):
        right = " and ".join(f"{word} {bound:g}" for bound, _, word in told)
        raise InputError(f"The {what} is {_shown(value)}; it is a number{f' {right}' if right else ''}.")
    return value if type(value) is int else float(value)


def is_number(value: Any) -> bool:
    """Whether it is a finite real number, of Python's or NumPy's; True and False are none."""
    try:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def truth_value(what: str, value: Any) -> bool:
    """`value`, if it is True or False.

    Raises:
        InputError: if not.
    """
    if not isinstance(value, bool):
        raise InputError(f"The {what} is {_shown(value)}; it is True or False.")
    return value


def _shown(value: Any) -> str:
    """A value in a sentence, of which a long one shows its beginning."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def import_object(name: str, what: str) -> Any:
    """What stands under `package.module:object`, importable from the current folder too, or under `path/to/file.py:object`.

    Args:
        name: of the object, with its module or file.
        what: it is, such as `"task"`, for the sentences.

    Raises:
        InputError: if there is no such module or object, or the module cannot be imported.
    """
    place, colon, attribute = name.rpartition(":")
    if not (colon and place and attribute):
        raise InputError(
            f"The {what} {name!r} cannot be read; write it as package.module:name, or path/to/file.py:name."
        )
    module = _on_the_path(Path(place), f"{what} {name!r}") if place.endswith(".py") else place
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise InputError(f"The {what} {name!r} cannot be imported: its module needs {error.name!r}.") from error
        raise InputError(
            f"There is no module {module!r} for the {what} {name!r}; run where it can be imported."
        ) from error
    except (Exception, SystemExit) as error:  # whatever a module of the user's own raises
        raise InputError(
            f"The {what} {name!r} cannot be found: its module raises {type(error).__name__}: {first_line(error)}; name one in a "
            "module that can be imported."
        ) from error
    if module != place and Path(str(found.__file__)).resolve() != Path(place).expanduser().resolve():
        raise InputError(
            f"The {what} {name!r} is in a file of the name of another module, {found.__file__!r}; rename it."
        )
    try:
        return getattr(found, attribute)
    except AttributeError as error:
        raise InputError(f"The {what} {name!r} cannot be found: {error}; name one that is there.") from error


def _on_the_path(file: Path, what: str) -> str:
    """The name under which a file can be imported, here and in other processes: its folder is put on the path."""
    file = file.expanduser().resolve()
    if not file.is_file():
        raise InputError(f"There is no file {str(file)!r} for the {what}; name one that is there.")
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    return file.stem


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without a full stop."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # an exception's own text can raise
        lines = []
    return (lines or [type(error).__name__])[0].rstrip(".")
