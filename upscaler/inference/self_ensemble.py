"""Self-ensemble (test-time augmentation): the mean of what comes of the 8 symmetries of a square."""

from collections.abc import Callable

from torch import Tensor

# With and without transposing, flipped along each of these axes.
_FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
PASSES_TTA = 2 * len(_FLIPS)


def ensemble(enlarge: Callable[[Tensor], Tensor], low: Tensor) -> Tensor:
    """The mean of what ``enlarge`` makes of the 8 symmetries, each turned back (arXiv 1511.02228).

    One after the other, because together they would take 8 times the memory.

    Args:
        enlarge: ``(B, 3, h, w)`` -> ``(B, 3, h*scale, w*scale)`` in fp32, of any strides. Each result may be
            overwritten by the next.
        low: ``(B, 3, h, w)``.

    Returns:
        ``(B, 3, h*scale, w*scale)`` in fp32.
    """
    total: Tensor | None = None
    for turned in (low, low.mT):
        for axes in _FLIPS:
            high = enlarge(turned.flip(axes)).flip(axes)  # a copy: a graph's result is overwritten
            high = high if turned is low else high.mT
            total = high if total is None else total.add_(high)
    assert total is not None, "there are symmetries"
    return total.div_(PASSES_TTA)
