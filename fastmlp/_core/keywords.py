"""Explain wrong arguments and attributes by equivalent names, which docs/coming-from.md prints."""

from __future__ import annotations

import contextlib
import functools
import inspect
import pkgutil
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeAlias, TypeVar

Synonyms: TypeAlias = tuple[tuple[tuple[str, ...], str], ...]
Class = TypeVar("Class", bound=type)
MISSING = object()
GENERAL = ("self", "X", "y", "path")  # arguments that say nothing about the method
NEAR = 0.75  # similarity of two names from which one may be a typing error of the other
SENTENCE = "= "  # Advice that is a whole sentence begins with this.
EVERYWHERE = ("fastmlp", "")  # advice that begins so, or is a sentence, suits any class


def _tables() -> Iterator[Synonyms]:
    """Yield the tables of the file: advice with fastmlp's names, and names of other libraries."""
    content = pkgutil.get_data("fastmlp", "data/synonyms.txt") or b""
    for table in content.decode().split("\n\n")[1:]:
        rows = (line.split(" -> ") for line in table.splitlines()[1:])
        yield tuple((tuple(ours.split(" | ")), others) for others, ours in rows)


# Of arguments and their values, options of optimizers, models, histories, and the package.
SYNONYMS, OPTIONS, ATTRIBUTES, RECORDS, PACKAGE = _tables()


def synonym(name: str, names: Collection[str], synonyms: Synonyms = SYNONYMS) -> str | None:
    """Return the one of some names that is equivalent to another name; None if there is none."""
    for ours, others in synonyms:
        heads = list(map(_head, ours))
        if name in (*heads, *others.split()):
            for head, text in zip(heads, ours, strict=True):
                if head in names:
                    return text
    return None


def _head(text: str) -> str:
    """Return the first name of advice such as ``fit(X, y)`` or ``epochs=...``."""
    return re.split(r"\W", text, maxsplit=1)[0]


def advice(text: str) -> str:
    """Return advice of a table as a part of a message."""
    return text.removeprefix(SENTENCE) if text.startswith(SENTENCE) else f"use {text}"


def near(name: str, names: Collection[str]) -> str | None:
    """Return the name of which another one, of any case, may be a typing error, or None.

    Names with other digits, such as relu2 and relu, are names of different things.
    """
    import difflib

    lower = {other.lower(): other for other in names if _digits(other) == _digits(name)}
    return next((lower[n] for n in difflib.get_close_matches(name.lower(), lower, 1, NEAR)), None)


def _digits(name: str) -> str:
    return "".join(filter(str.isdigit, name))


def equivalent(name: str, names: Collection[str]) -> str | None:
    """Return advice for a name that none of these is: one that it may mean, or None."""
    lower = name.lower()
    meant = synonym(lower, names)
    if meant is None and (general := synonym(lower, EVERYWHERE)):
        return advice(general)
    meant = meant or near(lower, names)
    return f"use {meant!r}" if meant else None


def check_choice(name: str, value: Any, names: Collection[str], other: str = "") -> str:
    """Return the value if it is a name of the table, else raise TypeError or ValueError."""
    choices = f"choose from {', '.join(names)}"
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r} but must be a name{other}: {choices}")
    if value not in names:
        remedies = ", or ".join(filter(None, (equivalent(value, names), choices)))
        raise ValueError(f"{name} is {value!r} but no {name} has that name: {remedies}{other}")
    return str(value)


def with_argument_hints(
    cls: Class, synonyms: Synonyms = SYNONYMS, attributes: Synonyms = ATTRIBUTES, plain: Any = ()
) -> Class:
    """Class decorator: explain wrong arguments, and attributes.

    Plain methods, whose calls may take less time than a wrapper, get other names as ``**unknown``,
    which their signature does not show, and raise what `unexpected` returns.
    """
    for name in dir(cls):
        method = inspect.getattr_static(cls, name)
        if name in plain:
            shown = inspect.signature(method)
            known = [p for p in shown.parameters.values() if p.kind is not p.VAR_KEYWORD]
            method.__signature__ = shown.replace(parameters=known)
        if not inspect.isfunction(method) or name in plain:
            continue
        if name == "__init__" or (method.__module__.startswith("fastmlp") and name[0] != "_"):
            setattr(cls, name, _with_hints(cls, method, synonyms))
    return with_attribute_hints(cls, attributes)


def unexpected(
    cls: type, method: Callable[..., Any], unknown: dict[str, Any], synonyms: Synonyms = SYNONYMS
) -> TypeError:
    """Return the error of a call of a plain method with arguments that it does not have."""
    return TypeError(_complaint(cls, method, synonyms, (), unknown))


class MissingAttribute:
    """A name of other libraries on a class that lacks it: the AttributeError names ours.

    The class has it in place of ``__getattr__``, which would slow down all other attributes.
    """

    __slots__ = ("name", "owner", "remedies")
    __doc__: Any = property(repr)  # what help() prints of it

    def __init__(self, owner: type, name: str, remedies: tuple[str, ...]) -> None:
        self.owner, self.name, self.remedies = owner, name, remedies

    def __get__(self, instance: Any, kind: type) -> Any:
        """Return what a later base class has, or raise AttributeError."""
        place, what = instance, f"{kind.__name__!r} object"
        if instance is None:
            place, what = kind, f"type object {kind.__name__!r}"
        with contextlib.suppress(AttributeError):
            return getattr(super(self.owner, place), self.name)
        remedy = next((text for text in self.remedies if _has(place, text)), None)
        words = f": {advice(remedy)}" if remedy else ""
        raise AttributeError(
            f"{what} has no attribute {self.name!r}{words}", name=self.name, obj=place
        )

    def __repr__(self) -> str:
        return f"no attribute, see {' or '.join(self.remedies)}"


def with_attribute_hints(cls: Class, attributes: Synonyms = ATTRIBUTES) -> Class:
    """Class decorator: names of other libraries raise an AttributeError that names ours."""
    annotated = {name for base in cls.__mro__ for name in inspect.get_annotations(base)}
    for remedies, others in attributes:
        for name in set(others.split()) - annotated:
            if inspect.getattr_static(cls, name, MISSING) is MISSING:
                setattr(cls, name, MissingAttribute(cls, name, remedies))
    all_names: Any = cls.__dir__

    def __dir__(self: Any) -> list[str]:  # noqa: N807, so that help() has this name
        """Return the names of an object's attributes without those that it lacks."""
        values = {name: inspect.getattr_static(self, name, None) for name in all_names(self)}
        return [
            name
            for name, value in values.items()
            if not isinstance(value, MissingAttribute) or hasattr(self, name)
        ]

    cls.__dir__ = __dir__  # type: ignore[method-assign, assignment]
    return cls


def _has(place: Any, text: str) -> bool:
    """Return whether an object can follow advice such as ``predict(X, link=False)``."""
    head = _head(text)
    if head in EVERYWHERE:
        return True
    value = inspect.getattr_static(place, head, MISSING)
    if value is MISSING:  # but a method __getattr__ may know it
        return hasattr(place, head)
    if isinstance(value, MissingAttribute):
        return False
    option = re.match(r"[\w(, ]+, (\w+)=", text)
    return option is None or option[1] in inspect.signature(value).parameters


def _with_hints(cls: type, method: Callable[..., Any], synonyms: Synonyms) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except TypeError as error:
            complaint = _complaint(cls, method, synonyms, args, kwargs)
            if complaint is None or f"{method.__name__}() " not in str(error):  # not of the call
                raise
        raise TypeError(complaint)

    return call


def _complaint(
    cls: type, method: Callable[..., Any], synonyms: Synonyms, args: Any, kwargs: dict[str, Any]
) -> str | None:
    """Describe the mismatch between a call and the signature; None if the arguments fit."""
    signature = inspect.signature(method)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        words = str(error)
    else:
        return None
    caller = cls.__name__ + f".{method.__name__}" * (method.__name__ != "__init__")
    parameters = signature.parameters
    of_call = synonym(f"{method.__name__}()", EVERYWHERE, synonyms)  # it serves any argument
    name = next((key for key in kwargs if key not in parameters), None)
    if name is not None:
        if of_call is None:
            remedy = _remedy(name, list(parameters), cls, synonyms, method.__name__)
        else:
            remedy = advice(of_call)
        return f"{caller}() got an unexpected keyword argument {name!r}: {remedy}"
    if of_call is not None:
        return f"{caller}(): {words}: {advice(of_call)}"
    places = [k for k, p in parameters.items() if p.kind == p.POSITIONAL_OR_KEYWORD][1:]
    places = [synonym(key, [key], synonyms) or key for key in places]  # a synonym has an example
    rule = f"{', '.join(places)} by position, all others by name" if places else "all by name"
    return f"{caller}(): {words}: pass {rule}"


def _remedy(
    name: str, parameters: list[str], cls: type[Any], synonyms: Synonyms, method: str
) -> str:
    """Return advice for an unknown argument: the right name and the right method.

    The tables may have a name as that of an argument of one method, such as ``to_c.dtype``.
    """
    # Options of training belong to fit, options of a trained model's other forms to to_c.
    other = "fit" if method == "__init__" else "to_c"
    places = {"": parameters, f" to {cls.__name__}": list(inspect.signature(cls).parameters)}
    if hasattr(cls, other):
        options = inspect.signature(getattr(cls, other)).parameters
        places[f" to {other}"] = [key for key in options if key not in GENERAL]
    of_method = f"{method}.{name}"
    if (meant := synonym(of_method, EVERYWHERE, synonyms)) is not None:
        return advice(meant)
    for place, names in places.items():
        meant = None if place else synonym(of_method, names, synonyms)
        meant = meant or (name if name in names else synonym(name, names, synonyms))
        if meant is not None:
            return f"pass {meant if '=' in meant else f'{meant}=...'}{place}"
    if (meant := synonym(name, EVERYWHERE, synonyms)) is not None:
        return advice(meant)
    if meant := near(name, parameters):
        return f"did you mean {meant}?"
    return f"the arguments are {', '.join(key for key in parameters if key != 'self')}"
