"""What ``upscale-eval`` measures: weights or bicubic, or a folder of SR images."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from upscaler.errors import UsageError
from upscaler.inference.engine import Upscaler
from upscaler.models.registry import SCALES
from upscaler.trainer.degrade import degradations
from upscaler.trainer.evaluation import bicubic
from upscaler.trainer.evaluation.lr_images import LrSource

BASELINE = "bicubic"
_SCALES = f"{', '.join(map(str, SCALES[:-1]))} or {SCALES[-1]}"


@dataclass(frozen=True)
class Method:
    """Something that upscales images.

    Attributes:
        scale: Output size over input size.
        upscale: ``(h, w, 3)`` RGB uint8 -> ``(h*scale, w*scale, 3)`` RGB uint8.
        is_baseline: Whether it is the bicubic of the published tables.
        upscale_clip: The frames of a clip, likewise, in order; ``None``: one by one.
    """

    scale: int
    upscale: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    is_baseline: bool = False
    upscale_clip: Callable[[Iterable[NDArray[np.uint8]]], Iterator[NDArray[np.uint8]]] | None = None

    def frames(self, lr: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        """Upscale the frames of a clip, in order."""
        return map(self.upscale, lr) if self.upscale_clip is None else self.upscale_clip(lr)


@dataclass(frozen=True)
class SrFolder:
    """Images that were upscaled before.

    Attributes:
        scale: The scale; it sets the border that is ignored.
        folder: Where they are, named as in ``pairing.paired_stems``.
    """

    scale: int
    folder: Path


Subject = Method | SrFolder


def resolve_subject(
    name: str,
    scale: int | None,
    lr_source: LrSource,
    device: str = "auto",
    precision: str = "auto",
    *,
    tta: bool = False,
    perceptual: float | None = None,
    denoise: float | None = None,
) -> Subject:
    """The subject of this name.

    Args:
        name: Weight file, name of shipped weights, ``bicubic``, or folder of SR images.
        scale: As in ``Upscaler``; for bicubic and folders, the scale itself, 4 if ``None``.
        lr_source: Where the LR images come from.
        device: As in ``Upscaler``.
        precision: As in ``Upscaler``.
        tta: As in ``Upscaler``.
        perceptual: As in ``Upscaler``.
        denoise: As in ``Upscaler``.

    Raises:
        UsageError: The options do not fit each other, or at scale 1 there is nothing to restore.
        WeightsError: The weights cannot be used.
        DeviceError: As in ``devices.select``.
    """
    if scale is not None and scale not in SCALES:
        raise UsageError(f"--scale '{scale}' must be {_SCALES}")
    degradation = degradations.parse(lr_source.degradation)  # here, so that it does not fail for every image
    if degradation.name == degradations.GIVEN and lr_source.folder is None:
        raise UsageError(
            f"degradation '{degradation.name}' needs LR images", "pass their folder with --lr-dir"
        )
    for_weights = tta or perceptual is not None or denoise is not None
    if for_weights and (name == BASELINE or Path(name).is_dir()):
        raise UsageError(f"--tta, --perceptual and --denoise are for weights, not for '{name}'")
    if Path(name).is_dir():
        return SrFolder(scale or 4, Path(name))
    if name == BASELINE:
        factor = scale or 4
        method = Method(factor, lambda lr: bicubic.upsample(lr, factor), is_baseline=True)
    else:
        upscaler = Upscaler(
            name,
            scale,
            device=device,
            precision=precision,
            tta=tta,
            perceptual=perceptual,
            denoise=denoise,
        )
        if upscaler.scale not in SCALES:
            raise UsageError(f"scale {upscaler.scale:g} cannot be measured", f"add --scale: {_SCALES}")
        method = Method(
            int(upscaler.scale),
            lambda lr: upscaler.image(lr).astype("uint8", copy=False),
            upscale_clip=lambda lr: (sr.astype("uint8", copy=False) for sr in upscaler.frames(lr)),
        )
    if method.scale == 1 and lr_source.folder is None and not degradation.restorable:
        hint = "choose a degradation, for example --degradation jpeg20, or pass LR images with --lr-dir"
        raise UsageError("at scale 1 there is nothing to restore", hint)
    return method
