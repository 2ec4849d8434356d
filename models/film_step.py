"""A network for films as it runs: one frame at a time, everything it sees and leaves in one tensor.

So that tiles stay exact. A step sees a few pixels around, in the frames and in the state; tiles are cut from
the whole state of the frame before, and those of the new one are joined before the next frame.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler.models.contract import Network, bilinear_kernel
from upscaler.models.film import Film
from upscaler.models.plane_network import PlaneNetwork, convolved
from upscaler.planes import PlaneOutput


class FilmStep(Network):
    """``Film.step`` with packed results, at LR size: its contract has scale 1 therefore.

    Takes ``(B, input_channels, H, W)``: RGB of the frames in order, in [0, 1], then the state. Gives ``(B,
    output_channels, H, W)``, fp32: the samples of an LR pixel lie together, RGB as the channels of a pixel
    shuffle, or planes as ``PlaneNetwork`` gives them; then the state.

    Args:
        film: fp32. It is changed.
        output: Planes to give instead of RGB.
        strength: Share of the network in planes; see ``PlaneNetwork``.
    """

    def __init__(self, film: Film, output: PlaneOutput | None = None, strength: float = 1.0) -> None:
        super().__init__()
        scale, state_channels = film.contract.scale, film.contract.state_channels
        self.arguments = {}
        self.film = film
        self.planes = PlaneNetwork(film, output, strength) if output else None
        contract = self.planes.contract if self.planes else film.contract
        self.contract = replace(contract, scale=1)
        self.input_channels = film.seen_channels
        self.output_channels = state_channels + (output.channels(scale) if output else 3 * scale * scale)
        self._scale = scale

    def forward(self, seen: Tensor) -> Tensor:
        """See the class."""
        detail, state = self.film.step(seen)
        middle = self.film.middle_of(seen)
        packed = self.planes.completed(middle, detail) if self.planes else self._completed(middle, detail)
        return torch.cat([packed, state.float()], 1) if self.contract.state_channels else packed

    def _completed(self, lr: Tensor, detail: Tensor) -> Tensor:
        """The detail with the upsampled frame, as ``contract.add_upsampled`` adds it before the shuffle."""
        edged = F.pad(lr.float(), (1, 1, 1, 1), mode="replicate")
        return convolved(edged, bilinear_kernel(self._scale, lr.device)) + detail.float()
