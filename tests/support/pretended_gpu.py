"""A GPU that is not there: tensors say that they are on ``mps`` or ``xpu``, and lie in main memory.

Stands for what makes such a device differ from the processor: tensors of two devices do not mix, memory is
limited, some number formats and operations are missing, and fp16 ends at 65504. The speed and the rounding of
a real one, and faults of its drivers, remain for the tests marked ``mps`` and ``xpu``.
"""

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from upscaler.inference import devices

# What neither can hold, and what Metal lacks besides.
_MISSING_FORMATS = {"mps": {torch.float64, torch.uint16}, "xpu": {torch.uint16}}
_FACTORIES = ("arange", "empty", "full", "ones", "rand", "randn", "tensor", "zeros")
# Of the tensor itself, not of its values.
_PROPERTIES = ("device", "grad", "grad_fn", "is_leaf", "requires_grad")
_IN_FP32 = ("conv2d", "linear", "matmul")  # as fast units do; a processor's own fp16 is slow


class PretendedTensor(Tensor):
    """A tensor on a pretended GPU; ``held`` has its values."""

    held: Tensor
    gpu: "PretendedGpu"

    @staticmethod
    def __new__(cls: type[Self], held: Tensor, gpu: "PretendedGpu") -> Self:
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, dtype=held.dtype, device=torch.device(gpu.kind, 0)
        )
        made.held, made.gpu = held, gpu
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        gpu = next(each.gpu for each in tree_leaves((args, kwargs)) if isinstance(each, PretendedTensor))
        return gpu.__torch_function__(func, types, args, kwargs)

    @classmethod
    def __torch_dispatch__(cls, func: object, *_: object, **__: object) -> None:
        raise AssertionError(f"{func} reached torch's kernels, which know no such tensor")

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied = PretendedTensor(self.held.clone(), self.gpu)
        vars(copied).update(vars(self) | {"held": copied.held})  # a parameter stays one
        return copied


class PretendedGpu(TorchFunctionMode):
    """While it is entered, this thread has a GPU.

    Args:
        kind: ``mps`` or ``xpu``.
        memory_bytes: Of the GPU.
        lacks: Names of functions of torch that it lacks, such as ``pixel_shuffle``.

    Attributes:
        held_bytes: Memory of the tensors that exist.
        peak_bytes: The most so far.
        functions: Names of those that ran on it.
    """

    def __init__(self, kind: str, memory_bytes: int = 1 << 30, lacks: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.kind, self.memory_bytes, self._lacks = kind, memory_bytes, lacks
        self.held_bytes = self.peak_bytes = 0
        self.functions: set[str] = set()
        self._storages: dict[int, int] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "to" and isinstance(args[0], Tensor):
            return self._moved(*args, **kwargs)
        if name == "cpu" and isinstance(args[0], PretendedTensor):
            return args[0].held.clone()
        if name in _FACTORIES and self._is_own(kwargs.get("device")):
            return self._wrap(func(*args, **kwargs | {"device": "cpu"}))
        if name == "_has_compatible_shallow_copy_type":  # how a module replaces a parameter
            return False
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        if not any(isinstance(each, PretendedTensor) for each in given):
            return func(*args, **kwargs)
        is_property = name == "__get__" and getattr(func, "__self__", func).__name__ in _PROPERTIES
        if is_property or name == "requires_grad_":
            with torch._C.DisableTorchFunction():
                return func(*args, **kwargs)
        return self._run(name, func, given, args, kwargs)

    def _run(
        self,
        name: str,
        func: Callable[..., Any],
        given: list[Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # noqa: ANN401
        if name in self._lacks:
            kind = self.kind.upper()
            raise NotImplementedError(f"The operator 'aten::{name}' is not implemented for {kind}.\nAs a ...")
        if name != "copy_" and any(not isinstance(each, PretendedTensor) and each.dim() for each in given):
            raise RuntimeError("Expected all tensors to be on the same device, but found at least two")
        self.functions.add(name)
        in_fp32 = name in _IN_FP32 and given[0].dtype is torch.float16
        known = {id(each.held if isinstance(each, PretendedTensor) else each): each for each in given}

        def bare(each: Any) -> Any:  # noqa: ANN401
            if isinstance(each, PretendedTensor):
                return each.held.float() if in_fp32 else each.held
            return torch.device("cpu") if isinstance(each, torch.device) else each

        def wrapped(each: Any) -> Any:  # noqa: ANN401
            if not isinstance(each, Tensor):
                return each
            if id(each) in known:  # changed in place
                return known[id(each)]
            return self._wrap(each.half() if in_fp32 else each)

        result = func(*tree_map(bare, args), **tree_map(bare, kwargs))
        target = kwargs.get("device")
        return tree_map(wrapped, result) if target is None or self._is_own(target) else result

    def _moved(self, given: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        if args and isinstance(args[0], Tensor):
            args = (args[0].device, args[0].dtype)
        device, dtype, _, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        was_on_gpu = isinstance(given, PretendedTensor)
        to_gpu = was_on_gpu if device is None else self._is_own(device)
        held = given.held if isinstance(given, PretendedTensor) else given
        format_of = {} if memory_format is None else {"memory_format": memory_format}
        moved = held.to(dtype=dtype or held.dtype, copy=to_gpu is not was_on_gpu, **format_of)
        if moved is held:
            return given
        return self._wrap(moved) if to_gpu else moved

    def _is_own(self, device: object) -> bool:
        return device is not None and torch.device(device).type == self.kind  # type: ignore[call-overload]

    def _wrap(self, held: Tensor) -> PretendedTensor:
        if held.dtype in _MISSING_FORMATS[self.kind]:
            raise TypeError(f"{self.kind.upper()} does not support {held.dtype}")
        storage = held.untyped_storage()
        if storage._cdata not in self._storages:
            self._storages[storage._cdata] = storage.nbytes()
            self.held_bytes += storage.nbytes()
            weakref.finalize(storage, self._free, storage._cdata)
        if self.held_bytes > self.memory_bytes:
            if self.kind == "mps":
                raise RuntimeError(f"MPS backend out of memory (MPS allocated: {self.held_bytes} bytes)")
            raise torch.OutOfMemoryError("XPU out of memory.")
        self.peak_bytes = max(self.peak_bytes, self.held_bytes)
        return PretendedTensor(held, self)

    def _free(self, key: int) -> None:
        self.held_bytes -= self._storages.pop(key, 0)


@contextlib.contextmanager
def pretended(
    kind: str, *, memory_bytes: int = 1 << 30, lacks: tuple[str, ...] = ()
) -> Iterator[PretendedGpu]:
    """Until the block ends, torch has one GPU of this kind, and no other."""
    gpu = PretendedGpu(kind, memory_bytes, lacks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        has_mps = functools.wraps(torch.backends.mps.is_available)(lambda: kind == "mps")
        patch.setattr(torch.backends.mps, "is_available", has_mps)
        patch.setattr(torch.xpu, "is_available", lambda: kind == "xpu")
        patch.setattr(torch.xpu, "device_count", lambda: int(kind == "xpu"))
        patch.setattr(torch.xpu, "get_device_name", lambda _device: "pretended")
        patch.setattr(
            torch.xpu, "mem_get_info", lambda _device: (memory_bytes - gpu.held_bytes, memory_bytes)
        )
        patch.setattr(torch.xpu, "memory_allocated", lambda _device: gpu.held_bytes)
        patch.setattr(torch.xpu, "max_memory_allocated", lambda _device: gpu.peak_bytes)
        patch.setattr(
            torch.xpu, "reset_peak_memory_stats", lambda _device: setattr(gpu, "peak_bytes", gpu.held_bytes)
        )
        patch.setattr(torch.mps, "recommended_max_memory", lambda: memory_bytes)
        patch.setattr(torch.mps, "driver_allocated_memory", lambda: gpu.held_bytes)
        for module in (torch.xpu, torch.mps):
            patch.setattr(module, "synchronize", lambda *_: None)
        devices._gpus.cache_clear()
        with gpu:
            yield gpu
    devices._gpus.cache_clear()
