"""What becomes of every stream beside the video, found out before the first frame.

Nothing is looked up in a table of what a container is said to take: the header of a small file with the
stream in it is written to memory, and the muxer's own words are the reason when it refuses.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import av.container
from av.stream import Disposition, Stream

from upscaler.errors import UsageError
from upscaler.video.demux import MEDIA_ERRORS, main_video_stream, open_input

# Suffix of the target -> FFmpeg's name of the container.
MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}

Action = Literal["copy", "convert", "drop"]

# Encoder for audio that a container does not take as it is: for sources without loss, and for the others.
_AUDIO_ENCODERS = {
    ".mp4": ("alac", "aac"),
    ".m4v": ("alac", "aac"),
    ".mov": ("alac", "aac"),
    ".mkv": ("flac", "aac"),
    ".webm": ("libopus", "libopus"),
}
_TEXT_ENCODERS = {
    ".mp4": "mov_text",
    ".m4v": "mov_text",
    ".mov": "mov_text",
    ".mkv": "srt",
    ".webm": "webvtt",
}
_TEXT_CODECS = {"ass", "mov_text", "ssa", "srt", "subrip", "text", "webvtt"}
_LOSSLESS = {"alac", "flac", "mlp", "tta", "truehd", "wavpack"}
AUDIO_CODECS = {"aac": "aac", "alac": "alac", "flac": "flac", "mp3": "libmp3lame", "opus": "libopus"}


@dataclass(frozen=True)
class StreamPlan:
    """What becomes of one stream of the source.

    Attributes:
        index: In the source.
        kind: ``audio``, ``subtitle``, ``attachment``, ``cover``, ``video`` (a further one) or ``data``.
        codec: Its name, or what is known of it.
        language: As tagged, or empty.
        action: What is done.
        encoder: FFmpeg's name, for ``convert``.
        reason: Why it is not copied.
    """

    index: int
    kind: str
    codec: str
    language: str
    action: Action
    encoder: str = ""
    reason: str = ""

    def line(self) -> str:
        """One line for the user."""
        name = f"{self.kind} {self.index} ({', '.join(filter(None, (self.codec, self.language)))})"
        if self.action == "copy":
            return f"{name}: copied"
        if self.action == "convert":
            return f"{name}: converted to {self.encoder.removeprefix('lib')}, because {self.reason}"
        return f"{name}: dropped, because {self.reason}"


def plan(
    source: Path, target: Path, *, audio: bool = True, subtitles: bool = True, audio_codec: str | None = None
) -> list[StreamPlan]:
    """Decide about every stream of the source but its main video.

    Args:
        source: File to read.
        target: File to write; its suffix names the container.
        audio: Keep audio streams.
        subtitles: Keep subtitle streams.
        audio_codec: A key of ``AUDIO_CODECS`` to encode all audio with; ``None``: copy where possible.

    Raises:
        MediaError: The source cannot be opened or holds no video.
        UsageError: The container does not take the audio codec.
    """
    suffix = target.suffix.lower()
    with open_input(source) as container:
        main = main_video_stream(container, source)
        plans = []
        for stream in container.streams:
            if stream.index == main.index:
                continue
            kind = _kind(stream)
            if (kind == "audio" and not audio) or (kind == "subtitle" and not subtitles):
                plans.append(_planned(stream, "drop", reason="it was asked for"))
            elif kind == "audio" and audio_codec:
                plans.append(_forced(stream, suffix, AUDIO_CODECS[audio_codec]))
            else:
                plans.append(_decided(stream, suffix))
        return plans


def _decided(stream: Stream, suffix: str) -> StreamPlan:
    kind = _kind(stream)
    if kind == "data":  # the muxers make their own chapter and timecode tracks; others are refused at the end
        return _planned(stream, "drop", reason="data streams cannot be copied reliably")
    if kind == "video":
        return _planned(stream, "drop", reason="only the first video stream is upscaled")
    if kind == "attachment":
        kept = suffix == ".mkv"
        return _planned(stream, "copy" if kept else "drop", reason="" if kept else _only_mkv(suffix))
    reason = refusal(stream, suffix)
    if reason is None:
        return _planned(stream, "copy")
    if kind == "audio" and stream.codec_context is not None:
        encoder = _AUDIO_ENCODERS[suffix][0 if _is_lossless(stream) else 1]
        return _planned(stream, "convert", encoder=encoder, reason=reason)
    if kind == "subtitle" and _codec_name(stream) in _TEXT_CODECS:
        return _planned(stream, "convert", encoder=_TEXT_ENCODERS[suffix], reason=reason)
    return _planned(stream, "drop", reason=f"{reason}; .mkv keeps most streams")


def _forced(stream: Stream, suffix: str, encoder: str) -> StreamPlan:
    if stream.codec_context is None:
        return _planned(stream, "drop", reason="its codec cannot be decoded here")
    try:
        with _small_file(suffix) as output:
            output.add_stream(encoder, rate=48000)
            output.start_encoding()
    except MEDIA_ERRORS as error:
        raise UsageError(
            f"a {suffix} file cannot hold {encoder.removeprefix('lib')} audio: {error}",
            "use another container",
        ) from error
    return _planned(stream, "convert", encoder=encoder, reason="it was asked for")


def _planned(stream: Stream, action: Action, *, encoder: str = "", reason: str = "") -> StreamPlan:
    language = stream.metadata.get("language", "")
    return StreamPlan(stream.index, _kind(stream), _codec_name(stream), language, action, encoder, reason)


def _kind(stream: Stream) -> str:
    if stream.type == "video":
        return "cover" if Disposition.attached_pic & stream.disposition else "video"
    return stream.type if stream.type in ("audio", "subtitle", "attachment") else "data"


def _codec_name(stream: Stream) -> str:
    if stream.type == "attachment":
        return stream.metadata.get("filename", "file")
    return stream.codec_context.name if stream.codec_context is not None else "unknown codec"


def _is_lossless(stream: Stream) -> bool:
    name = _codec_name(stream)
    return name in _LOSSLESS or name.startswith("pcm_")


def _only_mkv(suffix: str) -> str:
    return f"{suffix} has no attachments; .mkv has"


def refusal(stream: Stream, suffix: str) -> str | None:
    """Why a container does not take a stream as it is, or None if it does."""
    muxer = MUXERS[suffix]
    if muxer == "mp4" and _codec_name(stream).startswith("pcm_"):
        return "PCM in mp4 is read wrongly by many programs"
    with _small_file(suffix) as output:
        try:
            copy = output.add_stream_from_template(stream)
            copy.disposition = stream.disposition
            output.start_encoding()
        except MEDIA_ERRORS as error:
            return str(error)
    return None


def _small_file(suffix: str) -> av.container.OutputContainer:
    """A file in memory with a small video stream."""
    muxer = MUXERS[suffix]
    output = av.open(io.BytesIO(), "w", format=muxer)
    video = output.add_stream("libvpx-vp9" if muxer == "webm" else "libx264", rate=25)
    video.width = video.height = 64
    video.pix_fmt = "yuv420p"
    return output
