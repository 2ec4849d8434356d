"""Default, range and unit of every option of ``upscale``, in one place. Loads neither torch nor av."""

import math
import re
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Literal

from upscaler.errors import UsageError
from upscaler.video import codecs

SCALE_MIN, SCALE_MAX = 1.0, 8.0
DEFAULT_MODEL = {"still": "balanced-photo", "video": "fast-photo", "preview": "fast-photo"}
DEVICES = "auto, cpu, cuda or cuda:N"
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
RUNTIMES = ("auto", "eager", "compiled")
CODECS = tuple(codecs.CODECS)
ENCODERS = ("auto", *codecs.ENCODER_FAMILIES)
DECODERS = ("software", "auto", "nvdec")
AUDIO_CODECS = tuple(codecs.AUDIO_ENCODERS)
# Of VideoOptions' fields, those that the command line calls by another name.
_OPTION = {
    "pixel_format": "pixel-format",
    "encoder_options": "encoder-option",
    "audio_codec": "audio-codec",
    "start_s": "start",
    "end_s": "end",
}


@dataclass(frozen=True)
class EngineOptions:
    """How frames are enlarged.

    Attributes:
        model: Name of shipped weights or path of a weight file; ``None``: ``DEFAULT_MODEL`` of the kind.
        scale: Factor from 1 to 8; ``None``: a weight file's own, or 4.
        size_px: (width, height) to fit inside, keeping the aspect; exclusive with ``scale``.
        device: See ``DEVICES``.
        precision: One of ``PRECISIONS``.
        runtime: One of ``RUNTIMES``.
        tile_px: Side of a tile in LR pixels; ``None``: chosen by the engine.
        batch: Tiles or frames at once; ``None``: chosen by the engine.
        memory_limit_gb: Memory for the network's features; ``None``: a share of what a GPU has free, and on a
            processor what 512x512 LR pixels take.
        tta: Self-ensemble: the mean of what comes of the 8 symmetries of a picture; takes 8 times as long.
        perceptual: From 0, the weights of the faithful model, to 1, those of the textured one; ``None``:
            those of the model named.
    """

    model: str | None = None
    scale: float | None = None
    size_px: tuple[int, int] | None = None
    device: str = "auto"
    precision: str = "auto"
    runtime: str = "auto"
    tile_px: int | None = None
    batch: int | None = None
    memory_limit_gb: float | None = None
    tta: bool = False
    perceptual: float | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and self.size_px is not None:
            raise UsageError("--scale and --size exclude each other")
        if self.size_px is not None and min(self.size_px) < 1:
            raise UsageError(
                f"a size of {self.size_px[0]}x{self.size_px[1]} is impossible", "use, say, 3840x2160"
            )
        if self.scale is not None and not SCALE_MIN <= self.scale <= SCALE_MAX:
            raise UsageError(f"scale {self.scale:g} is out of range", "use a number from 1 to 8")
        if self.precision not in PRECISIONS:
            raise UsageError(f"unknown precision '{self.precision}'", f"use {', '.join(PRECISIONS)}")
        if self.runtime not in RUNTIMES:
            raise UsageError(f"unknown runtime '{self.runtime}'", f"use {', '.join(RUNTIMES)}")
        if self.tile_px is not None and self.tile_px < 1:
            raise UsageError(f"a tile of {self.tile_px} pixels is impossible", "use auto or, say, 512")
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"a batch of {self.batch} is impossible", "use auto or a number from 1 on")
        if self.memory_limit_gb is not None and not 0 < self.memory_limit_gb < math.inf:
            raise UsageError(f"a memory limit of {self.memory_limit_gb:g} GB is impossible", "use, say, 4")
        if self.perceptual is not None and not 0 <= self.perceptual <= 1:
            raise UsageError(f"--perceptual {self.perceptual:g} is out of range", "use a number from 0 to 1")


@dataclass(frozen=True)
class VideoOptions:
    """How video is encoded.

    Attributes:
        codec: One of ``CODECS``; ``None``: VP9 for webm, else H.264.
        crf: Constant rate factor, lower is better; ``None``: the codec's default.
        preset: The encoder's own speed setting; ``None``: the codec's default.
        pixel_format: FFmpeg's name of what is encoded; ``None``: see ``video.encoders``.
        encoder: One of ``ENCODERS``; hardware that cannot be used falls back to software.
        encoder_options: Further (name, value) pairs for the encoder.
        decoder: One of ``DECODERS``; likewise.
        audio: Keep the audio streams.
        audio_codec: One of ``AUDIO_CODECS`` to encode all audio with; ``None``: copy where possible.
        subtitles: Keep the subtitle streams.
        start_s: Seconds of the source to leave out at its start; ``None``: none (a preview: to its middle).
        end_s: Second of the source at which to end; ``None``: at its end.
        frames: Most frames to make; ``None``: all.
        deinterlace: ``auto``: interlaced frames are made whole; ``on``: all frames are; ``off``: none.
        resume: Go on with what an earlier run left.
    """

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    pixel_format: str | None = None
    encoder: str = "software"
    encoder_options: tuple[tuple[str, str], ...] = ()
    decoder: str = "software"
    audio: bool = True
    audio_codec: str | None = None
    subtitles: bool = True
    deinterlace: Literal["auto", "on", "off"] = "auto"
    start_s: Fraction | None = None
    end_s: Fraction | None = None
    frames: int | None = None
    resume: bool = True

    @property
    def from_s(self) -> Fraction:
        """Second of the source at which to begin."""
        return self.start_s or Fraction(0)

    @property
    def trims(self) -> bool:
        """Whether only a part of the source is wanted."""
        return self.from_s > 0 or self.end_s is not None or self.frames is not None

    def given(self) -> list[str]:
        """What is not as by default, as the command line has it."""
        usual = VideoOptions()
        names = [each.name for each in fields(self) if getattr(self, each.name) != getattr(usual, each.name)]
        return [f"--{'no-' * (getattr(self, name) is False)}{_OPTION.get(name, name)}" for name in names]

    def __post_init__(self) -> None:
        if self.from_s < 0 or (self.end_s is not None and self.end_s <= self.from_s):
            raise UsageError("--end must come after --start, and --start must not be negative")
        if self.frames is not None and self.frames < 1:
            raise UsageError(f"--frames {self.frames} leaves nothing", "use a number from 1 on")
        if self.codec is not None and self.codec not in CODECS:
            raise UsageError(f"unknown codec '{self.codec}'", f"use {', '.join(CODECS)}")
        if self.encoder not in ENCODERS:
            raise UsageError(f"unknown encoder '{self.encoder}'", f"use {', '.join(ENCODERS)}")
        if self.decoder not in DECODERS:
            raise UsageError(f"unknown decoder '{self.decoder}'", f"use {', '.join(DECODERS)}")
        if self.deinterlace not in ("auto", "on", "off"):
            raise UsageError(f"--deinterlace '{self.deinterlace}' is unknown", "use auto, on or off")
        if self.audio_codec is not None and self.audio_codec not in AUDIO_CODECS:
            raise UsageError(f"unknown audio codec '{self.audio_codec}'", f"use {', '.join(AUDIO_CODECS)}")
        if self.audio_codec is not None and not self.audio:
            raise UsageError("--audio-codec and --no-audio exclude each other")
        if self.crf is not None and not 0 <= self.crf <= 63:
            raise UsageError(f"crf {self.crf} is out of range", "use 0 to 51, or to 63 for vp9 and av1")


@dataclass(frozen=True)
class Options:
    """Everything the command line says.

    Attributes:
        output: File or folder to write to; ``None``: beside the input.
        overwrite: Replace targets that exist.
        skip_existing: Leave them, and make the others.
        preview: Make a picture of one frame of each video instead.
        engine: How frames are enlarged.
        video: How video is encoded.
    """

    output: Path | None = None
    overwrite: bool = False
    skip_existing: bool = False
    preview: bool = False
    engine: EngineOptions = field(default_factory=EngineOptions)
    video: VideoOptions = field(default_factory=VideoOptions)

    def __post_init__(self) -> None:
        if self.overwrite and self.skip_existing:
            raise UsageError("--overwrite and --skip-existing exclude each other")


def parse_size(text: str) -> tuple[int, int]:
    """``3840x2160`` -> (3840, 2160).

    Raises:
        UsageError: Not two numbers above 0 with an x between.
    """
    width, separator, height = text.lower().partition("x")
    if not (separator and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UsageError(f"'{text}' is not a size", "write it as WIDTHxHEIGHT, for example 3840x2160")
    return int(width), int(height)


def parse_time(text: str) -> Fraction:
    """``83.5``, ``1:23.5`` or ``0:01:23.5`` -> seconds, exactly.

    Raises:
        UsageError: None of these.
    """
    parts = text.split(":")
    if len(parts) > 3 or not all(
        re.fullmatch(r"\d+(\.\d+)?" if last else r"\d+", part)
        for part, last in zip(parts, [False] * (len(parts) - 1) + [True], strict=True)
    ):
        raise UsageError(f"'{text}' is no time", "write seconds, minutes:seconds or hours:minutes:seconds")
    return sum((Fraction(part) * 60**place for place, part in enumerate(reversed(parts))), Fraction(0))


def parse_pair(text: str) -> tuple[str, str]:
    """``tune=film`` -> ("tune", "film").

    Raises:
        UsageError: Nothing before or after the first equals sign, or none.
    """
    name, _, value = text.partition("=")
    if not (name and value):
        raise UsageError(f"'{text}' is no encoder option", "write it as NAME=VALUE, for example tune=film")
    return name, value


def parse_count(text: str, option: str) -> int | None:
    """``auto`` -> None, ``512`` -> 512.

    Args:
        text: What was given.
        option: To which option, for the message.

    Raises:
        UsageError: Neither.
    """
    if text == "auto":
        return None
    if not text.isdecimal():
        raise UsageError(f"{option} '{text}' is not a number", "use auto or a whole number")
    return int(text)
