"""The network as it is trained: half precision where that is fast, compiled where that is possible."""

from collections.abc import Callable

import torch
from torch import Tensor

from upscaler import device
from upscaler.models.contract import Network
from upscaler.trainer.config import TrainConfig


def fast_forward(
    network: Network, place: torch.device, config: TrainConfig
) -> tuple[Callable[[Tensor], Tensor], str | None]:
    """The network as it is trained.

    Args:
        network: On ``place``; its parameters are those that will be trained.
        place: Where it runs.
        config: ``compiled`` and the shape of a batch.

    Returns:
        The function ``(B, 3, h, w)`` -> fp32 ``(B, 3, h*scale, w*scale)``, and a line worth telling.
    """
    dtype = device.fast_dtype(place)
    dtype = torch.bfloat16 if dtype is torch.float16 else dtype  # fp16 gradients underflow
    module, note = _compiled(network, place, config) if config.compiled else (network, None)

    def forward(low: Tensor) -> Tensor:
        if dtype is torch.float32:
            return module(low)
        with torch.autocast(place.type, dtype):
            return module(low)

    return forward, note


def _compiled(
    network: Network, place: torch.device, config: TrainConfig
) -> tuple[Callable[[Tensor], Tensor], str | None]:
    """The compiled network, or the network itself and the reason; tried out, because compiling is lazy."""
    if place.type == "cpu" and not device.has_compiler():
        return network, "no C++ compiler found: training runs uncompiled, about 1.2 times slower"
    module: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=False)
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    try:
        module(torch.zeros(config.batch, 3, config.patch_px, config.patch_px, device=place)).sum().backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:  # torch's compile errors are of this class
        reason = str(error).strip().partition("\n")[0]
        return network, f"compiling failed: training runs uncompiled, about 1.2 times slower ({reason})"
    finally:
        network.zero_grad(set_to_none=True)
        network.load_state_dict(buffers, strict=False)  # the trial has moved the statistics of batch norm
    return module, None
