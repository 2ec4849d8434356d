"""Distil the shipped perceptual network: a small encoder learns VGG19's features.

    python tools/distill_encoder.py photos/ --vgg vgg19.safetensors -o models/weights/vgg19-small.safetensors

Each step takes crops of photographs (HR) and blends of each with its enlarged, degraded LR version (SR). The
encoder learns VGG19's features of both, and the difference between them, which is what the perceptual loss
measures.
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
_LEARNING_RATE = 0.01  # of Muon
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
    """Train an encoder and save it.

    Args:
        photos: Folders with photographs.
        vgg: Weights of VGG19, at least to conv3_4.
        output: The file to write.
        minutes: Length in minutes; the learning rate falls to 0 on a cosine schedule.
        steps: Length in steps instead.
        threads: CPU threads.
        batch: Crops per step; each gives an HR and an SR image.

    Returns:
        For each layer, on held-out photographs: the explained share of the variance of VGG19's features and
        of their differences between SR and HR (``difference ...``).
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
    optimizer = Optimizer(network, "muon", _LEARNING_RATE, 0.01, betas=(0.9, 0.99), clip_norm=1.0)
    generator = torch.Generator().manual_seed(0)
    start, step = time.monotonic(), 0
    while (progress := _progress(start, step, minutes, steps)) < 1:
        images = _hr_and_sr(*crops.draw(batch, _PATCH_PX), generator)
        with torch.no_grad():
            targets = teacher(images)
        features = network(images)
        errors = [_relative_errors(features[name], targets[name]) for name in layers]
        loss = torch.stack([of_features + of_differences for of_features, of_differences in errors]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(min(1.0, progress / _WARMUP_SHARE) * 0.5 * (1 + math.cos(math.pi * progress)))
        step += 1
        if step % 50 == 0:
            explained = "  ".join(
                f"{name} {1 - of_features:.3f} {1 - of_differences:.3f}"
                for name, (of_features, of_differences) in zip(layers, errors, strict=True)
            )
            print(f"{step} {time.monotonic() - start:.0f} s  {explained}", flush=True)
    held_out = Crops(found.held_out, _SCALE, 1, _DEGRADATION)
    scores = _scores(network, teacher, held_out, batch)
    encoder.save(output, network, {"steps": step, **scores})
    return scores


def _progress(start: float, step: int, minutes: float | None, steps: int | None) -> float:
    """How much of the training is done, from 0 to 1."""
    if steps is not None:
        return step / steps
    return (time.monotonic() - start) / 60 / (minutes or 15.0)


def _hr_and_sr(lr: Tensor, hr: Tensor, generator: torch.Generator) -> Tensor:
    """HR crops, then their SR stand-ins: random blends of HR with the enlarged LR, ``(2 * B, 3, H, W)``."""
    enlarged = F.interpolate(lr, scale_factor=_SCALE, mode="bicubic").clamp(0, 1)
    share = torch.rand(len(lr), 1, 1, 1, generator=generator)
    return torch.cat([hr, torch.lerp(enlarged, hr, share)])


def _relative_errors(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Unexplained shares of the variance: of the features, and of their differences between HR and SR."""
    variance = targets.var((0, 2, 3), keepdim=True) + 1e-6
    of_features = ((features - targets).square() / variance).mean()
    difference, target_difference = (_difference(each) for each in (features, targets))
    error = (difference - target_difference).square().mean()
    return of_features, error / target_difference.square().mean().clamp(min=1e-6)


def _difference(features: Tensor) -> Tensor:
    hr, sr = features.float().chunk(2)
    return hr - sr


@torch.no_grad()
def _scores(
    network: encoder.SmallEncoder, teacher: perceptual.VGGFeatures, crops: Crops, batch: int
) -> dict[str, float]:
    totals: dict[str, list[float]] = {}
    generator = torch.Generator().manual_seed(1)
    for _ in range(8):
        images = _hr_and_sr(*crops.draw(batch, _PATCH_PX), generator)
        features, targets = network(images), teacher(images)
        for name in network.layers:
            of_features, of_differences = _relative_errors(features[name], targets[name])
            totals.setdefault(name, []).append(1 - float(of_features))
            totals.setdefault(f"difference {name}", []).append(1 - float(of_differences))
    return {name: round(math.fsum(values) / len(values), 4) for name, values in totals.items()}


def main() -> None:
    """Read the command line, distil and print the scores."""
    parser = argparse.ArgumentParser(description="Distil the small perceptual network.")
    parser.add_argument("photos", nargs="+", type=Path, help="folders with photographs")
    parser.add_argument("--vgg", type=Path, required=True, help="VGG19 weights, at least to conv3_4")
    parser.add_argument("-o", "--output", type=Path, default=encoder.SHIPPED, help="file to write")
    parser.add_argument("--minutes", type=float, default=15.0, help="length in minutes")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args()
    scores = distill(
        arguments.photos,
        arguments.vgg,
        arguments.output,
        minutes=arguments.minutes,
        threads=arguments.threads,
    )
    for name, score in scores.items():
        print(f"{name}: {score:.3f} of the variance explained")


if __name__ == "__main__":
    main()
