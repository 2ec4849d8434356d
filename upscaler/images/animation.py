"""Animated GIF, PNG, WebP and AVIF: reading and writing them frame by frame, with each frame's duration."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from upscaler import transparency
from upscaler.errors import MediaError, UsageError
from upscaler.images import (
    apng,
    avif,
    cicp,
    eight_bit,
    encoding,
    gif,
    icc,
    library_settings,
    metadata,
    png_file,
    repair,
    stills,
)
from upscaler.images.cicp import CodePoints
from upscaler.images.encoding import Encoding
from upscaler.images.formats import ANIMATION_SUFFIXES, ImageFormat, format_of
from upscaler.images.metadata import Metadata
from upscaler.images.orientation import apply_orientation, read_orientation, swaps_sides
from upscaler.images.still import Still, has_equal_channels
from upscaler.pixels import Pixels, to_8_bits
from upscaler.system import memory

_GIF_STEP_MS, _GIF_MAX_MS = 10, 655_350
_DEFAULT_MS = 100  # how long viewers show a frame with duration 0


@dataclass(frozen=True)
class Frame:
    """One frame as it is displayed, whatever part of it the file stores.

    Attributes:
        pixels: ``(H, W, 3)`` RGB, uint8 or uint16 over the full range, upright.
        alpha: ``(H, W)`` of the same dtype, or ``None`` if the frame is opaque.
        duration_ms: How long it is displayed; viewers choose what 0 means.
    """

    pixels: Pixels
    alpha: Pixels | None
    duration_ms: float


@dataclass(frozen=True)
class Animation:
    """An opened animation.

    Attributes:
        path: Its file.
        image: The same, opened by Pillow.
        count: Number of frames.
        height: Of every upright frame.
        width: Likewise.
        plays: How many times it is played, 0 for endlessly.
        rate: Frames per second, from the duration of the first frame.
        metadata: Of the file.
        sixteen_bit: Whether its frames are uint16.
        damage: What is damaged besides its frames, as a line for the user; empty for an intact file.
    """

    path: Path
    image: Image.Image
    count: int
    height: int
    width: int
    plays: int
    rate: float
    metadata: Metadata
    sixteen_bit: bool = False
    damage: str = ""

    def frames(self) -> Iterator[Frame]:
        """The frames in order.

        Raises:
            MediaError: The file is damaged or truncated.
        """
        orientation = read_orientation(self.image)
        if self.image.format == "PNG":
            yield from self._png_frames(orientation)
            return
        canvas = self.image.size  # frames of a damaged GIF may be larger
        stored = ImageSequence.Iterator(self.image)
        while frame := self._decode_next(stored, canvas, orientation):
            yield frame

    def _png_frames(self, orientation: int) -> Iterator[Frame]:
        try:
            with library_settings.applied():
                for stored, duration_ms in apng.frames(self.path):
                    yield _opaque_or_not(apply_orientation(stored, orientation), duration_ms)
        except Exception as error:  # decoders raise whatever damage leads them to
            raise stills.decoding_error(self.path, error) from error

    def _decode_next(
        self, stored: ImageSequence.Iterator, canvas: tuple[int, int], orientation: int
    ) -> Frame | None:
        try:
            with library_settings.applied():
                image = next(stored, None)
                return None if image is None else _frame(image, canvas, orientation)
        except Exception as error:  # decoders raise whatever damage leads them to
            raise stills.decoding_error(self.path, error) from error


def _frame(image: Image.Image, canvas: tuple[int, int], orientation: int) -> Frame:
    displayed = image.crop((0, 0, *canvas)) if image.size != canvas else image
    rgba = apply_orientation(np.asarray(displayed.convert("RGBA")), orientation)
    return _opaque_or_not(rgba, float(image.info.get("duration", 0)))


def _opaque_or_not(rgba: Pixels, duration_ms: float) -> Frame:
    alpha: Any = rgba[:, :, 3]
    is_opaque = bool((alpha == np.iinfo(alpha.dtype).max).all())
    colors: Any = rgba[:, :, :3]
    return Frame(colors, None if is_opaque else alpha, duration_ms)


def is_animated(path: Path) -> bool:
    """Whether a file has several frames; ``False`` also for unreadable files and for pages of a TIFF."""
    try:
        with library_settings.applied(), repair.opened(path)[0] as image:
            is_known = image.format in ("AVIF", "GIF", "PNG", "WEBP")
            return is_known and getattr(image, "n_frames", 1) > 1
    except Exception:  # `stills.read` reports the reason
        return False


@contextmanager
def opened(path: Path) -> Iterator[Animation]:
    """Open an animation.

    Raises:
        MediaError: It cannot be read.
    """
    try:
        with library_settings.applied():
            image: Any
            image, damage = repair.opened(path)
            count = image.n_frames - bool(getattr(image, "default_image", False))
    except Exception as error:  # decoders raise whatever damage leads them to
        raise MediaError(f"'{path}' is not an image, or not in a supported format") from error
    with image:
        is_turned = swaps_sides(read_orientation(image))
        yield Animation(
            path,
            image,
            count=count,
            height=image.width if is_turned else image.height,
            width=image.height if is_turned else image.width,
            plays=_plays(image),
            rate=1000 / (image.info.get("duration") or _DEFAULT_MS),
            metadata=_metadata(path, image),
            sixteen_bit=apng.is_sixteen_bit(path),
            damage=damage or (repair.DAMAGED_METADATA if repair.has_damaged_metadata(path) else ""),
        )


def _metadata(path: Path, image: Image.Image) -> Metadata:
    source = metadata.read(image)
    return avif.read_color(path).added_to(source) if image.format == "AVIF" else source


def _plays(image: Image.Image) -> int:
    loops = image.info.get("loop")
    if image.format == "GIF":  # stores the number of repetitions after the first play, or nothing
        return 1 if loops is None else int(loops) + (loops > 0)
    return int(loops or 0)


def check_target(path: Path, height: int, width: int, codes: CodePoints | None = None) -> ImageFormat:
    """Make sure that an animation of this size can be written in the format of the suffix.

    Returns:
        The format.

    Raises:
        UsageError: The format stores no animations, or none of this size.
    """
    image_format = stills.check_target(path, height, width, codes)
    if not image_format.animation_bytes_per_pixel:
        raise UsageError(f"'{path}' can store only one frame", f"use one of {', '.join(ANIMATION_SUFFIXES)}")
    return image_format


def describe_size(image_format: ImageFormat, count: int, height: int, width: int) -> str:
    """The frame count, and from a gigabyte up the memory that writing takes, as the end of a line."""
    gigabytes = count * height * width * image_format.animation_bytes_per_pixel / 1e9
    memory = f", {gigabytes:.1f} GB of memory until the file is written" if gigabytes >= 1 else ""
    return f", {count} frames{memory}"


def check_room(image_format: ImageFormat, count: int, height: int, width: int) -> None:
    """Make sure that all frames fit into memory, as ``write`` needs it.

    Raises:
        MemoryNeededError: They do not.
    """
    needed_bytes = count * height * width * image_format.animation_bytes_per_pixel
    what = f"an animation of {count} frames of {width}x{height}"
    memory.check_room(needed_bytes, what, "use a smaller --scale or --size")


def write(
    path: Path,
    frames: Iterable[Frame],
    plays: int,
    source: Metadata,
    on_frame: Callable[[int], None] = lambda _: None,
    how: Encoding = encoding.USUAL,
    *,
    replaces: bool = True,
) -> None:
    """Write an animation atomically, in the format of the suffix.

    All frames stay in memory until the file is written. A frame of a GIF has at most 256 colours, one bit of
    alpha, and a duration that is a multiple of 10 ms.

    Args:
        path: The target; its suffix is one of ``ANIMATION_SUFFIXES``.
        frames: At least one, all of one size.
        plays: How many times it is played, 0 for endlessly; AVIF does not store it.
        source: Metadata to write; GIF keeps none.
        on_frame: Called with the number of frames so far, after each.
        how: What the user chose.
        replaces: Replace an existing file.

    Raises:
        TargetTakenError: The file exists, and is not replaced.
        MediaError: The file cannot be written.
    """
    image_format = format_of(path)
    assert image_format is not None, "checked by `check_target`"
    frames = iter(frames)
    first = next(frames)
    frames = chain([first], frames)
    if image_format.name == "PNG" and first.pixels.dtype == np.uint16:
        _write_deep(path, frames, plays, source, on_frame, replaces=replaces)
    else:
        _write_by_pillow(path, frames, image_format, plays, source, on_frame, how, replaces=replaces)


def _write_deep(
    path: Path,
    frames: Iterable[Frame],
    plays: int,
    source: Metadata,
    on_frame: Callable[[int], None],
    *,
    replaces: bool,
) -> None:
    images: list[Any] = []
    durations_ms = list[float]()
    for frame in frames:
        images.append((frame.pixels, frame.alpha))
        durations_ms.append(frame.duration_ms)
        on_frame(len(images))
    height, width = images[0][0].shape[:2]
    chunks = png_file.chunks(source, height, width, png_file.embeddable_profile(source, "RGB"))
    with stills.writing(path, replaces=replaces) as partial:
        apng.write(partial, images, _round_durations(durations_ms, 1, None), plays, chunks)


def _write_by_pillow(
    path: Path,
    frames: Iterable[Frame],
    image_format: ImageFormat,
    plays: int,
    source: Metadata,
    on_frame: Callable[[int], None],
    how: Encoding,
    *,
    replaces: bool,
) -> None:
    images, durations_ms, has_alpha, profile = [], list[float](), False, source.profile
    for frame in frames:
        has_alpha = has_alpha or frame.alpha is not None
        image, profile = _storable(frame, image_format, source)
        images.append(image)
        durations_ms.append(frame.duration_ms)
        on_frame(len(images))
    first = images[0]
    source = replace(source, profile=profile)
    arguments = how.arguments(image_format, source_is_lossless=source.lossless)
    arguments |= metadata.save_arguments(source, image_format, first.height, first.width)
    arguments |= _playback_arguments(image_format, durations_ms, plays)
    if image_format.name == "GIF":
        arguments["optimize"] = False  # would renumber the palette and lose the transparent entry
        if has_alpha:
            arguments["disposal"] = 2  # clear each frame, or it shows through the next
    with stills.writing(path, replaces=replaces) as partial:
        first.save(partial, image_format.name, save_all=True, append_images=images[1:], **arguments)


def _playback_arguments(image_format: ImageFormat, durations_ms: list[float], plays: int) -> dict[str, Any]:
    """Pillow's arguments for durations and the number of plays."""
    if image_format.name == "GIF":
        loop = {} if plays == 1 else {"loop": max(0, plays - 1)}  # repetitions after the first play
        return {"duration": _round_durations(durations_ms, _GIF_STEP_MS, _GIF_MAX_MS), **loop}
    loop = {} if image_format.name == "AVIF" else {"loop": plays}
    return {"duration": _round_durations(durations_ms, 1, None), **loop}


def _storable(frame: Frame, image_format: ImageFormat, source: Metadata) -> tuple[Image.Image, bytes | None]:
    """A frame in the mode that the format stores, and the profile to embed."""
    pixels: Pixels = to_8_bits(frame.pixels)
    if source.codes and image_format.name != "PNG":
        pixels = cicp.to_srgb(pixels, source.codes)
    still = Still(pixels, gray=icc.describes(source.profile, "L"), metadata=source)
    image, profile = eight_bit.encoded_colors(still, image_format, "RGB")
    if frame.alpha is not None:
        image.putalpha(Image.fromarray(to_8_bits(frame.alpha)))
    if image_format.name == "GIF":
        # Always with a transparent entry: whether a later frame needs one is not known yet.
        return gif.with_palette(image, transparent=True), profile
    return image.convert("RGBA"), profile


def _round_durations(durations_ms: list[float], step_ms: int, max_ms: int | None) -> list[int]:
    """Durations as multiples of a step; each rounding error is carried over to the next frame."""
    rounded: list[int] = []
    due_ms = 0.0
    for duration_ms in durations_ms:
        due_ms += duration_ms
        steps = round((due_ms - sum(rounded)) / step_ms)
        whole_ms = max(1, steps) * step_ms if duration_ms else 0
        rounded.append(min(whole_ms, max_ms or whole_ms))
    return rounded


def upscale_frames(
    frames: Iterator[Frame],
    upscale: Callable[[Iterator[Pixels]], Iterator[Pixels]],
    *,
    keep_hidden: bool = False,
    wraps: bool = False,
) -> Iterator[Frame]:
    """Upscale colours and alpha of every frame.

    Args:
        frames: All of one size and dtype; RGB ``(H, W, 3)`` and alpha ``(H, W)``, uint8 or uint16.
        upscale: ``Upscaler.frames``; it may take several images before it returns the first.
        keep_hidden: Take the colours of fully transparent pixels as they are.
        wraps: Whether opposite borders of a frame meet.
    """
    pending: deque[Frame] = deque()  # taken by `upscale`, but not returned yet

    def images() -> Iterator[Pixels]:
        for frame in frames:
            pending.append(frame)
            if frame.alpha is None:
                yield frame.pixels
            else:
                visible = (
                    frame.pixels if keep_hidden else transparency.bleed_colors(frame.pixels, frame.alpha)
                )
                yield visible
                yield transparency.as_gray_rgb(frame.alpha)

    upscaled = upscale(images())
    for pixels in upscaled:
        frame = pending.popleft()
        alpha = None
        if frame.alpha is not None:
            alpha = transparency.snap_flat_alpha(next(upscaled), frame.alpha, wraps=wraps)
        if has_equal_channels(frame.pixels):  # no tint from the network
            pixels = stills.with_equal_channels(pixels)
        yield replace(frame, pixels=pixels, alpha=alpha)
