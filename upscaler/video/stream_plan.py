"""Plan what becomes of every stream besides the video, before the first frame.

Whether a container takes a stream is tried, not looked up: the header of a small file with that stream is
written to memory. When the muxer refuses it, its log message is the reason shown to the user.
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
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream
from av.codec.context import CodecContext
from av.stream import Disposition, Stream

from upscaler.errors import UsageError
from upscaler.results import Action, StreamPlan
from upscaler.video import timed_metadata
from upscaler.video.captions import CODECS as CAPTION_CODECS
from upscaler.video.codecs import AUDIO_ENCODERS
from upscaler.video.demux import MEDIA_ERRORS, Source, main_video_stream, open_source, other_program_of
from upscaler.video.description import custom_channel_layout
from upscaler.video.ffmpeg_log import captured_log
from upscaler.video.formats import container_of
from upscaler.video.languages import is_language
from upscaler.video.timed_metadata import MetadataTrack

_REQUESTED = {"audio": "as requested (--no-audio)", "subtitle": "as requested (--no-subtitles)"}
_OTHER_LANGUAGE = "in none of the requested languages (--audio-language)"

_TEXT_CODECS = {"ass", "mov_text", "ssa", "srt", "subrip", "text", "webvtt"}
_BITMAP_CODECS = {"dvb_subtitle", "dvd_subtitle", "hdmv_pgs_subtitle"}
# Number of channels -> layout to encode with when the encoder does not support the source's layout.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_LOSSLESS = {"alac", "flac", "mlp", "tta", "truehd", "wavpack"}
_NO_DATA = "none of the containers keeps data streams reliably"


def captions_row(codec: str) -> tuple[str, str, str, str]:
    """The row of ``table`` for closed captions inside the video, which ``codec`` keeps or not."""
    kept = "copied" if codec in CAPTION_CODECS else f"dropped: {codec} does not carry them; h264 and hevc do"
    return "captions", "CEA-608/708", "-", kept


def table(
    plans: list[StreamPlan], chapters: int, captions: tuple[str, str, str, str] | None = None
) -> list[str]:
    """A table of what becomes of everything besides the video, in aligned lines; empty if there is nothing.

    Args:
        plans: From ``plan``.
        chapters: Number of chapters; every container supports them.
        captions: From ``captions_row``, if the video has closed captions.
    """
    rows = [(f"{plan.kind} {plan.index}", plan.codec, plan.language or "-", plan.result()) for plan in plans]
    if captions:
        rows.append(captions)
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


def language_note(plans: list[StreamPlan], languages: tuple[str, ...]) -> str:
    """A line if audio in some languages was requested and there is none; else empty."""
    found = any(each.kind == "audio" and is_language(each.language, languages) for each in plans)
    return f"no audio stream is in {' or '.join(languages)}; all are kept" if languages and not found else ""


def keeps_bitmaps(plans: list[StreamPlan]) -> bool:
    """Whether subtitles are copied that are pictures on a canvas."""
    return any(each.codec in _BITMAP_CODECS and each.action == "copy" for each in plans)


def plan(
    source: Source,
    target: Path,
    *,
    audio: bool = True,
    subtitles: bool = True,
    audio_codec: str | None = None,
    audio_languages: tuple[str, ...] = (),
) -> list[StreamPlan]:
    """Plan every stream of the source except its main video.

    Args:
        source: The file, and which of its streams is the main video.
        target: File to write; its suffix names the container.
        audio: Keep audio streams.
        subtitles: Keep subtitle streams.
        audio_codec: A key of ``AUDIO_ENCODERS`` to encode all audio with; ``None``: copy where possible.
        audio_languages: Of the audio streams to keep, as ISO 639 codes; empty: all. All are also kept if none
            is in these languages.

    Raises:
        MediaError: The source cannot be opened or has no video.
        UsageError: The container does not support the audio codec.
    """
    suffix = target.suffix.lower()
    with open_source(source) as container:
        main = main_video_stream(container, source)
        spoken = {stream.metadata.get("language", "") for stream in container.streams.audio}
        if not any(is_language(name, audio_languages) for name in spoken):
            audio_languages = ()
        timed = timed_metadata.tracks(source.path)
        plans = []
        for stream in container.streams:
            if stream.index == main.index:
                continue
            kind = _kind(stream)
            if (kind == "audio" and not audio) or (kind == "subtitle" and not subtitles):
                plans.append(_planned(stream, "drop", reason=_REQUESTED[kind]))
            elif (program := other_program_of(container, stream, main)) is not None:
                plans.append(_planned(stream, "drop", reason=f"it belongs to another program, {program}"))
            elif (
                kind == "audio"
                and audio_languages
                and not is_language(stream.metadata.get("language", ""), audio_languages)
            ):
                plans.append(_planned(stream, "drop", reason=_OTHER_LANGUAGE))
            elif kind == "data" and stream.id in timed:
                plans.append(_of_timed_metadata(stream, timed[stream.id], suffix))
            elif kind == "audio" and audio_codec:
                plans.append(_encode_with(stream, suffix, audio_codec))
            else:
                plans.append(_copy_or_convert(stream, suffix))
        return plans


def _copy_or_convert(stream: Stream, suffix: str) -> StreamPlan:
    kind, container = _kind(stream), container_of(suffix)
    if kind in ("data", "video") or (kind == "attachment" and not container.attachments):
        return _planned(stream, "drop", reason=_reason_to_drop(stream, suffix))
    if kind == "attachment":
        return _planned(stream, "copy")
    reason = refusal(stream, suffix)
    if reason is None:
        return _planned(stream, "copy")
    if kind == "audio" and (channels := custom_channel_layout(stream)):
        reason = f"{reason}; its channel layout {channels} cannot be converted"
    elif kind == "audio":
        encoders = [container.lossless_audio] if _is_lossless(stream) else []
        for encoder in [*encoders, container.lossy_audio]:
            converted = _converted(stream, encoder, reason)
            if converted:
                return converted
    if kind == "subtitle" and _codec_name(stream) in _TEXT_CODECS:
        return _planned(stream, "convert", encoder=container.subtitles, reason=reason)
    return _planned(stream, "drop", reason=f"{reason}; {_keepers(stream)}")


def _of_timed_metadata(stream: Stream, track: MetadataTrack, suffix: str) -> StreamPlan:
    is_kept = container_of(suffix).is_mp4
    reason = "" if is_kept else f"{suffix} has no timed metadata; .mp4 and .mov keep it"
    return replace(_planned(stream, "copy" if is_kept else "drop", reason=reason), codec=track.name)


def _reason_to_drop(stream: Stream, suffix: str) -> str:
    if _kind(stream) == "video":
        return "only one video stream is upscaled"
    if _kind(stream) == "attachment":
        return f"{suffix} has no attachments; .mkv keeps it"
    # Muxers create chapter and timecode tracks themselves, and refuse other data only at the end.
    is_timecode = "timecode" in stream.metadata  # a tag that the video stream has, too
    return "the timecode is kept with the video" if is_timecode else _NO_DATA


def _keepers(stream: Stream) -> str:
    """The containers that a stream can be copied into, in words."""
    keepers = [suffix for suffix in (".mkv", ".mov", ".mp4", ".webm") if refusal(stream, suffix) is None]
    return f"{' and '.join(keepers)} would keep it" if keepers else "none of the containers keeps it"


def check_audio_codec(suffix: str, audio_codec: str) -> None:
    """Refuse an audio codec that the container does not support.

    Args:
        suffix: Of the target.
        audio_codec: A key of ``AUDIO_ENCODERS``.

    Raises:
        UsageError: The container does not support it.
    """
    encoder = AUDIO_ENCODERS[audio_codec]
    try:
        with _small_file(suffix) as output:
            output.add_stream(encoder, rate=48000)
            output.start_encoding()
    except MEDIA_ERRORS as error:
        raise UsageError(
            f"{suffix} does not support {audio_codec} audio: {error}",
            "use another container",
        ) from error


def _encode_with(stream: Stream, suffix: str, audio_codec: str) -> StreamPlan:
    check_audio_codec(suffix, audio_codec)
    if channels := custom_channel_layout(stream):
        return _planned(stream, "drop", reason=f"its channel layout {channels} cannot be converted")
    converted = _converted(stream, AUDIO_ENCODERS[audio_codec], "as requested (--audio-codec)")
    if converted is None:
        reason = f"it cannot be decoded, or not be encoded with {audio_codec}"
        return _planned(stream, "drop", reason=reason)
    return converted


def _converted(stream: Stream, encoder: str, reason: str) -> StreamPlan | None:
    """A plan to encode audio, with its own sample rate and channels if supported; ``None`` if impossible."""
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        return None
    context = stream.codec_context
    layouts = (context.layout.name, _LAYOUTS.get(context.channels, "stereo"), "stereo")
    for layout in dict.fromkeys(layouts):
        # The rate of a stream that starts late is unknown.
        for rate in dict.fromkeys((context.sample_rate or 48_000, 48_000)):
            if _opens(encoder, rate, layout):
                lost = _lost_samples(_codec_name(stream), encoder)
                if (kept := AudioLayout(layout).nb_channels) < context.channels:
                    lost = f"; {context.channels} channels become {kept}{lost}"
                planned = _planned(stream, "convert", encoder=encoder, reason=reason + lost)
                return replace(planned, rate=rate, layout=layout)
    return None


def _lost_samples(codec: str, encoder: str) -> str:
    """What an encoder cannot keep of uncompressed samples, for the end of a line; else empty."""
    if codec.startswith("pcm_f") and encoder != "aac":  # AAC has no full scale
        return "; samples beyond full scale are clipped"
    return "; 32 bits become 24" if codec.startswith("pcm_s32") and encoder in ("alac", "flac") else ""


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
    """Why a stream cannot be copied into a container; ``None`` if it can."""
    container, kind = container_of(suffix), _kind(stream)
    if container.muxer == "mp4" and _codec_name(stream).startswith("pcm_"):
        return "many players misread PCM in mp4"
    if kind == "cover" and container.attachments:  # there it becomes an attachment, of any type
        return None
    if kind == "cover" and container.muxer == "mov":  # FFmpeg takes it and writes nothing
        return "cover art cannot be written into mov"
    try:
        with captured_log(av.logging.ERROR) as log, _small_file(suffix) as output:
            copy = output.add_stream_from_template(stream)
            copy.disposition = stream.disposition
            output.start_encoding()
    except MEDIA_ERRORS as error:  # often just "Invalid argument"; the log has the reason
        return log[0].rstrip(".") if log else str(error)
    return None


def _small_file(suffix: str) -> av.container.OutputContainer:
    """A file in memory with a small video stream."""
    muxer = container_of(suffix).muxer
    output = av.open(io.BytesIO(), "w", format=muxer)
    video = output.add_stream("libvpx-vp9" if muxer == "webm" else "libx264", rate=25)
    video.width = video.height = 64
    video.pix_fmt = "yuv420p"
    return output
