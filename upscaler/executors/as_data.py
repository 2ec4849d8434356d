"""Dataclasses to JSON and back, by type hints: what a worker says cannot make the driver run anything."""

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

_KIND = "kind of"  # names the class, where several are possible


def to_data(value: object) -> Any:  # noqa: ANN401
    """A value as what ``json`` writes.

    Args:
        value: Dataclasses, tuples, lists and mappings of them, paths, fractions, and what JSON has.
    """
    if is_dataclass(value) and not isinstance(value, type):
        content = {each.name: to_data(getattr(value, each.name)) for each in fields(value)}
        return {_KIND: type(value).__name__, **content}
    if isinstance(value, Mapping):
        return {str(name): to_data(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_data(item) for item in value]
    return str(value) if isinstance(value, Path | Fraction) else value


def from_data(kind: type[T] | object, data: Any) -> T:  # noqa: ANN401
    """What ``to_data`` was given.

    Args:
        kind: Its type: a dataclass, or a union of some.
        data: From ``to_data``, through JSON.

    Raises:
        ValueError: It is something else.
    """
    try:
        return cast("T", _value(kind, data))
    except (TypeError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise ValueError(f"not {kind}: {error}") from error


def _value(kind: Any, data: Any) -> Any:  # noqa: ANN401
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _value(_chosen(arguments, data), data)
    if origin is not None:
        return _contained(origin, arguments, data)
    if is_dataclass(kind):
        return _dataclass(kind, data)
    if kind in (Path, Fraction):
        return kind(data)
    if kind is float and isinstance(data, int):
        return float(data)
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise ValueError(f"{data!r} is not {kind.__name__}")
    return data


def _contained(origin: Any, arguments: tuple[Any, ...], data: Any) -> Any:  # noqa: ANN401
    """What has type arguments: literals and containers."""
    if origin is Literal:
        if data not in arguments:
            raise ValueError(f"{data!r} is none of {arguments}")
        return data
    if origin is tuple:
        kinds = arguments[:1] * len(data) if arguments[-1] is Ellipsis else arguments
        return tuple(_value(each, item) for each, item in zip(kinds, data, strict=True))
    if origin is list:
        return [_value(arguments[0], item) for item in data]
    if issubclass(origin, Mapping):
        return {_value(arguments[0], name): _value(arguments[1], item) for name, item in data.items()}
    raise TypeError(f"{origin} is not supported")


def _dataclass(kind: Any, data: Any) -> Any:  # noqa: ANN401
    if data[_KIND] != kind.__name__:
        raise ValueError(f"{data[_KIND]} is not {kind.__name__}")
    hints = _hints(kind)
    return kind(**{each.name: _value(hints[each.name], data[each.name]) for each in fields(kind)})


@cache
def _hints(kind: Any) -> dict[str, Any]:  # noqa: ANN401
    return get_type_hints(kind)


def _chosen(kinds: tuple[Any, ...], data: Any) -> Any:  # noqa: ANN401
    """The one of several types that data may be."""
    if isinstance(data, dict) and _KIND in data:
        fitting = [each for each in kinds if getattr(each, "__name__", "") == data[_KIND]]
    else:
        fitting = [each for each in kinds if isinstance(each, type) and isinstance(data, each)]
    if not fitting and data is not None:  # such as a tuple, which JSON has as a list
        fitting = [each for each in kinds if get_origin(each)]
    if not fitting:
        raise ValueError(f"{data!r} is none of {kinds}")
    return fitting[0]
