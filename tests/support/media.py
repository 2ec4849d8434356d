"""Makers of small real files: pictures, and clips with their own time stamps and sound."""

from contextlib import suppress
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image
from support.messages import Messages
from support.pictures import photograph

from upscaler import pipeline
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.models import weight_file
from upscaler.models.compact import Compact
from upscaler.options import VideoOptions
from upscaler.results import Done

SUBTITLES = """1
00:00:00,100 --> 00:00:00,400
Grüße

2
00:00:00,500 --> 00:00:00,900
second line
"""

# Stamps with gaps of many lengths, in 1/90000 s.
VARIABLE = list(accumulate([0, 3003, 3003, 9000, 1, 20000, 3754, 3753, 45000, 3003, 3003, 1500]))


def save(path: Path, height: int = 24, width: int = 32, seed: int = 0, **arguments: object) -> Path:
    """Write a photograph; the suffix names the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photograph(height, width, seed)).save(path, **arguments)
    return path


def turned_clip(path: Path, degrees: int) -> Path:
    """One frame of 64x48, with a display matrix that turns it."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(degrees)
        output.mux(stream.encode(VideoFrame(64, 48, "yuv420p")))
        output.mux(stream.encode(None))
    return path


def clip(
    path: Path,
    *,
    pts: list[int] | None = None,
    frames: int = 12,
    height: int = 48,
    width: int = 64,
    time_base: Fraction = Fraction(1, 90000),
    encoder: str = "libx264",
    pixel_format: str = "yuv420p",
    audio: list[str] | None = None,
    matrix: int = 6,
    seconds: float = 1.0,
) -> Path:
    """Write a clip of moving texture.

    Args:
        path: Target; the suffix names the container.
        pts: Stamp of each frame in ``time_base``; 25 frames/s when not given.
        frames: How many when ``pts`` is not given.
        height: Pixels.
        width: Pixels.
        time_base: Of the stamps.
        encoder: FFmpeg's name.
        pixel_format: FFmpeg's name.
        audio: Encoder of each audio stream.
        matrix: H.273 code to tag.
        seconds: Of sound.
    """
    pts = [round(index / 25 / time_base) for index in range(frames)] if pts is None else pts
    with av.open(str(path), "w") as output:
        video = output.add_stream(encoder, rate=25)
        video.width, video.height, video.pix_fmt = width, height, pixel_format
        video.codec_context.time_base = video.time_base = time_base
        video.codec_context.colorspace = matrix
        video.codec_context.color_range = 1
        sounds = [output.add_stream(name, rate=48000, layout="stereo") for name in audio or []]
        for number, sound in enumerate(sounds):
            write_tone(output, sound, 220.0 * (number + 1), seconds)
        picture = photograph(height + 64, width + 64)
        for index, stamp in enumerate(pts):
            shift = index % 64
            view = picture[shift : shift + height, shift : shift + width]
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(view), format="rgb24")
            frame = frame.reformat(format=pixel_format, dst_colorspace=matrix, dst_color_range=1)
            frame.pts, frame.time_base = stamp, time_base
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return path


class FieldOrder:
    """Flags frames for an encoder as interlaced: av has no attribute for the order of fields.

    Args:
        mode: ``tff``, ``bff`` or ``prog``, as FFmpeg's filter ``setfield`` names them.
    """

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._graph: av.filter.Graph | None = None

    def flagged(self, frame: VideoFrame) -> VideoFrame:
        """The frame with the flag; its PTS and time base stay."""
        if self._graph is None:
            self._graph = av.filter.Graph()
            source = self._graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
            )
            setfield = self._graph.add("setfield", f"mode={self._mode}")
            self._graph.link_nodes(source, setfield, self._graph.add("buffersink")).configure()
        self._graph.push(frame)
        return self._graph.vpull()


def write_tone(output: av.container.OutputContainer, stream: object, hertz: float, seconds: float) -> None:
    """Encode a stereo tone into a stream of 48 kHz, and flush it."""
    time = np.arange(round(48000 * seconds)) / 48000
    samples = (0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)
    size = 960
    for first in range(0, len(samples) - size + 1, size):
        block = np.stack([samples[first : first + size]] * 2)
        frame = AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, first, Fraction(1, 48000)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def identity(folder: Path) -> Upscaler:
    """An engine whose network gives back what it gets, through all of the engine's own steps."""
    network = Compact(scale=1, channels=4, depth=1)  # before training the tail is zero
    weight_file.save(folder / "identity.safetensors", network, network.state_dict(), {})
    return Upscaler(folder / "identity.safetensors", precision="fp32")


def run(
    engine: Upscaler, source: Path, target: Path, messages: Messages | None = None, **options: object
) -> Done:
    """Upscale a video with exactly these options."""
    return pipeline.upscale_video(
        Job(source, target, "video"),
        engine,
        VideoOptions(**options),
        lambda _: None,
        Messages() if messages is None else messages,
    )


def run_video(engine: Upscaler, source: Path, target: Path, **options: object) -> tuple[Done, Messages]:
    """Upscale a video quickly; what was made, and what was said."""
    messages = Messages()
    quick = {"preset": "ultrafast"} if target.suffix != ".webm" and not options.get("codec") else {}
    chosen = VideoOptions(**(quick | options))
    done = pipeline.upscale_video(Job(source, target, "video"), engine, chosen, lambda _: None, messages)
    return done, messages


def frame_times(path: Path) -> list[Fraction]:
    """Presentation time of every frame that can be decoded, seconds."""
    times: list[Fraction] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"  # FFmpeg's frame threads give fewer frames of a damaged end
        for packet in container.demux(stream):
            with suppress(av.error.InvalidDataError):  # the packet in which a file was cut
                times += [frame.pts * stream.time_base for frame in packet.decode()]
    return times


def audio_packets(path: Path) -> list[list[bytes]]:
    """Bytes of every packet of every audio stream."""
    with av.open(str(path)) as container:
        streams = [[] for _ in container.streams.audio]
        indices = {stream.index: position for position, stream in enumerate(container.streams.audio)}
        for packet in container.demux(container.streams.audio):
            if packet.size:
                streams[indices[packet.stream.index]].append(bytes(packet))
        return streams


def pictures(path: Path) -> NDArray[np.uint8]:
    """All frames as 8-bit gray luma, ``(N, H, W)``."""
    with av.open(str(path)) as container:
        return np.stack([np.asarray(frame.to_ndarray(format="gray")) for frame in container.decode(video=0)])


def rich_source(folder: Path) -> Path:
    """Video, two languages of sound, subtitles, a font, chapters, titles: all that mkv holds."""
    picture = folder / "plain.mkv"
    clip(picture, audio=["aac", "pcm_s24le"], frames=25)
    words = folder / "words.srt"
    words.write_text(SUBTITLES, encoding="utf-8")
    path = folder / "rich.mkv"
    with av.open(str(picture)) as media, av.open(str(words)) as text, av.open(str(path), "w") as output:
        targets = {}
        for stream, language, title in zip(
            media.streams, ("und", "ger", "eng"), ("Film", "Deutsch", "English"), strict=True
        ):
            target = output.add_stream_from_template(stream)
            target.metadata.update({"language": language, "title": title})
            targets[stream.index] = target
        targets[2].disposition = av.stream.Disposition.default | av.stream.Disposition.dub
        subtitle = output.add_stream_from_template(text.streams.subtitles[0])
        subtitle.metadata["language"] = "fre"
        output.add_attachment("font.ttf", "application/x-truetype-font", b"not really a font")
        chapters = [
            {"id": 1, "start": 0, "end": 400, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}},
            {
                "id": 2,
                "start": 400,
                "end": 1000,
                "time_base": Fraction(1, 1000),
                "metadata": {"title": "Two"},
            },
        ]
        output.set_chapters(chapters)
        output.metadata["title"] = "The Film"
        for packet in media.demux():
            if packet.size:
                packet.stream = targets[packet.stream.index]
                output.mux(packet)
        for packet in text.demux():
            if packet.size:
                packet.stream = subtitle
                output.mux(packet)
    return path


def sound(path: Path, index: int = 0) -> np.ndarray:
    """Samples of an audio stream mixed to one channel, from time 0 on, at 48 kHz."""
    samples = np.zeros(96_000)
    position: int | None = None
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=48_000)
        for frame in container.decode(audio=index):
            stamp = round(frame.pts * frame.time_base * 48_000)
            position = stamp if position is None else position
            assert abs(position - stamp) <= 48, "a gap or an overlap of more than the container's 1 ms"
            for part in resampler.resample(frame):
                values = part.to_ndarray()[0]
                samples[max(position, 0) : max(position, 0) + len(values)] = values[max(-position, 0) :]
                position += len(values)
    return samples


def audio_spans(path: Path, index: int = 0) -> list[tuple[Fraction, Fraction]]:
    """Start and end of every stretch of audio without a gap of 50 ms, seconds."""
    found: list[tuple[Fraction, Fraction]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=index):
            begin_s = frame.pts * frame.time_base
            end_s = begin_s + Fraction(frame.samples, frame.sample_rate)
            if found and begin_s - found[-1][1] < Fraction(1, 20):
                found[-1] = (found[-1][0], end_s)
            else:
                found.append((begin_s, end_s))
    return found
