"""``upscale``: parameters -> options -> jobs -> pipeline. The only print, progress bar and exit code."""

import os
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from upscaler import __version__, jobs
from upscaler.errors import DeviceError, UpscalerError, UsageError, WeightsError
from upscaler.interrupts import INTERRUPTS
from upscaler.models.shipped import installed_models
from upscaler.options import (
    AUDIO_CODECS,
    CODECS,
    DECODERS,
    DEFAULT_MODEL,
    DEVICES,
    ENCODERS,
    PRECISIONS,
    RUNTIMES,
    EngineOptions,
    Options,
    VideoOptions,
    parse_count,
    parse_pair,
    parse_size,
    parse_time,
)

if TYPE_CHECKING:
    from upscaler.cli.display import Display
    from upscaler.cli.forecast import Forecast
    from upscaler.cli.json_report import Report
    from upscaler.inference.engine import Upscaler
    from upscaler.results import Done, Outcome

EXIT_FAILED, EXIT_USAGE, EXIT_DAMAGED, EXIT_INTERRUPTED = 1, 2, 3, 130

_REPORT = " (a fault of this program; UPSCALER_DEBUG=1 shows where, please report it)"

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)  # noqa: T201
        raise typer.Exit


def _model_help() -> str:
    return (
        f"{', '.join(installed_models())}, or a .safetensors file. "
        f"[default: {DEFAULT_MODEL['still']} for pictures, {DEFAULT_MODEL['video']} for video]"
    )


@app.command()
def upscale(  # noqa: PLR0913 - one parameter per option
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT", help="Pictures, videos, and folders of them.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="PATH", help="File or folder to write to. [default: beside the input]"
        ),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(metavar="FACTOR", help="Factor from 1 to 8. [default: 4]")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Fit inside WIDTHxHEIGHT instead, for example 3840x2160."),
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME|FILE", help=_model_help())] = None,
    perceptual: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Weights between srresnet (0) and srgan (1), or their -photo."),
    ] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="Mean over the 8 symmetries of a picture; 8 times slower.")
    ] = False,
    device: Annotated[str, typer.Option(metavar="NAME", help=f"{DEVICES}.")] = "auto",
    precision: Annotated[str, typer.Option(metavar="NAME", help=f"{', '.join(PRECISIONS)}.")] = "auto",
    runtime: Annotated[str, typer.Option(metavar="NAME", help=f"{', '.join(RUNTIMES)}.")] = "auto",
    tile: Annotated[
        str, typer.Option(metavar="PIXELS", help="auto, or the side of a tile in input pixels.")
    ] = "auto",
    batch: Annotated[
        str, typer.Option(metavar="COUNT", help="auto, or how many tiles or frames at once.")
    ] = "auto",
    memory_limit: Annotated[
        float | None,
        typer.Option(metavar="GB", help="For the network. [default: 60 % of what is free; on a CPU, 1]"),
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"{', '.join(CODECS)}. [default: vp9 for .webm, hevc above 8 bits, else h264]",
        ),
    ] = None,
    crf: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Video quality, lower is better. [default: the codec's]"),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Video encoder speed. [default: the codec's]")
    ] = None,
    pixel_format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="FFmpeg's name of one that the codec takes, for example yuv444p. [default: 4:2:0; "
            "ffv1: the source's; prores: 4:2:2 or 4:4:4]",
        ),
    ] = None,
    encoder: Annotated[
        str,
        typer.Option(metavar="NAME", help=f"{', '.join(ENCODERS)}. Hardware falls back to software."),
    ] = "software",
    encoder_option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An option for the encoder; may be given several times."),
    ] = None,
    decoder: Annotated[
        str, typer.Option(metavar="NAME", help=f"{', '.join(DECODERS)}. Hardware falls back to software.")
    ] = "software",
    audio: Annotated[bool, typer.Option("--audio/--no-audio", help="Keep the audio streams.")] = True,
    audio_codec: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"{', '.join(AUDIO_CODECS)}: encode all audio. [default: copy where possible]",
        ),
    ] = None,
    subtitles: Annotated[
        bool, typer.Option("--subtitles/--no-subtitles", help="Keep the subtitle streams.")
    ] = True,
    start: Annotated[
        str | None, typer.Option(metavar="TIME", help="Leave out a video's start: 83.5, 1:23.5 or 0:01:23.5.")
    ] = None,
    end: Annotated[
        str | None, typer.Option(metavar="TIME", help="End there instead of at the video's end.")
    ] = None,
    frames: Annotated[int | None, typer.Option(metavar="COUNT", help="Make so many frames at most.")] = None,
    deinterlace: Annotated[str, typer.Option(metavar="MODE", help="auto, on or off.")] = "auto",
    resume: Annotated[
        bool,
        typer.Option("--resume/--no-resume", help="Go on with a video where an earlier run was cut off."),
    ] = True,
    json: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a JSON object a line for every input; - is standard output."
        ),
    ] = None,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            help="Make a PNG of one frame (at --start, or the middle one), and one by bicubic, and no video.",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing targets.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Make only those that do not exist yet.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Upscale pictures and videos.

    upscale photo.jpg            writes photo_x4.jpg beside it

    upscale photos/ --scale 2    writes the same tree into photos_x2/

    upscale video.mp4 -o out.mp4

    Exit codes: 0 all is well, 1 some inputs failed, 2 nothing was started, 3 done but a source was damaged,
    130 interrupted.
    """
    try:
        options = Options(
            output=output,
            overwrite=overwrite,
            skip_existing=skip_existing,
            preview=preview,
            report=json,
            engine=EngineOptions(
                model=model,
                scale=scale,
                size_px=None if size is None else parse_size(size),
                device=device,
                precision=precision,
                runtime=runtime,
                tile_px=parse_count(tile, "--tile"),
                batch=parse_count(batch, "--batch"),
                memory_limit_gb=memory_limit,
                tta=tta,
                perceptual=perceptual,
            ),
            video=VideoOptions(
                codec=codec,
                crf=crf,
                preset=preset,
                pixel_format=pixel_format,
                encoder=encoder,
                encoder_options=tuple(map(parse_pair, encoder_option or [])),
                decoder=decoder,
                audio=audio,
                audio_codec=audio_codec,
                subtitles=subtitles,
                start_s=None if start is None else parse_time(start),
                end_s=None if end is None else parse_time(end),
                frames=frames,
                deinterlace=deinterlace,  # type: ignore[arg-type]  # checked by VideoOptions
                resume=resume,
            ),
        )
        _run(inputs, options)
    except UpscalerError as error:
        _fail(error)
    except KeyboardInterrupt as interrupt:
        print("stopped; nothing half-written is left", file=sys.stderr)  # noqa: T201
        raise typer.Exit(EXIT_INTERRUPTED) from interrupt
    finally:
        INTERRUPTS.leave()


def _run(inputs: list[Path], options: Options) -> NoReturn:
    """Plan everything, then do one job after the other; ends with the exit code."""
    from upscaler import pipeline
    from upscaler.cli import json_report
    from upscaler.cli.display import Display, say, summary
    from upscaler.cli.forecast import Forecast
    from upscaler.models.find_weights import default_scale
    from upscaler.resume.fingerprint import versions

    INTERRUPTS.release()
    chosen = options.engine
    if chosen.model and chosen.scale is None and chosen.size_px is None:
        options = replace(options, engine=replace(chosen, scale=default_scale(chosen.model)))
    job_list = jobs.plan(inputs, options)
    engines = _engines({job.kind for job in job_list.jobs}, options.engine)
    pipeline.check_codecs(job_list.jobs, options.video)
    if {job.kind for job in job_list.jobs} == {"still"} and (given := options.video.given()):
        say(f"{', '.join(given)}: without effect, for there is no video")
    outcomes: Counter[Outcome] = Counter()
    start, frames = time.monotonic(), 0
    forecast = Forecast([job.source for job in job_list.jobs if job.kind == "still"])
    with json_report.opened(options.report) as lines, Display(len(job_list.jobs)) as display:
        for folder in job_list.unreadable:
            say(f"error: {folder}")
            _add(lines, json_report.folder_line(folder, versions()))
        for job in job_list.skipped:
            _add(lines, json_report.line(job, "skipped", versions()))
        for job in job_list.jobs:
            begun = time.monotonic()
            display.begin(str(job.source))
            outcome, done, error = _attempt(job, engines[job.kind], options, display, forecast)
            seconds = time.monotonic() - begun
            text = json_report.line(job, outcome, versions(), seconds=seconds, done=done, error=error)
            _add(lines, text)
            if outcome == "interrupted":
                raise typer.Exit(EXIT_INTERRUPTED)
            outcomes[outcome] += 1
            frames += done.frames if done else 0
    say(summary(job_list, outcomes["failed"], frames, time.monotonic() - start))
    if outcomes["failed"] or job_list.unreadable or (lines and lines.failed):
        raise typer.Exit(EXIT_FAILED)
    raise typer.Exit(EXIT_DAMAGED if outcomes["done with warnings"] else 0)


def _add(lines: "Report | None", text: str) -> None:
    """Add to the report, if any; where that fails, say so and go on: the pictures are what was asked for."""
    from upscaler.cli.display import say

    try:
        if lines:
            lines.add(text)
    except UpscalerError as error:
        say(f"error: {error}")


def _attempt(
    job: jobs.Job, engine: "Upscaler", options: Options, display: "Display", forecast: "Forecast"
) -> "tuple[Outcome, Done | None, str]":
    """Do one job and show how it ended: the outcome, what it made, and why it failed."""
    try:
        done = _one(job, engine, options, display, forecast)
    except KeyboardInterrupt as interrupt:
        kept = getattr(interrupt, "__notes__", ["nothing half-written is left"])
        display.end(f"stopped; {kept[-1]}")
        return "interrupted", None, ""
    except Exception as error:  # a fault of ours in one file must not end the batch
        if isinstance(error, UpscalerError):
            text = _named(error, job.source)
        elif os.environ.get("UPSCALER_DEBUG"):
            raise
        else:
            text = f"'{job.source}': {type(error).__name__}: {error}{_REPORT}"
        display.end("; ".join([f"error: {text}", *getattr(error, "__notes__", ())]))
        return "failed", None, text
    display.end(f"wrote {job.target}", [*done.notes, *(f"warning: {line}" for line in done.warnings)])
    return "done with warnings" if done.warnings else "done", done, ""


def _one(
    job: jobs.Job, engine: "Upscaler", options: Options, display: "Display", forecast: "Forecast"
) -> "Done":
    from upscaler import pipeline, preview

    if job.kind == "preview":
        return preview.write_preview(job, engine, options.video, display.advance, display.note)
    on_progress = forecast.watch(job.source, engine, display.advance, display.note)
    if job.kind == "still":
        return pipeline.upscale_still(job, engine, on_progress, display.note)
    return pipeline.upscale_video(job, engine, options.video, on_progress, display.note)


def _engines(kinds: set[jobs.Kind], options: EngineOptions) -> "dict[jobs.Kind, Upscaler]":
    """An engine for every kind of job; one and the same where they use the same model."""
    from upscaler.inference.engine import Upscaler

    by_model: dict[str, Upscaler] = {}
    engines: dict[jobs.Kind, Upscaler] = {}
    for kind in sorted(kinds):
        model = options.model or DEFAULT_MODEL[kind]
        if model not in by_model:
            by_model[model] = Upscaler(**vars(replace(options, model=model)))
        engines[kind] = by_model[model]
    return engines


def _named(error: UpscalerError, source: Path) -> str:
    """The error's line, with the file's name where it does not say it."""
    return str(error) if str(source) in str(error) else f"'{source}': {error}"


def _fail(error: UpscalerError) -> NoReturn:
    """One line, and the exit code: 2 when nothing was started because of how it was asked for."""
    from upscaler.cli.display import say

    say(f"error: {error}")
    usage = isinstance(error, UsageError | WeightsError | DeviceError)
    raise typer.Exit(EXIT_USAGE if usage else EXIT_FAILED) from error
