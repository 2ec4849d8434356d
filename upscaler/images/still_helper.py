"""Still images read and written in helper processes: what is sent between them and the parent.

A process of its own has its own standard error, which libraries print to about damaged files (see
``native_stderr``) while the parent prints lines of other files; it leaves the parent's interpreter to the
network; and it can be ended at once.
"""

import io
import os
import pickle
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from upscaler.helper_process import Answer, Data, OnProgress, Request, serve_exchanges
from upscaler.images import animation, library_settings, stills
from upscaler.images.encoding import Encoding
from upscaler.images.still import Still
from upscaler.system import disk

MODULE = "upscaler.images.still_helper"
# What pickled arrays name, in numpy 1 and 2.
_ARRAY_NAMES = {"_frombuffer", "_reconstruct", "dtype", "ndarray"}


def read_request(path: Path) -> Request:
    """The request to read an image; ``still_of`` understands its answer."""
    most = library_settings.max_pixels()
    return {"do": "read", "path": os.path.abspath(path), "max_pixels": most}


def still_of(answer: Answer, data: bytearray) -> Still | None:
    """The image that was read, as by ``stills.read(path, tolerant=True)``.

    ``None`` for an animation, for a TIFF of several pages, and for what cannot be read: the parent then reads
    it itself.
    """
    try:
        return _unpacked(answer["lengths"], data) if answer["lengths"] else None
    except Exception:  # bytes that are no pickle raise all sorts
        return None


def write_request(partial: Path, still: Still, how: Encoding) -> tuple[Request, Data]:
    """The request to write an image to a file that is to be published, and its data."""
    lengths, data = _packed(still)
    request = {"do": "write", "path": os.path.abspath(partial), "lengths": lengths, "how": asdict(how)}
    return request, data


def is_written(answer: Answer) -> bool:
    """Whether the file is complete and on the disk; if not, writing it in the parent says why."""
    return answer.get("written") is True


def _answer(request: Request, data: bytearray, _: OnProgress) -> tuple[Answer, Data]:
    path = Path(request["path"])
    if request["do"] == "read":
        with library_settings.accepting(request["max_pixels"]):
            lengths, content = _read(path)
        return {"lengths": lengths}, content
    try:
        stills.encode(path, _unpacked(request["lengths"], data), Encoding(**request["how"]))
        disk.sync_file(path)
    except Exception:  # the parent will meet it, too
        return {"written": False}, ()
    return {"written": True}, ()


def _read(path: Path) -> tuple[list[int], Data]:
    try:
        if animation.is_animated(path) or stills.page_count(path) > 1:
            return [], ()
        return _packed(stills.read(path, tolerant=True))
    except Exception:  # the parent will meet it, too
        return [], ()


def _packed(still: Still) -> tuple[list[int], Data]:
    """An image as bytes: their lengths, and the bytes, of which arrays are not copied."""
    alpha: Any = None if still.alpha is None else np.ascontiguousarray(still.alpha)
    pixels: Any = np.ascontiguousarray(still.pixels)  # of the same dtype
    still = replace(still, pixels=pixels, alpha=alpha)
    arrays: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(still, protocol=5, buffer_callback=arrays.append)
    data = [memoryview(rest), *(array.raw() for array in arrays)]
    return [part.nbytes for part in data], data


def _unpacked(lengths: list[int], data: bytearray) -> Still:
    """What was packed; its arrays lie in ``data``.

    Raises:
        pickle.UnpicklingError: It is something else.
    """
    view, parts, start = memoryview(data), [], 0
    for length in lengths:
        parts.append(view[start : start + length])
        start += length
    still = _Unpickler(io.BytesIO(parts[0]), buffers=parts[1:]).load()
    if not isinstance(still, Still):
        raise pickle.UnpicklingError("not an image")
    return still


class _Unpickler(pickle.Unpickler):
    """Makes nothing but arrays and what describes images, whatever the bytes ask for."""

    def find_class(self, module: str, name: str) -> object:
        if module.partition(".")[0] == "numpy" and name in _ARRAY_NAMES:
            return super().find_class(module, name)
        if module.startswith("upscaler.images."):
            found = super().find_class(module, name)
            if isinstance(found, type) and is_dataclass(found):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is not part of an image")


def main() -> None:
    """What the helper process runs."""
    serve_exchanges(_answer)
