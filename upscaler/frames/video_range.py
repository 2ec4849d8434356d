"""A range of a video, from decoding to complete segments: all of it, its rest, or a worker's part."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from upscaler.errors import MediaError
from upscaler.frames.film_frames import frames_in_context, upscale_any
from upscaler.frames.video_frames import Tally
from upscaler.frames.video_plan import VideoPlan
from upscaler.inference.engine import Upscaler
from upscaler.inference.film_steps import Context
from upscaler.options import VideoOptions
from upscaler.scenes import InContext
from upscaler.video.captions import with_noted_captions
from upscaler.video.cuts import CannotCutError, Cut, digest
from upscaler.video.info import Frame
from upscaler.video.reader import VideoReader
from upscaler.video.segments import Segment, SegmentedVideoWriter, SourceNotes, chunks
from upscaler.video.threads import BackgroundWriter, Prefetcher


@dataclass(frozen=True)
class SegmentRange:
    """Consecutive segments of a video.

    Attributes:
        first: Number of the first one, from 0.
        stop: Number of the one after the last; ``None``: to the end of the video.
        cut: Where decoding begins; ``None``: at the start of the video.
    """

    first: int = 0
    stop: int | None = None
    cut: Cut | None = None


@dataclass(frozen=True)
class Encoded:
    """What was made of a range.

    Attributes:
        made: New segments, by number.
        tally: Of their frames.
        frames_decoded: Frames that were decoded, those that are in no new segment included.
        shown_until: See ``VideoReader``; after the last frame decoded.
        stages_s: Busy seconds by stage.
    """

    made: dict[int, Segment]
    tally: Tally
    frames_decoded: int
    shown_until: int
    stages_s: dict[str, float]


def encode_range(
    reader: VideoReader,
    engine: Upscaler,
    plan: VideoPlan,
    options: VideoOptions,
    folder: Path,
    part: SegmentRange,
    closed: Mapping[int, Segment],
    on_frame: Callable[[int], None],
) -> Encoded:
    """Decode, upscale and encode a range, except for what is in segments already.

    Args:
        reader: Of the video, of which nothing was taken yet.
        engine: Runs the networks.
        plan: Of the video.
        options: Select frames.
        folder: Where segments are written.
        part: Which of them.
        closed: Existing segments.
        on_frame: Called after every frame, with the number of frames so far.

    Raises:
        CannotCutError: The range cannot be decoded by itself. Nothing of it was encoded if ``stop`` is
            ``None``; otherwise, segments that were may be wrong.
        MediaError: Encoding failed, or the source does not have the frames that the segments contain.
    """
    context = engine.context(plan.upscaling)
    notes = SourceNotes(reader.is_intact)
    selected = _Selected(reader, options, context, plan.segment_frames, part, closed, notes)
    numbers = (number for number in count(part.first) if number not in closed)
    writer = SegmentedVideoWriter(folder, plan.encoding, plan.segment_frames, numbers, notes)
    tally, done = Tally(), 0
    start = time.monotonic()
    with (
        writer,
        Prefetcher(selected.frames()) as decoder,
        BackgroundWriter(writer.write) as encoder,
    ):
        for chunk in chunks(iter(decoder), writer.length):  # no batch crosses the border of a segment
            frames = with_noted_captions(chunk, notes.captions)
            upscaled = upscale_any(frames, engine, plan.upscaling, reader.info, plan.encoding.layout, tally)
            for planes, pts in upscaled:
                encoder.put(planes, pts)
                done += 1
                on_frame(done)
        network_s = time.monotonic() - start - decoder.waited_s - encoder.waited_s
        encoder.finish()
        writer.finish()
    if (written := sum(segment.frames for segment in writer.made.values())) != done:
        raise MediaError(f"'{reader.path}': {done} frames were upscaled, but {written} were encoded")
    stages_s = {"decode": decoder.busy_s, "network": network_s, "encode": encoder.busy_s}
    return Encoded(writer.made, tally, selected.decoded, reader.shown_until, stages_s)


class _Selected:
    """The frames of a range that are in no segment yet.

    Attributes:
        decoded: Selected frames so far, those that are skipped included.
    """

    def __init__(
        self,
        reader: VideoReader,
        options: VideoOptions,
        context: Context,
        length: int,
        part: SegmentRange,
        closed: Mapping[int, Segment],
        notes: SourceNotes,
    ) -> None:
        self.decoded = 0
        self._reader, self._options, self._context = reader, options, context
        self._length, self._part, self._closed, self._notes = length, part, closed, notes

    def frames(self) -> Iterator[InContext[Frame]]:
        """The frames in order.

        Raises:
            CannotCutError: See ``encode_range``; likewise for ``MediaError``.
        """
        cut, length = self._part.cut, self._length
        first, stop = self._part.first * length, self._part.stop and self._part.stop * length
        position = max(0, cut.position) if cut else 0
        before: InContext[Frame] | None = None
        pts: list[int] = []
        for seen in frames_in_context(self._reader, self._options, self._context, cut):
            if position == stop:
                return
            self.decoded += 1
            number, place = divmod(position, length)
            if segment := self._closed.get(number):
                pts = segment.pts() if place == 0 or not pts else pts
                self._compare(seen.frame, segment, pts, place)
            elif position >= first:
                if place == 0 and before:
                    self._notes.before[seen.frame.pts] = digest(before.frame)
                if place == length - 1:
                    self._notes.last[seen.frame.pts] = digest(seen.frame)
                yield seen
            before = seen
            position += 1
        last = max(self._closed, default=-1)
        if last >= 0 and position < last * length + self._closed[last].frames:
            self._differs()

    def _compare(self, frame: Frame, segment: Segment, pts: list[int], place: int) -> None:
        """Make sure that a frame is the one that became this one of an existing segment."""
        if place >= len(pts) or pts[place] != frame.pts:
            self._differs()
        if self._part.cut and place == self._length - 1 and segment.last != digest(frame):
            raise CannotCutError("its frames depend on those before")

    def _differs(self) -> None:
        if self._part.cut:
            raise CannotCutError("its frames are not those of an earlier run")
        raise MediaError("the source's frames are not those of an earlier run", "use --no-resume")
