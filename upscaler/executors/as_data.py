"""Events and results as JSON and back: what a worker says cannot make the driver run anything."""

from typing import Any, TypeVar, get_args

import msgspec

T = TypeVar("T")

_KIND = "kind of"  # names the class


def to_data(value: object) -> dict[str, Any]:
    """A dataclass as what ``json`` writes, with the name of its class."""
    return {_KIND: type(value).__name__, **msgspec.to_builtins(value)}


def from_data(kinds: type[T] | object, data: object) -> T:
    """What ``to_data`` was given.

    Args:
        kinds: A union of dataclasses, of which it is one.
        data: From ``to_data``, through JSON.

    Raises:
        ValueError: It is something else.
    """
    named = data.get(_KIND) if isinstance(data, dict) else None
    for kind in get_args(kinds):
        if kind.__name__ == named:
            try:
                result: T = msgspec.convert(data, kind)
            except msgspec.ValidationError as error:
                raise ValueError(f"not {named}: {error}") from error
            return result
    raise ValueError(f"{data!r} is none of {kinds}")
