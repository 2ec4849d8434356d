"""A limit on the memory that building a network takes: its file decides about sizes, and may be hostile."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Tables that an architecture makes for itself, such as masks of attention.
_ALWAYS_BYTES = 256 << 20
# Weights in half precision are built in single precision, and some are replaced after the first time.
_TIMES_THE_WEIGHTS = 4
_FACTORIES = {"empty", "zeros", "ones", "full", "rand", "randn"}


class BuildLimit(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within this context, tensors are made until they take much more memory than the weights of a file.

    Args:
        weights_bytes: Of the file.

    Raises:
        ValueError: A further tensor would take more; it is not made.
    """

    def __init__(self, weights_bytes: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._left_bytes = _TIMES_THE_WEIGHTS * weights_bytes + _ALWAYS_BYTES

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operation gives
        options = kwargs or {}
        if str(func).split(".")[1] in _FACTORIES and args and isinstance(args[0], list | tuple):
            dtype = options.get("dtype") or torch.get_default_dtype()
            self._left_bytes -= math.prod(args[0]) * dtype.itemsize
            if self._left_bytes < 0:
                raise ValueError("the network that its names and sizes describe is much larger than they are")
        return func(*args, **options)
