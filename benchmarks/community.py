"""The table of architectures in docs/models.md: tiles, number formats, time and memory of community models.

    python benchmarks/community.py [FILE ...] [--limit-s 30]

Without files, networks of the usual sizes with random weights, built by spandrel: what they cost does not
depend on the weights. How well tiles agree with the whole picture does: it is measured for named files only.
Each network runs in a process of its own, in fp32, on one thread. Seconds are processor seconds, which other
programs lengthen little; memory is the peak of that process, of which Python and torch take 0.5 GB. A network
too slow for 640x480 in the time limit gets a smaller picture: its time is scaled (marked ~), and
its memory is shown with the size.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from spandrel.architectures.Compact import Compact
from spandrel.architectures.DAT import DAT
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.PLKSR import PLKSR
from spandrel.architectures.SPAN import SPAN
from spandrel.architectures.SwinIR import SwinIR
from torch import nn

from upscaler import Upscaler, keep_freed_memory
from upscaler.inference.tiled_network import name_of

WIDTH, HEIGHT = 640, 480
SAMPLE = Path(__file__).parents[1] / "samples" / "astronaut.png"
# Tiled against whole: a crop, and tiles much smaller than usual, which meet more often.
CROP_WIDTH, CROP_HEIGHT, TILE_PX = 240, 200, 120

USUAL: dict[str, Callable[[], nn.Module]] = {
    "Compact": lambda: Compact(num_feat=64, num_conv=16, upscale=4),
    "SPAN": lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=48, upscale=4),
    "ESRGAN": lambda: ESRGAN(num_filters=64, num_blocks=23, scale=4),
    "PLKSR": lambda: PLKSR(dim=64, n_blocks=28, upscaling_factor=4, kernel_size=17),
    "SwinIR": lambda: SwinIR(
        embed_dim=180, depths=[6] * 6, num_heads=[6] * 6, window_size=8, upscale=4, upsampler="nearest+conv"
    ),
    "DAT": lambda: DAT(
        embed_dim=180, split_size=[8, 32], depth=[6] * 6, num_heads=[6] * 6, expansion_factor=4, upscale=4
    ),
}


def row(path: Path, limit_s: float, *, trained: bool) -> str:
    """A line of the table."""
    warnings.simplefilter("ignore")
    keep_freed_memory()
    torch.set_num_threads(1)
    upscaler = Upscaler(path, device="cpu", precision="fp32")
    (facts,) = upscaler.loaded_weights()
    tiled = upscaler._network(upscaler.plan(HEIGHT, WIDTH).networks[0])
    contract = tiled.network.contract
    others = [name_of(dtype) for dtype in (torch.float16, torch.bfloat16) if dtype in contract.dtypes]
    picture = np.asarray(Image.open(SAMPLE).convert("RGB").resize((WIDTH, HEIGHT)))
    small_s = _seconds(upscaler, picture[:64, :64])
    expected_s = small_s * WIDTH * HEIGHT / 64**2
    shrunk = min(1.0, (limit_s / expected_s) ** 0.5)
    height, width = max(64, round(HEIGHT * shrunk)), max(64, round(WIDTH * shrunk))
    seconds = _seconds(upscaler, picture[:height, :width]) * WIDTH * HEIGHT / (height * width)
    memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # kilobytes on Linux
    about = "" if (height, width) == (HEIGHT, WIDTH) else "~"
    agreement = "exact" if contract.tiling == "exact" else "approximate; "
    if contract.tiling != "exact":
        agreement += f"{_agreement_db(path):.1f} dB" if trained else "not measured"
    cells = (
        f"{facts.architecture} x{facts.scale}",
        agreement,
        ", ".join(others) or "none",
        f"{contract.macs_per_pixel / 1e6:.2f} M",
        f"{about}{seconds:.0f} s",
        f"{memory_gb:.1f} GB ({width}x{height})",
    )
    return f"| {' | '.join(cells)} |"


def _seconds(upscaler: Upscaler, picture: np.ndarray) -> float:
    start = time.process_time()
    upscaler.image(np.ascontiguousarray(picture))
    return time.process_time() - start


def _agreement_db(path: Path) -> float:
    """PSNR between a picture in small tiles and the same as a whole, before rounding to codes."""
    picture = np.asarray(Image.open(SAMPLE).convert("RGB"))[80 : 80 + CROP_HEIGHT, 120 : 120 + CROP_WIDTH]
    source = torch.from_numpy(picture.copy()).permute(2, 0, 1) / 255
    whole, tiled = (
        Upscaler(path, device="cpu", precision="fp32", tile_px=side).image(source) for side in (4096, TILE_PX)
    )
    return float(-10 * torch.log10((whole - tiled).square().mean()))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--limit-s", type=float, default=30)
    arguments = parser.parse_args()
    print("| architecture | tiles | dtypes besides fp32 | MAC per LR pixel | 640x480 | memory |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        jobs = [(path, True) for path in arguments.files]
        for name, make in USUAL.items() if not jobs else ():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            torch.save({"params": make().state_dict()}, Path(folder) / f"{name}.pth")
            jobs.append((Path(folder) / f"{name}.pth", False))
        for path, trained in jobs:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.apply(row, (path, arguments.limit_s), {"trained": trained}), flush=True)


if __name__ == "__main__":
    main()
