"""Distil the perceptual network that ships: a small encoder learns VGG19's features.

    python tools/distill_encoder.py photos/ --vgg vgg19.safetensors -o models/weights/vgg19-small.safetensors

Each step takes crops of photographs and, of each, a worse version between it and its degraded enlargement.
The encoder is to have VGG19's features of both, and their difference, for that is what the perceptual loss is
made of.
"""

import argparse
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler.models import encoder, perceptual
from upscaler.process_settings import keep_freed_memory
from upscaler.trainer.data.crops import Crops
from upscaler.trainer.data.photos import load_photos
from upscaler.trainer.stages.optimizer import Optimizer

_SCALE, _PATCH_PX = 4, 24
_DEGRADATION = "real"
_RATE = 0.01  # of Muon
_WARMUP_SHARE = 0.05


def distill(
    photos: list[Path],
    vgg: Path,
    output: Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    threads: int = 1,
    batch: int = 8,
) -> dict[str, float]:
    """Train an encoder and write it.

    Args:
        photos: Folders with photographs.
        vgg: Weights of VGG19, at least to conv3_4.
        output: The file to write.
        minutes: Length by the clock; the rate falls to nothing by a cosine over it.
        steps: Length in steps instead.
        threads: Processor threads.
        batch: Crops per step; each makes two pictures.

    Returns:
        For each layer: the share of the variance of VGG19's features and of differences (``difference ...``)
        that is explained on photographs that were held out.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    keep_freed_memory()
    layers = list(encoder.IMITATED)
    state = perceptual.read_vgg19(vgg)
    teacher = perceptual.VGGFeatures(layers, state, after_activation=False, factor=None)
    teacher.to(memory_format=torch.channels_last)
    network = encoder.SmallEncoder(layers)
    network.to(memory_format=torch.channels_last)
    found = load_photos(tuple(map(str, photos)), _SCALE, _PATCH_PX)
    crops = Crops(found.training, _SCALE, 0, _DEGRADATION)
    optimizer = Optimizer(network, "muon", _RATE, 0.01, betas=(0.9, 0.99), clip_norm=1.0)
    generator = torch.Generator().manual_seed(0)
    began, step = time.monotonic(), 0
    while (share := _share(began, step, minutes, steps)) < 1:
        good, worse = _pictures(*crops.draw(batch, _PATCH_PX), generator)
        pictures = torch.cat([good, worse])
        with torch.no_grad():
            wanted = teacher(pictures)
        made = network(pictures)
        missed = [_missed(made[name], wanted[name]) for name in layers]
        torch.stack([own + between for own, between in missed]).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step(min(1.0, share / _WARMUP_SHARE) * 0.5 * (1 + math.cos(math.pi * share)))
        step += 1
        if step % 50 == 0:
            now = "  ".join(
                f"{name} {1 - own:.3f} {1 - between:.3f}"
                for name, (own, between) in zip(layers, missed, strict=True)
            )
            print(f"{step} {time.monotonic() - began:.0f} s  {now}", flush=True)
    held_out = Crops(found.held_out, _SCALE, 1, _DEGRADATION)
    scores = _scores(network, teacher, held_out, batch)
    encoder.save(output, network, {"steps": step, **scores})
    return scores


def _share(began: float, step: int, minutes: float | None, steps: int | None) -> float:
    """How much of the training is done."""
    if steps is not None:
        return step / steps
    return (time.monotonic() - began) / 60 / (minutes or 15.0)


def _pictures(low: Tensor, high: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Originals, and pictures between them and their enlarged LR versions."""
    enlarged = F.interpolate(low, scale_factor=_SCALE, mode="bicubic").clamp(0, 1)
    share = torch.rand(len(low), 1, 1, 1, generator=generator)
    return high, torch.lerp(enlarged, high, share)


def _missed(made: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of the variance that are missed: of the features, and of the differences within the pairs."""
    made_by, wanted_by = (features.float().chunk(2) for features in (made, wanted))
    deviation = wanted.var((0, 2, 3), keepdim=True) + 1e-6
    own = ((made - wanted).square() / deviation).mean()
    between = wanted_by[0] - wanted_by[1]
    error = (made_by[0] - made_by[1] - between).square().mean() / between.square().mean().clamp(min=1e-6)
    return own, error


@torch.no_grad()
def _scores(
    network: encoder.SmallEncoder, teacher: perceptual.VGGFeatures, crops: Crops, batch: int
) -> dict[str, float]:
    totals: dict[str, list[float]] = {}
    generator = torch.Generator().manual_seed(1)
    for _ in range(8):
        pictures = torch.cat(_pictures(*crops.draw(batch, _PATCH_PX), generator))
        made, wanted = network(pictures), teacher(pictures)
        for name in network.layers:
            own, between = _missed(made[name], wanted[name])
            totals.setdefault(name, []).append(1 - float(own))
            totals.setdefault(f"difference {name}", []).append(1 - float(between))
    return {name: round(math.fsum(values) / len(values), 4) for name, values in totals.items()}


def main() -> None:
    """Distil with the options of the command line."""
    parser = argparse.ArgumentParser(description="Distil the small perceptual network.")
    parser.add_argument("photos", nargs="+", type=Path, help="folders with photographs")
    parser.add_argument("--vgg", type=Path, required=True, help="VGG19 weights, at least to conv3_4")
    parser.add_argument("-o", "--output", type=Path, default=encoder.SHIPPED, help="file to write")
    parser.add_argument("--minutes", type=float, default=15.0, help="length by the clock")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    given = parser.parse_args()
    scores = distill(given.photos, given.vgg, given.output, minutes=given.minutes, threads=given.threads)
    for name, score in scores.items():
        print(f"{name}: {score:.3f} of the variance explained")


if __name__ == "__main__":
    main()
