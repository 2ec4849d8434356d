"""Gradient checkpointing (Chen et al., arXiv 1604.06174): less memory for one more forward pass.

Training keeps the input of every layer until the backward pass. Here a sequence of n layers is split into
about sqrt(n) parts; only the inputs of the parts are kept, and what lies between is recomputed when needed.
"""

import contextlib
import functools
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def run_checkpointed(layers: nn.Sequential, features: Tensor) -> Tensor:
    """``layers(features)`` with the same result, gradients and batch norm statistics, bit for bit.

    The last part is not recomputed, because the backward pass starts with it.

    Args:
        layers: Without dropout or other random layers.
        features: ``(B, C, H, W)`` as ``layers`` takes them, any float dtype and range.
    """
    length = math.ceil(len(layers) / max(1, round(math.sqrt(len(layers)))))
    parts = [layers[start : start + length] for start in range(0, len(layers), length)]
    for part in parts[:-1]:
        features = checkpoint(
            part,
            features,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=functools.partial(_contexts, part),
        )
    output: Tensor = parts[-1](features)
    return output


def _contexts(part: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of the first computation and of the second."""
    return contextlib.nullcontext(), _statistics_stay(part)


@contextlib.contextmanager
def _statistics_stay(part: nn.Module) -> Iterator[None]:
    """Batch norm normalizes as usual, but does not count the batch a second time."""
    norms = [layer for layer in part.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = [(layer.momentum, layer.num_batches_tracked) for layer in norms]
    for layer in norms:
        layer.momentum, layer.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for layer, (momentum, count) in zip(norms, before, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, count
