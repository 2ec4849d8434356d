"""Gradient checkpointing (Chen et al., arXiv 1604.06174): less memory for one more forward pass.

Training keeps what every layer was given until the backward pass. Here only the borders of about the square
root of n parts of a sequence of n layers are kept; what lies between is computed again when it is needed.
"""

import contextlib
import functools
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def run_checkpointed(layers: nn.Sequential, features: Tensor) -> Tensor:
    """``layers(features)`` with the same result, gradients and statistics of batch norm, bit for bit.

    The last part is kept, as the backward pass begins with it.

    Args:
        layers: Without dropout or anything else that is drawn anew each time.
        features: As ``layers`` takes it.
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
    made: Tensor = parts[-1](features)
    return made


def _contexts(part: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What the first and what the second computation runs in."""
    return contextlib.nullcontext(), _statistics_stay(part)


@contextlib.contextmanager
def _statistics_stay(part: nn.Module) -> Iterator[None]:
    """Batch norm normalises as ever but does not count the batch, which it has seen before."""
    norms = [layer for layer in part.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = [(layer.momentum, layer.num_batches_tracked) for layer in norms]
    for layer in norms:
        layer.momentum, layer.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for layer, (momentum, count) in zip(norms, before, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, count
