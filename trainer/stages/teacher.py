"""Distillation (Hinton et al., arXiv 1503.02531): the output of a better network replaces the originals.

Detail that cannot be inferred from LR is noise to a small network; the output of a better one leaves it out.
"""

import torch
from torch import Tensor

from upscaler.errors import WeightsError
from upscaler.inference.self_ensemble import ensemble
from upscaler.models import find_weights, weight_file
from upscaler.models.contract import Network
from upscaler.trainer.stages.forward import TrialShape, fast_forward


class Teacher:
    """Makes the targets that a network learns.

    Args:
        network: In evaluation mode, on its device.
        precision: As in ``forward.autocast``.
        compiled: Whether to compile.
        shapes: The batches to compile for.
        tta: Average over the 8 symmetries.

    Attributes:
        note: A line for the user, or ``None``.
    """

    def __init__(
        self, network: Network, *, precision: str, compiled: bool, shapes: list[TrialShape], tta: bool
    ) -> None:
        device = network.device
        self._forward, note = fast_forward(
            network, device, precision=precision, compiled=compiled, shapes=shapes
        )
        self.note = f"teacher: {note}" if note else None
        self._tta = tta

    @torch.no_grad()
    def __call__(self, lr: Tensor) -> Tensor:
        """LR ``(B, 3, h, w)`` in [0, 1] -> fp32 ``(B, 3, h*scale, w*scale)`` in [0, 1]."""
        sr = ensemble(self._upscale, lr) if self._tta else self._upscale(lr)
        return sr.clamp(0, 1)

    def _upscale(self, lr: Tensor) -> Tensor:
        # One memory layout for every symmetry: another one would be compiled again.
        return self._forward(lr.contiguous(memory_format=torch.channels_last))


def load_teacher(name: str, scale: int, device: torch.device) -> Network | None:
    """Load the network of a weight file or of shipped weights; ``None`` for the name ``none``.

    Raises:
        WeightsError: There are no weights of this name and scale, or they cannot be used.
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
