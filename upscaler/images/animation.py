"""Animated pictures: GIF, APNG, WebP and AVIF, frame by frame, each with the time that it is shown."""

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from upscaler.errors import MediaError, UsageError
from upscaler.images import exif, metadata, palette, stills, transparency
from upscaler.images.metadata import Metadata
from upscaler.images.stills import Still
from upscaler.pixels import Pixels, to_8_bits
from upscaler.results import Message, OnMessage

_LONGEST_IN_GIF_MS = 655_350
_USUAL_MS = 100  # what viewers make of a duration of 0
# Bytes a pixel, measured: our frames, and where it makes them, Pillow's copies.
_HELD_BYTES = {".avif": 7, ".gif": 2, ".png": 8, ".webp": 4}
SUFFIXES = tuple(_HELD_BYTES)


@dataclass(frozen=True)
class Frame:
    """One frame as it is seen, whatever the file stores of it.

    Attributes:
        pixels: ``(H, W, 3)`` RGB uint8.
        alpha: ``(H, W)`` uint8, or ``None`` where all is seen.
        duration_ms: How long it is shown; what 0 means is left to the viewer.
    """

    pixels: Pixels
    alpha: Pixels | None
    duration_ms: float


@dataclass(frozen=True)
class Animation:
    """An opened animation.

    Attributes:
        count: How many frames it has.
        height: Of every frame.
        width: Of every frame.
        plays: How many times it is shown, 0 for ever.
        rate: Frames shown in a second, by the first one.
        metadata: What else belongs to it.
    """

    path: Path
    picture: Image.Image
    count: int
    height: int
    width: int
    plays: int
    rate: float
    metadata: Metadata

    def frames(self) -> Iterator[Frame]:
        """The frames in order.

        Raises:
            MediaError: The file is damaged or truncated.
        """
        turned = exif.orientation(self.picture)
        canvas = (0, 0, *self.picture.size)  # frames of a damaged GIF may be larger
        try:
            for number, picture in enumerate(ImageSequence.Iterator(self.picture)):
                if number or not getattr(self.picture, "default_image", False):  # one for old viewers
                    yield _frame(picture, canvas, turned)
        except MemoryError:
            raise
        except Exception as error:  # decoders raise whatever damage leads them to
            raise MediaError(f"'{self.path}' is damaged or truncated: {error}") from error


def _frame(picture: Image.Image, canvas: tuple[int, int, int, int], orientation: int) -> Frame:
    shown = picture.crop(canvas) if picture.size != canvas[2:] else picture
    if shown.mode.startswith("I"):  # 16 bits of gray, which Pillow would clip to 8
        shown = Image.fromarray(to_8_bits(np.asarray(shown).astype(np.uint16)))
    rgba = stills.upright(np.asarray(shown.convert("RGBA")), orientation)
    alpha = rgba[:, :, 3]
    hides = bool((alpha < 255).any())
    return Frame(rgba[:, :, :3], alpha if hides else None, float(picture.info.get("duration", 0)))


def is_animated(path: Path) -> bool:
    """Whether a file has several frames; False too for what cannot be read, and for pages."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                return (
                    picture.format in ("AVIF", "GIF", "PNG", "WEBP") and getattr(picture, "n_frames", 1) > 1
                )
    except Exception:  # `stills.read` says what is wrong
        return False


def warn_if_truncated(path: Path, on_message: OnMessage) -> None:
    """Warn of a GIF without a trailer, of which more frames may have been lost."""
    try:
        with path.open("rb") as file:
            if file.read(3) != b"GIF" or _has_end(b"GIF" + file.read()):
                return
    except OSError:  # removed since it was read
        return
    on_message(Message("warning", "the file is truncated: more frames may have followed"))


def _has_end(gif: bytes) -> bool:
    """Whether the blocks of a GIF lead to its trailer (GIF89a: 17 to 27)."""

    def colors(flags: int) -> int:
        """Bytes of a table of colours."""
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    try:
        at = 13 + colors(gif[10])
        while gif[at] != ord(";"):
            if gif[at] not in b"!,":  # nothing known, which decoders pass over
                at += 1
                continue
            at += 2 if gif[at] == ord("!") else 11 + colors(gif[at + 9])
            while gif[at]:
                at += 1 + gif[at]
            at += 1
    except IndexError:
        return False
    return True


@contextmanager
def opened(path: Path) -> Iterator[Animation]:
    """Open an animation.

    Raises:
        MediaError: It cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about size, and about damage that is found in frames
        try:
            picture: Any = Image.open(path)
        except Exception as error:
            raise MediaError(f"'{path}' is not a picture that can be read") from error
        with picture:
            turns = exif.orientation(picture) >= 5
            yield Animation(
                path,
                picture,
                count=picture.n_frames - bool(getattr(picture, "default_image", False)),
                height=picture.width if turns else picture.height,
                width=picture.height if turns else picture.width,
                plays=_plays(picture),
                rate=1000 / (picture.info.get("duration") or _USUAL_MS),
                metadata=metadata.read(picture),
            )


def _plays(picture: Image.Image) -> int:
    """From the file's number of loops, which GIF counts from the second time on."""
    loops = picture.info.get("loop")
    if picture.format == "GIF":
        return 1 if loops is None else int(loops) + (loops > 0)
    return int(loops or 0)


def check_target(path: Path, height: int, width: int) -> None:
    """Make sure that an animation of this size can be written in the format of the suffix.

    Raises:
        UsageError: The format holds a single picture, or none of this size.
    """
    stills.check_target(path, height, width)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"'{path}' would hold one frame of an animation", f"use one of {', '.join(SUFFIXES)}"
        )


def told(path: Path, count: int, height: int, width: int) -> str:
    """How many frames a target will have, and from a gigabyte on the memory that they take, to end a line."""
    gigabytes = count * height * width * _HELD_BYTES[path.suffix.lower()] / 1e9
    memory = f", {gigabytes:.1f} GB of memory until they are written" if gigabytes >= 1 else ""
    return f", {count} frames{memory}"


def write(
    path: Path,
    frames: Iterable[Frame],
    plays: int,
    brought: Metadata,
    on_frame: Callable[[int], None] = lambda _: None,
) -> None:
    """Write an animation atomically, in the format of the suffix.

    All frames are in memory until the file is written, see ``told``. A frame of GIF has 256 colours,
    its pixels are seen or not seen, and its time is a multiple of 10 ms.

    Args:
        path: What it becomes.
        frames: All of one size.
        plays: How many times it is shown, 0 for ever.
        brought: What else belongs to it; GIF keeps none of it.
        on_frame: Called with the number of frames that are there, after each.

    Raises:
        MediaError: The file cannot be written.
    """
    name, arguments = stills.FORMATS[path.suffix.lower()]
    pictures, durations_ms, hides, profile = [], list[float](), False, brought.profile
    for frame in frames:
        hides = hides or frame.alpha is not None
        picture, profile = _picture(frame, name, brought)
        pictures.append(picture)
        durations_ms.append(frame.duration_ms)
        on_frame(len(pictures))
    brought = replace(brought, profile=profile)
    arguments = arguments | metadata.save_arguments(brought, name, pictures[0].size)
    arguments["duration"] = _whole_ms(
        durations_ms, *((10, _LONGEST_IN_GIF_MS) if name == "GIF" else (1, None))
    )
    if name == "GIF":
        arguments["optimize"] = False  # it would renumber the palette, and lose what is not seen
        arguments |= {"disposal": 2} if hides else {}  # else the last frame shows where this one is hidden
        arguments |= {} if plays == 1 else {"loop": max(0, plays - 1)}
    elif name != "AVIF":  # which says nothing of it
        arguments["loop"] = plays
    with stills.replacing(path) as partial:
        pictures[0].save(partial, name, save_all=True, append_images=pictures[1:], **arguments)


def _picture(frame: Frame, name: str, brought: Metadata) -> tuple[Image.Image, bytes | None]:
    """A frame as the format stores it, and the profile to be written with it."""
    still = Still(frame.pixels, gray=metadata.fits(brought.profile, "L"), metadata=brought)
    picture, profile = stills.colored(still, name, "RGB")
    if frame.alpha is not None:
        picture.putalpha(Image.fromarray(frame.alpha))
    # Every frame of a GIF has an entry for what is not seen: of later ones it is not known yet.
    stored = palette.with_palette(picture, transparent=True) if name == "GIF" else picture.convert("RGBA")
    return stored, profile


def _whole_ms(durations_ms: list[float], step_ms: int, longest_ms: int | None) -> list[int]:
    """Times that a format can hold: what rounding adds or takes is made up for by the next ones."""
    made: list[int] = []
    due_ms = 0.0
    for duration_ms in durations_ms:
        due_ms += duration_ms
        steps = round((due_ms - sum(made)) / step_ms)
        whole_ms = max(1, steps) * step_ms if duration_ms else 0
        made.append(min(whole_ms, longest_ms or whole_ms))
    return made


def enlarged(
    frames: Iterator[Frame], enlarge: Callable[[Iterator[Pixels]], Iterator[Pixels]]
) -> Iterator[Frame]:
    """Enlarge colours and transparency of every frame.

    Args:
        frames: Of one size.
        enlarge: ``Upscaler.frames``; it may take several pictures before it gives the first one back.
    """
    taken: deque[Frame] = deque()  # and not given back yet

    def pictures() -> Iterator[Pixels]:
        for frame in frames:
            taken.append(frame)
            if frame.alpha is None:
                yield frame.pixels
            else:
                yield transparency.revealed(frame.pixels, frame.alpha)
                yield transparency.as_picture(frame.alpha)

    made = enlarge(pictures())
    for pixels in made:
        frame = taken.popleft()
        alpha = None if frame.alpha is None else transparency.settled(next(made), frame.alpha)
        yield replace(frame, pixels=pixels, alpha=alpha)
