"""Self-ensemble (test-time augmentation): the mean of the results for the 8 symmetries of a square."""

from collections.abc import Callable
from itertools import product

from torch import Tensor

# With and without transposing, flipped along each of these axes.
_FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
PASSES_TTA = 2 * len(_FLIPS)


def ensemble(
    upscale: Callable[[Tensor], Tensor], lr: Tensor, on_pass: Callable[[int], None] = lambda _: None
) -> Tensor:
    """The mean of the results for the 8 symmetries of ``lr``, each transformed back (arXiv 1511.02228).

    One after the other, because together they would take 8 times the memory.

    Args:
        upscale: RGB ``(B, 3, h, w)`` -> RGB ``(B, 3, h*scale, w*scale)`` in fp32, of any strides. Each result
            may be overwritten by the next.
        lr: RGB ``(B, 3, h, w)``, fp32 in [0, 1].
        on_pass: Called after each, with how many are done.

    Returns:
        RGB ``(B, 3, h*scale, w*scale)``, fp32, not clamped.
    """
    total: Tensor | None = None
    for done, (oriented, axes) in enumerate(product((lr, lr.mT), _FLIPS), 1):
        sr = upscale(oriented.flip(axes)).flip(axes)  # a copy: a graph's result is overwritten
        sr = sr if oriented is lr else sr.mT
        total = sr if total is None else total.add_(sr)
        on_pass(done)
    assert total is not None, "there are symmetries"
    return total.div_(PASSES_TTA)
