"""A network that teaches another one: what it makes of LR pictures takes the place of the originals.

What cannot be known of an original is noise to a small network that learns from it; a better network's answer
leaves that out (distillation: Hinton et al., arXiv 1503.02531).
"""

import torch
from torch import Tensor

from upscaler.errors import WeightsError
from upscaler.inference.self_ensemble import ensemble
from upscaler.models import find_weights, weight_file
from upscaler.models.contract import Network
from upscaler.trainer.stages.forward import fast_forward


class Teacher:
    """Makes the pictures that a network is to learn.

    Args:
        network: In evaluation mode, on its device.
        precision: As in ``forward.autocast``.
        compiled: Compile it, if that can be.
        batch: Crops at once.
        patch_px: Side of these, LR pixels.
        tta: Answer with the mean of the 8 symmetries.

    Attributes:
        note: A line worth telling, when there is.
    """

    def __init__(
        self, network: Network, *, precision: str, compiled: bool, batch: int, patch_px: int, tta: bool
    ) -> None:
        device = network.device
        self._forward, note = fast_forward(
            network, device, precision=precision, compiled=compiled, batch=batch, patch_px=patch_px
        )
        self.note = f"teacher: {note}" if note else None
        self._tta = tta

    @torch.no_grad()
    def __call__(self, lr: Tensor) -> Tensor:
        """LR ``(B, 3, h, w)`` in [0, 1] -> fp32 ``(B, 3, h*scale, w*scale)`` in [0, 1]."""
        sr = ensemble(self._enlarged, lr) if self._tta else self._enlarged(lr)
        return sr.clamp(0, 1)

    def _enlarged(self, lr: Tensor) -> Tensor:
        # Of one layout, whatever symmetry it is: for another one the compiler would begin again.
        return self._forward(lr.contiguous(memory_format=torch.channels_last))


def load_teacher(name: str, scale: int, device: torch.device) -> Network | None:
    """The network of a weight file or of shipped weights, or ``None`` for the name ``none``.

    Raises:
        WeightsError: There are none of this name and scale, or they cannot be used.
    """
    if name == "none":
        return None
    files = find_weights.weight_files(name)
    if scale not in files:
        scales = ", ".join(f"x{known}" for known in files)
        raise WeightsError(f"teacher '{name}' is for {scales}, not for x{scale}")
    network = weight_file.load(files[scale]).network().to(device).requires_grad_(False)
    network.to(memory_format=torch.channels_last)  # changes it in place
    return network
