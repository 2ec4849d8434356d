"""Batch image and video upscaling.

``upscale`` and ``Upscaler`` load on first use, so that importing the package loads neither torch nor av.
"""

from typing import TYPE_CHECKING, Any

from upscaler.errors import UpscalerError
from upscaler.process_settings import keep_freed_memory

if TYPE_CHECKING:
    from upscaler.batch.batch import upscale
    from upscaler.inference.engine import Upscaler

__version__ = "0.1.0"
__all__ = ["Upscaler", "UpscalerError", "__version__", "keep_freed_memory", "upscale"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the signature PEP 562 asks for
    if name == "Upscaler":
        from upscaler.inference.engine import Upscaler

        return Upscaler
    if name == "upscale":
        from upscaler.batch.batch import upscale

        return upscale
    raise AttributeError(f"module 'upscaler' has no attribute {name!r}")
