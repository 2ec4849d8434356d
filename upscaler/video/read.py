"""Demux and decode: a video file -> frames as planes, each with its own time stamp.

Nothing here multiplies an index by a frame rate: a frame's time is the PTS that the file gives it.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.container
import av.error
import av.filter
import av.logging
import torch
from av.container import Flags
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from upscaler.color import Layout, Matrix, Siting, guessed_matrix
from upscaler.errors import MediaError
from upscaler.video import hdr
from upscaler.video.deinterlace import Mode, deinterlaced
from upscaler.video.hdr import Hdr

# What av raises: FFmpeg's errors are built-in ones too.
MEDIA_ERRORS = (av.error.FFmpegError, OSError, ValueError, EOFError)

# Codes of ITU-T H.273, which FFmpeg uses too.
_MATRICES: dict[int, Matrix] = {1: "bt709", 4: "bt601", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}
_MATRIX_CODES: dict[Matrix, int] = {"bt709": 1, "bt601": 6, "bt2020": 9}
_FULL_RANGE = 2
_SITINGS: tuple[Siting, ...] = ("left", "center", "topleft")

# Pixel formats whose planes are taken as they are: kind, horizontal and vertical subsampling, bits.
_PLANAR: dict[str, tuple[str, int, int, int]] = {
    f"{prefix}{name}p{depth}": ("yuv", horizontal, vertical, bits)
    for prefix in ("yuv", "yuvj")
    for name, horizontal, vertical in (("420", 2, 2), ("422", 2, 1), ("444", 1, 1), ("440", 1, 2))
    for depth, bits in (("", 8), ("10le", 10), ("12le", 12))
} | {
    "gray": ("gray", 1, 1, 8),
    "gray10le": ("gray", 1, 1, 10),
    "gray12le": ("gray", 1, 1, 12),
    "gbrp": ("gbr", 1, 1, 8),
    "gbrp10le": ("gbr", 1, 1, 10),
    "gbrp12le": ("gbr", 1, 1, 12),
}


@dataclass(frozen=True)
class ColorTags:
    """What the file says of its colours, as H.273 codes; 2 is unspecified.

    ``matrix`` and ``full_range`` are never unspecified: an untagged file gets the usual guess, and the
    output is tagged with what was used.
    """

    matrix: int
    primaries: int
    transfer: int
    full_range: bool


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Attributes:
        planes: ``(h, w)`` each; see ``color.Layout``.
        pts: In units of the video's time base, counted from the start of the file.
        layout: What the planes mean.
    """

    planes: list[Tensor]
    pts: int
    layout: Layout


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before its first frame is decoded.

    Attributes:
        width: Of the coded picture, before any rotation.
        height: Of the coded picture.
        time_base: Unit of every PTS, seconds.
        rate: Frames per second for rate control only; never used for time.
        frames: Count that the file claims, or an estimate from its duration; 0 when nothing is known.
        sample_aspect: Width of a pixel over its height.
        rotation: Degrees counter-clockwise in which the picture is to be shown, a multiple of 90.
        layout: How the first frame's planes encode colour.
        colors: What is written into the output.
        hdr: HDR metadata, where the transfer function is an HDR one.
    """

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    frames: int
    sample_aspect: Fraction
    rotation: int
    layout: Layout
    colors: ColorTags
    hdr: Hdr | None


class VideoReader:
    """A video file opened for reading; a context manager.

    Args:
        path: The file.
        deinterlace: See ``deinterlace.deinterlaced``.

    Raises:
        MediaError: The file cannot be opened, holds no video, or no frame can be decoded.
    """

    def __init__(self, path: Path, deinterlace: Mode = "auto") -> None:
        self.path = path
        self.damaged_packets = 0
        self.interlaced_frames = 0
        self._packets = 0
        self._container = open_input(path)
        try:
            self._stream = main_video_stream(self._container, path)
            self._stream.thread_type = "AUTO"
            self._offset = start_offset(self._container, self._stream.time_base)
            self._stamps = _Stamps(self._step())
            self._decoded = deinterlaced(self._stamped(), self._stream, deinterlace)
            self._first = next(self._decoded, None)
        except BaseException:
            self._container.close()
            raise
        if self._first is None:
            self._container.close()
            raise MediaError(f"no frame of '{path}' can be decoded", "the video stream is damaged")
        self._siting = _siting(self._first, self._stream)
        self.info = self._describe(self._first)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def frames(self) -> Iterator[Frame]:
        """All frames in the order in which they are shown; once only."""
        frame = self._first
        self._first = None
        while frame is not None:
            yield self._as_frame(frame)
            frame = next(self._decoded, None)

    def _stamped(self) -> Iterator[VideoFrame]:
        """Decoded frames, every one with a stamp."""
        for frame in self._decode():
            frame.pts = self._stamps.next(frame.pts, frame.dts)
            self.interlaced_frames += frame.interlaced_frame
            yield frame

    def _decode(self) -> Iterator[VideoFrame]:
        """Decoded frames, the ones that the decoder held back at the end included."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (IndexError, *MEDIA_ERRORS):  # IndexError: av 18.1, at a new stream in a damaged file
                self.damaged_packets += 1
                with suppress(*MEDIA_ERRORS):
                    yield from self._stream.codec_context.decode(None)
                return
            self._packets += packet.size > 0
            try:
                yield from packet.decode()
            except EOFError:
                return
            except MEDIA_ERRORS:
                self.damaged_packets += 1

    def faults(self) -> list[str]:
        """After the last frame: what was wrong with the file, one line each."""
        lines = []
        if self.damaged_packets:
            lines.append(f"{self.damaged_packets} damaged packets in '{self.path}' could not be decoded")
        if self._packets < self._stream.frames:
            whole = f"{self._packets} of {self._stream.frames} frames are there"
            lines.append(f"'{self.path}' ends early: {whole}")
        return lines

    def _step(self) -> int:
        """Ticks between frames where a stamp has to be made up."""
        rate = _rate(self._stream)
        return max(1, round(1 / (rate * self._time_base())))

    def _time_base(self) -> Fraction:
        return self._stream.time_base or Fraction(1, 90000)

    def _as_frame(self, frame: VideoFrame) -> Frame:
        assert frame.pts is not None, "every frame was given a stamp"
        layout = _layout(frame, self._siting)
        planes = [_plane(from_dlpack(plane), layout) for plane in _planar(frame).planes]
        return Frame(planes, frame.pts - self._offset, layout)

    def _describe(self, frame: VideoFrame) -> VideoInfo:
        stream = self._stream
        layout = _layout(frame, self._siting)
        rate = _rate(stream)
        count = stream.frames
        if not count and self._container.duration:
            count = round(self._container.duration / 1_000_000 * rate)
        rotation = frame.rotation if frame.rotation % 90 == 0 else 0
        return VideoInfo(
            width=frame.width,
            height=frame.height,
            time_base=self._time_base(),
            rate=rate,
            frames=count,
            sample_aspect=stream.sample_aspect_ratio or Fraction(1),
            rotation=rotation % 360,
            layout=layout,
            colors=ColorTags(
                matrix=_MATRIX_CODES[layout.matrix],
                primaries=int(frame.color_primaries),
                transfer=int(frame.color_trc),
                full_range=layout.full_range,
            ),
            hdr=hdr.read(frame),
        )


def open_input(path: Path) -> av.container.InputContainer:
    """Open a media file for demuxing, with its own time stamps.

    Raises:
        MediaError: It cannot be opened.
    """
    try:
        container = av.open(str(path), "r", metadata_errors="ignore")
    except MEDIA_ERRORS as error:
        if isinstance(error, FileNotFoundError):
            raise MediaError(f"'{path}' is not there (any more)") from error
        if path.is_file() and path.stat().st_size == 0:
            raise MediaError(f"'{path}' is empty (0 bytes)") from error
        if isinstance(error, PermissionError):
            raise MediaError(f"'{path}' cannot be read: permission denied") from error
        raise MediaError(f"'{path}' is not a video that can be read") from error
    container.flags &= ~int(Flags.gen_pts.value)  # type: ignore[call-overload]  # makes up stamps that are out of order for H.264 in AVI
    return container


def main_video_stream(container: av.container.InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not cover art.

    Raises:
        MediaError: There is none, or nothing here decodes it.
    """
    for stream in container.streams.video:
        if not Disposition.attached_pic & stream.disposition:
            if stream.codec_context is None:
                raise MediaError(f"'{path}' has video of a codec that cannot be decoded")
            return stream
    raise MediaError(f"'{path}' holds no video stream")


def start_offset(container: av.container.InputContainer, time_base: Fraction | None) -> int:
    """The file's start time in units of ``time_base``; subtracting it lets every stream begin near 0."""
    if not container.start_time or not time_base:
        return 0
    return round(Fraction(container.start_time, 1_000_000) / time_base)


def _rate(stream: VideoStream) -> Fraction:
    rate = stream.guessed_rate or stream.average_rate
    return rate if rate and 1 <= rate <= 1000 else Fraction(25)


def _siting(frame: VideoFrame, stream: VideoStream) -> Siting:
    """Where the frame's chroma samples lie; left where nothing is said, as H.264 and HEVC define.

    av 18.1 has no attribute for it, but a filter that describes frames says it.
    """
    if frame.format.name.startswith("yuvj"):
        return "center"  # of JPEG origin
    graph = av.filter.Graph()
    source = graph.add_buffer(template=stream, time_base=stream.time_base)
    describer, sink = graph.add("showinfo"), graph.add("buffersink")
    source.link_to(describer)
    describer.link_to(sink)
    graph.configure()
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        with av.logging.Capture() as lines:
            graph.push(frame)
            graph.pull()
    except MEDIA_ERRORS:
        return "left"
    finally:
        av.logging.set_level(level)
    text = " ".join(line for _, _, line in lines)
    return next((name for name in _SITINGS if f"cl:{name} " in text), "left")


def _layout(frame: VideoFrame, siting: Siting) -> Layout:
    name = frame.format.name
    kind, horizontal, vertical, bits = _PLANAR[_planar_name(frame)]
    untagged = guessed_matrix(frame.height, frame.width)
    full = name.startswith("yuvj") or int(frame.color_range) == _FULL_RANGE or kind == "gbr"
    return Layout(
        kind=kind,  # type: ignore[arg-type]  # the table holds only the three kinds
        bits=bits,
        horizontal=horizontal,
        vertical=vertical,
        matrix=_MATRICES.get(int(frame.colorspace), untagged),
        full_range=full,
        siting=siting,
    )


def _planar_name(frame: VideoFrame) -> str:
    """The planar format for what this frame holds: its own when its planes can be taken as they are."""
    name = frame.format.name
    if name in _PLANAR:
        return name
    deep = any(component.bits > 8 for component in frame.format.components)
    if frame.format.is_rgb or frame.format.has_palette:
        return "gbrp12le" if deep else "gbrp"
    if name.startswith("gray") or len(frame.format.components) == 1:
        return "gray12le" if deep else "gray"
    chroma = frame.format.chroma_width(16), frame.format.chroma_height(16)
    sampling = {(8, 8): "420", (8, 16): "422"}.get(chroma, "444")
    return f"yuv{sampling}p{'12le' if deep else ''}"


def _planar(frame: VideoFrame) -> VideoFrame:
    """The frame in a format whose planes can be taken as they are; the samples change only their places."""
    name = _planar_name(frame)
    return frame if frame.format.name == name else frame.reformat(format=name)


def _plane(plane: Tensor, layout: Layout) -> Tensor:
    return plane if layout.bits == 8 else plane.view(torch.int16)


class _Stamps:
    """Best-effort time stamps by FFmpeg's rule, always increasing.

    Decoding stamps stand in where presentation stamps are missing or are more often out of order.
    """

    def __init__(self, step: int) -> None:
        self._step = step
        self._last: int | None = None
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._faulty_pts = 0
        self._faulty_dts = 0

    def next(self, pts: int | None, dts: int | None) -> int:
        """The stamp of the next frame, given what its packet said."""
        if dts is not None:
            self._faulty_dts += self._last_dts is not None and dts <= self._last_dts
            self._last_dts = dts
        if pts is not None:
            self._faulty_pts += self._last_pts is not None and pts <= self._last_pts
            self._last_pts = pts
        stamp = pts if dts is None or (pts is not None and self._faulty_pts <= self._faulty_dts) else dts
        if stamp is None:
            stamp = 0 if self._last is None else self._last + self._step
        if self._last is not None and stamp <= self._last:
            stamp = self._last + 1
        self._last = stamp
        return stamp
