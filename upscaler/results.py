"""What a job reports: messages and progress while it runs, and what it wrote."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
        text: Does not name the source, which the receiver knows.
        is_loss: Whether it says what the target of an image cannot store of its source.
    """

    severity: Severity
    text: str
    is_loss: bool = False


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        done: Finished frames of a video or an animation, pages of a TIFF, or tiles of a still.
        total: All frames, pages or tiles, for most videos an estimate; 0 when unknown.
        unit: What is counted. Tiles are counted from 1 again for each network, and with ``tta`` once for each
            of the 8 passes.
        resumed: Finished frames that an earlier run did.
        source_px: (height, width) of the network's input.
        factor: By how much it is upscaled; 0 when unknown.
        rate: Frames per second on playback; 0 for stills and pages.
    """

    done: int
    total: int
    unit: Literal["frames", "tiles", "pages"]
    resumed: int = 0
    source_px: tuple[int, int] = (0, 0)
    factor: float = 0.0
    rate: float = 0.0


@dataclass(frozen=True)
class StreamPlan:
    """What happens to one stream of the source.

    Attributes:
        index: Index in the source.
        kind: ``audio``, ``subtitle``, ``attachment``, ``cover``, ``video`` (a further one) or ``data``.
        codec: Name of the codec, or of an attached file.
        language: The language tag, or empty.
        action: Copy it, convert it to another codec, or drop it.
        encoder: FFmpeg's name of the encoder, for ``convert``.
        reason: Why it is not copied.
        rate: Sample rate for encoding audio, hertz.
        layout: Channel layout for encoding audio, FFmpeg's name.
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
        """What happens to it, and why, for the user."""
        if self.action == "copy":
            return "copied"
        if self.action == "convert":
            return f"converted to {self.encoder.removeprefix('lib')}: {self.reason}"
        return f"dropped: {self.reason}"


@dataclass(frozen=True)
class VideoFacts:
    """What the JSON report says about a video.

    Attributes:
        frames_in: Frames of the requested part.
        frames_resumed: Frames of these that an earlier run encoded.
        frames_decoded: Frames that were decoded; of those resumed, only some where the video can be cut.
        reused_share: Share of the picture, of the frames not resumed, that equalled the frame before it and
            was not computed again.
        seconds_in: From the start of the first of these frames to the end of the last.
        seconds_out: Duration of the video in the finished file, read again.
        streams: What happened to every other stream.
        settings: Settings of the engine and of the encoder, by name.
        stages_s: Busy seconds of each stage; decode, network and encode run in parallel.
    """

    frames_in: int
    frames_resumed: int
    frames_decoded: int
    reused_share: float
    seconds_in: float
    seconds_out: float
    streams: list[StreamPlan]
    settings: dict[str, str | int]
    stages_s: dict[str, float]


@dataclass(frozen=True)
class WeightFacts:
    """A weight file that was used.

    Attributes:
        file: Its path.
        scale: Output size over input size of its network.
        architecture: Of its network.
        sha256: Hash of the file, hexadecimal.
    """

    file: str
    scale: int
    architecture: str
    sha256: str


@dataclass(frozen=True)
class Done:
    """What a job wrote.

    Attributes:
        frames: Frames in the target.
        video: More about it, if it is a video.
        made_by: Frames that were made now, by the worker that made them; empty: this process made them all.
    """

    frames: int
    video: VideoFacts | None = None
    made_by: Mapping[str, int] = field(default_factory=dict)


OnProgress = Callable[[Progress], None]
OnMessage = Callable[[Message], None]
