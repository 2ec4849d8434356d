"""``upscale``: command-line parameters -> options -> ``run``. The batch itself is in ``run.py``."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from upscaler import __version__
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

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def _print_version(given: bool) -> None:
    if given:
        print(__version__)  # noqa: T201
        raise typer.Exit


def _model_help() -> str:
    return (
        f"{', '.join(installed_models())}, or a .safetensors file. "
        f"[default: {DEFAULT_MODEL['still']} for images, {DEFAULT_MODEL['video']} for video]"
    )


@app.command()
def upscale(  # noqa: PLR0913 - one parameter per option
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT", help="Images, videos, and folders of them.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="PATH", help="File or folder to write to. [default: next to the input]"
        ),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(metavar="FACTOR", help="Factor from 1 to 8. [default: 4]")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Fit into WIDTHxHEIGHT instead, for example 3840x2160."),
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME|FILE", help=_model_help())] = None,
    perceptual: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Blend of weights from srresnet (0) to srgan (1), or their -photo versions."
        ),
    ] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over the 8 symmetries of the image; 8 times slower.")
    ] = False,
    device: Annotated[str, typer.Option(metavar="NAME", help=f"{DEVICES}.")] = "auto",
    precision: Annotated[str, typer.Option(metavar="NAME", help=f"{', '.join(PRECISIONS)}.")] = "auto",
    runtime: Annotated[str, typer.Option(metavar="NAME", help=f"{', '.join(RUNTIMES)}.")] = "auto",
    tile: Annotated[
        str, typer.Option(metavar="PIXELS", help="auto, or the side of a tile in input pixels.")
    ] = "auto",
    batch: Annotated[
        str, typer.Option(metavar="COUNT", help="auto, or the number of tiles or frames per batch.")
    ] = "auto",
    memory_limit: Annotated[
        float | None,
        typer.Option(
            metavar="GB", help="Memory for the network. [default: GPU: 60 % of what is free; CPU: 1]"
        ),
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
        typer.Option(
            metavar="NUMBER", help="Video quality, lower is better. [default: depends on the codec]"
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Video encoder speed. [default: depends on the codec]")
    ] = None,
    pixel_format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="FFmpeg's name of a format that the codec takes, for example yuv444p. [default: 4:2:0; "
            "ffv1: the source's; prores: 4:2:2 or 4:4:4]",
        ),
    ] = None,
    encoder: Annotated[
        str,
        typer.Option(metavar="NAME", help=f"{', '.join(ENCODERS)}. Hardware falls back to software."),
    ] = "software",
    encoder_option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An option for the encoder; repeatable."),
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
        str | None, typer.Option(metavar="TIME", help="Start here: 83.5, 1:23.5 or 0:01:23.5. [default: 0]")
    ] = None,
    end: Annotated[
        str | None, typer.Option(metavar="TIME", help="End here. [default: the end of the video]")
    ] = None,
    frames: Annotated[int | None, typer.Option(metavar="COUNT", help="Process at most COUNT frames.")] = None,
    deinterlace: Annotated[
        str, typer.Option(metavar="MODE", help="auto (interlaced frames only), on or off.")
    ] = "auto",
    resume: Annotated[
        bool,
        typer.Option("--resume/--no-resume", help="Resume an interrupted video."),
    ] = True,
    json: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write one JSON line per input; - for stdout."),
    ] = None,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            help="Instead of a video, write PNGs of one frame (at --start, or the middle): ours and bicubic.",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Process only what does not exist yet.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Upscale images and videos.

    upscale photo.jpg            writes photo_x4.jpg next to it

    upscale photos/ --scale 2    writes the same tree into photos_x2/

    upscale video.mp4 -o out.mp4

    Exit codes: 0 done, 1 some inputs failed, 2 nothing was started, 3 finished with warnings (damaged
    source), 130 interrupted.
    """
    try:
        options = Options(
            output=output,
            overwrite=overwrite,
            skip_existing=skip_existing,
            preview=preview,
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
        code = _run(inputs, options, json)
    except UpscalerError as error:
        _fail(error)
    except KeyboardInterrupt as interrupt:
        print("interrupted; no partial file is left", file=sys.stderr)  # noqa: T201
        raise typer.Exit(EXIT_INTERRUPTED) from interrupt
    finally:
        INTERRUPTS.leave()
    raise typer.Exit(code)


def _run(inputs: list[Path], options: Options, report: Path | None) -> int:
    from upscaler.cli.run import run  # loads torch and av, which --help does not need

    INTERRUPTS.release()
    return run(inputs, options, report)


def _fail(error: UpscalerError) -> NoReturn:
    """Write one line; exit code 2 if nothing was started because of the arguments."""
    from upscaler.cli.display import say

    say(f"error: {error}")
    usage = isinstance(error, UsageError | WeightsError | DeviceError)
    raise typer.Exit(EXIT_USAGE if usage else EXIT_FAILED) from error
