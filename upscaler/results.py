"""What a job reports: messages and progress as it runs, and what it produced."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Action = Literal["copy", "convert", "drop"]
Outcome = Literal["done", "done with warnings", "failed", "interrupted", "skipped"]
Severity = Literal["info", "warning"]


@dataclass(frozen=True)
class Message:
    """One line about a job, for the user.

    Attributes:
        severity: ``warning`` where content of the source is missing from the output, or at another time,
            because the source is damaged or changed; else ``info``.
        text: Without the name of the source, which the receiver knows.
    """

    severity: Severity
    text: str


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        done: Frames of a video, or tiles of a picture, that are done.
        total: How many there are in all, an estimate for most videos; 0 when unknown.
        unit: What is counted: ``frames`` or ``tiles``. Tiles are counted from 1 again for every network.
        resumed: How many of those that are done an earlier run did.
        source_px: (height, width) of what goes into the network.
        factor: By how much it is upscaled; 0 when unknown.
        rate: Frames that are played in a second; 0 for a picture.
    """

    done: int
    total: int
    unit: str
    resumed: int = 0
    source_px: tuple[int, int] = (0, 0)
    factor: float = 0.0
    rate: float = 0.0


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
        rate: Sample rate to encode audio with, hertz.
        layout: Channel layout to encode audio with, FFmpeg's name.
    """

    index: int
    kind: str
    codec: str
    language: str
    action: Action
    encoder: str = ""
    reason: str = ""
    rate: int = 0
    layout: str = ""

    def result(self) -> str:
        """What becomes of it, and why."""
        if self.action == "copy":
            return "copied"
        if self.action == "convert":
            return f"converted to {self.encoder.removeprefix('lib')}: {self.reason}"
        return f"dropped: {self.reason}"


@dataclass(frozen=True)
class VideoFacts:
    """What a report says of a video.

    Attributes:
        frames_in: Frames decoded, of those that were wanted.
        frames_resumed: How many of them an earlier run had encoded.
        seconds_in: From the first frame wanted to the end of the last one.
        seconds_out: Of the video in the finished file, read again.
        streams: What became of every other stream.
        settings: Of the engine and of the encoder, by name.
        stages_s: Seconds that each stage worked; decode, network and encode work side by side.
    """

    frames_in: int
    frames_resumed: int
    seconds_in: float
    seconds_out: float
    streams: list[StreamPlan]
    settings: dict[str, str | int]
    stages_s: dict[str, float]


@dataclass(frozen=True)
class Done:
    """What a job made.

    Attributes:
        frames: Frames that stand in the target.
        video: More about it, for a video.
    """

    frames: int
    video: VideoFacts | None = None


OnProgress = Callable[[Progress], None]
OnMessage = Callable[[Message], None]
