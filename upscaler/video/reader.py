"""Demux and decode: a video file -> frames as planes, each with its own PTS.

Nothing here multiplies an index by a frame rate: the time of a frame is the PTS in the file.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, cast

from av.codec.context import CodecContext
from av.codec.context import Flags as CodecFlags
from av.codec.hwaccel import HWAccel
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from upscaler.errors import MediaError
from upscaler.options import VideoOptions
from upscaler.results import Message, OnMessage
from upscaler.system import processors
from upscaler.video import hdr, projections
from upscaler.video.captions import WaitingCaptions, captions_of
from upscaler.video.cropping import Cropping, Picture, Rectangle, declared_cropping, requested_cropping
from upscaler.video.deinterlace import TICK_PARTS, Deinterlacer, FieldOrder, Mode, rate_factor
from upscaler.video.demux import (
    MEDIA_ERRORS,
    Source,
    demux,
    frame_rate,
    has_alpha_packets,
    has_undetected_stream,
    main_video_stream,
    open_source,
    start_offset,
)
from upscaler.video.extent import Extent
from upscaler.video.gaps import Gaps
from upscaler.video.geometry import Shape, aspect_of, orientation
from upscaler.video.info import ColorTags, Frame, VideoInfo
from upscaler.video.pixel_formats import (
    as_planes,
    aspect_of_frame,
    layout_of,
    matrix_code,
    planar,
    siting_of,
    unsupported_matrix,
)
from upscaler.video.survey import Survey
from upscaler.video.timeline import Timeline
from upscaler.video.timestamps import BestEffortTimestamps
from upscaler.video.yuv import Layout

# FFmpeg's native decoders of these codecs ignore the alpha channel.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Codecs of stills and of capture programs, whose grayscale has full range unless tagged otherwise; in H.264
# and its relatives, limited range is the default.
_FULL_RANGE_GRAY = {"rawvideo", "ffv1", "ffvhuff", "huffyuv", "magicyuv", "png", "tiff", "dpx", "qtrle"}
# How much before a key frame is sought, if it was not found: transport streams have no index.
_SEEK_EARLIER_S = (Fraction(0), Fraction(2), Fraction(20))


class VideoReader:
    """A video file opened for reading; a context manager.

    Args:
        path: The file.
        deinterlace: See ``deinterlace.Deinterlacer``.
        decoder: ``software``; ``nvdec`` or ``auto``: NVDEC where it can decode the first frame, else
            software.
        on_message: Called while the file is opened, and by ``report``.
        survey: Of the file; ``None``: use the default streams, and plan for the shape of the first frame.
        field_order: See ``deinterlace.Deinterlacer``.
        crop: The part of the displayed picture to keep, as (width, height, left, top) in pixels; ``auto``:
            all but the black bars that ``survey`` found; ``None``: all.

    Attributes:
        info: What is known of the video.
        source: The file, and which of its streams are used.
        cropping: Of frames of the planned shape.
        damaged_packets: Packets so far that could not be decoded.
        damaged_frames: Frames so far that the decoder marked as corrupt.
        interlaced_frames: Interlaced frames so far.
        fitted_frames: Frames so far with another shape than that of ``info``.
        barred_frames: Of these, the ones that are displayed with another aspect.
        shown_until: PTS at which the frame yielded last is replaced by the next one or, at the end, ends.

    Raises:
        MediaError: The file cannot be opened, has no video, or no frame can be decoded.
        UsageError: The part to keep is not inside the picture.
    """

    info: VideoInfo
    cropping: Cropping
    _decoded: Iterator[VideoFrame]
    _first: VideoFrame | None

    def __init__(
        self,
        path: Path,
        deinterlace: Mode = "auto",
        decoder: str = "software",
        on_message: OnMessage = lambda _: None,
        survey: Survey | None = None,
        *,
        field_order: FieldOrder = "auto",
        crop: Rectangle | Literal["auto"] | None = None,
    ) -> None:
        self.path = path
        self.source = survey.source if survey else Source(path)
        self._planned_shape = survey.shape if survey else None
        self._bars = survey.bars if survey else None
        self._crop = crop
        self._on_message = on_message
        self._deinterlace: Mode = deinterlace
        self._field_order: FieldOrder = field_order
        self._parts = TICK_PARTS[deinterlace]  # of a tick of the file, in which the PTS of frames count
        if decoder != "software":
            try:
                self._open(HWAccel("cuda", allow_software_fallback=False))
                self._on_message(Message("info", "decoding with NVDEC"))
                return
            except (MediaError, *MEDIA_ERRORS) as error:
                text = f"NVDEC cannot decode it ({error.__cause__ or error}); using software"
                self._on_message(Message("info", text))
        self._open(None)

    @property
    def has_other_streams(self) -> bool:
        """Whether there is anything besides the video: sound, subtitles, chapters."""
        return len(self._container.streams) > 1 or self.info.chapters > 0

    @classmethod
    def with_options(
        cls, path: Path, options: VideoOptions, on_message: OnMessage, survey: Survey | None
    ) -> Self:
        """Open a file as the user's options say."""
        return cls(
            path,
            options.deinterlace,
            options.decoder,
            on_message,
            survey,
            field_order=options.field_order,
            crop=options.crop,
        )

    def _open(self, hardware: HWAccel | None) -> None:
        """Open the file and decode the first frame."""
        self._hardware = hardware
        self._sought: _Sought | None = None
        self.damaged_packets = 0
        self.damaged_frames = 0
        self.interlaced_frames = 0
        self.fitted_frames = 0
        self.barred_frames = 0
        self._aspects: deque[tuple[int, Fraction]] = deque()  # pixel aspects, and from which PTS on
        self.shown_until = 0
        self._encrypted = False
        self._after_seek = False  # and no intact frame was decoded since
        self._container = open_source(self.source, hardware)
        try:
            self._stream = main_video_stream(self._container, self.source)
            self._extent = Extent(self._container, self._stream)
            self._decoder = self._native_or_alpha_decoder(hardware)
            self._decoder.thread_type = "AUTO"
            # HEVC's decoder discards frames that refer to damaged ones; marked as corrupt, they are counted.
            self._decoder.flags |= int(CodecFlags.output_corrupt.value)
            if processors.are_limited():  # FFmpeg looks at the affinity only
                self._decoder.thread_count = processors.count()
            self._offset = start_offset(self._container, self._stream.time_base)
            self._decode_from_here()
            undecodable = f"no frame of '{self.path}' can be decoded"
            if self._encrypted:  # some of its noise may look like a frame to the decoder
                raise MediaError(undecodable, "it is encrypted (DRM)")
            if self._first is None or (self.damaged_frames and not self._has_usable_frame()):
                raise MediaError(undecodable, "the video stream is damaged")
            if encoded := unsupported_matrix(self._first):
                raise MediaError(f"the colours of '{self.path}' are {encoded}, which cannot be converted")
            self._siting = siting_of(self._first)
            self.info = self._describe(self._first)
        except BaseException:
            self._container.close()
            raise

    def _has_usable_frame(self) -> bool:
        """Whether the decoder has a frame without being told to output corrupt ones.

        Of noise, H.264's decoder outputs gray frames if told to. Decodes a second time, up to the first such
        frame: to keep the concealed ones before it in memory could take all of it.
        """
        with open_source(self.source) as container:
            stream = main_video_stream(container, self.source)
            with suppress(EOFError, *MEDIA_ERRORS):
                for packet in demux(container):
                    if packet.stream.index != stream.index:
                        continue
                    with suppress(*MEDIA_ERRORS):
                        if stream.codec_context.decode(cast("Packet[VideoStream]", packet)):
                            return True
        return False

    def _native_or_alpha_decoder(self, hardware: HWAccel | None) -> VideoCodecContext:
        """The stream's decoder, or the one that also decodes its alpha channel."""
        native = self._stream.codec_context
        if has_alpha_packets(self._stream) and native.codec.canonical_name in _ALPHA_DECODERS:
            if hardware:
                raise MediaError("it does not decode alpha")
            created = CodecContext.create(_ALPHA_DECODERS[native.codec.canonical_name], "r")
            decoder = cast(VideoCodecContext, created)
            decoder.color_primaries = native.color_primaries  # which only the container declares
            decoder.color_trc = native.color_trc
            return decoder
        if hardware and not _is_hardware(native):
            raise MediaError(f"it has no decoder for {native.name}")
        return native

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def frames(self) -> Iterator[Frame]:
        """All frames in presentation order; can be iterated once."""
        decoded, self._first = self._first, None
        while decoded is not None:
            following = next(self._decoded, None)
            frame = self._as_frame(decoded)
            self._count_shape(frame.shape)
            self.shown_until = self._end_of_last(decoded) if following is None else self._pts(following)
            yield frame
            decoded = following

    def _count_shape(self, shape: Shape) -> None:
        if shape != self.info.shape:
            self.fitted_frames += 1
            self.barred_frames += not shape.has_aspect_of(self.info.shape)

    def _end_of_last(self, frame: VideoFrame) -> int:
        """PTS at which the last frame ends."""
        decoded, stored = self._last_decoded
        duration = round(self._extent.last_frame_s() / self._time_base()) or max(stored, self._step())
        return max(self._pts(frame) + 1, (decoded + duration - self._offset) * self._parts)

    def seek(self, time_s: Fraction) -> None:
        """Continue near a time, before it where the file allows; does nothing where seeking fails.

        Not exact: some files have a wrong index, or none.
        """
        start_us = self._container.start_time or 0
        try:
            self._container.seek(round(time_s * 1_000_000) + start_us)
            self._decoder.flush_buffers()
        except MEDIA_ERRORS:
            return
        self._after_seek = True
        self._decode_from_here()

    def begin_at(self, pts: int, dts: int) -> bool:
        """Continue at a key frame exactly: ``frames`` then begins with it.

        Frames that are decoded after it but shown before it are left out. Where this fails, ``restart``.

        Args:
            pts: Of the key frame, as frames have it.
            dts: Likewise of its packet, as the file has it.

        Returns:
            Whether the key frame was found.
        """
        self._extent = Extent(self._container, self._stream)
        for earlier_s in _SEEK_EARLIER_S:
            self._sought = _Sought(pts + self._offset, dts)
            try:
                earlier = round(earlier_s / self._time_base())
                self._container.seek(dts - earlier, stream=self._stream, backward=True)
                self._decoder.flush_buffers()
            except MEDIA_ERRORS:
                return False
            self._decode_from_here()
            if self._first is not None:
                return self._pts(self._first) == pts
        return False

    def restart(self) -> None:
        """Read the file from its start again, as if nothing had been read yet."""
        on_message, self._on_message = self._on_message, lambda _: None  # all was said when it was opened
        self._container.close()
        self._open(self._hardware)
        self._on_message = on_message

    def is_intact(self) -> bool:
        """Whether nothing that was read so far is damaged or unusual, so that there is nothing to report."""
        return not (
            self.damaged_packets
            or self.damaged_frames
            or self.interlaced_frames
            or self.fitted_frames
            or self._timestamps.moved
            or self._timeline.is_shifted
            or self._gaps.missing(whole=False) > 0
        )

    def _decode_from_here(self) -> None:
        """Decode the next frame, at the start or after seeking; earlier timestamps no longer matter."""
        self._timestamps = BestEffortTimestamps(self._step(), self._offset)
        self._timeline = Timeline(self._container)
        self._gaps = Gaps(self._container, self._stream)
        self._captions = WaitingCaptions()
        self._deinterlacer = Deinterlacer(self._time_base(), self._deinterlace, self._field_order)
        self._decoded = self._deinterlacer.frames(self._with_pts())
        self._first = next(self._decoded, None)

    def _with_pts(self) -> Iterator[VideoFrame]:
        """Decoded frames, each with a PTS."""
        for frame in self._decode():
            if self._after_seek and frame.is_corrupt:
                continue  # it refers to frames from before the place that was sought
            if self._sought and frame.pts is not None and frame.pts < self._sought.pts:
                continue  # likewise
            self._after_seek = False
            frame.pts = self._timestamps.next(frame.pts, frame.dts)
            self._gaps.frame(float(frame.pts * self._time_base()))
            self.interlaced_frames += frame.interlaced_frame
            self.damaged_frames += frame.is_corrupt
            self._record_aspect(frame.pts * self._parts, frame)
            captions = captions_of(frame, self._decoder.codec.canonical_name)
            self._captions.add(frame.pts * self._parts, captions)
            self._last_decoded = frame.pts, frame.duration or 0
            yield frame

    def _record_aspect(self, pts: int, frame: VideoFrame) -> None:
        aspect = aspect_of(self._stream, self._decoder)
        if self._aspects and self._aspects[-1][1] != aspect:
            aspect = aspect_of_frame(frame) or aspect  # the decoder may be frames ahead
        if not self._aspects or self._aspects[-1][1] != aspect:
            self._aspects.append((pts, aspect))

    def _decode(self) -> Iterator[VideoFrame]:
        """Decoded frames, including those that the decoder delays to the end."""
        packets = demux(self._container)  # all streams: where they end shows whether the file is complete
        if self._sought:
            packets = self._sought.rest(packets, self._stream)
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
            joints = self._timeline.joints
            self._timeline.shift(packet)
            self._gaps.packet(packet, is_joint=self._timeline.joints != joints)
            self._record(packet)
            if packet.stream.index != self._stream.index:
                continue
            try:
                yield from self._decoder.decode(cast("Packet[VideoStream]", packet))
            except EOFError:
                return
            except MEDIA_ERRORS:
                self.damaged_packets += 1

    def _record(self, packet: "Packet[Stream]") -> None:
        """Record what the file contains."""
        self._extent.record(packet)
        if packet.stream.index == self._stream.index:
            self._encrypted |= packet.has_sidedata("encryption_info")

    def report(self, *, whole: bool) -> None:
        """Send a message for everything unusual and everything damaged in the part of the file that was read.

        Args:
            whole: The file was read to its end, so that a missing end can be detected.
        """
        for text in self._oddities():
            self._on_message(Message("info", text))
        for text in self._damage(whole=whole):
            self._on_message(Message("warning", text))

    def _oddities(self) -> Iterator[str]:
        if self.fitted_frames:
            shape = f"{self.info.width}x{self.info.height}"
            bars = f", {self.barred_frames} of them with bars" if self.barred_frames else ""
            yield f"{self.fitted_frames} frames have another shape than {shape} and were fitted into it{bars}"
        if joints := self._timeline.joints:
            count = "once" if joints == 1 else f"{joints} times"
            yield f"timestamps jump {count}; the parts are joined without a gap"
        if telecine := self._deinterlacer.telecine:
            frames = f"{telecine.left_out} of {telecine.frames_in} frames"
            yield f"inverse telecine left out {frames}, which repeat another"

    def _damage(self, *, whole: bool) -> Iterator[str]:
        if has_undetected_stream(self._container):
            yield "dropped a stream that starts too late to be found"
        if self.damaged_packets:
            yield f"could not decode {self.damaged_packets} damaged packets"
        # Where a packet could not be decoded, its frame is missing, too.
        if (lost := self._gaps.missing(whole=whole) - self.damaged_packets) > 0:
            count = "1 frame is" if lost == 1 else f"{lost} frames are"
            yield f"about {count} missing where the file is damaged"
        if self.damaged_frames:
            yield f"{self.damaged_frames} damaged frames were concealed"
        if moved := self._timestamps.moved:
            yield f"non-monotonic timestamps; moved {moved} frames after their predecessor"
        # Otherwise the survey has found that nothing is missing.
        if whole and not self._sought and (missing := self._extent.missing()):
            yield f"the file ends early: {missing}"

    def _step(self) -> int:
        """Ticks between frames where a timestamp has to be made up."""
        rate = frame_rate(self._stream)
        return max(1, round(1 / (rate * self._time_base())))

    def _time_base(self) -> Fraction:
        """Of the file."""
        return self._stream.time_base or Fraction(1, 90000)

    def _layout(self, frame: VideoFrame) -> Layout:
        full = self._decoder.codec.canonical_name in _FULL_RANGE_GRAY
        return layout_of(frame, self._siting, untagged_gray_is_full=full)

    def _as_frame(self, frame: VideoFrame) -> Frame:
        layout = self._layout(frame)
        planes = as_planes(planar(frame), layout)
        if cropping := self._croppings.get((frame.width, frame.height)):
            planes = cropping.apply(planes, layout)
        assert frame.pts is not None, "_with_pts sets it"
        captions = self._captions.take(frame.pts)
        return Frame(planes, self._pts(frame), layout, self._aspect(frame), captions)

    def _aspect(self, frame: VideoFrame) -> Fraction:
        """Pixel aspect of a frame, which may be several behind the decoder's last."""
        assert frame.pts is not None, "_with_pts sets it"
        while len(self._aspects) > 1 and self._aspects[1][0] <= frame.pts:
            self._aspects.popleft()
        return self._aspects[0][1]

    def _pts(self, frame: VideoFrame) -> int:
        """Of a deinterlaced frame, counted from the start of the file."""
        assert frame.pts is not None, "_with_pts sets it"
        return frame.pts - self._offset * self._parts

    def _describe(self, frame: VideoFrame) -> VideoInfo:
        stream = self._stream
        layout = self._layout(frame)
        rate = frame_rate(stream)
        count = stream.frames
        if not count and (self._container.duration or 0) > 0:
            count = round((self._container.duration or 0) / 1_000_000 * rate)
        rotation, mirrored = orientation(frame)
        shape = self._planned_shape or Shape(frame.width, frame.height, self._aspect(frame))
        shape = self._cropped(shape, layout, Picture(shape.width, shape.height, rotation, mirrored))
        factor = rate_factor(self._deinterlace, rate)
        return VideoInfo(
            width=shape.width,
            height=shape.height,
            time_base=self._time_base() / self._parts,
            rate=rate * factor,
            frames=round(count * factor),
            sample_aspect=shape.sample_aspect,
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
            projection=projections.read(frame),
            hdr=hdr.read(frame, may_be_untagged=self._decoder.codec.canonical_name in ("hevc", "av1")),
        )

    def _cropped(self, shape: Shape, layout: Layout, picture: Picture) -> Shape:
        """Decide about cropping; the planned shape after it."""
        assert self._first is not None, "it is described before it is yielded"
        coded_px = (shape.width, shape.height)
        self._croppings = {(self._first.width, self._first.height): declared_cropping(self._stream)}
        cropping = self._croppings.get(coded_px, Cropping()).without_moving_chroma(layout)
        if self._crop is not None:
            bars = self._bars.cropping(*coded_px) if self._bars else Cropping()
            cropping, text = requested_cropping(self._crop, picture, cropping, bars, layout)
            self._on_message(Message("info", text))
        self._croppings[coded_px] = self.cropping = cropping
        inner = picture.cropped(cropping)
        return replace(shape, width=inner.width, height=inner.height)


@dataclass(frozen=True)
class _Sought:
    """A packet with a key frame, by its times in the file."""

    pts: int
    dts: int

    def rest(self, packets: "Iterator[Packet[Stream]]", stream: Stream) -> "Iterator[Packet[Stream]]":
        """Packets of all streams from this one on; none if it has passed already."""
        for packet in packets:
            if packet.stream.index != stream.index:
                continue
            if packet.pts == self.pts and packet.is_keyframe:
                yield packet
                yield from packets
                return
            stamp = packet.pts if packet.dts is None else packet.dts
            if packet.size == 0 or (stamp is not None and stamp > max(self.pts, self.dts)):
                return


def _is_hardware(context: VideoCodecContext) -> bool:
    return bool(context.is_hwaccel)
