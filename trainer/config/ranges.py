"""The range of a setting, declared on its field; all fields of a settings object are checked at once.

Settings with a fixed set of values declare them by their type, a ``Literal``.
"""

import dataclasses
import math
import typing
from collections.abc import Callable
from typing import Any, TypeVar

Value = TypeVar("Value")
_KEY = "range"


@dataclasses.dataclass(frozen=True)
class _Range:
    text: str  # completes "NAME must be ..."
    holds: Callable[[Any], bool]


def positive(default: Value) -> Value:
    """A field above 0."""
    return _field(default, _Range("above 0", lambda value: value > 0))


def not_negative(default: Value) -> Value:
    """A field of at least 0."""
    return _field(default, _Range("at least 0", lambda value: value >= 0))


def at_least(minimum: int, default: Value) -> Value:
    """A field with a minimum."""
    return _field(default, _Range(f"at least {minimum}", lambda value: value >= minimum))


def below_one(default: Value) -> Value:
    """A field of at least 0 and below 1."""
    return _field(default, _Range("at least 0 and below 1", lambda value: 0 <= value < 1))


def at_most_share(maximum: float, default: Value) -> Value:
    """A field of at least 0, with a maximum."""
    return _field(default, _Range(f"at least 0 and at most {maximum:g}", lambda value: 0 <= value <= maximum))


def fraction(default: Value) -> Value:
    """A field between 0 and 1, both included."""
    return _field(default, _Range("between 0 and 1", lambda value: 0 <= value <= 1))


def inner_fraction(default: Value) -> Value:
    """A field between 0 and 1, both excluded."""
    return _field(default, _Range("above 0 and below 1", lambda value: 0 < value < 1))


def finite(default: Value) -> Value:
    """A field that is any number but infinity and NaN."""
    return _field(default, _Range("a finite number", lambda value: True))


def one_of(values: tuple[object, ...], default: Value) -> Value:
    """A field with a fixed set of values other than text."""
    return _field(default, _Range(f"one of {', '.join(map(str, values))}", lambda value: value in values))


def adam_betas(default: tuple[float, float]) -> tuple[float, float]:
    """A field with the two decay rates of Adam."""
    text = "two numbers of at least 0 and below 1"
    return _field(
        default, _Range(text, lambda betas: len(betas) == 2 and all(0 <= beta < 1 for beta in betas))
    )


def _field(default: Value, limits: _Range) -> Value:
    return dataclasses.field(default=default, metadata={_KEY: limits})


def range_errors(settings: object) -> list[str]:
    """A line for every field that is out of its range; ``None``, which leaves a choice open, never is."""
    assert dataclasses.is_dataclass(settings), "ranges are declared on dataclass fields"
    hints = typing.get_type_hints(type(settings))
    errors = []
    for field in dataclasses.fields(settings):
        value, limits = getattr(settings, field.name), field.metadata.get(_KEY)
        is_literal = typing.get_origin(hints[field.name]) is typing.Literal
        choices = typing.get_args(hints[field.name])
        if is_literal and value not in choices:
            errors.append(f"{field.name} must be one of {', '.join(choices)}")
        elif limits is not None and value is not None and not (_is_finite(value) and limits.holds(value)):
            errors.append(f"{field.name} must be {limits.text}")
    return errors


def _is_finite(value: object) -> bool:
    """Whether it is not an infinite or undefined float; an integer may be too large for a float."""
    return not isinstance(value, float) or math.isfinite(value)
