"""What a job would do, without doing it: sizes, settings, and about how large the result will be."""

from dataclasses import dataclass

from upscaler.frames.video_plan import first_lines, plan_frames, plan_streams, plan_video
from upscaler.frames.video_to_images import expected_images
from upscaler.frames.video_to_y4m import expected_y4m
from upscaler.images import animation, stills
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.results import Message
from upscaler.video.reader import VideoReader
from upscaler.video.survey import Survey, survey
from upscaler.video.trim import expected_frames

_PREVIEW_BYTES_PER_PIXEL = 2 * 3  # two PNG files


@dataclass(frozen=True)
class Expected:
    """What a job is expected to do.

    Attributes:
        lines: For the user; sizes first.
        size_bytes: Of the result: of an image the most that it takes, of a video a rough estimate.
        is_rough: Whether it is an estimate.
    """

    lines: list[str]
    size_bytes: int
    is_rough: bool = False


def of_still(job: Job, engine: Upscaler) -> Expected:
    """What would become of an image, from its header.

    Raises:
        MediaError: The header cannot be read.
        UsageError: The target's format cannot hold the result.
    """
    if animation.is_animated(job.source):
        with animation.opened(job.source) as moving:
            height, width, count = moving.height, moving.width, moving.count
            plan = engine.plan(height, width)
            image_format = animation.check_target(job.target, plan.height, plan.width, moving.metadata.codes)
            animation.check_room(image_format, count, plan.height, plan.width)
            shown = animation.describe_size(image_format, count, plan.height, plan.width)
        *_, deepest = stills.read_size_and_depth(job.source)
    else:
        height, width, deepest = stills.read_size_and_depth(job.source)
        plan = engine.plan(height, width)
        image_format = stills.check_target(job.target, plan.height, plan.width)
        count = stills.page_count(job.source)
        if count > 1:
            stills.check_pages(job.target, image_format, count)
        shown = f", {count} pages" if count > 1 else ""
    each = deepest if image_format.sixteen_bit else min(deepest, 4)
    return Expected([plan.describe(height, width) + shown], plan.height * plan.width * each * count)


def of_video(job: Job, engine: Upscaler, options: VideoOptions, surveyed: Survey | None = None) -> Expected:
    """What would become of a video; looks through it as the work itself does before its first frame.

    Args:
        job: Source and target.
        engine: Runs the networks.
        options: How video is encoded.
        surveyed: Of the source, if that was done already.

    Raises:
        MediaError: It cannot be read.
        UsageError: The target's container does not support the options.
    """
    surveyed = surveyed or survey(job.source, options)
    streams = plan_streams(job, options, surveyed)
    said: list[Message] = []
    with (
        VideoReader.with_options(job.source, options, said.append, surveyed) as reader,
        engine.messages_to(said.append),
    ):
        info = reader.info
        frames = expected_frames(info, options)
        if job.kind == "preview":
            plan = plan_frames(engine, info, info.height, info.width)
            size_bytes = plan.height * plan.width * _PREVIEW_BYTES_PER_PIXEL
            return Expected([f"{plan.describe(info.height, info.width)}, one frame"], size_bytes)
        planned = plan_video(reader, job, engine, options)
        lines = first_lines(planned, info, surveyed, streams, options)
        upscaled = planned.upscaling
    all_frames = expected_frames(info, VideoOptions())
    larger = upscaled.height * upscaled.width / (info.height * info.width)
    share = frames / all_frames if all_frames else 1
    lines[0] += f", about {frames} frames"
    lines += [message.text for message in said]
    return Expected(lines, int(job.source.stat().st_size * larger * share), is_rough=True)


def of_frames(job: Job, engine: Upscaler, options: VideoOptions, surveyed: Survey | None = None) -> Expected:
    """What would become of a video that is written as images or raw frames; see ``of_video``.

    Raises:
        MediaError: It cannot be read.
        UsageError: The format cannot hold the images.
    """
    surveyed, said = surveyed or survey(job.source, options), list[Message]()
    with VideoReader.with_options(job.source, options, said.append, surveyed) as reader:
        if job.writes_y4m:
            lines, each_bytes = expected_y4m(reader, engine, options)
        else:
            lines, each_bytes = expected_images(job, reader, engine, options)
        frames = expected_frames(reader.info, options)
    lines[0] += f", about {frames} frames"
    return Expected(lines + [message.text for message in said], each_bytes * frames)
