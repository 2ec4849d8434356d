"""Writes the tables of what is kept into ``docs/images.md``, from files that it makes, upscales and compares.

``python tools/kept_table.py`` after a change of what is kept; a test fails until then.
"""

import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support import kept  # noqa: E402 - found by the line above

from upscaler.images.formats import ANIMATION_SUFFIXES, READ_ONLY_SUFFIXES  # noqa: E402

DOCUMENT = ROOT / "docs" / "images.md"
_TARGETS = (".avif", ".bmp", ".exr", ".gif", ".jpg", ".png", ".tif", ".webp")
_MARKS = re.compile(r"(<!-- kept -->\n).*?(<!-- end of kept -->)", re.DOTALL)
# What is shown of the kinds that hold it best, converted to every format.
_SHOWN_ELSEWHERE = {
    "more than 8 bits": (".png", "16-bit RGB"),
    "sample type": (".tif", "float32"),
    "grayscale": (".png", "gray"),
    "alpha": (".png", "RGB with alpha"),
    "profile": (".png", "RGB"),
    "stated colours": (".avif", "10 bits, Display P3"),
    "EXIF": (".jpg", "RGB"),
    "GPS": (".jpg", "RGB"),
    "maker notes": (".jpg", "RGB"),
    "XMP": (".jpg", "RGB"),
    "IPTC": (".jpg", "RGB"),
    "resolution": (".jpg", "RGB"),
    "texts": (".png", "RGB"),
    "comment": (".jpg", "RGB"),
    "GeoTIFF": (".tif", "8-bit RGB"),
    "gain map": (".jpg", "motion photo"),
    "gain map of Apple": (".heic", "of a phone"),
    "EXR attributes": (".exr", "float32"),
    "video": (".jpg", "motion photo"),
    "frames": (".gif", "animated"),
    "loops": (".gif", "animated"),
}


def tables(folder: Path) -> str:
    """Markdown of both tables, measured with files in a folder."""
    kinds = {(kind.suffix, kind.name): kind for kind in kept.kinds()}
    for number, ((suffix, _), kind) in enumerate(kinds.items()):
        kind.make(folder / f"{number}{suffix}")
    sources = {key: folder / f"{number}{key[0]}" for number, key in enumerate(kinds)}
    return f"""Into the same format; of formats that are read only, into the one that is written instead:

{_same_format(sources)}
Into other formats:

{_other_formats(sources)}"""


def _same_format(sources: dict[tuple[str, str], Path]) -> str:
    rows = ["| format | kind | kept | not kept, with a line |", "|---|---|---|---|"]
    for (suffix, name), source in sources.items():
        target = READ_ONLY_SUFFIXES.get(suffix, suffix)
        found = kept.outcomes(source, source.with_name(f"same-{source.stem}{target}"))
        present = [each for each, is_kept in found.items() if is_kept]
        lost = [each for each, is_kept in found.items() if not is_kept]
        rows.append(
            f"| {_named(suffix, target)} | {name} | {', '.join(present) or '-'} | {', '.join(lost) or '-'} |"
        )
    return "\n".join(rows) + "\n"


def _named(suffix: str, target: str) -> str:
    return suffix[1:].upper() if target == suffix else f"{suffix[1:].upper()} to {target[1:].upper()}"


def _other_formats(sources: dict[tuple[str, str], Path]) -> str:
    rows = [
        f"| | {' | '.join(suffix[1:].upper() for suffix in _TARGETS)} |",
        "|---" * (1 + len(_TARGETS)) + "|",
    ]
    measured: dict[tuple[Path, str], dict[str, bool]] = {}
    for fact, key in _SHOWN_ELSEWHERE.items():
        source, cells = sources[key], []
        for suffix in _TARGETS:
            if "frames" in kept.facts(source) and suffix not in ANIMATION_SUFFIXES:
                cells.append("an error")
                continue
            if (source, suffix) not in measured:
                measured[source, suffix] = kept.outcomes(
                    source, source.with_name(f"other-{source.stem}{suffix}")
                )
            cells.append("kept" if measured[source, suffix][fact] else "-")
        rows.append(f"| {fact} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def updated(document: str, new: str) -> str:
    """The document with new tables between its marks."""
    assert _MARKS.search(document), "the document has no marks"
    return _MARKS.sub(lambda marks: f"{marks[1]}\n{new}\n{marks[2]}", document)


def main() -> None:
    """Write the tables."""
    with tempfile.TemporaryDirectory() as folder:
        new = tables(Path(folder))
    DOCUMENT.write_text(updated(DOCUMENT.read_text(encoding="utf-8"), new), encoding="utf-8")


if __name__ == "__main__":
    main()
