"""The helper process that decodes photographs during a training; see ``helper_process``. Loads no torch."""

from pathlib import Path

import numpy as np

from upscaler.errors import UpscalerError
from upscaler.helper_process import Answer, Request, serve
from upscaler.images import stills


def main() -> None:
    """Answer requests until the parent ends."""
    serve(lambda request, _on_progress: _decoded(request))


def _decoded(request: Request) -> Answer:
    """Write the pixels of ``path``, RGB uint8, into the file ``pixels``; answer ``shape``, or ``error``."""
    try:
        pixels = stills.read_rgb8(Path(request["path"]))
        np.ascontiguousarray(pixels).tofile(request["pixels"])
    except (UpscalerError, OSError, MemoryError) as error:
        return {"error": getattr(error, "message", "") or str(error) or "out of memory"}
    return {"shape": list(pixels.shape)}
