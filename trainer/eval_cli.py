"""``upscale-eval``: scores weights or upscaled images by the protocol of the published tables. Prints."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from upscaler.commands.interrupts import INTERRUPTS
from upscaler.commands.loading import say_loading
from upscaler.commands.typer_command import Version, command_class
from upscaler.error_text import error_report
from upscaler.process_settings import keep_freed_memory, use_allowed_processors
from upscaler.system import current_folder
from upscaler.system.console import printable
from upscaler.trainer.command import errors_as_one_line

if TYPE_CHECKING:
    from upscaler.trainer.evaluation.lpips import Lpips
    from upscaler.trainer.evaluation.protocol import Comparison, Score

# Options of other programs, as typed.
_ANSWERS = {
    **dict.fromkeys(
        ("-i", "--input", "--sr", "--model", "-m"), "name it first: upscale-eval WEIGHTS HR_FOLDER"
    ),
    **dict.fromkeys(("--gt", "--hr", "--reference"), "name it second: upscale-eval WEIGHTS HR_FOLDER"),
    **dict.fromkeys(("-o", "--output"), "--save FOLDER"),
    "-s": "--scale NUMBER",
    "--gpu": "--device cuda:1",
}

# What the options take that are no texts.
_EXPECTED = {
    "--scale": "1, 2, 3, 4 or 8",
    "--perceptual": "a number from 0 to 1",
    "--denoise": "a number from 0 to 1",
    "--frames": "a whole number of at least 1",
    "--size": "a number above 0, at most 1",
}

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=command_class((), _ANSWERS, _EXPECTED))
def command(  # noqa: PLR0913 - one parameter per option
    subject: Annotated[
        str,
        typer.Argument(
            help="Weight file, name of shipped weights, 'bicubic', or folder with SR images or clips."
        ),
    ],
    hr_folder: Annotated[
        Path,
        typer.Argument(help="Folder with HR images, or with video files."),
    ],
    lr_dir: Annotated[
        Path | None, typer.Option(help="Folder with LR images; default: make them by --degradation.")
    ] = None,
    scale: Annotated[
        int | None, typer.Option(help="1, 2, 3, 4 or 8; default: that of the weight file, else 4.")
    ] = None,
    degradation: Annotated[
        str | None,
        typer.Option(
            help="How LR images are made: clean (bicubic downscaling; default), jpegN, jpegN-M, photo, mild, "
            "mild-combined, real, drawn, strong, video, videoN (CRF) or bilinear."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, mps or xpu.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    tta: Annotated[
        bool, typer.Option("--tta", help="Self-ensemble: average over the 8 symmetries of an image.")
    ] = False,
    perceptual: Annotated[
        float | None,
        typer.Option(help="Blend of weights from 0 (faithful) to 1 (srgan, real or real-fast)."),
    ] = None,
    denoise: Annotated[
        float | None,
        typer.Option(
            help="How much fast, balanced, srresnet or film remove artifacts: 0 or 1, srresnet also between."
        ),
    ] = None,
    clips: Annotated[
        bool,
        typer.Option("--clips", help="Folders of frames in the HR folder are clips, as video files are."),
    ] = False,
    frames: Annotated[
        int | None, typer.Option(help="Score only this many frames at the start of each clip.", min=1)
    ] = None,
    size: Annotated[
        float | None,
        typer.Option(
            help="Reduce the HR of clips to this fraction first: compressed films have little detail."
        ),
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Folder to save the SR images in.")] = None,
    lpips: Annotated[
        str | None, typer.Option(help="Also measure LPIPS with this trunk: squeeze, alex or vgg.")
    ] = None,
    lpips_trunk: Annotated[
        Path | None,
        typer.Option(help="File with the weights of the trunk; default: torchvision downloads them."),
    ] = None,
    lpips_heads: Annotated[
        Path | None,
        typer.Option(help="File with the linear layers of LPIPS; default: those in torchmetrics."),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write scores as CSV.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write scores and settings as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with scores and images.")] = None,
    version: Version = False,
) -> None:
    """Print PSNR and SSIM on luma for every image of a folder, and their average; of clips also tOF."""
    with errors_as_one_line():
        current_folder.check()
        say_loading()
        from upscaler.errors import UsageError
        from upscaler.trainer.data.clips import video_files_below
        from upscaler.trainer.data.sources import images_below
        from upscaler.trainer.evaluation import protocol, report
        from upscaler.trainer.evaluation.clip_protocol import Selection, evaluate_clips
        from upscaler.trainer.evaluation.lr_images import LrSource
        from upscaler.trainer.evaluation.subject import resolve_subject

        INTERRUPTS.release()
        keep_freed_memory()
        use_allowed_processors()
        if lr_dir is not None and degradation is not None:
            raise UsageError("--lr-dir and --degradation exclude each other", "use one of the two")
        has_clips = clips or bool(video_files_below(hr_folder) and not images_below(hr_folder))
        _check_first([path for path in (csv, json, html) if path], None if has_clips else hr_folder)
        degradation = degradation or "clean"
        lr_source = LrSource(lr_dir, degradation)
        measured = resolve_subject(
            subject, scale, lr_source, device, precision, tta=tta, perceptual=perceptual, denoise=denoise
        )
        distance = _lpips(lpips, lpips_trunk, lpips_heads, device)
        page = None if html is None else report.Page(html)
        on_score = _printing(page.add if page else None)
        if has_clips:
            selection = Selection.checked(frames, size)
            result = evaluate_clips(
                measured, hr_folder, lr_source, selection, save_folder=save, lpips=distance, on_score=on_score
            )
        else:
            Selection.refuse(frames, size)
            result = protocol.evaluate(
                measured, hr_folder, lr_source, save_folder=save, lpips=distance, on_score=on_score
            )
        settings: dict[str, Any] = {
            "subject": subject,
            "hr_dir": str(hr_folder),
            "lr_dir": None if lr_dir is None else str(lr_dir),
            "scale": measured.scale,
            "degradation": degradation if lr_dir is None else None,
            "precision": precision,
            "tta": tta,
            "perceptual": perceptual,
            "denoise": denoise,
            "lpips": lpips,
            "frames": frames,
            "size": size,
        }
        if csv is not None:
            report.write_csv(csv, result)
        if json is not None:
            report.write_json(json, result, settings)
        if page is not None:
            page.write(result, settings)
    if result.scores:
        _print_row(result.mean)
    for failure in result.failures:
        print(error_report(failure), file=sys.stderr)  # noqa: T201
    if result.failures:
        raise typer.Exit(1)


def _check_first(written: list[Path], images: Path | None) -> None:
    """Find before the work, and before weights are fetched, what is wrong with files and folders."""
    from upscaler.trainer.evaluation import protocol, report

    for path in written:
        report.check_writable(path)
    if images is not None:
        protocol.check_images(images)


def _lpips(net: str | None, trunk: Path | None, heads: Path | None, device: str) -> "Lpips | None":
    from upscaler.errors import UsageError
    from upscaler.inference import devices
    from upscaler.trainer.evaluation.lpips import NETS, Lpips

    if net is None:
        if trunk or heads:
            raise UsageError("--lpips-trunk and --lpips-heads need --lpips", f"one of {', '.join(NETS)}")
        return None
    if net not in NETS:
        raise UsageError(f"unknown --lpips '{net}'", f"use one of {', '.join(NETS)}")
    return Lpips(net, trunk, heads, devices.select(device))


def _printing(
    then: "Callable[[Score, Comparison], None] | None",
) -> "Callable[[Score, Comparison], None]":
    def on_score(score: "Score", comparison: "Comparison") -> None:
        _print_row(score)
        if then:
            then(score, comparison)

    return on_score


def _print_row(score: "Score") -> None:
    distance = "" if score.lpips is None else f"{score.lpips:>10.4f}"
    if score.tof is not None:
        distance += f"  tOF{score.tof:>7.3f}"
    if score.tlp100 is not None:
        distance += f"  tLP x 100{score.tlp100:>7.3f}"
    name = printable(score.name)
    print(f"{name:<32}{score.psnr_db:>8.3f} dB{score.ssim:>9.4f}{distance}", flush=True)  # noqa: T201
