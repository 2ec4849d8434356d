"""Cut crops from photographs and make LR versions of them by a degradation, for a teacher to upscale.

    python tools/make_degraded_crops.py train/ crops/ [--degradation real] [--count 500] [--seed 0]
    upscale crops/lr -o crops/taught --model RealESRGAN_x4plus.pth --scale 4
    python tools/match_colors.py crops/hr crops/taught
    upscale-train train/ crops/taught --lr-dir crops/lr --degradation real --set given_share=0.6 ...

Of three random places in a photograph the one with the most detail is taken. LR crops are cut from a larger
degraded one at a random offset, so that JPEG's blocks begin anywhere.
"""

import argparse
from pathlib import Path

import torch
from flat_names import flat_names
from PIL import Image
from torch import Generator, Tensor

from upscaler.errors import UpscalerError
from upscaler.images import stills
from upscaler.trainer.degrade import degradations

LR_SIDE_PX, OFFSET_PX = 64, 8
PLACES = 3


def most_detailed_crop(photograph: Tensor, side_px: int, generator: Generator) -> Tensor:
    """The most detailed of three random crops.

    Args:
        photograph: RGB ``(3, H, W)`` uint8, both sides at least ``side_px``.
        side_px: Side of the crop.
        generator: Draws the places.

    Returns:
        ``(3, side_px, side_px)`` uint8.
    """
    height, width = photograph.shape[-2:]
    crops = []
    for _ in range(PLACES):
        top = int(torch.randint(height - side_px + 1, (), generator=generator))
        left = int(torch.randint(width - side_px + 1, (), generator=generator))
        crops.append(photograph[:, top : top + side_px, left : left + side_px])
    return max(crops, key=lambda crop: float(crop.float().mean(0).diff(dim=-1).abs().mean()))


def degraded_pair(
    photograph: Tensor, degradation: str, scale: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """An LR crop and its original.

    Args:
        photograph: RGB ``(3, H, W)`` uint8.
        degradation: Name of one that is drawn for every batch, such as ``real``.
        scale: HR over LR size.
        generator: Draws place and degradation.

    Returns:
        LR ``(3, 64, 64)`` and HR ``(3, 64*scale, 64*scale)``, uint8.

    Raises:
        UpscalerError: The degradation is unknown, or is not drawn for every batch.
    """
    degrade = degradations.parse(degradation).degrade
    if degrade is None:
        raise UpscalerError(
            f"degradation '{degradation}' is not drawn for every batch", "use real, mild or strong"
        )
    hr = most_detailed_crop(photograph, (LR_SIDE_PX + OFFSET_PX) * scale, generator)[None]
    lr, hr = degrade(degradations.downscale(hr, scale), hr, scale, generator)
    top, left = (int(torch.randint(OFFSET_PX + 1, (), generator=generator)) for _ in range(2))
    lr = lr[0, :, top : top + LR_SIDE_PX, left : left + LR_SIDE_PX]
    side = LR_SIDE_PX * scale
    return lr, hr[0, :, top * scale : top * scale + side, left * scale : left * scale + side]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--degradation", default="real")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = Generator().manual_seed(arguments.seed)
    for name in ("lr", "hr"):
        (arguments.target / name).mkdir(parents=True, exist_ok=True)
    try:
        paths = list(flat_names(arguments.source))
        smallest = (LR_SIDE_PX + OFFSET_PX) * arguments.scale
        photographs = {path: stills.read_size(path) for path in paths}
        usable = [path for path, size in photographs.items() if min(size) >= smallest]
        if not usable:
            raise UpscalerError(f"no photograph of at least {smallest} pixels a side in '{arguments.source}'")
        for number in range(arguments.count):
            path = usable[int(torch.randint(len(usable), (), generator=generator))]
            photograph = torch.from_numpy(stills.read_rgb8(path).copy()).permute(2, 0, 1)
            pair = degraded_pair(photograph, arguments.degradation, arguments.scale, generator)
            for folder, crop in zip(("lr", "hr"), pair, strict=True):
                picture = Image.fromarray(crop.permute(1, 2, 0).contiguous().numpy())
                picture.save(arguments.target / folder / f"{number:05}.png")
    except UpscalerError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{arguments.count} pairs in {arguments.target}")


if __name__ == "__main__":
    main()
