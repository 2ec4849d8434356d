"""Demux and decode: a video file -> frames as planes, each with its own time stamp.

Nothing here multiplies an index by a frame rate: a frame's time is the PTS that the file gives it.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from av.codec.context import CodecContext
from av.codec.hwaccel import HWAccel
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from upscaler.errors import MediaError
from upscaler.video import hdr
from upscaler.video.deinterlace import Mode, deinterlaced
from upscaler.video.demux import (
    MEDIA_ERRORS,
    Stamps,
    Timeline,
    demuxed,
    found_late,
    frame_rate,
    has_alpha_packets,
    main_video_stream,
    open_input,
    start_offset,
)
from upscaler.video.extent import Extent
from upscaler.video.geometry import orientation, views_lost
from upscaler.video.hdr import Hdr
from upscaler.video.pixel_formats import as_plane, layout_of, matrix_code, planar, siting_of
from upscaler.video.yuv import Layout


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
        rotation: Degrees counter-clockwise by which the picture is turned to be shown: 0, 90, 180 or 270.
        mirrored: Whether it is mirrored left to right after that.
        layout: How the first frame's planes encode colour.
        chapters: How many the file has.
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
    mirrored: bool
    layout: Layout
    chapters: int
    colors: ColorTags
    hdr: Hdr | None


# FFmpeg's own decoders of these leave the alpha channel out.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class VideoReader:
    """A video file opened for reading; a context manager.

    Args:
        path: The file.
        deinterlace: See ``deinterlace.deinterlaced``.
        decoder: ``software``; ``nvdec`` or ``auto``: NVIDIA's hardware where it can decode the first frame,
            else software.

    Attributes:
        info: What is known of the video.
        notes: Lines worth telling before the first frame: which hardware decodes, or why none does.
        damaged_packets: That could not be decoded so far.
        interlaced_frames: Found so far.
        resized_frames: So far, of another size than the first.
        shown_until: Stamp at which the frame given last is followed by another or, at the end, is over.

    Raises:
        MediaError: The file cannot be opened, holds no video, or no frame can be decoded.
    """

    def __init__(self, path: Path, deinterlace: Mode = "auto", decoder: str = "software") -> None:
        self.path = path
        self.notes: list[str] = []
        self._deinterlace: Mode = deinterlace
        if decoder != "software":
            try:
                self._open(HWAccel("cuda", allow_software_fallback=False))
                self.notes.append("decoded by NVDEC")
                return
            except (MediaError, *MEDIA_ERRORS) as error:
                self.notes.append(f"NVDEC cannot decode it ({error.__cause__ or error}); using software")
        self._open(None)

    def _open(self, hardware: HWAccel | None) -> None:
        """Open the file and decode its first frame."""
        self.damaged_packets = 0
        self.damaged_frames = 0
        self.interlaced_frames = 0
        self.resized_frames = 0
        self.shown_until = 0
        self._encrypted = False
        self._container = open_input(self.path, hardware)
        try:
            self._stream = main_video_stream(self._container, self.path)
            self._extent = Extent(self._container, self._stream)
            self._decoder = self._own_or_alpha_decoder(hardware)
            self._decoder.thread_type = "AUTO"
            self._offset = start_offset(self._container, self._stream.time_base)
            self._stamps, self._timeline = Stamps(self._step()), Timeline(self._container)
            self._decoded = deinterlaced(self._stamped(), self._time_base(), self._deinterlace)
            self._first = next(self._decoded, None)
            if self._first is None:
                reason = "it is encrypted (DRM)" if self._encrypted else "the video stream is damaged"
                raise MediaError(f"no frame of '{self.path}' can be decoded", reason)
            self._siting = siting_of(self._first)
            self.info = self._describe(self._first)
            if "stereo_mode" not in self._stream.metadata:  # Matroska's, which is kept with the other tags
                self.notes += views_lost(self._first)
        except BaseException:
            self._container.close()
            raise

    def _own_or_alpha_decoder(self, hardware: HWAccel | None) -> VideoCodecContext:
        """The stream's decoder, or the one that gives its alpha channel too."""
        own = self._stream.codec_context
        if has_alpha_packets(self._stream) and own.codec.canonical_name in _ALPHA_DECODERS:
            if hardware:
                raise MediaError("the hardware leaves alpha out")
            created = CodecContext.create(_ALPHA_DECODERS[own.codec.canonical_name], "r")
            decoder = cast(VideoCodecContext, created)
            decoder.color_primaries, decoder.color_trc = (
                own.color_primaries,
                own.color_trc,
            )  # of the container
            return decoder
        if hardware and not _is_hardware(own):
            raise MediaError(f"it has no decoder for {own.name}")
        return own

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
            following = next(self._decoded, None)
            self.resized_frames += (frame.width, frame.height) != (self.info.width, self.info.height)
            given = self._as_frame(frame)
            length = max(frame.duration or 0, self._step())  # few files say it of frames that others follow
            self.shown_until = given.pts + length if following is None else self._stamp(following)
            yield given
            frame = following

    def seek(self, time_s: Fraction) -> None:
        """Go on near a time, before it where the file allows; where it cannot, nothing happens.

        Not exact: some files are indexed wrongly, or not at all.
        """
        start_us = self._container.start_time or 0
        try:
            self._container.seek(round(time_s * 1_000_000) + start_us)
            self._decoder.flush_buffers()
        except MEDIA_ERRORS:
            return
        self._stamps, self._timeline = Stamps(self._step()), Timeline(self._container)
        self._decoded = deinterlaced(self._stamped(), self._time_base(), self._deinterlace)
        self._first = next(self._decoded, None)

    def _stamped(self) -> Iterator[VideoFrame]:
        """Decoded frames, every one with a stamp."""
        for frame in self._decode():
            frame.pts = self._stamps.next(frame.pts, frame.dts)
            self.interlaced_frames += frame.interlaced_frame
            self.damaged_frames += frame.is_corrupt
            yield frame

    def _decode(self) -> Iterator[VideoFrame]:
        """Decoded frames, the ones that the decoder held back at the end included."""
        packets = demuxed(self._container)  # all streams: where they end tells whether the file is whole
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except MEDIA_ERRORS:
                self.damaged_packets += 1
                with suppress(*MEDIA_ERRORS):
                    yield from self._decoder.decode(None)
                return
            self._timeline.place(packet)
            self._note(packet)
            if packet.stream.index != self._stream.index:
                continue
            try:
                yield from self._decoder.decode(cast("Packet[VideoStream]", packet))
            except EOFError:
                return
            except MEDIA_ERRORS:
                self.damaged_packets += 1

    def _note(self, packet: "Packet[Stream]") -> None:
        """Keep count of what the file holds."""
        self._extent.note(packet)
        if packet.stream.index == self._stream.index:
            self._encrypted |= packet.has_sidedata("encryption_info")

    def remarks(self) -> list[str]:
        """What was unusual in the part of the file that was read, one line each."""
        lines = []
        if self.resized_frames:
            lines.append(f"{self.resized_frames} frames of '{self.path}' had another size than the first")
        if jumps := self._timeline.jumps:
            again = "once" if jumps == 1 else f"{jumps} times"
            lines.append(f"time stamps of '{self.path}' go back {again}; there it goes on from where it was")
        if found_late(self._container):
            lines.append(f"a stream of '{self.path}' is dropped: it begins too late to be found on opening")
        return lines

    def faults(self, *, whole: bool) -> list[str]:
        """What was wrong with the part of the file that was read, one line each.

        Args:
            whole: The file was read to its end, so that an early one can be told.
        """
        lines = []
        if self.damaged_packets:
            lines.append(f"{self.damaged_packets} damaged packets in '{self.path}' could not be decoded")
        if self.damaged_frames:
            lines.append(
                f"{self.damaged_frames} frames of '{self.path}' are damaged, and shown as well as can be"
            )
        if squeezed := self._stamps.squeezed:
            lines.append(
                f"time stamps of '{self.path}' go back: {squeezed} frames follow the one before at once"
            )
        if whole and (missing := self._extent.missing()):
            lines.append(f"'{self.path}' ends early: {missing}")
        return lines

    def _step(self) -> int:
        """Ticks between frames where a stamp has to be made up."""
        rate = frame_rate(self._stream)
        return max(1, round(1 / (rate * self._time_base())))

    def _time_base(self) -> Fraction:
        return self._stream.time_base or Fraction(1, 90000)

    def _as_frame(self, frame: VideoFrame) -> Frame:
        layout = layout_of(frame, self._siting)
        planes = [as_plane(from_dlpack(plane), layout) for plane in planar(frame).planes]
        return Frame(planes, self._stamp(frame), layout)

    def _stamp(self, frame: VideoFrame) -> int:
        assert frame.pts is not None, "every frame was given a stamp"
        return frame.pts - self._offset

    def _describe(self, frame: VideoFrame) -> VideoInfo:
        stream = self._stream
        layout = layout_of(frame, self._siting)
        rate = frame_rate(stream)
        count = stream.frames
        if not count and self._container.duration:
            count = round(self._container.duration / 1_000_000 * rate)
        rotation, mirrored = orientation(frame)
        return VideoInfo(
            width=frame.width,
            height=frame.height,
            time_base=self._time_base(),
            rate=rate,
            frames=count,
            sample_aspect=stream.sample_aspect_ratio or Fraction(1),
            rotation=rotation,
            mirrored=mirrored,
            layout=layout,
            chapters=len(self._container.chapters()),
            colors=ColorTags(
                matrix=matrix_code(frame),
                primaries=int(frame.color_primaries),
                transfer=int(frame.color_trc),
                full_range=layout.full_range,
            ),
            hdr=hdr.read(frame, may_be_untagged=self._decoder.codec.canonical_name in ("hevc", "av1")),
        )


def _is_hardware(context: VideoCodecContext) -> bool:
    return bool(context.is_hwaccel)
