"""Compare srresnet and srgan: a sheet of crops, and PSNR against LPIPS for their blends.

    pip install 'upscaler[eval]'
    python tools/make_comparison.py HR_FOLDER OUT_FOLDER --lr-dir LR_FOLDER
    python tools/make_comparison.py HR_FOLDER OUT_FOLDER --photo --degradation mild-combined

Writes ``crops.png`` (bicubic, srresnet, srgan, original; of each image the region that bicubic blurs most),
``curve.png``, and the curve's numbers as ``curve.md``: means over the folder as ``upscale-eval`` has them.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from upscaler.models.shipped import BLENDABLE
from upscaler.trainer.evaluation import bicubic
from upscaler.trainer.evaluation.lpips import Lpips
from upscaler.trainer.evaluation.lr_images import LrSource
from upscaler.trainer.evaluation.protocol import Comparison, Score, evaluate
from upscaler.trainer.evaluation.subject import resolve_subject

Rgb = NDArray[np.uint8]

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of srgan in the weights
CROP_PX, STEP_PX, GAP_PX, CAPTION_PX = 160, 16, 6, 20
PLOT_PX, MARGIN_PX = (720, 440), (80, 40)
FONT = ImageFont.load_default(13)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("hr", type=Path, help="folder with HR images")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--lr-dir", type=Path, help="folder with LR images; default: make them")
    parser.add_argument("--degradation", default="clean", help="how LR images are made, as in upscale-eval")
    parser.add_argument("--photo", action="store_true", help="compare srresnet-photo and real")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument(
        "--crops", type=int, default=24, help="maximum number of crops, from evenly spread images"
    )
    parser.add_argument("--lpips-trunk", type=Path, help="as in upscale-eval; LPIPS uses squeeze")
    parser.add_argument("--lpips-heads", type=Path)
    arguments = parser.parse_args()
    lpips = Lpips("squeeze", arguments.lpips_trunk, arguments.lpips_heads, torch.device("cpu"))
    lr_source, pair = LrSource(arguments.lr_dir, arguments.degradation), BLENDABLE[arguments.photo]
    compare(arguments.hr, arguments.out, lr_source, pair, arguments.scale, arguments.crops, lpips)


def compare(
    hr: Path, out: Path, lr_source: LrSource, pair: tuple[str, str], scale: int, crops: int, lpips: Lpips
) -> None:
    """Measure every blend of a pair, keep crops of both ends, and write the three files."""
    regions: dict[str, tuple[slice, slice]] = {}
    rows: dict[str, list[Rgb]] = {}
    means: dict[float, Score] = {}
    for share in SHARES:

        def keep(score: Score, comparison: Comparison, share: float = share) -> None:
            if share == SHARES[0]:
                plain = bicubic.upsample(comparison.lr, scale)
                region = regions[score.name] = blurred_most(plain, comparison.hr)
                rows[score.name] = [plain[region], comparison.sr[region], comparison.hr[region]]
            elif share == SHARES[-1]:
                rows[score.name].insert(2, comparison.sr[regions[score.name]])

        subject = resolve_subject(pair[1], scale, lr_source, perceptual=share)
        result = evaluate(subject, hr, lr_source, lpips=lpips, on_score=keep)
        if result.failures:
            raise SystemExit("\n".join(result.failures))
        means[share] = result.mean
        print(f"--perceptual {share:g}: {result.mean}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    chosen = np.linspace(0, len(rows) - 1, min(crops, len(rows))).round().astype(int)
    names = sorted(rows)
    sheet({names[index]: rows[names[index]] for index in chosen}, pair).save(out / "crops.png", optimize=True)
    curve(means).save(out / "curve.png", optimize=True)
    (out / "curve.md").write_text(table(means), encoding="utf-8")


def blurred_most(plain: Rgb, hr: Rgb) -> tuple[slice, slice]:
    """The crop in which bicubic is farthest from the original."""
    error = np.abs(plain.astype(np.float64) - hr).mean(2)
    sides = [min(CROP_PX, side) for side in error.shape]
    total = np.pad(error, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    corners = [
        (top, left)
        for top in range(0, error.shape[0] - sides[0] + 1, STEP_PX)
        for left in range(0, error.shape[1] - sides[1] + 1, STEP_PX)
    ]

    def inside(corner: tuple[int, int]) -> float:
        top, left = corner
        bottom, right = top + sides[0], left + sides[1]
        return float(total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left])

    top, left = max(corners, key=inside)
    return slice(top, top + sides[0]), slice(left, left + sides[1])


def sheet(rows: dict[str, list[Rgb]], pair: tuple[str, str]) -> Image.Image:
    """Two images per row, four crops each, with captions."""
    wide, tall = 4 * (CROP_PX + 1) + GAP_PX, CROP_PX + CAPTION_PX
    image = Image.new("RGB", (2 * wide - GAP_PX, (len(rows) + 1) // 2 * tall), "white")
    draw = ImageDraw.Draw(image)
    for number, (name, crops) in enumerate(rows.items()):
        left, top = number % 2 * wide, number // 2 * tall
        captions = ("bicubic", *pair, f"original ({Path(name).stem[:12]})")
        for column, (caption, crop) in enumerate(zip(captions, crops, strict=True)):
            across = left + column * (CROP_PX + 1)
            draw.text((across + 2, top + 2), caption, "black", FONT)
            image.paste(Image.fromarray(np.ascontiguousarray(crop)), (across, top + CAPTION_PX))
    return image


def curve(means: dict[float, Score]) -> Image.Image:
    """PSNR over LPIPS, a dot for each blend."""
    image = Image.new("RGB", PLOT_PX, "white")
    draw = ImageDraw.Draw(image)
    across = [score.lpips or 0.0 for score in means.values()]
    up = [score.psnr_db for score in means.values()]

    def at(distance: float, psnr_db: float) -> tuple[float, float]:
        right = (distance - min(across)) / max(1e-9, max(across) - min(across))
        higher = (psnr_db - min(up)) / max(1e-9, max(up) - min(up))
        return (
            MARGIN_PX[0] + right * (PLOT_PX[0] - 2 * MARGIN_PX[0]),
            PLOT_PX[1] - MARGIN_PX[1] - 20 - higher * (PLOT_PX[1] - 2 * MARGIN_PX[1] - 40),
        )

    for distance, psnr_db in ((min(across), min(up)), (max(across), max(up))):
        left, top = at(distance, psnr_db)
        draw.line((left, 30, left, PLOT_PX[1] - MARGIN_PX[1]), "lightgray")
        draw.line((MARGIN_PX[0] - 20, top, PLOT_PX[0] - 20, top), "lightgray")
        draw.text((left - 18, PLOT_PX[1] - MARGIN_PX[1] + 2), f"{distance:.4f}", "black", FONT)
        draw.text((8, top - 8), f"{psnr_db:.2f}", "black", FONT)
    draw.text((8, 6), "Y-PSNR, dB", "black", FONT)
    draw.text((PLOT_PX[0] - 220, PLOT_PX[1] - 20), "LPIPS (squeeze), smaller is better", "black", FONT)
    positions = [at(*point) for point in zip(across, up, strict=True)]
    draw.line(positions, "steelblue", 3, joint="curve")
    for share, (left, top) in zip(means, positions, strict=True):
        draw.ellipse((left - 5, top - 5, left + 5, top + 5), "steelblue")
        draw.text((left + 9, top - 16), f"{share:g}", "black", FONT)
    return image


def table(means: dict[float, Score]) -> str:
    """The numbers of the curve, in Markdown."""
    head = "| --perceptual | Y-PSNR dB | SSIM | LPIPS (squeeze) |\n|---|---|---|---|\n"
    lines = (
        f"| {share:g} | {mean.psnr_db:.2f} | {mean.ssim:.4f} | {mean.lpips:.4f} |\n"
        for share, mean in means.items()
    )
    return head + "".join(lines)


if __name__ == "__main__":
    main()
