"""How the commands read arguments: errors in one line, ``-h``, hints for options of others. Prints."""

import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from upscaler import __version__
from upscaler.option_fields import Option, did_you_mean
from upscaler.system.console import printable

if TYPE_CHECKING:
    from typer._click import Context

_EXIT_USAGE = 2
_NONE: Mapping[str, str] = MappingProxyType({})


def _print_version(given: bool) -> None:
    if given:
        print(__version__)  # noqa: T201
        raise typer.Exit


# Prints it and ends the command.
Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
]


def command_class(
    options: Iterable[Option], answers: Mapping[str, str], more: Mapping[str, str] = _NONE
) -> type[TyperCommand]:
    """The class of a command whose arguments are refused in one line, as everything else is.

    Args:
        options: Its options; what values they take completes the line for one without a value.
        answers: Options of other programs, as people type them, and what does the same here.
        more: What further options take, such as ``a whole number of at least 1``.
    """
    expected = {f"--{each.flag}": each.kind.expected for each in options} | dict(more)

    class Command(TyperCommand):
        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
            super().__init__(*args, **kwargs)
            self.context_settings = {"help_option_names": ["-h", "--help"]}

        def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
            flags = {name for each in self.params for name in (*each.opts, *each.secondary_opts)}
            problem = "" if ctx.resilient_parsing else _foreign_option(args, flags, answers)
            if not problem:
                typed = list(args)  # the parser takes from it
                try:
                    return super().parse_args(ctx, args)
                except Exception as error:
                    # Typer's own errors; older versions take their classes from click, newer bring their own.
                    if ctx.resilient_parsing or not hasattr(error, "format_message"):
                        raise
                    problem = _wrong_value(error, typed, expected) or _problem(error, flags, expected)
            with suppress(OSError):
                print(f"error: {problem}", file=sys.stderr)  # noqa: T201
            raise typer.Exit(_EXIT_USAGE)

    return Command


def _foreign_option(arguments: list[str], flags: set[str], answers: Mapping[str, str]) -> str:
    """What is wrong with the first option that another program has, or that has one dash in place of two.

    Before the parser sees it, which takes ``-overwrite`` for ``-o verwrite``.
    """
    for argument in arguments:
        name = argument.partition("=")[0]
        if argument == "--":
            break
        if name in flags or not name.startswith("-"):
            continue
        if name in answers:
            return f"there is no option {name}: {answers[name]}"
        if f"-{name}" in flags:
            return f"there is no option {name}: did you mean -{name}?"
    return ""


def _wrong_value(error: Any, arguments: list[str], expected: Mapping[str, str]) -> str:  # noqa: ANN401 - see above
    """That a value is not possible, and what is; empty for other errors."""
    names = getattr(getattr(error, "param", None), "opts", [])
    name = next((each for each in names if each in expected), "")
    if not name or hasattr(error, "option_name"):
        return ""
    given = dict(pairwise(arguments))
    given |= {flag: value for flag, sign, value in (each.partition("=") for each in arguments) if sign}
    return f"{name} '{printable(given.get(name, ''))}' must be {expected[name]}"


def _problem(error: Any, flags: set[str], expected: Mapping[str, str]) -> str:  # noqa: ANN401 - see above
    name = getattr(error, "option_name", "")
    if hasattr(error, "possibilities"):
        return f"there is no option {name}{did_you_mean(name, sorted(flags))}"
    if name in expected:
        return f"{name} needs a value: {expected[name]}"
    text: str = error.format_message()
    hint = " (--help shows what it takes)" if text.startswith("Missing argument") else ""
    return text[:1].lower() + text[1:].removesuffix(".").replace("\n", " ") + hint
