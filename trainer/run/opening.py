"""What a run says before it starts: what it trains on, what it leaves out, and how it will be judged."""

from pathlib import Path

import torch

from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.data.photos import Photos
from upscaler.trainer.evaluation import lpips
from upscaler.trainer.run.train_state import TrainState
from upscaler.trainer.run.validation import Judges
from upscaler.trainer.stages.adversarial import PerceptualNetwork


def load_judges(config: TrainConfig, device: torch.device, vgg: PerceptualNetwork | None) -> Judges:
    """What computes the perceptual scores: LPIPS if its weights are here, else the network of stage two.

    Raises:
        WeightsError: A file with weights of LPIPS cannot be used.
    """
    files = [Path(name) if name else None for name in (config.lpips_trunk, config.lpips_heads)]
    return Judges(lpips.if_installed("squeeze", files[0], files[1], device), vgg)


def opening_lines(config: TrainConfig, state: TrainState, photos: Photos, judges: Judges) -> list[str]:
    """Lines for the user."""
    lines = [f"resuming at step {state.step}"] if state.step else []
    trained, judged = _count(photos.photographs, "photograph"), len(photos.held_out)
    whose = f"{_count(judged, 'image')} of --valid" if config.valid else f"{judged} held out for validation"
    lines.append(f"{trained} to train on, {whose}")
    lines += _about_files(photos)
    lines += _about_crops(config, photos)
    lines += _about_shift(config, photos)
    if not judges.measure_lpips:
        distance = ", the distance of VGG features is" if 2 in config.stage_numbers() else ""
        lines.append(
            f"LPIPS is not measured{distance}: it needs --lpips-trunk FILE (SqueezeNet 1.1) and torchmetrics"
        )
    if photos.mapped:
        lines.append("the photographs do not fit into memory: caching them in a file beside the output")
    return lines


def _about_files(photos: Photos) -> list[str]:
    lines = []
    if photos.left_out:
        shown = ", ".join(photos.left_out[:5]) + (", ..." if len(photos.left_out) > 5 else "")
        lines.append(f"{_count(len(photos.left_out), 'file')} left out: {shown}")
    if photos.look_like_pairs:
        lines.append(
            "most photographs are exactly twice as wide as high: if each is a pair, a poor and a good "
            "version side by side, use --pairs left-hr or right-hr"
        )
    if photos.not_images:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in photos.not_images.items())
        lines.append(f"{_count(sum(photos.not_images.values()), 'file')} passed over, no images: {kinds}")
    return lines


def _about_crops(config: TrainConfig, photos: Photos) -> list[str]:
    needed_px, side = config.largest_patch_px(), photos.crop_side
    if side.patch_px >= needed_px:
        return []
    line = f"crops are at most {side.patch_px} LR pixels wide: too few photographs hold {needed_px}"
    if side.gain is None:
        return [line]
    gain, area = side.gain, side.gain.patch_px**2 / side.patch_px**2
    few = "1 photograph is" if gain.left_out == 1 else f"{gain.left_out} photographs are"
    return [
        line,
        f"{few} smaller than the other {gain.of - gain.left_out}: without, crops would be {gain.patch_px} "
        f"wide, {area:.1f} times the area (--set smallest_photo_px={gain.smallest_photo_px})",
    ]


def _about_shift(config: TrainConfig, photos: Photos) -> list[str]:
    if photos.shift is None:
        return []
    down, right = photos.shift
    done = "taken out" if config.align_lr else "take it out with --set align_lr=true"
    return [
        f"the LR images lie {down:+.2f} LR pixels down and {right:+.2f} right of their originals, as other "
        f"programs reduce: {done}"
    ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
