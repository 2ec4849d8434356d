"""Everything that determines the bytes of a video's segments; if any of it differs, a run cannot resume."""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import av
import torch

from upscaler import __version__, image_sequences
from upscaler.errors import UsageError
from upscaler.options import EngineOptions, VideoOptions
from upscaler.system import processors
from upscaler.video.cropping import Cropping
from upscaler.video.encoders import EncodeSettings

_HEAD_BYTES = 1 << 20


def fingerprint_of(
    source: Path,
    weights: Iterable[Path],
    engine: EngineOptions,
    options: VideoOptions,
    settings: EncodeSettings,
    segment_frames: int,
    cropping: Cropping,
) -> dict[str, str]:
    """Everything that the bytes of the segments depend on, by name.

    The other streams are not part of it: they are only merged at the end.

    Args:
        source: Contributes its size, its modification time and the hash of its first megabyte.
        weights: Files of the networks; hashed completely.
        engine: Options of the engine, as given; ``Upscaler.execution`` has what follows from them.
        options: Contribute those that select and decode frames.
        settings: Settings of the encoder.
        segment_frames: Frames per segment.
        cropping: Of frames of the planned shape.

    Raises:
        OSError: A file cannot be read.
    """
    size_bytes, changed_ns = state_of(source)
    with _files_of(source)[0].open("rb") as file:
        head = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
    entries = {
        "size of the source": size_bytes,
        "modification time of the source (ns)": changed_ns,
        "hash of the start of the source": head,
        "hash of the weights": " ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in weights),
        # `Upscaler.execution` has the device and the precision that were chosen.
        **_flat("option", replace(engine, device="auto", precision="auto")),
        "option model": " then ".join(engine.models),
        "option start_s": options.from_s,
        "option end_s": options.until_s,
        "option frames": options.frames,
        "option video_stream": options.video_stream,
        "option program": options.program,
        "option fps": options.fps,
        "option deinterlace": options.deinterlace,
        "option field_order": options.field_order,
        "cropping": cropping,
        "option decoder": options.decoder,
        **_flat("encoder", settings),
        "frames per segment": segment_frames,
        "CPU cores": processors.count(),  # encoders start as many threads, and their output depends on it
        **versions(),
    }
    return {name: str(value) for name, value in entries.items()}


def state_of(source: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns; of numbered images, of all together.

    Raises:
        OSError: A file cannot be read.
        UsageError: A numbered image is missing.
    """
    states = [path.stat() for path in _files_of(source)]
    return sum(state.st_size for state in states), max(state.st_mtime_ns for state in states)


def has_changed(source: Path, before: tuple[int, int]) -> bool:
    """Whether a source has another ``state_of`` than before; not if it is gone."""
    with suppress(OSError, UsageError):
        return state_of(source) != before
    return False


def _files_of(source: Path) -> tuple[Path, ...]:
    return image_sequences.find(source).files if image_sequences.is_pattern(source) else (source,)


def _flat(name: str, value: object) -> dict[str, object]:
    """A dataclass, or a tuple of (name, value) pairs, as a flat mapping; nested ones get compound names."""
    if is_dataclass(value):
        pairs = [(field.name, getattr(value, field.name)) for field in fields(value)]
    elif value and isinstance(value, tuple) and all(isinstance(item, tuple) for item in value):
        pairs = list(value)
    else:
        return {name: value}
    flat: dict[str, object] = {}
    for inner, item in pairs:
        flat |= _flat(f"{name} {inner}", item)
    return flat


def versions() -> dict[str, str]:
    """Versions of this program and of the libraries that compute and encode, by name."""
    libraries = ".".join(str(number) for number in av.library_versions["libavcodec"])
    return {
        "upscaler": __version__,
        "torch": torch.__version__,
        "av": av.__version__,
        "libavcodec": libraries,
    }
