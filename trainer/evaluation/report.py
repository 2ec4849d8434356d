"""Scores as files: CSV, JSON, and an HTML page with images."""

import csv
import html
import io
import json
import math
import os
import tempfile
import urllib.parse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from upscaler import atomic
from upscaler.errors import UsageError
from upscaler.images import stills
from upscaler.trainer.data import file_names
from upscaler.trainer.evaluation.lr_images import Rgb
from upscaler.trainer.evaluation.protocol import Comparison, Evaluation, Score


def write_csv(path: Path, evaluation: Evaluation) -> None:
    """Write a row per image or clip and one for the average; columns name, psnr_db, ssim, lpips.

    Of clips, also tof and tlp100.

    Raises:
        UsageError: The file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    over_time = ["tof", "tlp100"] if _has_clips(evaluation) else []
    writer.writerow(["name", "psnr_db", "ssim", "lpips", *over_time])
    for score in [*evaluation.scores, evaluation.mean]:
        distances = [score.lpips, *(getattr(score, name) for name in over_time)]
        texts = ["" if value is None else f"{value:.5f}" for value in distances]
        writer.writerow([_as_text(score.name), f"{score.psnr_db:.4f}", f"{score.ssim:.5f}", *texts])
    _write(path, text.getvalue())


def _has_clips(evaluation: Evaluation) -> bool:
    return any(score.tof is not None for score in evaluation.scores)


def _as_text(name: str) -> str:
    """A name as a cell that spreadsheets do not take for a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def write_json(path: Path, evaluation: Evaluation, settings: dict[str, Any]) -> None:
    """Write settings, images or clips, average and failures; non-finite values as null.

    Raises:
        UsageError: The file cannot be written.
    """
    clips = _has_clips(evaluation)
    content = settings | {
        "clips" if clips else "images": [_plain(score, clips=clips) for score in evaluation.scores],
        "average": _plain(evaluation.mean, clips=clips),
        "failures": [str(failure) for failure in evaluation.failures],
    }
    _write(path, json.dumps(content, indent=2) + "\n")


def _plain(score: Score, *, clips: bool) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(score).items()
        if clips or name not in ("tof", "tlp100")
    }


class Page:
    """An HTML page with its images in a folder beside it: ``add`` every image, then ``write``.

    Args:
        path: The page; images go to ``<stem>_files``.

    Raises:
        UsageError: The folder cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = path.with_name(f"{path.stem}_files")
        self._sections: list[str] = []
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write '{self._folder}': {error.strerror}") from error

    def add(self, score: Score, comparison: Comparison) -> None:
        """Add an image.

        Raises:
            MediaError: Its files cannot be written.
        """
        height, width = comparison.hr.shape[:2]
        figures = "".join(
            self._figure(score.name, title, pixels, height, width)
            for title, pixels in (
                ("LR", comparison.lr),
                ("SR", comparison.sr),
                ("HR", comparison.hr),
            )
        )
        title = html.escape(f"{score.name}: {_line(score)}")
        self._sections.append(f"<h2>{title}</h2>\n<div class=row>{figures}</div>")

    def _figure(self, name: str, title: str, pixels: Rgb, height: int, width: int) -> str:
        file = self._folder / f"{Path(name).with_suffix('').as_posix().replace('/', '-')}-{title}.png"
        stills.write_rgb8(file, pixels)
        # As bytes, because a name need not be UTF-8; quoted, because `#`, `?` and `%` are special in a URL.
        source = html.escape(urllib.parse.quote(os.fsencode(f"{self._folder.name}/{file.name}")))
        image = f'<img src="{source}" width={width} height={height} loading=lazy alt="">'
        return f"<figure>{image}<figcaption>{title}</figcaption></figure>"

    def write(self, evaluation: Evaluation, settings: dict[str, Any]) -> None:
        """Write the page.

        Raises:
            UsageError: It cannot be written.
        """
        summary = ", ".join(f"{name} {value}" for name, value in settings.items() if value is not None)
        rows = "\n".join(_row(score) for score in [*evaluation.scores, evaluation.mean])
        over_time = ("tOF", "tLP x 100") if _has_clips(evaluation) else ()
        failures = "".join(
            f"<p class=failed>{html.escape(str(failure))}</p>\n" for failure in evaluation.failures
        )
        title = html.escape(f"upscale-eval {settings['subject']}")
        head = "".join(f"<th>{name}</th>" for name in ("name", "PSNR dB", "SSIM", "LPIPS", *over_time))
        _write(
            self.path,
            f"<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>{title}</title>\n"
            f"<style>{_STYLE}</style>\n<h1>{title}</h1>\n<p>{html.escape(summary)}</p>\n{failures}"
            f"<table>\n<tr>{head}</tr>\n{rows}\n</table>\n" + "\n".join(self._sections) + "\n</html>\n",
        )


# LR images are shown at the size of the others, without smoothing.
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em;color:#222;background:#fff}"
    "td,th{padding:.1em 1em;text-align:right}td:first-child,th:first-child{text-align:left;padding-left:0}"
    "tr:last-child{font-weight:bold}.row{display:flex;gap:8px;overflow-x:auto}"
    "figure{margin:0}figcaption{color:#666}img{image-rendering:pixelated}.failed{color:#a00}"
)


def _row(score: Score) -> str:
    lpips = "" if score.lpips is None else f"{score.lpips:.4f}"
    cells = [html.escape(score.name), f"{score.psnr_db:.2f}", f"{score.ssim:.4f}", lpips]
    if score.tof is not None:
        cells += [f"{score.tof:.3f}", "" if score.tlp100 is None else f"{score.tlp100:.3f}"]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _line(score: Score) -> str:
    lpips = "" if score.lpips is None else f", LPIPS {score.lpips:.4f}"
    tof = "" if score.tof is None else f", tOF {score.tof:.3f}"
    return f"{score.psnr_db:.2f} dB, SSIM {score.ssim:.4f}{lpips}{tof}"


def check_writable(path: Path) -> None:
    """Make sure before the work that a file can be written.

    Raises:
        UsageError: It cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.NamedTemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise UsageError(f"cannot write '{path}': {error.strerror}") from error
    if path.is_dir():
        raise UsageError(f"cannot write '{path}': it is a folder")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(path, file_names.encoded(text))
    except OSError as error:
        raise UsageError(f"cannot write '{path}': {error.strerror}") from error
