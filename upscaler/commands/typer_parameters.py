"""Typer's parameters for declared options; part of the commands."""

import inspect
from collections.abc import Sequence
from typing import Annotated

import typer

from upscaler.option_fields import SWITCH, Option


def parameter(name: str, annotation: object, default: object = None) -> inspect.Parameter:
    """A keyword parameter of a command."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def option_parameter(
    each: Option, *, short: str = "", help: str = "", names: Sequence[str] = ()
) -> inspect.Parameter:
    """The parameter for an option. Values stay text: the options object converts and checks all at once.

    Args:
        each: The option.
        short: Its one-letter form, such as ``-o``; empty for none.
        help: Replaces the option's help.
        names: Values that a shell completes; empty: those of its kind.
    """
    flags = [*([short] if short else []), f"--{each.flag}"]
    text = help or each.help
    default = each.default_text or (each.default if isinstance(each.default, str) else "")
    text += f" [default: {default}]" if default else ""
    if each.kind is SWITCH:
        flags[-1] += "" if each.default is False else f"/--no-{each.flag}"
        kind = bool | None if each.default is None else bool
        return parameter(each.name, Annotated[kind, typer.Option(*flags, help=text)], each.default)
    known = list(names or each.kind.names)
    value = typer.Option(
        *flags,
        metavar=each.kind.metavar,
        help=text,
        autocompletion=(lambda: known) if known else None,
    )
    return parameter(each.name, Annotated[list[str] | None if each.kind.repeatable else str | None, value])
