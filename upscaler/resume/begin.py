"""How an interrupted video continues: whether the segments of an earlier run can be kept, and with what."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from upscaler.errors import DeviceError
from upscaler.inference.engine import Upscaler
from upscaler.inference.plan import Plan
from upscaler.results import Message, OnMessage
from upscaler.resume.job_folder import JobFolder, Manifest, Settings
from upscaler.video.info import VideoInfo
from upscaler.video.segments import Segment, closed_segments


@dataclass(frozen=True)
class Start:
    """How a run starts.

    Attributes:
        execution: How the networks run; see ``Upscaler.execution``.
        is_resumed: Whether it continues an earlier run, whose segments are kept.
        obstacle: Why an earlier run that left segments is not continued; empty if there is none, or it is.
    """

    execution: Settings
    is_resumed: bool = False
    obstacle: str = ""


@contextmanager
def resume_or_start(
    folder: JobFolder,
    fingerprint: Mapping[str, str],
    engine: Upscaler,
    plan: Plan,
    info: VideoInfo,
    frames: int,
    on_message: OnMessage,
    *,
    resume: bool,
) -> Iterator[dict[int, Segment]]:
    """Continue the earlier run that left a job folder, or start one.

    Args:
        folder: The job folder, entered.
        fingerprint: From ``fingerprint.fingerprint_of``, for this run.
        engine: Runs the networks; until the context ends as ``planned_start`` says.
        plan: For the video's frames.
        info: Of the video.
        frames: How many of its frames are selected; decides whether compiling pays.
        on_message: Called with the decision, if there is an earlier run.
        resume: Continue an earlier run; otherwise always start.

    Yields:
        The complete segments of the earlier run, by number; or none, with a new manifest in the folder.

    Raises:
        MediaError: The manifest cannot be written.
    """
    segments = closed_segments(folder.path)
    earlier = folder.manifest() if resume and segments else None
    with planned_start(earlier, fingerprint, engine, plan, info, frames) as start:
        yield begin(folder, fingerprint, start, segments, on_message)


@contextmanager
def planned_start(
    earlier: Manifest | None,
    fingerprint: Mapping[str, str],
    engine: Upscaler,
    plan: Plan,
    info: VideoInfo,
    frames: int,
    *,
    on_any_device: bool = False,
) -> Iterator[Start]:
    """Decide whether an earlier run is continued. Nothing is written.

    It is if it had the same fingerprint, and if this machine can run the networks as it did (device,
    precision, threads, runtime, batch): only then do both runs give the same bits. The engine runs them so,
    or in the way that is fastest for a new run, until the context ends.

    Args:
        earlier: Of an earlier run that left segments; ``None``: there is none, or it is not to be continued.
        fingerprint: See ``resume_or_start``, as for the next four.
        engine: Likewise.
        plan: Likewise.
        info: Likewise.
        frames: Likewise.
        on_any_device: Also continue what another device has begun.
    """
    obstacle = ""
    with ExitStack() as restored:
        if earlier:
            obstacle = earlier.difference(fingerprint)
            here = {"device": engine.execution(plan)["device"]} if on_any_device else {}
            if not obstacle:
                try:
                    restored.enter_context(engine.restored_execution({**earlier.execution, **here}, plan))
                except DeviceError as error:
                    obstacle = error.message
            if not obstacle:
                yield Start(earlier.execution, is_resumed=True)
                return
        restored.enter_context(engine.prepared(plan, info.height, info.width, frames))
        yield Start(engine.execution(plan), obstacle=obstacle)


def begin(
    folder: JobFolder,
    fingerprint: Mapping[str, str],
    start: Start,
    segments: dict[int, Segment],
    on_message: OnMessage,
) -> dict[int, Segment]:
    """Keep the segments of an earlier run, or remove them and write a new manifest.

    Args:
        folder: See ``resume_or_start``.
        fingerprint: Likewise.
        start: From ``planned_start``.
        segments: Those in the folder.
        on_message: See ``resume_or_start``.

    Returns:
        The segments that are kept.

    Raises:
        MediaError: The manifest cannot be written.
    """
    if start.is_resumed:
        done = sum(segment.frames for segment in segments.values())
        on_message(Message("info", f"resuming after {done} frames of an earlier run"))
        return segments
    if start.obstacle:
        text = f"restarting: the earlier partial result cannot be reused, because {start.obstacle}"
        on_message(Message("info", text))
    folder.begin(Manifest(fingerprint, start.execution))
    return {}
