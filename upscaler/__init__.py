"""Batch image and video upscaling.

``Upscaler`` loads on first use, so that importing the package loads neither torch nor av.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upscaler.inference.engine import Upscaler

__version__ = "0.1.0"
__all__ = ["Upscaler", "__version__"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the signature PEP 562 asks for
    if name == "Upscaler":
        from upscaler.inference.engine import Upscaler

        return Upscaler
    raise AttributeError(f"module 'upscaler' has no attribute {name!r}")
