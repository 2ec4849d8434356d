"""How much memory a network needs, found by running it once on a small picture."""

import torch
from torch import Tensor, nn

from upscaler.models.contract import Network

_SIDE_PX = 32  # or more, where the network needs more


@torch.inference_mode()
def bytes_per_pixel(network: Network, device: torch.device) -> int:
    """Memory for every LR pixel that goes through a network at once, weights not counted.

    On CUDA and XPU the allocator's own peak over a run; on a processor and on MPS, where no allocator tells,
    the four largest results of its layers (a layer's input and output, a kept skip, and the workspace of a
    convolution) plus three times the output.

    Args:
        network: On ``device``, in the dtype in which it will run.
        device: Where it runs.
    """
    side = max(network.contract.padded_size(_SIDE_PX, _SIDE_PX))
    low = torch.rand(1, 3, side, side, device=device)
    if device.type in ("cuda", "xpu"):
        return _allocator_peak(network, low) // low[0, 0].numel()
    sizes: list[int] = []

    def note(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel() * output.element_size())

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    try:
        high = network(low)
    finally:
        for hook in hooks:
            hook.remove()
    peak = sum(sorted(sizes)[-4:]) + 3 * high.numel() * high.element_size()
    return int(peak // low[0, 0].numel())


def _allocator_peak(network: Network, low: Tensor) -> int:
    allocator = torch.cuda if low.device.type == "cuda" else torch.xpu
    low = low.repeat(1, 1, 8, 8)  # large enough that the fixed workspaces do not count
    network(low)  # the first run allocates what stays
    allocator.synchronize(low.device)
    allocator.reset_peak_memory_stats(low.device)
    before = allocator.memory_allocated(low.device)
    network(low)
    allocator.synchronize(low.device)
    return int(allocator.max_memory_allocated(low.device) - before) // 64
