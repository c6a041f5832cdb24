"""The learners by name."""

from __future__ import annotations

import ast
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from agents.coordination_graph import CoordinationGraph
from agents.independent_q import IndependentQ
from agents.pairwise_q import PairwiseQ
from agents.protocol import Learner
from agents.random_search import RandomSearch
from agents.rivals.local_search import LocalSearch
from agents.rivals.manas import Manas
from agents.rivals.nevergrad_one_plus_one import NevergradOnePlusOne
from agents.rivals.optuna_samplers import OptunaGP, OptunaMOGP, OptunaMOTPE, OptunaNSGA2, OptunaTPE
from agents.rivals.predictor import Predictor
from agents.rivals.regularized_evolution import RegularizedEvolution
from agents.rivals.reinforce import Reinforce
from agents.rivals.sequential_q import SequentialQ
from agents.rivals.smac3 import Smac
from agents.rivals.vdn import ValueDecomposition
from marl_hpo_env import InputError, first_line, import_object, is_number

_LEARNERS: dict[str, type] = {
    "coordination-graph": CoordinationGraph,
    "independent-q": IndependentQ,
    "local-search": LocalSearch,
    "manas": Manas,
    "nevergrad": NevergradOnePlusOne,
    "optuna-gp": OptunaGP,
    "optuna-mogp": OptunaMOGP,
    "optuna-motpe": OptunaMOTPE,
    "optuna-nsga2": OptunaNSGA2,
    "optuna-tpe": OptunaTPE,
    "pairwise-q": PairwiseQ,
    "predictor": Predictor,
    "random": RandomSearch,
    "regularized-evolution": RegularizedEvolution,
    "reinforce": Reinforce,
    "sequential-q": SequentialQ,
    "smac": Smac,
    "vdn": ValueDecomposition,
}


def learner(name: str, **settings: Any) -> Learner:
    """The learner with this name.

    Args:
        name: one of `learners()`, or `package.module:Class` for one's own; settings can stand behind it, as in
            `"pairwise-q(update=averaged)"`.
        **settings: what its class takes.

    Raises:
        InputError: if there is no such learner or setting, or a setting is outside its range.
    """
    name, written = _parsed(name)
    settings = {**written, **settings}
    known = tuple(settings_of(name))
    for setting in settings:
        if setting not in known:
            if not known:
                raise InputError(f"The learner {name!r} has no settings; got {setting!r}.")
            raise InputError.unknown(f"setting of the learner {name!r},", setting, known)
    kind = class_of(name)
    try:
        inspect.signature(kind).bind(**settings)
    except TypeError as error:
        raise InputError(f"The learner {name!r} cannot be made: {error}; write it as {name}(setting=value).") from error
    _check_types(name, kind, settings)
    try:
        made: Learner = kind(**settings)
    except InputError:
        raise
    except Exception as error:  # whatever a stranger's class makes of its settings
        raise InputError(
            f"The learner {name!r} cannot be made: {type(error).__name__}: {first_line(error)}."
        ) from error
    return made


def _check_types(name: str, kind: type, settings: Mapping[str, Any]) -> None:
    """Whether the settings are of the types that the class says, or, where it says none, of its defaults'.

    Raises:
        InputError: if one is not.
    """
    try:
        said = typing.get_type_hints(vars(kind)["__init__"])
    except Exception:  # it has none of its own, or one that names what is not there
        said = {}
    for setting, value in settings.items():
        wanted = said.get(setting, type(inspect.signature(kind).parameters[setting].default))
        kinds = typing.get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
        if any(one in _IS for one in kinds) and not any(one not in _IS or _IS[one][0](value) for one in kinds):
            right = " or ".join(_IS[one][1] for one in kinds if one in _IS)
            raise InputError(f"The setting {setting} of {name!r} is {value!r}; it is {right}.")


def _is_whole(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


_IS: dict[Any, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "True or False"),
    int: (_is_whole, "a whole number"),
    float: (is_number, "a number"),
    str: (lambda value: isinstance(value, str), "a text"),
    types.NoneType: (lambda value: value is None, "None"),
}
"""What a setting of each type is, and how it is called; settings of other types are the class's to check."""


def learners() -> list[str]:
    """The names of the learners."""
    return sorted(_LEARNERS)


def settings_of(name: str) -> dict[str, Any]:
    """A learner's settings by name: what stands behind the learner's name, else the default (`inspect.Parameter.empty` where
    there is none).

    Raises:
        InputError: if there is no such learner.
    """
    name, written = _parsed(name)
    defaults = {setting.name: setting.default for setting in inspect.signature(class_of(name)).parameters.values()}
    return {**defaults, **written}


def class_of(name: str) -> type:
    """A learner's class, whatever settings stand behind its name; it is not made, so that nothing it needs has to be installed.

    Raises:
        InputError: if there is no such learner.
    """
    name, _ = _parsed(name)
    if ":" not in name:
        if name not in _LEARNERS:
            if "." in name:
                as_written = ":".join(name.rsplit(".", 1))
                raise InputError(
                    f"There is no learner {name!r}; your own is named by its module and class, as in {as_written!r}."
                )
            raise InputError.unknown("learner", name, _LEARNERS)
        return _LEARNERS[name]
    found = import_object(name, "learner")
    if not isinstance(found, type):
        raise InputError(f"The learner {name!r} is a {type(found).__name__}; name a class.")
    missing = [method for method in ("reset", "ask", "tell") if not callable(getattr(found, method, None))]
    if missing:
        raise InputError(f"The class {name!r} has no {missing[0]!r}; a learner has reset, ask and tell.")
    return found


def summary(name: str) -> str:
    """One line about a learner: the first of its class's docstring."""
    return (inspect.getdoc(class_of(name)) or "").splitlines()[0]


def _parsed(text: str) -> tuple[str, dict[str, Any]]:
    """A name and the settings behind it: numbers, None, True and False as such, all else as text."""
    name, bracket, inside = text.strip().partition("(")
    if bracket and not inside.endswith(")"):
        raise InputError(f"The learner {text!r} cannot be read; write it as {name}(setting=value).")
    inside = inside.removesuffix(")")
    settings: dict[str, Any] = {}
    for part in split(inside):
        setting, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise InputError(f"The setting {part!r} of {text!r} cannot be read; write it as {name}(setting=value).")
        try:
            settings[setting] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[setting] = value
    return name.strip(), settings


def split(text: str) -> list[str]:
    """What commas separate, but not those inside brackets; without the empty and the spaces around."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]
