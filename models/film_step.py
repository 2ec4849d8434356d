"""A network for films as it runs: one frame at a time, everything it sees and leaves in one tensor.

So that tiles stay exact. A step sees a few pixels around; tiles are cut after the whole result before was
moved to where things are now, and those of the new state are joined before the next frame.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscaler.models.contract import Network, bilinear_kernel
from upscaler.models.film import Film, remembered
from upscaler.models.motion import luma_of
from upscaler.models.plane_network import PlaneNetwork, convolved
from upscaler.planes import PlaneOutput


class FilmStep(Network):
    """``Film.step`` with packed results, at LR size: its contract has scale 1 therefore.

    Takes ``(B, input_channels, H, W)``, see ``motion.what_a_step_sees``; gives ``(B, output_channels, H, W)``
    in fp32: the samples of an LR pixel lie together, RGB as the channels of a pixel shuffle, or planes as
    ``PlaneNetwork`` gives them; then the state.

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
        self.luma = _luma_tail(film.tail)  # before the tail gives planes
        self.planes = PlaneNetwork(film, output, strength) if output else None
        contract = self.planes.contract if self.planes else film.contract
        self.contract = replace(contract, scale=1)
        self.input_channels = film.seen_channels
        self.output_channels = state_channels + (output.channels(scale) if output else 3 * scale * scale)
        self._scale = scale
        self._gray = _gray_levels(output, scale, strength) if output else []

    def forward(self, seen: Tensor) -> Tensor:
        """See the class."""
        features = self.film.features(seen)
        luma = self.luma(features)
        kept = self.film.kept(features, seen, luma)
        middle, detail = seen[:, :3], self.film.tail(features)
        if self.planes:
            packed = self.planes.completed(middle, detail)
            for start, level in self._gray:
                packed[:, start : start + self._scale**2] += level * kept.float()
        else:
            packed = self._completed(middle, detail) + kept.float().repeat(1, 3, 1, 1)
        return torch.cat([packed, remembered(luma + kept).float()], 1)

    def _completed(self, lr: Tensor, detail: Tensor) -> Tensor:
        """The detail with the upsampled frame, as ``contract.add_upsampled`` adds it before the shuffle."""
        edged = F.pad(lr.float(), (1, 1, 1, 1), mode="replicate")
        return convolved(edged, bilinear_kernel(self._scale, lr.device)) + detail.float()


def _luma_tail(tail: nn.Conv2d) -> nn.Conv2d:
    """The convolution that gives the luma of what a tail gives."""
    assert tail.bias is not None, "tails have a bias"
    conv = nn.Conv2d(tail.in_channels, tail.out_channels // 3, 3, padding=1)
    conv.weight = nn.Parameter(luma_of(tail.weight.detach()[None].flatten(2))[0].view_as(conv.weight))
    conv.bias = nn.Parameter(luma_of(tail.bias.detach().view(1, -1, 1))[0, :, 0])
    return conv


def _gray_levels(output: PlaneOutput, scale: int, strength: float) -> list[tuple[int, float]]:
    """Where planes begin that show gray, as chroma does not, and the codes of white times the strength."""
    found, start = [], 0
    for (*weights, _), (rows, columns) in zip(output.colors, output.shapes(scale), strict=True):
        if abs(sum(weights)) > 1:
            found.append((start, strength * sum(weights)))
        start += rows * columns
    return found
