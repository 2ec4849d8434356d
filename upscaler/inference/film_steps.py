"""A network for films over the frames of one: it sees each, and what it made of those before.

What it remembers starts empty where a scene begins. A part of a film that is computed by itself starts
``WARM_UP_FRAMES`` earlier, with frames whose results are not used: then its first frames are as good as the
others, and do not depend on whether the part before was computed in the same run.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from upscaler.inference import pictures
from upscaler.models.motion import what_a_step_sees
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
        state_channels: Channels of the state, at LR size; 0: it sees nothing else.
        scale: Of the network.
    """

    state_channels: int = 0
    scale: int = 1

    @property
    def warm_up_frames(self) -> int:
        """Frames to compute before the first one of a part."""
        return WARM_UP_FRAMES if self.state_channels else 0


class FilmSteps:
    """Upscales the frames of a scene, one after the other.

    Args:
        step: Runs the network.
        scale: Of the network.
    """

    def __init__(self, step: Step, scale: int) -> None:
        self._step, self._scale = step, scale
        self._before: Tensor | None = None
        self._state: Tensor | None = None

    def __call__(self, frame: Tensor) -> Tensor:
        """Upscale a frame, and remember it.

        Args:
            frame: RGB ``(3, H, W)`` fp32, nominally in [0, 1].

        Returns:
            See ``Upscaler.upscale_step``.
        """
        source = frame.unsqueeze(0)
        result, self._state = self._step(what_a_step_sees(source, self._before, self._state, self._scale))
        self._before = source
        return result


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
    for seen in in_context(sources, 1, _ends):
        if steps is None or not seen.before:
            steps = FilmSteps(step_for(*seen.frame.shape[:2]), context.scale)
        result = steps(as_floats(seen.frame.to(device)).permute(2, 0, 1))
        yield as_codes(result[0], seen.frame.dtype).permute(1, 2, 0).contiguous().cpu().numpy()


def _ends(source: Tensor, following: Tensor) -> bool:
    if (source.shape, source.dtype) != (following.shape, following.dtype):
        return True
    return is_cut(following[..., 1], source[..., 1], peak(source.dtype))
