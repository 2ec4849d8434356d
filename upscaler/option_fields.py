"""Declares an option once, on a dataclass field: command line, Python functions and checks derive from it."""

import dataclasses
import difflib
import functools
import inspect
import math
import re
import string
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from upscaler.errors import UsageError

_METADATA = "option"
_UNITS = ("_px", "_s", "_gb")  # end the names of fields, but not those of command-line flags

Fields = ParamSpec("Fields")
First = TypeVar("First")
Instance = TypeVar("Instance")
Returned = TypeVar("Returned")


@dataclass(frozen=True)
class Kind:
    """What values an option takes.

    Attributes:
        metavar: Stands for the value in ``--help``; empty for a switch.
        expected: Completes "must be ...".
        convert: The value of the field, from the text of the command line or from a Python value; raises
            ``ValueError`` or ``TypeError`` if that is not possible.
        names: All values, if they are a few names.
        repeatable: Whether the option may be given several times on the command line.
    """

    metavar: str
    expected: str
    convert: Callable[[Any], object]
    names: tuple[str, ...] = ()
    repeatable: bool = False


def number(low: float, high: float = math.inf, *, metavar: str = "NUMBER", above: bool = False) -> Kind:
    """A finite number from ``low`` (excluded with ``above``) to ``high``."""

    def convert(value: str | float) -> float:
        if isinstance(value, bool):
            raise TypeError
        converted = float(value)
        inside = low <= converted <= high and math.isfinite(converted)  # all false for NaN
        if not inside or (above and converted == low):
            raise ValueError
        return converted

    limit = f" to {high:g}" if high < math.inf else ""
    return Kind(metavar, f"a number above {low:g}" if above else f"a number from {low:g}{limit}", convert)


def whole(low: int, high: int | None = None, *, metavar: str = "NUMBER", auto: bool = False) -> Kind:
    """An integer of at least ``low`` and at most ``high``; with ``auto`` also ``auto``, which is ``None``."""

    def convert(value: str | int) -> int | None:
        if auto and value == "auto":
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise TypeError
        converted = int(value)
        if converted < low or (high is not None and converted > high):
            raise ValueError
        return converted

    limit = "of at least" if high is None else "from"
    expected = f"a whole number {limit} {low}" + ("" if high is None else f" to {high}")
    return Kind(metavar, f"auto or {expected}" if auto else expected, convert)


def choice(*names: str, metavar: str = "NAME") -> Kind:
    """One of a few names."""

    def convert(value: str) -> str:
        if value not in names:
            raise ValueError
        return value

    return Kind(metavar, f"{', '.join(names[:-1])} or {names[-1]}", convert, names)


def text(metavar: str = "NAME") -> Kind:
    """A text; a path becomes one."""

    def convert(value: str | Path) -> str:
        if not isinstance(value, str | Path):
            raise TypeError
        return str(value)

    return Kind(metavar, "a text", convert)


def pattern(*fields: str) -> Kind:
    """A file name without its suffix, in which ``{field}`` stands for a value."""

    def convert(value: str) -> str:
        if not isinstance(value, str):
            raise TypeError
        for _, name, form, conversion in string.Formatter().parse(value):
            if name is not None and (name not in fields or form or conversion):
                raise ValueError
        if not value.strip() or re.search(r"[/\\\0]", value):
            raise ValueError
        return value

    named = ", ".join(f"{{{field}}}" for field in fields)
    return Kind("PATTERN", f"a file name without folders, with any of {named}", convert)


def _convert_device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d+)?", value):
        raise ValueError
    return value


def _convert_switch(value: bool) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _convert_size(value: str | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, str):
        if not re.fullmatch(r"\d+[xX]\d+", value):
            raise ValueError
        value = [int(side) for side in value.lower().split("x")]
    width, height = value
    if type(width) is not int or type(height) is not int:
        raise TypeError
    if min(width, height) < 1:
        raise ValueError
    return width, height


def _convert_crop(value: str | Sequence[int]) -> str | tuple[int, int, int, int]:
    if value == "auto":
        return "auto"
    if isinstance(value, str):
        if not re.fullmatch(r"\d+(:\d+){3}", value):
            raise ValueError
        value = [int(each) for each in value.split(":")]
    width, height, left, top = value
    if any(type(each) is not int for each in value):
        raise TypeError
    if min(width, height) < 1 or min(left, top) < 0:
        raise ValueError
    return width, height, left, top


def _convert_rate(value: str | float | Fraction) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Fraction):
        raise TypeError
    if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)?|\d+/[1-9]\d*", value):
        raise ValueError
    rate = Fraction(str(value))
    exact = Fraction(1000 * round(rate * Fraction(1001, 1000)), 1001)
    if rate.denominator != 1 and abs(rate - exact) < Fraction(1, 1000):  # as 23.976 is meant
        rate = exact
    if not 0 < rate <= 1000:
        raise ValueError
    return rate


def _convert_time(value: str | float | Fraction) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Fraction):
        raise TypeError
    if isinstance(value, str):
        if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", value):
            raise ValueError
        seconds = Fraction(0)
        for part in value.split(":"):
            seconds = seconds * 60 + Fraction(part)
        return seconds
    if not (math.isfinite(value) and value >= 0):
        raise ValueError
    return Fraction(value)


def _convert_pairs(value: Iterable[str | tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    if isinstance(value, str):
        raise TypeError
    pairs = [tuple(each.split("=", 1)) if isinstance(each, str) else tuple(each) for each in value]
    for name, content in pairs:
        if not (isinstance(name, str) and isinstance(content, str) and name and content):
            raise ValueError
    return tuple((name, content) for name, content in pairs)


def _convert_models(value: str | Path | Iterable[str | Path]) -> tuple[str, ...]:
    models = (value,) if isinstance(value, str | Path) else tuple(value)
    if not all(isinstance(model, str | Path) for model in models):
        raise TypeError
    if not all(map(str, models)):
        raise ValueError
    return tuple(map(str, models))


def _convert_languages(value: str | Iterable[str]) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else list(value)
    if not all(isinstance(name, str) and re.fullmatch(r"[A-Za-z]{2,3}", name) for name in names):
        raise ValueError
    return tuple(name.lower() for name in names)


def _convert_devices(value: str | Iterable[str]) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else list(value)
    if not all(isinstance(name, str) for name in names):
        raise TypeError
    return tuple(name if name == "all" else _convert_device(name) for name in names)


PATH = Kind("PATH", "a path", Path)
# Whether the machine has the device is only known once torch is loaded.
DEVICE = Kind(
    "NAME", "auto, cpu, cuda, cuda:N, mps or xpu", _convert_device, ("auto", "cpu", "cuda", "mps", "xpu")
)
# `cuda:0,cuda:1` or a list of names -> ("cuda:0", "cuda:1"); `all` stays.
DEVICES = Kind("LIST", "all, or devices such as cuda:0,cuda:1", _convert_devices)
# On or off: `--name`, or `--name/--no-name` if it is on by default.
SWITCH = Kind("", "True or False", _convert_switch)
# `3840x2160` or a pair of integers -> (width, height) in pixels.
SIZE = Kind("SIZE", "WIDTHxHEIGHT in pixels, for example 3840x2160", _convert_size)
# `24`, `23.976`, `24000/1001` or a number -> frames per second, exactly.
RATE = Kind("RATE", "frames per second up to 1000, for example 24, 23.976 or 24000/1001", _convert_rate)
# `1920:800:0:140` or four integers -> (width, height, first column, first row) in pixels; or `auto`.
CROP = Kind(
    "W:H:X:Y", "auto or width:height:left:top in pixels, for example 1920:800:0:140", _convert_crop, ("auto",)
)
# `83.5`, `1:23.5`, `0:01:23.5` or a number -> seconds, exactly.
TIME = Kind("TIME", "seconds, minutes:seconds or hours:minutes:seconds", _convert_time)
# `eng,ger` or a list of names -> ("eng", "ger").
LANGUAGES = Kind("LIST", "languages of 2 or 3 letters, for example eng,ger", _convert_languages)
# Any number of `tune=film` or pairs -> ((name, value), ...).
PAIRS = Kind("NAME=VALUE", "NAME=VALUE, for example tune=film", _convert_pairs, repeatable=True)
# A name or a path, or several -> (name or path, ...).
MODELS = Kind("NAME|FILE", "the name or the file of a model, or several", _convert_models, repeatable=True)


@dataclass(frozen=True)
class Option:
    """An option, as declared by a field.

    Attributes:
        name: The field, which is also the keyword in Python.
        flag: Name on the command line, without dashes.
        default: Value if the option is not given.
        default_text: What ``None`` as default means, for ``--help``.
        help: One line.
        kind: Values, range and metavar.
    """

    name: str
    flag: str
    default: object
    default_text: str
    help: str
    kind: Kind

    def problem(self, value: object) -> str:
        """The message for a value that ``kind`` does not take."""
        shown = repr(value) if isinstance(value, str) else f"{value}"
        return (
            f"--{self.flag} {shown} must be {self.kind.expected}{did_you_mean(str(value), self.kind.names)}"
        )


def option(default: object, help: str, kind: Kind, *, flag: str = "", default_text: str = "") -> Any:  # noqa: ANN401 - as dataclasses.field
    """Declare the field of an option.

    Args:
        default: Value if the option is not given.
        help: One line for ``--help`` and the documentation.
        kind: Values, range and metavar.
        flag: Name on the command line; empty: the field's, with dashes and without its unit.
        default_text: What ``None`` as default means, for ``--help``.
    """
    return field(default=default, metadata={_METADATA: (flag, default_text, help, kind)})


def options_of(options: type) -> list[Option]:
    """The options that a dataclass declares, in order."""
    found = []
    for each in dataclasses.fields(options):
        if _METADATA in each.metadata:
            flag, default_text, help_text, kind = each.metadata[_METADATA]
            found.append(
                Option(each.name, flag or _flag(each.name), each.default, default_text, help_text, kind)
            )
    return found


def _flag(name: str) -> str:
    unit = next((unit for unit in _UNITS if name.endswith(unit)), "")
    return name.removesuffix(unit).replace("_", "-")


def convert_options(options: Any, conflicts: Callable[[], Iterable[str]]) -> None:  # noqa: ANN401 - any options dataclass
    """Convert and check every option of a dataclass in place; called by its ``__post_init__``.

    Args:
        options: The instance.
        conflicts: Lists combinations that are not possible; called if every value for itself is.

    Raises:
        UsageError: Names every wrong option, with its value and what is possible.
    """
    problems = []
    for each in options_of(type(options)):
        value = getattr(options, each.name)
        if value is None and each.default is None:
            continue
        try:
            object.__setattr__(options, each.name, each.kind.convert(value))
        except (TypeError, ValueError, OverflowError):
            problems.append(each.problem(value))
    problems = problems or list(conflicts())
    if problems:
        raise UsageError("; ".join(problems))


def did_you_mean(name: str, known: Collection[str]) -> str:
    """`` (did you mean 'h264'?)``, or nothing if no known name is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def takes_options(
    make: Callable[Fields, Instance],
) -> Callable[[Callable[[First, Instance], Returned]], Callable[Concatenate[First, Fields], Returned]]:
    """Decorator: ``function(first, options)`` becomes ``function(first, **fields of options)``.

    Type checkers and ``help()`` see the types and defaults of the dataclass.

    Args:
        make: The options dataclass.

    Raises:
        UsageError: When the function is called with unknown or wrong options; names all of them.
    """
    fields = inspect.signature(make).parameters

    def decorate(
        function: Callable[[First, Instance], Returned],
    ) -> Callable[Concatenate[First, Fields], Returned]:
        @functools.wraps(function)
        def call(first: First, /, *args: Fields.args, **kwargs: Fields.kwargs) -> Returned:
            problems = [
                f"unknown option '{name}'{did_you_mean(name, fields)}"
                for name in kwargs
                if name not in fields
            ]
            known: Any = {name: value for name, value in kwargs.items() if name in fields}
            try:
                options = make(*args, **known)
            except UsageError as error:
                problems.append(str(error))
            if problems:
                raise UsageError("; ".join(problems))
            return function(first, options)

        positional = next(iter(inspect.signature(function).parameters.values()))
        signature = inspect.Signature([positional.replace(kind=positional.POSITIONAL_ONLY), *fields.values()])
        call.__signature__ = signature  # type: ignore[attr-defined]
        return call

    return decorate
