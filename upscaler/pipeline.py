"""MAIN FLOW: a frame's way from file to file. ``upscale_still`` for pictures, ``upscale_video`` for video.

Video: a thread demuxes and decodes, this one runs the network, a third encodes; the queues between them are
short and hold planes as decoded. What the threads raise is raised here.
"""

import math
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor

from upscaler import color, stills
from upscaler.engine import Plan, Upscaler
from upscaler.errors import MediaError
from upscaler.flight import alike, in_flight
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.resize import resize_plane
from upscaler.video import mux, streams, write
from upscaler.video.read import Frame, VideoInfo, VideoReader

T = TypeVar("T")

# Frames waiting between two threads: enough to even out their speeds, 12 MB each at 4K.
_QUEUE_FRAMES = 4


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        done: Frames of a video, or tiles of a picture, that are done.
        total: How many there are in all, an estimate for most videos; 0 when unknown.
        unit: What is counted.
    """

    done: int
    total: int
    unit: str


@dataclass(frozen=True)
class Done:
    """What a job made.

    Attributes:
        frames: Frames written.
        notes: Lines worth telling the user.
    """

    frames: int
    notes: list[str]


@dataclass(frozen=True)
class _Encoded:
    frames: int
    first_pts: int
    last_pts: int


OnProgress = Callable[[Progress], None]
OnNote = Callable[[str], None]


def upscale_still(job: Job, engine: Upscaler, on_progress: OnProgress, on_note: OnNote) -> Done:
    """Enlarge one picture.

    Args:
        job: Source and target.
        engine: Does the enlarging.
        on_progress: Called after every batch of tiles.
        on_note: Called with lines worth telling before the work starts.

    Raises:
        MediaError: The source cannot be read or the target not written; the target is then not there.
    """
    still = stills.read(job.source)
    height, width = still.pixels.shape[:2]
    plan = engine.plan(height, width)
    stills.check_target(job.target, plan.height, plan.width)
    on_note(describe(plan, height, width))
    pixels = engine.image(still.pixels, lambda done, total: on_progress(Progress(done, total, "tiles")))
    alpha = None if still.alpha is None else resize_plane(still.alpha, plan.height, plan.width)
    _make_folder(job.target.parent)
    stills.write(job.target, replace(still, pixels=pixels, alpha=alpha))
    return Done(1, engine.take_notices())


def upscale_video(
    job: Job, engine: Upscaler, options: VideoOptions, on_progress: OnProgress, on_note: OnNote
) -> Done:
    """Enlarge one video: every frame at its own time, every audio stream copied.

    The video is encoded into a closed segment in a temporary folder beside the target; a final merge puts it
    together with the copied streams.

    Args:
        job: Source and target.
        engine: Does the enlarging.
        options: How video is encoded.
        on_progress: Called after every frame.
        on_note: Called with lines worth telling.

    Raises:
        MediaError: Reading, encoding or merging failed; the target is then not there.
    """
    plans = streams.plan(
        job.source,
        job.target,
        audio=options.audio,
        subtitles=options.subtitles,
        audio_codec=options.audio_codec,
    )
    with VideoReader(job.source, options.deinterlace) as reader:
        info = reader.info
        codec = write.choose_codec(
            job.target.suffix.lower(), options.codec, options.crf, options.preset, deep=info.layout.bits > 8
        )
        layout = write.output_layout(info.layout, codec[0])
        asked = engine.plan(info.height, info.width)
        plan = _even(asked, layout)
        even = "" if plan == asked else f" (rounded to even from {asked.width}x{asked.height})"
        how = f"{codec[0]} crf {codec[1]} preset {codec[2]}"
        on_note(f"{describe(plan, info.height, info.width)}{even}, {how}")
        if reader.interlaced_frames and options.deinterlace != "off":
            on_note("interlaced: made whole by bwdif, as many frames as before")
        for name in info.hdr.lost if info.hdr else ():
            on_note(f"{name} metadata is lost: no encoder here writes it")
        for stream in plans:
            on_note(stream.line())
        settings = write.settings_for(info, codec, layout, plan.height, plan.width)
        _make_folder(job.target.parent)
        with _work_folder(job.target) as work:
            segment = work / "segment-000000.mp4"
            made = _encode(reader, engine, plan, segment, settings, options, on_progress)
            mux.merge(
                [mux.Segment(segment, made.frames, made.first_pts, info.time_base)],
                job.source,
                work,
                job.target,
                plans,
                rotation=info.rotation,
                window=_window(made, info) if options.trims else None,
            )
        notes = [] if options.trims else reader.faults()
    return Done(made.frames, notes + engine.take_notices())


def check_codecs(jobs: Iterable[Job], options: VideoOptions) -> None:
    """Refuse, before any work starts, a codec that a target's container cannot hold.

    Raises:
        UsageError: Names the containers that can, or what the codec does not take.
    """
    for suffix in sorted({job.target.suffix.lower() for job in jobs if job.kind == "video"}):
        write.choose_codec(suffix, options.codec, options.crf, options.preset)


def describe(plan: Plan, height: int, width: int) -> str:
    """The plan in one line."""
    networks = " then ".join(f"x{scale}" for scale in plan.scales) or "no network"
    reached = math.prod(plan.scales)
    resized = "" if (height * reached, width * reached) == (plan.height, plan.width) else ", then resized"
    return f"{width}x{height} -> {plan.width}x{plan.height} ({networks}{resized})"


def _even(plan: Plan, layout: color.Layout) -> Plan:
    """The plan with a size that the encoder takes."""
    height, width = color.even_sized(layout, plan.height, plan.width)
    return replace(plan, height=height, width=width)


@contextmanager
def _work_folder(target: Path) -> Iterator[Path]:
    """A hidden folder of a name of its own beside the target, gone afterwards."""
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{target.stem[:40]}.", suffix=".upscaling", dir=target.parent))
    except OSError as error:
        raise MediaError(f"cannot write into '{target.parent}': {error.strerror}") from error
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"the folder '{folder}' cannot be made: {error.strerror}") from error


def _encode(
    reader: VideoReader,
    engine: Upscaler,
    plan: Plan,
    segment: Path,
    settings: write.EncodeSettings,
    options: VideoOptions,
    on_progress: OnProgress,
) -> _Encoded:
    """Decode, enlarge and encode all frames that are wanted.

    Raises:
        MediaError: No frame lies between the start and the end that were asked for.
    """
    total = _expected_frames(reader.info, options)
    with (
        write.SegmentWriter(segment, settings) as writer,
        _Ahead(_wanted(reader, options)) as frames,
        _Behind(writer.write) as encoder,
    ):
        done, first_pts, last_pts = 0, 0, 0
        for planes, pts in enlarged(frames, engine, plan, reader.info, settings.layout):
            encoder.put(planes, pts)
            first_pts = pts if done == 0 else first_pts
            last_pts = pts
            done += 1
            on_progress(Progress(done, max(total, done), "frames"))
        if done == 0:
            raise MediaError(f"'{reader.path}' has no frame between the start and the end asked for")
        encoder.finish()
        writer.finish()
        return _Encoded(done, first_pts, last_pts)


def _wanted(reader: VideoReader, options: VideoOptions) -> Iterator[Frame]:
    """The frames between start and end, at most so many."""
    time_base = reader.info.time_base
    done = 0
    for frame in reader.frames():
        if options.end_s is not None and frame.pts * time_base >= options.end_s:
            return
        if frame.pts * time_base >= options.start_s:
            yield frame
            done += 1
            if done == options.frames:
                return


def _expected_frames(info: VideoInfo, options: VideoOptions) -> int:
    """An estimate for the display; 0 when nothing is known."""
    total = max(0, info.frames - round(options.start_s * info.rate))
    if options.end_s is not None:
        total = min(total, round((options.end_s - options.start_s) * info.rate))
    return total if options.frames is None else min(total or options.frames, options.frames)


def _window(made: _Encoded, info: VideoInfo) -> mux.Window:
    """From the first frame made to the end of the last, which lasts as long as the rate says."""
    return mux.Window(made.first_pts * info.time_base, made.last_pts * info.time_base + 1 / info.rate)


def enlarged(
    frames: Iterable[Frame], engine: Upscaler, plan: Plan, info: VideoInfo, layout: color.Layout
) -> Iterator[tuple[list[Tensor], int]]:
    """Every frame's planes through colour conversion, network and back on the engine's device, and its PTS.

    Args:
        frames: As decoded.
        engine: Does the enlarging.
        plan: For frames of ``info``'s size; frames of another size are brought to the same target.
        info: Of the video.
        layout: What to make.

    Returns:
        Planes on the host and PTS, in order. On a GPU some frames are read ahead.
    """

    def work(planes: list[Tensor], batch: list[Frame], sums: list[Tensor] | None) -> list[Tensor]:
        each = len(planes) // len(batch)
        firsts = range(0, len(planes), each)
        rgb = torch.stack([color.to_rgb(planes[i : i + each], batch[0].layout) for i in firsts])
        fitting = plan
        if rgb.shape[-2:] != (info.height, info.width):  # the size changed in mid-stream
            fitting = replace(engine.plan(*rgb.shape[-2:]), height=plan.height, width=plan.width)
        larger = engine.enlarge(rgb, fitting, sums=sums)
        return [plane for picture in larger for plane in color.from_rgb(picture, layout)]

    engine.prepare(info.height, info.width, info.frames)
    together = alike(
        frames,
        lambda frame: (frame.layout, [plane.shape for plane in frame.planes]),
        lambda frame: engine.batch_for(*frame.planes[0].shape),
    )
    batches = (([plane for frame in batch for plane in frame.planes], batch) for batch in together)
    for planes, batch in in_flight(batches, work, engine.device):
        each = len(planes) // len(batch)
        for index, frame in enumerate(batch):
            yield planes[index * each : (index + 1) * each], frame.pts


class _Ahead(Generic[T]):
    """Runs an iterator in a thread, a few items ahead; a context manager that joins the thread."""

    _END = object()

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._queue: queue.Queue[object] = queue.Queue(_QUEUE_FRAMES)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        self._thread.join()  # a decoder that outlives its container crashes the interpreter

    def __iter__(self) -> Iterator[T]:
        while (item := self._queue.get()) is not self._END:
            yield item  # type: ignore[misc]  # only the end mark is of another type
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._offer(item):
                    return
        except BaseException as error:
            self._error = error
        self._offer(self._END)

    def _offer(self, item: object) -> bool:
        """Wait for room in the queue; False when nobody wants items any more."""
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                return True
        return False


class _Behind:
    """Calls a function in a thread, a few calls behind; a context manager that joins the thread."""

    def __init__(self, call: Callable[[list[Tensor], int], None]) -> None:
        self._call = call
        self._queue: queue.Queue[tuple[list[Tensor], int] | None] = queue.Queue(_QUEUE_FRAMES)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="encode", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def put(self, planes: list[Tensor], pts: int) -> None:
        """Hand over one frame; raises what an earlier call raised."""
        self._raise()
        self._queue.put((planes, pts))

    def finish(self) -> None:
        """Wait until all calls are done; raises what one of them raised."""
        self._queue.put(None)
        self._thread.join()
        self._raise()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            self._error = self._error or error or RuntimeError("left before finish")
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is None:  # after an error the queue is only emptied
                try:
                    self._call(*item)
                except BaseException as error:
                    self._error = error

    def _raise(self) -> None:
        if self._error:
            raise self._error
