"""How much memory a network needs, found by running it once on a small picture."""

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from upscaler.models.contract import Network

_SIDE_PX = 32  # or more, where the network needs more


@torch.inference_mode()
def bytes_per_pixel(network: Network, device: torch.device) -> int:
    """Memory for every LR pixel that goes through a network at once, weights not counted.

    On CUDA and XPU the allocator's own peak over a run; on a processor and on MPS, where no allocator tells,
    the four largest results of its layers (a layer's input and output, a kept skip, and the workspace of a
    convolution) plus three times the output; or what all tensors held at once, if that is more, as in
    networks that keep the features of many layers.

    Args:
        network: On ``device``, in the dtype in which it will run.
        device: Where it runs.
    """
    side = max(network.contract.padded_size(_SIDE_PX, _SIDE_PX))
    low = torch.rand(1, network.input_channels, side, side, device=device)
    if device.type in ("cuda", "xpu"):
        return _allocator_peak(network, low) // low[0, 0].numel()
    sizes: list[int] = []

    def note(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel() * output.element_size())

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    try:
        with _HeldMemory() as held:
            high = network(low)
    finally:
        for hook in hooks:
            hook.remove()
    peak = sum(sorted(sizes)[-4:]) + 3 * high.numel() * high.element_size()
    return int(max(peak, held.peak_bytes) // low[0, 0].numel())


class _HeldMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the memory of the tensors that operations make, until it is freed.

    Attributes:
        peak_bytes: The most at once.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes = 0
        self._held_bytes: dict[int, int] = {}  # by the identity of the memory, which views share

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Otherwise torch would load its compiler for the first picture: 1.5 s, and 150 MB that stay."""
        return False

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operation gives
        result = func(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if isinstance(made, Tensor):
                storage = made.untyped_storage()
                if storage._cdata not in self._held_bytes:
                    self._held_bytes[storage._cdata] = storage.nbytes()
                    weakref.finalize(storage, self._held_bytes.pop, storage._cdata, None)
        self.peak_bytes = max(self.peak_bytes, sum(self._held_bytes.values()))
        return result


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
