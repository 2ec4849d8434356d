"""An HTML page that shows images before and after; everything is inside it, nothing is loaded."""

import base64
import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8888; font: 16px/1.5 system-ui, sans-serif; }}
body {{ margin: 0 auto; padding: 1rem; max-width: 80rem; }}
h1 {{ font-size: 1.25rem; }}
h2 {{ font-size: 1rem; overflow-wrap: anywhere; margin: 2rem 0 0.5rem; }}
.frame {{ overflow: auto; border: 1px solid var(--line); width: fit-content; max-width: 100%; }}
.pair {{ position: relative; width: fit-content; max-width: 100%; --split: 50%; line-height: 0; }}
.pair img {{ display: block; max-width: 100%; height: auto; }}
.pair .after {{ position: absolute; inset: 0; clip-path: inset(0 0 0 var(--split)); }}
.pair .bar {{ position: absolute; top: 0; bottom: 0; left: var(--split); width: 2px; margin-left: -1px;
  background: #fff; box-shadow: 0 0 2px #000; pointer-events: none; }}
.pair span {{ position: absolute; top: 0.5rem; padding: 0 0.4rem; font-size: 0.8rem; line-height: 1.5;
  background: #000a; color: #fff; pointer-events: none; }}
.pair span.left {{ left: 0.5rem; }}
.pair span.right {{ right: 0.5rem; }}
.pair input {{ position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: ew-resize; touch-action: pan-y; }}
.pair:focus-within {{ outline: 2px solid Highlight; }}
.large .pair {{ max-width: none; }}
.large .pair img {{ max-width: none; }}
.controls {{ display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; margin: 0.5rem 0; font-size: 0.9rem; }}
table {{ border-collapse: collapse; font-size: 0.9rem; }}
th, td {{ padding: 0.1rem 1rem 0.1rem 0; text-align: left; }}
</style>
<h1>{title}</h1>
<p>Drag over an image, or use the arrow keys.</p>
"""
_SCRIPT = """<script>
for (const figure of document.querySelectorAll("section")) {
  const pair = figure.querySelector(".pair");
  const before = pair.querySelector(".before"), name = pair.querySelector(".left");
  pair.querySelector("input").addEventListener("input", event => {
    pair.style.setProperty("--split", event.target.value + "%");
  });
  figure.querySelector("[type=checkbox]").addEventListener("change", event => {
    figure.querySelector(".frame").classList.toggle("large", event.target.checked);
  });
  for (const choice of figure.querySelectorAll("[type=radio]")) {
    choice.addEventListener("change", () => {
      before.src = figure.querySelector("img[data-name='" + choice.value + "']").src;
      name.textContent = choice.value;
    });
  }
}
</script>
</html>
"""


@dataclass(frozen=True)
class Shown:
    """What an image is compared with, or the image itself.

    Attributes:
        name: ``bicubic``, ``upscale`` or ``original``; plain letters.
        jpeg: The file's content.
    """

    name: str
    jpeg: bytes


@dataclass(frozen=True)
class Entry:
    """One comparison.

    Attributes:
        title: Of the image.
        note: A line below it; may be empty.
        width: Of every image.
        height: Likewise.
        after: The result.
        before: What it is compared with; at least one, the first is shown first.
        scores: Rows of a table: a name, and values for ``columns``.
        columns: Names of the values.
    """

    title: str
    note: str
    width: int
    height: int
    after: Shown
    before: Sequence[Shown]
    scores: Sequence[tuple[str, ...]] = ()
    columns: Sequence[str] = ()


class Page:
    """A page that is written entry by entry, so that only one of them is in memory.

    Args:
        file: Opened for writing.
        title: Of the page.
    """

    def __init__(self, file: BinaryIO, title: str) -> None:
        self._file = file
        self._count = 0
        self._write(_HEAD.format(title=html.escape(title)))

    def add(self, entry: Entry) -> None:
        """Add a comparison.

        Raises:
            OSError: The file cannot be written.
        """
        self._count += 1
        for part in _section(entry, self._count):
            self._write(part)

    def finish(self) -> None:
        """Write the end.

        Raises:
            OSError: The file cannot be written.
        """
        self._write(_SCRIPT)

    def _write(self, text: str) -> None:
        self._file.write(text.encode("utf-8", "backslashreplace"))


def _section(entry: Entry, number: int) -> Iterator[str]:
    first = entry.before[0]
    size = f'width="{entry.width}" height="{entry.height}"'
    title = html.escape(entry.title)
    yield f'<section>\n<h2>{title}</h2>\n<div class="frame"><div class="pair">\n'
    yield f'<img class="before" {size} alt="{title}, {first.name}" src="{_address(first)}">\n'
    yield f'<img class="after" {size} alt="{title}, {entry.after.name}" src="{_address(entry.after)}">\n'
    yield f'<div class="bar"></div><span class="left">{first.name}</span>'
    yield f'<span class="right">{entry.after.name}</span>\n'
    yield f'<input type="range" min="0" max="100" step="0.1" value="50" aria-label="split of {title}">\n'
    yield '</div></div>\n<div class="controls">\n<label><input type="checkbox"> pixel by pixel</label>\n'
    if len(entry.before) > 1:
        for each in entry.before:
            checked = " checked" if each is first else ""
            name = f'name="before{number}" value="{each.name}"{checked}'
            yield f'<label><input type="radio" {name}> {each.name}</label>\n'
            yield f'<img hidden data-name="{each.name}" alt="" src="{_address(each)}">\n'
    yield "</div>\n"
    if entry.scores:
        yield "<table>\n" + _row("th", ("", *entry.columns))
        yield "".join(_row("td", row) for row in entry.scores) + "</table>\n"
    if entry.note:
        yield f"<p>{html.escape(entry.note)}</p>\n"
    yield "</section>\n"


def _row(cell: str, values: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{cell}>{html.escape(value)}</{cell}>' for value in values)}</tr>\n"


def _address(shown: Shown) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(shown.jpeg).decode('ascii')}"


def beside(target: Path) -> Path:
    """Where the page about a single result goes."""
    return target.with_suffix(".compare.html")
