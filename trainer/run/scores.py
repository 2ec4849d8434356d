"""The scores of a validation, and which of two are better."""

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Scores:
    """Means over the validation images; ``None`` was not measured.

    Attributes:
        psnr_db: Y-PSNR; an image counts at most 100 dB.
        ssim: On luma.
        lpips: LPIPS with SqueezeNet, lower is better.
        vgg_distance: Distance of VGG features, lower is better.
        color_drift: Largest difference of a channel's mean from that of the LR image, in 8-bit levels.
    """

    psnr_db: float
    ssim: float | None = None
    lpips: float | None = None
    vgg_distance: float | None = None
    color_drift: float = 0.0

    def columns(self) -> dict[str, float]:
        """The columns of ``metrics.csv``."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def metadata(self) -> dict[str, Any]:
        """Rounded, for the metadata of a weight file."""
        digits = {"psnr_db": 3, "ssim": 4, "lpips": 5, "vgg_distance": 5}
        columns = self.columns()
        return {name: round(columns[name], digits[name]) for name in digits if name in columns}

    def criterion(self, stage: int) -> tuple[str, float]:
        """Name and value of the score that decides in a stage; lower is better.

        Stage one is judged by PSNR. Stage two gives some of it up for texture, so a perceptual score decides.
        """
        if stage == 2 and self.lpips is not None:
            return "LPIPS", self.lpips
        if stage == 2 and self.vgg_distance is not None:
            return "VGG distance", self.vgg_distance
        return "PSNR", -self.psnr_db

    def is_better_than(self, other: "Scores | None", stage: int) -> bool:
        """Whether these are better than others in a stage, or can not be compared with them."""
        if other is None or math.isnan(other.psnr_db):
            return True
        name, value = self.criterion(stage)
        other_name, other_value = other.criterion(stage)
        return name != other_name or value < other_value

    def text(self, stage: int) -> str:
        """For the line of a validation, such as ``PSNR 29.03 dB, SSIM 0.8413, LPIPS 0.1170``."""
        parts = [f"PSNR {self.psnr_db:.3f} dB"]
        parts += [f"SSIM {self.ssim:.4f}"] if self.ssim is not None else []
        parts += [f"LPIPS {self.lpips:.4f}"] if self.lpips is not None else []
        parts += [f"VGG distance {self.vgg_distance:.4f}"] if self.vgg_distance is not None else []
        deciding = self.criterion(stage)[0]
        return ", ".join(parts) + f" ({deciding} should {'rise' if deciding == 'PSNR' else 'fall'})"


def deciding_text(scores: Scores, stage: int) -> str:
    """The score that decides in a stage, such as ``29.03 dB`` or ``LPIPS 0.1170``."""
    name, value = scores.criterion(stage)
    return f"{-value:.2f} dB" if name == "PSNR" else f"{name} {value:.4f}"
