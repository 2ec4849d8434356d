"""Makers of small transport and program streams, to be joined by appending them."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame


@dataclass(frozen=True)
class AudioTrack:
    """An audio stream of a recording.

    Attributes:
        codec: FFmpeg's name of the encoder.
        layout: FFmpeg's name of the channel layout.
        rate: Hertz.
    """

    codec: str = "mp2"
    layout: str = "stereo"
    rate: int = 48_000


def recording(path: Path, audio: list[AudioTrack], begin_s: int = 0) -> bytes:
    """One second of a transport or program stream: 25 frames that get brighter, and tones of 440 Hz.

    Args:
        path: File to write; its suffix names the container.
        audio: The audio streams.
        begin_s: Time of the first frame, seconds.

    Returns:
        The content of the file.
    """
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg2video", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        streams = [output.add_stream(track.codec, rate=track.rate, layout=track.layout) for track in audio]
        packets = []
        for index in range(25):
            frame = VideoFrame.from_ndarray(np.full((72, 64), 30 + 8 * index, np.uint8), format="yuv420p")
            frame.pts, frame.time_base = begin_s * 25 + index, Fraction(1, 25)
            packets += video.encode(frame)
        packets += video.encode(None)
        for track, stream in zip(audio, streams, strict=True):
            wave = 0.3 * np.sin(np.arange(track.rate) * 2 * np.pi * 440 / track.rate)
            samples = np.stack([wave.astype(np.float32)] * stream.layout.nb_channels)
            frame = AudioFrame.from_ndarray(samples, format="fltp", layout=track.layout)
            frame.sample_rate, frame.time_base = track.rate, Fraction(1, track.rate)
            frame.pts = begin_s * track.rate
            packets += [*stream.encode(frame), *stream.encode(None)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    return path.read_bytes()
