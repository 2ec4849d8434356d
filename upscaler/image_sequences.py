"""Numbered images that are one video: ``frames_%05d.png``, where C and FFmpeg write the number so."""

import re
from dataclasses import dataclass
from pathlib import Path

from upscaler.errors import UsageError

# What FFmpeg decodes, and by the suffix alone.
READABLE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_NUMBER = re.compile(r"%(?:0(\d))?d")


@dataclass(frozen=True)
class ImageSequence:
    """Images whose numbers follow each other.

    Attributes:
        first: Number of the first.
        files: All, in order.
    """

    first: int
    files: tuple[Path, ...]


def is_pattern(path: Path) -> bool:
    """Whether a path names numbered images; not if there is a file of just this name."""
    return len(_NUMBER.findall(path.name)) == 1 and not path.is_file()


def numbered(pattern: Path, number: int) -> Path:
    """The image with a number."""
    found = _NUMBER.search(pattern.name)
    assert found, "the caller has asked is_pattern"
    digits = f"{number:0{found.group(1) or 1}}"
    return pattern.with_name(pattern.name[: found.start()] + digits + pattern.name[found.end() :])


def name_of(pattern: Path) -> str:
    """What the images have in common: ``frames`` of ``frames_%05d.png``, or the name of their folder."""
    return _NUMBER.sub("", pattern.stem).strip(" ._-") or pattern.absolute().parent.name or "images"


def existing(pattern: Path) -> list[tuple[int, Path]]:
    """Number and path of the images that exist, sorted; none if the folder cannot be read."""
    found = _NUMBER.search(pattern.name)
    assert found, "the caller has asked is_pattern"
    before, after = (re.escape(each) for each in (pattern.name[: found.start()], pattern.name[found.end() :]))
    name = re.compile(f"{before}(\\d{{{found.group(1) or 1},}}){after}")
    try:
        matches = [(name.fullmatch(each.name), each) for each in pattern.parent.iterdir()]
    except OSError:
        return []
    numbers = [(int(match.group(1)), path) for match, path in matches if match]
    return sorted((number, path) for number, path in numbers if numbered(pattern, number).name == path.name)


def find(pattern: Path) -> ImageSequence:
    """The images that a pattern names.

    Raises:
        UsageError: There are none, a number is missing, or the suffix is not one of ``READABLE_SUFFIXES``.
    """
    if pattern.suffix.lower() not in READABLE_SUFFIXES:
        raise UsageError(f"cannot read '{pattern}' as a video", f"use {', '.join(READABLE_SUFFIXES)}")
    images = existing(pattern)
    if not images:
        raise UsageError(f"there are no images '{pattern}'", "%05d stands for a number of five digits")
    first, last = images[0][0], images[-1][0]
    present = {number for number, _ in images}
    missing = next((number for number in range(first, last + 1) if number not in present), None)
    if missing is not None:
        raise UsageError(
            f"'{numbered(pattern, missing)}' is missing", f"the numbers go from {first} to {last}"
        )
    return ImageSequence(first, tuple(path for _, path in images))


def escaped(pattern: Path) -> str:
    """The absolute pattern for FFmpeg, in which every other percent sign is doubled."""
    absolute = pattern.absolute()
    found = _NUMBER.search(absolute.name)
    assert found, "the caller has asked is_pattern"
    folder = str(absolute.parent / "x")[:-1].replace("%", "%%")
    before, after = absolute.name[: found.start()], absolute.name[found.end() :]
    return folder + before.replace("%", "%%") + found.group() + after.replace("%", "%%")
