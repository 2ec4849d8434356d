"""A still, from file to file: as a whole, page by page, frame by frame, or in rows; see ``pipeline``."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from upscaler import large_stills, transparency
from upscaler.errors import MemoryNeededError
from upscaler.images import animation, gif, losses, stills
from upscaler.images.encoding import encoding_of
from upscaler.images.picture_rows import NotInRowsError
from upscaler.images.still import Still
from upscaler.images.strip import stripped
from upscaler.inference.engine import Upscaler
from upscaler.inference.plan import Plan
from upscaler.jobs import Job
from upscaler.options import ImageOptions
from upscaler.results import Done, Message, OnMessage, OnProgress, Progress
from upscaler.system import memory


def upscale_still(
    job: Job, engine: Upscaler, options: ImageOptions, on_progress: OnProgress, on_message: OnMessage
) -> Done:
    """Upscale an image; animations frame by frame, TIFFs page by page, what is too large for memory in rows.

    Args:
        job: Source and target.
        engine: Runs the networks.
        options: How images are written.
        on_progress: Called after every batch of tiles, or every frame of an animation.
        on_message: Called with every message as it arises.

    Raises:
        MediaError: The source cannot be read or the target cannot be written; an existing target stays.
        UsageError: The target's format cannot hold the result.
    """
    if animation.is_animated(job.source):
        return _upscale_animation(job, engine, options, on_progress, on_message)
    if (count := stills.page_count(job.source)) > 1:
        return _upscale_pages(job, count, engine, options, on_progress, on_message)
    why_whole = ""
    if large_stills.is_too_large(job.source, engine):
        try:
            rows = large_stills.opened(job, engine, options)
        except NotInRowsError as error:
            why_whole = error.message
        else:
            return large_stills.upscale(job, rows, engine, options, on_progress, on_message)
    try:
        return _upscale_whole(job, engine, options, on_progress, on_message)
    except MemoryNeededError as error:
        if not why_whole:
            raise
        hint = f"{error.hint}; it cannot go through memory in rows: {why_whole}"
        raise MemoryNeededError(error.message, hint) from error


def _upscale_whole(
    job: Job, engine: Upscaler, options: ImageOptions, on_progress: OnProgress, on_message: OnMessage
) -> Done:
    still = stills.read(job.source, tolerant=True)
    still, plan = begin_still(job, still, engine, options, on_message)
    report = still_reporter(still, plan, on_progress)
    with engine.messages_to(on_message):
        upscaled = _upscaled(still, engine, report, keep_hidden=options.keep_hidden)
    job.make_target_folder()
    stills.write(job.target, upscaled, encoding_of(options), replaces=job.replaces)
    return Done(1)


def _check_room(still: Still, plan: Plan) -> None:
    """Make sure before the work that a result can be computed and encoded (docs/images.md has the numbers).

    Raises:
        MemoryNeededError: Memory is too small for both.
    """
    channels = 3 if still.alpha is None else 4
    height, width = still.pixels.shape[:2]
    needed_bytes = large_stills.whole_bytes(plan, height, width, channels, still.pixels.itemsize)
    hint = "use a smaller --scale or --size"
    memory.check_room(needed_bytes, f"a picture of {plan.width}x{plan.height}", hint)


def _without_metadata(still: Still, options: ImageOptions) -> Still:
    """The image, without metadata if that is asked for."""
    return replace(still, metadata=stripped(still.metadata)) if options.strip else still


def begin_still(
    job: Job, still: Still, engine: Upscaler, options: ImageOptions, on_message: OnMessage
) -> tuple[Still, Plan]:
    """Plan an image that was read, and say what becomes of it.

    Returns:
        The image with the metadata that are kept, and its plan.

    Raises:
        UsageError: The target's format cannot hold the result.
        MemoryNeededError: Memory cannot hold it.
    """
    still = _without_metadata(still, options)
    height, width = still.pixels.shape[:2]
    plan = engine.plan(height, width)
    image_format = stills.check_target(job.target, plan.height, plan.width, still.metadata.codes)
    on_message(Message("info", plan.describe(height, width)))
    if still.damage:
        on_message(Message("warning", still.damage))
    if lost := losses.describe_still(still, image_format):
        on_message(Message("info", lost, is_loss=True))
    _check_room(still, plan)
    return still, plan


def still_reporter(still: Still, plan: Plan, on_progress: OnProgress) -> Callable[[int, int], None]:
    """A function that reports finished tiles of an image, of all of them."""
    height, width = still.pixels.shape[:2]

    def report(done: int, total: int) -> None:
        on_progress(Progress(done, total, "tiles", source_px=(height, width), factor=plan.factor))

    return report


def upscale_together(
    sources: Sequence[Still],
    engine: Upscaler,
    options: ImageOptions,
    reports: Sequence[Callable[[int, int], None]],
) -> list[Still]:
    """Images through the network; several only if they are opaque, and of one size and dtype.

    Args:
        sources: The images.
        engine: Runs the networks.
        options: How images are written.
        reports: Of each image; called with its finished tiles and all of them.
    """
    if len(sources) == 1:
        return [_upscaled(sources[0], engine, reports[0], keep_hidden=options.keep_hidden)]
    finished = [-1] * len(sources)
    before = 0

    def report(done: int, total: int) -> None:
        nonlocal before
        each = total // len(sources)  # the tiles of one image come after those of the one before
        if done <= before:  # of the next network
            finished[:] = [-1] * len(sources)
        before = done
        for index, say in enumerate(reports):
            own = min(each, max(0, done - index * each))
            if own > max(0, finished[index]):
                if finished[index] < 0:
                    say(0, 0)
                finished[index] = own
                say(own, each)

    pictures = engine.images([source.pixels for source in sources], report)
    return [replace(source, pixels=pixels) for source, pixels in zip(sources, pictures, strict=True)]


def _upscaled(
    still: Still, engine: Upscaler, report: Callable[[int, int], None], *, keep_hidden: bool
) -> Still:
    """Pixels and alpha of an image through the network; ``report`` measures the tiles of the pixels."""
    pixels, alpha = still.pixels, still.alpha
    if alpha is not None:
        plan = engine.plan(*pixels.shape[:2])
        pixels = pixels if keep_hidden else transparency.bleed_colors(pixels, alpha)
        wraps = engine.options.tileable
        alpha = transparency.upscale_alpha(alpha, plan.height, plan.width, engine.image, wraps=wraps)
    report(0, 0)  # from here on, tiles measure the work
    return replace(still, pixels=engine.image(pixels, report), alpha=alpha)


def _upscale_pages(
    job: Job,
    count: int,
    engine: Upscaler,
    options: ImageOptions,
    on_progress: OnProgress,
    on_message: OnMessage,
) -> Done:
    image_format = stills.check_target(job.target)
    stills.check_pages(job.target, image_format, count)
    lost: list[str] = []  # each thing once, whatever pages lose it

    def pages() -> Iterator[Still]:
        for number in range(count):
            still = _without_metadata(stills.read(job.source, page=number), options)
            height, width = still.pixels.shape[:2]
            plan = engine.plan(height, width)
            _check_room(still, plan)
            factor = plan.factor
            lost.extend(each for each in losses.of_still(still, image_format) if each not in lost)
            on_progress(Progress(number, count, "pages", source_px=(height, width), factor=factor))
            yield _upscaled(still, engine, lambda done, total: None, keep_hidden=options.keep_hidden)
        on_progress(Progress(count, count, "pages", source_px=(height, width), factor=factor))

    first = stills.read(job.source, page=0)
    height, width = first.pixels.shape[:2]
    on_message(Message("info", f"{engine.plan(height, width).describe(height, width)}, {count} pages"))
    job.make_target_folder()
    with engine.messages_to(on_message):
        stills.write_pages(job.target, pages(), count, replaces=job.replaces)
    if lost:
        on_message(Message("info", losses.line(lost, image_format), is_loss=True))
    return Done(count)


def _upscale_animation(
    job: Job, engine: Upscaler, options: ImageOptions, on_progress: OnProgress, on_message: OnMessage
) -> Done:
    with animation.opened(job.source) as moving, engine.messages_to(on_message):
        if options.strip:
            moving = replace(moving, metadata=stripped(moving.metadata))
        height, width, count = moving.height, moving.width, moving.count
        plan = engine.plan(height, width)
        image_format = animation.check_target(job.target, plan.height, plan.width, moving.metadata.codes)
        size = animation.describe_size(image_format, count, plan.height, plan.width)
        on_message(Message("info", plan.describe(height, width) + size))
        animation.check_room(image_format, count, plan.height, plan.width)
        if moving.damage:
            on_message(Message("warning", moving.damage))
        if lost := losses.describe_animation(moving, image_format):
            on_message(Message("info", lost, is_loss=True))

        def report(done: int) -> None:
            on_progress(Progress(done, count, "frames", 0, (height, width), plan.factor, moving.rate))

        job.make_target_folder()
        frames = animation.upscale_frames(
            moving.frames(), engine.frames, keep_hidden=options.keep_hidden, wraps=engine.options.tileable
        )
        animation.write(
            job.target,
            frames,
            moving.plays,
            moving.metadata,
            report,
            encoding_of(options),
            replaces=job.replaces,
        )
    if gif.is_truncated(job.source):
        on_message(Message("warning", gif.TRUNCATED))
    return Done(count)
