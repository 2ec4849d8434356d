"""Encode: frames as planes -> one closed segment, a video file of its own that starts at time 0."""

import os
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import torch
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from upscaler.color import Layout
from upscaler.errors import MediaError, UsageError
from upscaler.video import hdr
from upscaler.video.demux import MEDIA_ERRORS
from upscaler.video.formats import pixel_format
from upscaler.video.hdr import Hdr
from upscaler.video.read import ColorTags, VideoInfo

os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 prints its settings to the terminal unless told not to


@dataclass(frozen=True)
class CodecSpec:
    """An encoder and what is specific to it.

    Attributes:
        encoder: FFmpeg's name.
        crf: Default constant rate factor.
        crf_max: Largest that the encoder takes.
        preset_option: Name of the option that trades speed for size.
        preset: Its default.
        presets: Values that it takes.
        containers: Suffixes of the containers that can hold the codec.
        bits: Depths that the encoder takes.
        tag: Four-character code for mp4 and mov, where the default plays in fewer programs.
        options: Further encoder options.
    """

    encoder: str
    crf: int
    crf_max: int
    preset_option: str
    preset: str
    presets: tuple[str, ...]
    containers: tuple[str, ...]
    bits: tuple[int, ...]
    tag: str | None = None
    options: tuple[tuple[str, str], ...] = ()


_X26X = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)

CODECS: dict[str, CodecSpec] = {
    "h264": CodecSpec(
        "libx264", 18, 51, "preset", "medium", _X26X, (".mp4", ".m4v", ".mov", ".mkv"), (8, 10)
    ),
    "hevc": CodecSpec(
        "libx265",
        20,
        51,
        "preset",
        "medium",
        _X26X,
        (".mp4", ".m4v", ".mov", ".mkv"),
        (8, 10, 12),
        tag="hvc1",
        options=(("x265-params", "log-level=error"),),
    ),
    "vp9": CodecSpec(
        "libvpx-vp9",
        24,
        63,
        "cpu-used",
        "3",
        tuple(str(number) for number in range(9)),
        (".webm", ".mp4", ".mkv"),
        (8, 10, 12),
        options=(("b", "0"), ("row-mt", "1"), ("deadline", "good")),
    ),
    "av1": CodecSpec(
        "libsvtav1",
        24,
        63,
        "preset",
        "8",
        tuple(str(number) for number in range(14)),
        (".mp4", ".mkv", ".webm"),
        (8, 10),
    ),
}


@dataclass(frozen=True)
class EncodeSettings:
    """Everything an encoder needs before the first frame.

    Attributes:
        codec: A key of ``CODECS``.
        crf: Constant rate factor.
        preset: Value of the codec's preset option.
        width: Of the output, pixels.
        height: Of the output, pixels.
        layout: Of the planes that will come.
        time_base: Unit of every PTS.
        rate: Frames per second, for rate control only.
        sample_aspect: Width of a pixel over its height.
        colors: Tags to write.
        hdr: HDR metadata to write.
    """

    codec: str
    crf: int
    preset: str
    width: int
    height: int
    layout: Layout
    time_base: Fraction
    rate: Fraction
    sample_aspect: Fraction
    colors: ColorTags
    hdr: Hdr | None = None


def choose_codec(
    suffix: str, codec: str | None, crf: int | None, preset: str | None, *, deep: bool = False
) -> tuple[str, int, str]:
    """The codec, crf and preset for a container, the codec's own defaults where ``None`` is given.

    Without a codec it is the one that plays in most places: VP9 in webm, else H.264, and HEVC for sources of
    more than 8 bits (``deep``), which few can play as H.264.

    Raises:
        UsageError: The container does not take the codec, or the codec not the crf or the preset.
    """
    name = codec or ("vp9" if suffix == ".webm" else "hevc" if deep else "h264")
    spec = CODECS[name]
    if suffix not in spec.containers:
        raise UsageError(f"a {suffix} file cannot hold {name} video", f"use {', '.join(spec.containers)}")
    if crf is not None and crf > spec.crf_max:
        raise UsageError(f"crf {crf} is out of range for {name}", f"use 0 to {spec.crf_max}")
    if preset is not None and preset not in spec.presets:
        raise UsageError(f"{name} has no preset '{preset}'", f"use {', '.join(spec.presets)}")
    return name, spec.crf if crf is None else crf, preset or spec.preset


def output_layout(source: Layout, codec: str) -> Layout:
    """The layout to encode: 4:2:0, which plays everywhere, with all else as in the source."""
    depths = CODECS[codec].bits
    subsampled = source.kind == "yuv" and (source.horizontal, source.vertical) == (2, 2)
    return Layout(
        kind="yuv",
        bits=8 if source.bits == 8 else min(depths[-1], 10),
        horizontal=2,
        vertical=2,
        matrix=source.matrix,
        full_range=source.full_range and source.kind != "gbr",
        siting=source.siting if subsampled else "left",
    )


def settings_for(
    info: VideoInfo, codec: tuple[str, int, str], layout: Layout, height: int, width: int
) -> EncodeSettings:
    """Encoder settings that keep the time base, the pixel aspect and the colours of a source."""
    name, crf, preset = codec
    return EncodeSettings(
        codec=name,
        crf=crf,
        preset=preset,
        width=width,
        height=height,
        layout=layout,
        time_base=info.time_base,
        rate=info.rate,
        sample_aspect=info.sample_aspect,
        colors=ColorTags(info.colors.matrix, info.colors.primaries, info.colors.transfer, layout.full_range),
        hdr=info.hdr,
    )


class SegmentWriter:
    """Encodes frames into one closed segment; a context manager.

    The segment stands under its name only once it is complete: it is written beside it, flushed to the disk
    and renamed by ``finish``. Leaving the context without ``finish`` removes what was written.

    Args:
        path: Of the segment, ``.mp4``, which keeps any time base exactly.
        settings: See ``EncodeSettings``.

    Raises:
        MediaError: The encoder cannot be opened.
    """

    def __init__(self, path: Path, settings: EncodeSettings) -> None:
        self.path = path
        self.settings = settings
        self.frames = 0
        self.first_pts = 0
        self._closed = False
        self._partial = path.with_name(f"{path.stem}.part{path.suffix}")
        try:
            self._container = av.open(str(self._partial), "w", options={"movie_timescale": "90000"})
        except MEDIA_ERRORS as error:
            raise MediaError(f"'{path}' cannot be written: {error}") from error
        try:
            self._stream = self._open_stream()
        except MEDIA_ERRORS as error:
            self._discard()
            name = CODECS[settings.codec].encoder
            raise MediaError(f"the encoder {name} cannot be opened: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._closed:
            self._discard()

    def write(self, planes: list[Tensor], pts: int) -> None:
        """Encode one frame.

        Args:
            planes: ``(h, w)`` each, on the host; as ``settings.layout`` says.
            pts: In units of the time base, larger than the one before.

        Raises:
            MediaError: The encoder or the disk failed.
        """
        if self.frames == 0:
            self.first_pts = pts
        frame = _as_video_frame(planes, self.settings)
        frame.pts = pts - self.first_pts
        frame.time_base = self.settings.time_base
        self.frames += 1
        self._mux(frame)

    def finish(self) -> None:
        """Drain the encoder, close the file, and put it under its name.

        Raises:
            MediaError: The encoder or the disk failed.
        """
        self._mux(None)
        try:
            self._container.close()
            with self._partial.open("rb") as file:
                os.fsync(file.fileno())
        except MEDIA_ERRORS as error:
            raise MediaError(f"'{self.path}' cannot be written: {error}") from error
        self._closed = True
        os.replace(self._partial, self.path)

    def _mux(self, frame: VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except MEDIA_ERRORS as error:
            raise MediaError(f"encoding failed at frame {self.frames}: {error}") from error

    def _discard(self) -> None:
        with suppress(*MEDIA_ERRORS):  # a file that is thrown away may be incomplete
            self._container.close()
        self._closed = True
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def _open_stream(self) -> VideoStream:
        settings = self.settings
        spec = CODECS[settings.codec]
        options = {"crf": str(settings.crf), spec.preset_option: settings.preset, **dict(spec.options)}
        options["chroma_sample_location"] = settings.layout.siting
        if settings.hdr:
            options |= hdr.encoder_options(settings.hdr, spec.encoder)
        added = self._container.add_stream(spec.encoder, rate=settings.rate, options=options)
        stream = cast(VideoStream, added)
        context = stream.codec_context
        context.width, context.height = settings.width, settings.height
        context.pix_fmt = pixel_format(settings.layout)
        stream.time_base = context.time_base = settings.time_base
        context.thread_type = "FRAME"  # the default, slices, costs quality with x264
        context.sample_aspect_ratio = settings.sample_aspect
        context.colorspace = settings.colors.matrix
        context.color_range = 2 if settings.colors.full_range else 1
        context.color_primaries = settings.colors.primaries
        context.color_trc = settings.colors.transfer
        if spec.tag:
            context.codec_tag = spec.tag
        context.open()
        return stream


def _as_video_frame(planes: list[Tensor], settings: EncodeSettings) -> VideoFrame:
    frame = VideoFrame(settings.width, settings.height, pixel_format(settings.layout))
    for target, plane in zip(frame.planes, planes, strict=True):
        view = from_dlpack(target)
        view = view.view(torch.int16) if view.dtype == torch.uint16 else view
        view.copy_(plane)
    frame.colorspace = settings.colors.matrix
    frame.color_range = 2 if settings.colors.full_range else 1
    return frame
