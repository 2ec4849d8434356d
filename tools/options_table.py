"""A mkdocs hook: replaces ``<!-- options of CLASS -->`` by a table of the options declared there."""

import re

from upscaler import options
from upscaler.option_fields import Option, options_of


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs for every page."""
    return re.sub(r"<!-- options of (\w+) -->", lambda match: table(getattr(options, match[1])), markdown)


def table(kind: type) -> str:
    """Markdown with a row per option."""
    head = "| keyword | command line | default | |\n|---|---|---|---|\n"
    return head + "\n".join(row(each) for each in options_of(kind)) + "\n"


def row(each: Option) -> str:
    """Markdown of one option."""
    flag = f"--no-{each.flag}" if each.default is True else f"--{each.flag} {each.kind.metavar}".strip()
    default = each.default_text or f"`{each.default!r}`"
    meaning = each.help.replace("{models}", "The name of a shipped model")
    cells = [f"`{each.name}`", f"`{flag}`", default, meaning]
    return f"| {' | '.join(cells)} |"  # a bar inside backticks does not end a cell
