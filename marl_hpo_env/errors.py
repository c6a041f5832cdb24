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
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """What was given cannot be used; the message is one sentence with the value and what would be right."""

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


def whole_number(what: str, value: Any, least: int) -> int:
    """`value` as a plain int.

    Args:
        what: what it is the number of, such as `"number of workers"`.
        value: what was given.
        least: the lowest that is right.

    Raises:
        InputError: if it is no whole number, or below `least`.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise InputError(f"The {what} is {value!r}; it is a whole number from {least}.")
    return number


def number(
    what: str,
    value: Any,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """`value`, if it is a finite number within these bounds.

    Args:
        what: what it is, such as `"recipe's momentum"`.
        value: what was given.
        least, most: the bounds, if they are right themselves.
        above, below: the bounds, if they are not.

    Raises:
        InputError: if it is no number, not finite, or out of bounds.
    """
    bounds = [
        (least, operator.ge, "at least"),
        (most, operator.le, "at most"),
        (above, operator.gt, "above"),
        (below, operator.lt, "below"),
    ]
    told = [(bound, holds, word) for bound, holds, word in bounds if bound is not None]
    if not (_is_number(value) and math.isfinite(value) and all(holds(value, bound) for bound, holds, _ in told)):
        right = " and ".join(f"{word} {bound:g}" for bound, _, word in told)
        raise InputError(f"The {what} is {value!r}; it is a number{f' {right}' if right else ''}.")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def import_object(name: str, what: str) -> Any:
    """What stands under `package.module:object`, importable from the current folder too.

    Args:
        name: of the object, with its module.
        what: it is, such as `"task"`, for the sentences.

    Raises:
        InputError: if there is no such module or object, or the module cannot be imported.
    """
    place, colon, attribute = name.partition(":")
    if not (colon and place and attribute):
        raise InputError(f"The {what} {name!r} cannot be read; write it as package.module:name.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(place), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise InputError(f"The {what} {name!r} cannot be imported: its module needs {error.name!r}.") from error
        raise InputError(
            f"There is no module {place!r} for the {what} {name!r}; run where it can be imported."
        ) from error
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"The {what} {name!r} cannot be found: {error}; name one in a module on the path.") from error


def first_line(error: Exception) -> str:
    """The first line of an error's message, without a full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
