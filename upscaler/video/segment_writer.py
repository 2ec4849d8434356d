"""Encode: frames as planes -> one segment, a self-contained video file that starts at time 0."""

import os
import secrets
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import av.logging
import torch
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from upscaler import atomic
from upscaler.errors import MediaError
from upscaler.system import own_files
from upscaler.video.captions import CODECS, with_captions
from upscaler.video.demux import MEDIA_ERRORS, ffmpeg_path
from upscaler.video.encoders import EncoderChoice, EncodeSettings, configure
from upscaler.video.ffmpeg_log import captured_log
from upscaler.video.info import ColorTags, VideoInfo


def settings_for(
    info: VideoInfo, choice: EncoderChoice, height: int, width: int, *, square: bool = False
) -> EncodeSettings:
    """Encoder settings for a source.

    Args:
        info: Of the source; time base, rate, colours and HDR metadata are kept.
        choice: The encoder and its options.
        height: Of the output, pixels.
        width: Of the output, pixels.
        square: Whether output pixels are square; otherwise the source's pixel aspect is kept.
    """
    return EncodeSettings(
        choice=choice,
        width=width,
        height=height,
        time_base=info.time_base,
        rate=info.rate,
        sample_aspect=Fraction(1) if square else info.sample_aspect,
        colors=ColorTags(
            info.colors.matrix, info.colors.primaries, info.colors.transfer, choice.layout.full_range
        ),
        hdr=info.hdr,
    )


class SegmentWriter:
    """Encodes frames into one segment; a context manager.

    The segment gets its name only when complete: ``finish`` flushes a temporary file to disk and renames it.
    Leaving the context without ``finish`` removes that file.

    Args:
        path: Of the segment, with ``settings.segment_suffix``.
        settings: See ``EncodeSettings``.
        captions: Closed captions by PTS; what is written is removed. Codecs without captions ignore them.

    Attributes:
        frames: Frames written so far.
        first_pts: PTS of the first frame, which is 0 in the segment.

    Raises:
        MediaError: The encoder cannot be opened, or the file not created.
    """

    def __init__(
        self, path: Path, settings: EncodeSettings, captions: dict[int, bytes] | None = None
    ) -> None:
        self.path = path
        self.settings = settings
        self.frames = 0
        self.first_pts = 0
        self._closed = False
        self._captions = {} if captions is None else captions
        # Two workers may write the same segment, if one is only believed to be lost.
        self._partial = path.with_name(f"{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
        try:
            os.close(own_files.create(self._partial))  # FFmpeg would follow a link of this name
            options = {} if path.suffix == ".mkv" else {"movie_timescale": "90000"}
            self._container = av.open(ffmpeg_path(self._partial), "w", options=options)
        except MEDIA_ERRORS as error:
            raise MediaError(f"'{path}' cannot be written: {error}") from error
        try:
            with captured_log(av.logging.ERROR) as log:
                self._stream = self._open_stream()
        except MEDIA_ERRORS as error:
            self._discard()
            reason = log[0] if log else getattr(error, "strerror", None) or error
            size = f"{settings.width}x{settings.height}"
            name = settings.choice.encoder.name
            raise MediaError(f"the encoder {name} cannot be opened for {size} pixels: {reason}") from error

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
            planes: ``(h, w)`` each, codes of ``settings.layout.dtype``, on the CPU, in the layout's order.
            pts: In units of the time base, larger than that of the previous frame.

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
        """Flush the encoder, close the file, and give it its name.

        Raises:
            MediaError: The encoder or the disk failed.
        """
        self._mux(None)
        try:
            self._container.close()
            atomic.publish(self._partial, self.path)
        except MEDIA_ERRORS as error:
            raise MediaError(f"'{self.path}' cannot be written: {error}") from error
        self._closed = True

    def _mux(self, frame: VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                if frame is None and self.frames <= 2 and self.settings.choice.encoder.name == "libx265":
                    packet.dts = packet.pts  # for one or two frames x265 derives it from uninitialised memory
                self._container.mux(self._with_captions(packet))
        except MEDIA_ERRORS as error:
            raise MediaError(f"encoding failed at frame {self.frames}: {error}") from error

    def _with_captions(self, packet: "Packet[VideoStream]") -> "Packet[Stream]":
        encoded = cast("Packet[Stream]", packet)
        if not self._captions or packet.pts is None:
            return encoded
        pts = self.first_pts + round(packet.pts * packet.time_base / self.settings.time_base)
        captions = self._captions.pop(pts, b"")
        codec = self.settings.choice.codec
        return with_captions(encoded, captions, codec) if captions and codec in CODECS else encoded

    def _discard(self) -> None:
        with suppress(*MEDIA_ERRORS):  # a file that is removed may be incomplete
            self._container.close()
        self._closed = True
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def _open_stream(self) -> VideoStream:
        settings = self.settings
        stream = cast(
            VideoStream, self._container.add_stream(settings.choice.encoder.name, rate=settings.rate)
        )
        configure(stream.codec_context, settings)
        stream.time_base = settings.time_base
        stream.codec_context.open()
        return stream


def _as_video_frame(planes: list[Tensor], settings: EncodeSettings) -> VideoFrame:
    name = settings.choice.pixel_format
    frame = VideoFrame(settings.width, settings.height, name)
    if name in ("nv12", "p010le"):
        planes = _semi_planar(planes)
    for target, plane in zip(frame.planes, planes, strict=True):
        view = from_dlpack(target)
        view = view.view(torch.int16) if view.dtype == torch.uint16 else view
        view.copy_(plane)
    frame.colorspace = settings.matrix
    frame.color_range = 2 if settings.colors.full_range else 1
    return frame


def _semi_planar(planes: list[Tensor]) -> list[Tensor]:
    """Y, U and V planes ``(h, w)`` -> luma ``(h, w)`` and chroma pairs ``(h, w, 2)``.

    The dtype stays the same; 10-bit codes move to the upper bits of 16.
    """
    y, u, v = planes
    pairs = torch.stack([u, v], -1)
    return [y, pairs] if y.dtype == torch.uint8 else [y << 6, pairs << 6]
