"""The one exception for input that cannot be used.

Everything else that is raised is a bug: the command line prints an `InputError` as one sentence with exit code 2 and
lets any other exception through with its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


def first_line(error: Exception) -> str:
    """The first line of an error's message, without a full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
