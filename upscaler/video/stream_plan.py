"""What becomes of every stream beside the video, found out before the first frame.

Nothing is looked up in a table of what a container is said to take: the header of a small file with the
stream in it is written to memory, and the muxer's own words are the reason when it refuses.
"""

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.container
import av.logging
from av.audio.codeccontext import AudioCodecContext
from av.audio.format import AudioFormat
from av.audio.stream import AudioStream
from av.codec.context import CodecContext
from av.stream import Disposition, Stream

from upscaler.errors import UsageError
from upscaler.results import Action, StreamPlan
from upscaler.video.demux import MEDIA_ERRORS, main_video_stream, open_input

# Suffix of the target -> FFmpeg's name of the container.
MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}

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
# The channel layout to encode with where an encoder does not take the source's own, by number of channels.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_LOSSLESS = {"alac", "flac", "mlp", "tta", "truehd", "wavpack"}
_NO_DATA = "no container here keeps data streams reliably"
AUDIO_CODECS = {"aac": "aac", "alac": "alac", "flac": "flac", "mp3": "libmp3lame", "opus": "libopus"}


def table(plans: list[StreamPlan], chapters: int) -> list[str]:
    """What becomes of everything beside the video, one aligned line each; empty when there is nothing.

    Args:
        plans: From ``plan``.
        chapters: How many the source has; every container takes them.
    """
    rows = [(f"{plan.kind} {plan.index}", plan.codec, plan.language or "-", plan.result()) for plan in plans]
    if chapters:
        rows.append(("chapters", str(chapters), "-", "copied"))
    if not rows:
        return []
    rows.insert(0, ("stream", "codec", "language", "result"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    ]


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
                plans.append(_forced(stream, suffix, audio_codec))
            else:
                plans.append(_decided(stream, suffix))
        return plans


def _decided(stream: Stream, suffix: str) -> StreamPlan:
    kind = _kind(stream)
    if kind == "data":  # the muxers make their own chapter and timecode tracks; others are refused at the end
        kept = "timecode" in stream.metadata  # which the video has, too
        reason = "the time code goes along with the video" if kept else _NO_DATA
        return _planned(stream, "drop", reason=reason)
    if kind == "video":
        return _planned(stream, "drop", reason="only the first video stream is upscaled")
    if kind == "attachment":
        kept = suffix == ".mkv"
        reason = f"{suffix} has no attachments; .mkv keeps it"
        return _planned(stream, "copy") if kept else _planned(stream, "drop", reason=reason)
    reason = refusal(stream, suffix) or ""
    if not reason:
        return _planned(stream, "copy")
    if kind == "audio":
        encoders = _AUDIO_ENCODERS[suffix] if _is_lossless(stream) else _AUDIO_ENCODERS[suffix][1:]
        for encoder in encoders:
            converted = _converted(stream, encoder, reason)
            if converted:
                return converted
    if kind == "subtitle" and _codec_name(stream) in _TEXT_CODECS:
        return _planned(stream, "convert", encoder=_TEXT_ENCODERS[suffix], reason=reason)
    return _planned(stream, "drop", reason=f"{reason}; {_keepers(stream)}")


def _keepers(stream: Stream) -> str:
    """The containers that take a stream as it is, in words."""
    keepers = [suffix for suffix in (".mkv", ".mov", ".mp4", ".webm") if refusal(stream, suffix) is None]
    return f"{' and '.join(keepers)} would keep it" if keepers else "no container here keeps it"


def check_audio_codec(suffix: str, audio_codec: str) -> None:
    """Refuse sound that a container cannot hold.

    Args:
        suffix: Of the target.
        audio_codec: A key of ``AUDIO_CODECS``.

    Raises:
        UsageError: The container does not take it.
    """
    encoder = AUDIO_CODECS[audio_codec]
    try:
        with _small_file(suffix) as output:
            output.add_stream(encoder, rate=48000)
            output.start_encoding()
    except MEDIA_ERRORS as error:
        raise UsageError(
            f"a {suffix} file cannot hold {encoder.removeprefix('lib')} audio: {error}",
            "use another container",
        ) from error


def _forced(stream: Stream, suffix: str, audio_codec: str) -> StreamPlan:
    check_audio_codec(suffix, audio_codec)
    encoder = AUDIO_CODECS[audio_codec]
    converted = _converted(stream, encoder, "it was asked for")
    if converted is None:
        why = f"it cannot be decoded here, or not be encoded with {encoder.removeprefix('lib')}"
        return _planned(stream, "drop", reason=why)
    return converted


def _converted(stream: Stream, encoder: str, reason: str) -> StreamPlan | None:
    """The stream encoded with its own rate and channels where the encoder takes them; None if none."""
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        return None
    context = stream.codec_context
    layouts = (context.layout.name, _LAYOUTS.get(context.channels, "stereo"), "stereo")
    for layout in dict.fromkeys(layouts):
        for rate in dict.fromkeys((context.sample_rate or 48_000, 48_000)):  # unknown where it begins late
            if _opens(encoder, rate, layout):
                planned = _planned(stream, "convert", encoder=encoder, reason=reason)
                return replace(planned, rate=rate, layout=layout)
    return None


def _opens(encoder: str, rate: int, layout: str) -> bool:
    try:
        context = cast(AudioCodecContext, CodecContext.create(encoder, "w"))
        context.sample_rate = rate
        context.layout = layout
        context.time_base = Fraction(1, rate)
        context.format = AudioFormat(context.codec.audio_formats[0].name)  # type: ignore[index]
        context.open()
    except MEDIA_ERRORS:
        return False
    return True


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
    return stream.codec_context.codec.canonical_name if stream.codec_context is not None else "unknown codec"


def _is_lossless(stream: Stream) -> bool:
    name = _codec_name(stream)
    return name in _LOSSLESS or name.startswith("pcm_")


def refusal(stream: Stream, suffix: str) -> str | None:
    """Why a container does not take a stream as it is, or None if it does."""
    muxer = MUXERS[suffix]
    if muxer == "mp4" and _codec_name(stream).startswith("pcm_"):
        return "PCM in mp4 is read wrongly by many programs"
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as said, _small_file(suffix) as output:
            copy = output.add_stream_from_template(stream)
            copy.disposition = stream.disposition
            output.start_encoding()
    except MEDIA_ERRORS as error:  # which says no more than "invalid argument" of what the muxer refuses
        return said[0][2].strip().rstrip(".") if said else str(error)
    finally:
        av.logging.set_level(level)
    return None


def _small_file(suffix: str) -> av.container.OutputContainer:
    """A file in memory with a small video stream."""
    muxer = MUXERS[suffix]
    output = av.open(io.BytesIO(), "w", format=muxer)
    video = output.add_stream("libvpx-vp9" if muxer == "webm" else "libx264", rate=25)
    video.width = video.height = 64
    video.pix_fmt = "yuv420p"
    return output
