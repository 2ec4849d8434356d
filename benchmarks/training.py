"""Steps of stage one per second, against the usual loop of SRGAN repositories.

    python benchmarks/training.py FOLDER [--rounds 5] [--network fast ...]

FOLDER holds PNG photographs of at least 192x192 pixels. Method: the same network, patch, batch and loss
for all (16 crops of 32x32 LR pixels at x4, L1), taking turns in one process; medians of turns of 10 steps.

`usual` is fp32, NCHW, eager, Adam, and a DataLoader with 2 workers that decodes an image for every crop and
downscales it with Pillow; each turn starts with the crops that the workers loaded during the pause. `ours` is
what `upscale-train` does: bf16 where that is faster, channels_last, compiled, Muon, crops from memory.
`usual step` and `our step` are the same without loading. `share of peak` is the rate of our step's
multiply-accumulates (three times those of the forward pass) over the measured rate of matrix products.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timing import matrix_peak_flops, print_table, take_turns
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from upscaler.inference import devices
from upscaler.models.registry import PRESETS, build
from upscaler.process_settings import keep_freed_memory
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.data.crops import Crops
from upscaler.trainer.data.photos import load_photos
from upscaler.trainer.loops import update_weights
from upscaler.trainer.stages.distributed import World
from upscaler.trainer.stages.forward import fast_forward
from upscaler.trainer.stages.pixel import PixelStage

BATCH, PATCH_PX, SCALE = 16, 32, 4
STEPS = 10  # per turn
PAUSE_S = 2.0  # for the workers to fill their queues, so that they do not disturb the next turn
CPU = torch.device("cpu")


class PicturePerCrop(Dataset[tuple[Tensor, Tensor]]):
    """The usual data set: every item decodes a whole image to cut one crop from it."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """LR and HR crop, ``(3, h, w)`` in [0, 1]."""
        picture = Image.open(self.paths[index % len(self.paths)]).convert("RGB")
        side = PATCH_PX * SCALE
        left = int(torch.randint(picture.width - side + 1, ()))
        top = int(torch.randint(picture.height - side + 1, ()))
        hr = picture.crop((left, top, left + side, top + side))
        lr = hr.resize((PATCH_PX, PATCH_PX), Image.Resampling.BICUBIC)
        return tensor_of(lr), tensor_of(hr)


def tensor_of(picture: Image.Image) -> Tensor:
    """``(3, H, W)`` in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float() / 255


def usual_way(network_name: str, paths: list[Path]) -> tuple[Callable[[], object], Callable[[], object]]:
    """A step with loading, and one without."""
    architecture, arguments = PRESETS[network_name]
    network = build(architecture, arguments | {"scale": SCALE})
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    loader: Iterator[list[Tensor]] = iter(
        DataLoader(PicturePerCrop(paths), BATCH, num_workers=2, prefetch_factor=1)
    )

    def step(lr: Tensor, hr: Tensor) -> None:
        optimizer.zero_grad()
        loss = (network(lr) - hr).abs().mean()
        loss.backward()
        optimizer.step()
        loss.item()  # such loops print it

    batch = next(loader)
    return lambda: step(*next(loader)), lambda: step(*batch)


def our_way(network_name: str, crops: Crops) -> tuple[Callable[[], object], Callable[[], object]]:
    """A step with loading, and one without."""
    config = TrainConfig(
        photos=("-",), output="-.safetensors", network=network_name, scale=SCALE, steps=1, fft_weight=0.0
    )
    architecture, arguments = PRESETS[network_name]
    network = build(architecture, arguments | {"scale": SCALE})
    network.to(memory_format=torch.channels_last)
    forward, note = fast_forward(
        network, CPU, precision="auto", compiled=True, batch=BATCH, patch_px=PATCH_PX
    )
    if note:
        print(note)
    stage = PixelStage(network, generator=network, forward=forward, config=config)
    world = World(CPU)
    batch = crops.draw(BATCH, PATCH_PX)
    return (
        lambda: update_weights(stage, [crops.draw(BATCH, PATCH_PX)], 1.0, world),
        lambda: update_weights(stage, [batch], 1.0, world),
    )


def several(step: Callable[[], object]) -> Callable[[], None]:
    """``STEPS`` steps as one call."""

    def turn() -> None:
        for _ in range(STEPS):
            step()

    return turn


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--network", nargs="+", default=["fast", "balanced", "srresnet"])
    options = parser.parse_args()
    keep_freed_memory()
    paths = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in (".png", ".jpg"))[
        :100
    ]
    photos = load_photos(tuple(map(str, paths)), SCALE, PATCH_PX)
    dtype = devices.fast_dtype(CPU)
    peak = matrix_peak_flops(dtype)
    print(f"{devices.describe(CPU)}, {dtype}, peak of matrix products {peak / 1e12:.2f} TFLOP/s")
    rows = {}
    for name in options.network:
        usual, usual_step = usual_way(name, paths)
        ours, our_step = our_way(name, Crops(photos.training, SCALE, 0))
        ways = {"usual": usual, "ours": ours, "usual step": usual_step, "our step": our_step}
        turns = {way: several(step) for way, step in ways.items()}
        pause = {"pause": lambda: time.sleep(PAUSE_S)}
        taken = take_turns({"usual": turns.pop("usual")} | pause | turns, options.rounds)
        seconds = {way: taken[way] / STEPS for way in ways}
        architecture, arguments = PRESETS[name]
        macs = build(architecture, arguments | {"scale": SCALE}).contract.macs_per_pixel
        flops = 3 * 2 * macs * BATCH * PATCH_PX * PATCH_PX / seconds["our step"]
        rows[name] = {way: f"{1 / seconds[way]:.2f}/s" for way in ways} | {
            "ours / usual": f"{seconds['usual'] / seconds['ours']:.1f}",
            "steps alone": f"{seconds['usual step'] / seconds['our step']:.1f}",
            "share of peak": f"{flops / peak:.0%}",
        }
    print_table(f"x{SCALE}, {BATCH} crops of {PATCH_PX}x{PATCH_PX}", rows)


if __name__ == "__main__":
    main()
