"""What a run says before it starts: what it trains on, what it leaves out, and how it will be judged."""

from pathlib import Path

import torch

from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.config.gan import GanConfig
from upscaler.trainer.data.photo_stream import PhotoStream
from upscaler.trainer.data.photos import Photos
from upscaler.trainer.evaluation import lpips
from upscaler.trainer.run.counting import counted
from upscaler.trainer.run.train_state import TrainState
from upscaler.trainer.run.validation import Judges
from upscaler.trainer.stages.adversarial import PerceptualNetwork, perceptual_network


def load_judges(config: TrainConfig, device: torch.device, vgg: PerceptualNetwork | None) -> Judges:
    """What computes the perceptual scores: LPIPS if its weights are here, else a perceptual network.

    Args:
        config: Settings of the run.
        device: Where the judges compute.
        vgg: The perceptual network of stage two; without one, the encoder that ships takes its place.

    Raises:
        WeightsError: A file with weights of LPIPS cannot be used.
    """
    files = [Path(name) if name else None for name in (config.lpips_trunk, config.lpips_heads)]
    measure = lpips.if_installed("squeeze", files[0], files[1], device)
    return Judges(measure, vgg or (None if measure else perceptual_network(GanConfig(), device)))


def opening_lines(config: TrainConfig, state: TrainState, photos: Photos, judges: Judges) -> list[str]:
    """Lines for the user."""
    lines = [f"resuming at step {state.step}"] if state.step else []
    trained, judged = counted(photos.photographs, "photograph"), len(photos.held_out)
    whose = f"{counted(judged, 'image')} of --valid" if config.valid else f"{judged} held out for validation"
    lines.append(f"{trained} to train on, {whose}")
    if photos.videos:
        taken = f"{counted(photos.frames, 'frame')} of {counted(photos.videos, 'video')}"
        lines.append(f"{taken} are photographs, too, to train on or held out")
    lines += _about_files(photos)
    lines += _about_crops(config, photos)
    lines += _about_shift(config, photos)
    if not judges.measure_lpips:
        lines.append(
            "LPIPS is not measured, the distance of VGG features is: LPIPS needs --lpips-trunk FILE "
            "(SqueezeNet 1.1) and torchmetrics"
        )
    if isinstance(photos.training, PhotoStream):
        needed_gb, window_gb = photos.needed_bytes / 1e9, photos.training.window_bytes / 1e9
        lines.append(
            f"decoded, the photographs would take {needed_gb:,.1f} GB: they are read during the training, "
            f"{window_gb:.2g} GB of them in memory"
        )
    if isinstance(photos.training, PhotoStream) and photos.opened < photos.photographs:
        lines.append(
            f"only {photos.opened:,} of them were opened before the training: others that are too small or "
            "damaged are left out when their turn comes"
        )
    if photos.mapped:
        lines.append("the photographs do not fit into memory: caching them in a file beside the output")
    return lines


def _about_files(photos: Photos) -> list[str]:
    lines = []
    if photos.left_out:
        shown = ", ".join(photos.left_out[:5]) + (", ..." if len(photos.left_out) > 5 else "")
        lines.append(f"{counted(len(photos.left_out), 'file')} left out: {shown}")
    if photos.look_like_pairs:
        lines.append(
            "most photographs are exactly twice as wide as high: if each is a pair, a poor and a good "
            "version side by side, use --pairs left-hr or right-hr"
        )
    if photos.not_images:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in photos.not_images.items())
        passed_over = counted(sum(photos.not_images.values()), "file")
        lines.append(f"{passed_over} passed over, neither images nor videos: {kinds}")
    return lines


def _about_crops(config: TrainConfig, photos: Photos) -> list[str]:
    needed_px, side = config.largest_patch_px(), photos.crop_side
    if side.patch_px >= needed_px:
        return []
    line = f"crops are at most {side.patch_px} LR pixels wide: too few photographs hold {needed_px}"
    if side.gain is None:
        return [line]
    gain, area = side.gain, side.gain.patch_px**2 / side.patch_px**2
    opened = f" of the {photos.opened:,} opened" if photos.opened < photos.photographs else ""
    few = "1 photograph is" if gain.left_out == 1 else f"{gain.left_out} photographs are"
    return [
        line,
        f"{few} smaller than the other {gain.of - gain.left_out}{opened}: without, crops would be "
        f"{gain.patch_px} wide, {area:.1f} times the area (--set smallest_photo_px={gain.smallest_photo_px})",
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
