"""The forward pass in training: half precision where it is fast, compiled where that is possible."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from upscaler.errors import CacheError, first_line
from upscaler.inference import devices
from upscaler.process_settings import keep_compiled_code

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TrialShape:
    """A batch to compile for.

    Attributes:
        batch: Number of crops.
        patch_px: Side of one, LR pixels.
        training: Whether batch norm learns; not in stage two.
        frames: Of clips; 0 for photographs.
    """

    batch: int
    patch_px: int
    training: bool
    frames: int = 0

    def zeros(self, device: torch.device) -> Tensor:
        """A batch of LR crops of this shape, in the memory format of training."""
        side = self.patch_px
        size = (self.batch, 3 * max(1, self.frames), side, side)
        lr = torch.zeros(size, device=device).contiguous(memory_format=torch.channels_last)
        return lr.view(self.batch, self.frames, 3, side, side) if self.frames else lr


def autocast(device: torch.device, precision: str = "auto") -> contextlib.AbstractContextManager[object]:
    """Convolutions in bf16 or fp32; ``auto`` is bf16 where it is fast. Never fp16: gradients underflow."""
    # Apple's GPUs have bf16 only from macOS 14 on.
    fast = device.type != "mps" and devices.fast_dtype(device) is not torch.float32
    if precision == "fp32" or (precision == "auto" and not fast):
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def has_batch_norm(module: nn.Module) -> bool:
    """Whether its output in training depends on which images are in a batch."""
    return any(isinstance(part, nn.BatchNorm2d) for part in module.modules())


def fast_forward(
    module: nn.Module,
    device: torch.device,
    *,
    precision: str,
    compiled: bool,
    shapes: list[TrialShape],
) -> tuple[Forward, str | None]:
    """The forward pass of a network, in the precision of the training and compiled if possible.

    Args:
        module: The network on ``device``; compiled for training if its parameters require gradients.
        device: Where it runs.
        precision: As in ``autocast``.
        compiled: Whether to compile.
        shapes: The batches to compile for, all of them before the first step.

    Returns:
        A function ``(N, 3, h, w)`` -> fp32 ``(N, 3, h*scale, w*scale)``, and a line for the user or ``None``.
    """
    function, note = _compiled(module, device, precision, shapes) if compiled else (module, None)

    def forward(lr: Tensor) -> Tensor:
        with autocast(device, precision):
            return function(lr)

    return forward, note


def _compiled(
    module: nn.Module, device: torch.device, precision: str, shapes: list[TrialShape]
) -> tuple[Forward, str | None]:
    """The compiled network, or the network itself and the reason; compiling is lazy, so it is run once.

    The trials have the shapes, precision and gradients of the training: otherwise it would be compiled again.
    """
    if not devices.can_compile(device):
        return module, "no C++ compiler found: training is not compiled, about 1.2 times slower"
    try:
        keep_compiled_code()
    except CacheError as error:
        return module, f"training is not compiled, about 1.2 times slower: {error}"
    compiled: Forward = torch.compile(module, dynamic=False)
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    trained = any(parameter.requires_grad for parameter in module.parameters())
    was_training = module.training
    try:
        for shape in shapes:
            module.train(shape.training)
            lr = shape.zeros(device)
            with torch.set_grad_enabled(trained), autocast(device, precision):
                sr = compiled(lr)
            if trained:
                sr.sum().backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError) as error:  # of torch's compiler, and of the folder that keeps its code
        reason = first_line(error)
        return module, f"compiling failed: training is not compiled, about 1.2 times slower ({reason})"
    finally:
        module.train(was_training)
        module.zero_grad(set_to_none=True)
        module.load_state_dict(buffers, strict=False)  # the trial changed the statistics of batch norm
    return compiled, None
