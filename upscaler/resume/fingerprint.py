"""What decides the bytes of an encoded video; where one thing differs, earlier work cannot be resumed."""

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path

import av
import torch

from upscaler import __version__
from upscaler.options import EngineOptions, VideoOptions
from upscaler.video.encoders import EncodeSettings

_HEAD_BYTES = 1 << 20


def fingerprint(
    source: Path,
    weights: Iterable[Path],
    engine: EngineOptions,
    options: VideoOptions,
    settings: EncodeSettings,
    segment_frames: int,
) -> dict[str, str]:
    """Everything that the frames and the bytes of their encoding depend on, by name.

    Which streams are kept beside the video is no part of it: that is decided when the file is put together.

    Args:
        source: File that is read: its size, time of change, and the hash of its first megabyte are taken.
        weights: Files of the networks, hashed as a whole.
        engine: What was asked of the engine; what came of it is in ``Upscaler.execution``.
        options: Of these, the ones that choose frames.
        settings: Of the encoder.
        segment_frames: Frames in a segment.

    Raises:
        OSError: A file cannot be read.
    """
    status = source.stat()
    with source.open("rb") as file:
        head = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
    prints = {
        "the source's size": status.st_size,
        "the source's time of change (ns)": status.st_mtime_ns,
        "the source's beginning (hash)": head,
        "the weights (hash)": " ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in weights),
        **_flat("option", engine),
        "option start_s": options.from_s,
        "option end_s": options.end_s,
        "option frames": options.frames,
        "option deinterlace": options.deinterlace,
        "option decoder": options.decoder,
        **_flat("encoder", settings),
        "frames per segment": segment_frames,
        "processors for the encoder": _processors(),
        **versions(),
    }
    return {name: str(value) for name, value in prints.items()}


def has_changed(source: Path, before: os.stat_result) -> bool:
    """Whether a file has another size or modification time than ``before``; not if it is gone."""
    with suppress(OSError):
        now = source.stat()
        return (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns)
    return False


def _flat(name: str, value: object) -> dict[str, object]:
    """The fields of a dataclass, of those in it, and pairs of name and value, each by a name of its own."""
    if is_dataclass(value):
        pairs = [(field.name, getattr(value, field.name)) for field in fields(value)]
    elif value and isinstance(value, tuple) and all(isinstance(item, tuple) for item in value):
        pairs = list(value)
    else:
        return {name: value}
    found: dict[str, object] = {}
    for inner, item in pairs:
        found |= _flat(f"{name} {inner}", item)
    return found


def versions() -> dict[str, str]:
    """Of this program and of what does the work, by name."""
    libraries = ".".join(str(number) for number in av.library_versions["libavcodec"])
    return {
        "upscaler": __version__,
        "torch": torch.__version__,
        "av": av.__version__,
        "libavcodec": libraries,
    }


def _processors() -> int:
    """Encoders start so many threads, and what they write depends on that."""
    affinity = getattr(os, "sched_getaffinity", None)  # not everywhere
    return len(affinity(0)) if affinity else os.cpu_count() or 1
