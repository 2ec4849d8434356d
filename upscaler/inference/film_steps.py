"""A network for films over the frames of one: it sees those around each, and what it remembers.

What it remembers starts empty where a scene begins. A part of a film that is computed by itself starts
``WARM_UP_FRAMES`` earlier, with frames whose results are not used: then its first frames are as good as the
others, and do not depend on whether the part before was computed in the same run.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from upscaler.inference import pictures
from upscaler.models.contract import Contract
from upscaler.pixels import Pixels, as_codes, as_floats, peak
from upscaler.scenes import in_context, is_cut

# What a step sees -> the frame and the state; see ``Upscaler.upscale_step``.
Step = Callable[[Tensor], tuple[Tensor, Tensor]]

# As many as the clips of training have; what lies further back hardly matters.
WARM_UP_FRAMES = 6


@dataclass(frozen=True)
class Context:
    """What a network sees besides the frame itself.

    Attributes:
        frames_before: Frames before it.
        frames_after: Frames after it.
        state_channels: Channels of the state, at LR size.
    """

    frames_before: int = 0
    frames_after: int = 0
    state_channels: int = 0

    @classmethod
    def of(cls, contract: Contract) -> Self:
        """That of a network."""
        return cls(contract.frames_before, contract.frames_after, contract.state_channels)

    @property
    def warm_up_frames(self) -> int:
        """Frames to compute before the first one of a part."""
        return WARM_UP_FRAMES if self.state_channels else 0

    @property
    def needed_before(self) -> int:
        """Frames that must be known before the first one of a part."""
        return self.warm_up_frames + self.frames_before

    def middle_of(self, seen: Tensor) -> Tensor:
        """The frame itself, of what a step sees: ``(1, C, H, W)`` fp32 -> RGB ``(1, 3, H, W)`` in [0, 1]."""
        return seen[:, 3 * self.frames_before : 3 * self.frames_before + 3]


class FilmSteps:
    """Upscales the frames of a film, one after the other.

    Args:
        step: Runs the network.
        context: What it sees.
    """

    def __init__(self, step: Step, context: Context) -> None:
        self._step, self._context = step, context
        self._state: Tensor | None = None

    def __call__(self, window: list[Tensor]) -> Tensor:
        """Upscale a frame, and remember it.

        Args:
            window: The frames that the network sees, in order: RGB ``(3, H, W)`` fp32, nominally in [0, 1],
                all on one device.

        Returns:
            See ``Upscaler.upscale_step``.
        """
        seen = window
        if channels := self._context.state_channels:
            if self._state is None:
                self._state = window[0].new_zeros(channels, *window[0].shape[-2:])
            seen = [*window, self._state]
        frame, state = self._step(torch.cat(seen).unsqueeze(0))
        self._state = state[0]
        return frame


def upscale_film(
    frames: Iterable[Pixels], step_for: Callable[[int, int], Step], context: Context, device: torch.device
) -> Iterator[Pixels]:
    """Upscale the frames of a film; those of another size, or after a cut, begin a new scene.

    Args:
        frames: Arrays, ``(H, W, 3)`` RGB, uint8 or uint16.
        step_for: Of frames of a height and width, what runs the network.
        context: What it sees.
        device: Where it runs.

    Yields:
        ``(height, width, 3)`` in the same dtype, rounded and clamped.
    """
    # Copies: a reader may reuse its array for the next frame while several are waiting here.
    sources = (pictures.tensor_of_array(frame).clone() for frame in frames)
    steps: FilmSteps | None = None
    for seen in in_context(sources, max(1, context.frames_before), context.frames_after, _ends):
        if steps is None or not seen.before:
            steps = FilmSteps(step_for(*seen.frame.shape[:2]), context)
        window = seen.window(context.frames_before, context.frames_after)
        result = steps([as_floats(source.to(device)).permute(2, 0, 1) for source in window])
        yield as_codes(result[0], seen.frame.dtype).permute(1, 2, 0).contiguous().cpu().numpy()


def _ends(source: Tensor, following: Tensor) -> bool:
    if (source.shape, source.dtype) != (following.shape, following.dtype):
        return True
    return is_cut(following[..., 1], source[..., 1], peak(source.dtype))
