"""What FFmpeg's pixel formats and colour codes mean, as layouts of planes, and back."""

import av
import av.filter
import av.logging
import torch
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from upscaler.color import Layout, Matrix, Siting, guessed_matrix
from upscaler.video.demux import MEDIA_ERRORS

# Codes of ITU-T H.273, which FFmpeg uses too.
MATRICES: dict[int, Matrix] = {1: "bt709", 4: "bt601", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}
MATRIX_CODES: dict[Matrix, int] = {"bt709": 1, "bt601": 6, "bt2020": 9}
_FULL_RANGE = 2
_SITINGS: tuple[Siting, ...] = ("left", "center", "topleft")

# Pixel formats whose planes are taken as they are: kind, horizontal and vertical subsampling, bits.
PLANAR: dict[str, tuple[str, int, int, int]] = {
    f"{prefix}{name}p{depth}": ("yuv", horizontal, vertical, bits)
    for prefix in ("yuv", "yuvj")
    for name, horizontal, vertical in (("420", 2, 2), ("422", 2, 1), ("444", 1, 1), ("440", 1, 2))
    for depth, bits in (("", 8), ("10le", 10), ("12le", 12))
} | {
    "gray": ("gray", 1, 1, 8),
    "gray10le": ("gray", 1, 1, 10),
    "gray12le": ("gray", 1, 1, 12),
    "gbrp": ("gbr", 1, 1, 8),
    "gbrp10le": ("gbr", 1, 1, 10),
    "gbrp12le": ("gbr", 1, 1, 12),
}


def siting_of(frame: VideoFrame, stream: VideoStream) -> Siting:
    """Where the frame's chroma samples lie; left where nothing is said, as H.264 and HEVC define.

    av 18.1 has no attribute for it, but a filter that describes frames says it.
    """
    if frame.format.name.startswith("yuvj"):
        return "center"  # of JPEG origin
    graph = av.filter.Graph()
    source = graph.add_buffer(template=stream, time_base=stream.time_base)
    describer, sink = graph.add("showinfo"), graph.add("buffersink")
    source.link_to(describer)
    describer.link_to(sink)
    graph.configure()
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        with av.logging.Capture() as lines:
            graph.push(frame)
            graph.pull()
    except MEDIA_ERRORS:
        return "left"
    finally:
        av.logging.set_level(level)
    text = " ".join(line for _, _, line in lines)
    return next((name for name in _SITINGS if f"cl:{name} " in text), "left")


def layout_of(frame: VideoFrame, siting: Siting) -> Layout:
    """What the planes of ``planar(frame)`` mean; an untagged matrix is guessed from the size."""
    name = frame.format.name
    kind, horizontal, vertical, bits = PLANAR[_planar_name(frame)]
    untagged = guessed_matrix(frame.height, frame.width)
    full = name.startswith("yuvj") or int(frame.color_range) == _FULL_RANGE or kind == "gbr"
    return Layout(
        kind=kind,  # type: ignore[arg-type]  # the table holds only the three kinds
        bits=bits,
        horizontal=horizontal,
        vertical=vertical,
        matrix=MATRICES.get(int(frame.colorspace), untagged),
        full_range=full,
        siting=siting,
    )


def _planar_name(frame: VideoFrame) -> str:
    """The planar format for what this frame holds: its own when its planes can be taken as they are."""
    name = frame.format.name
    if name in PLANAR:
        return name
    deep = any(component.bits > 8 for component in frame.format.components)
    if frame.format.is_rgb or frame.format.has_palette:
        return "gbrp12le" if deep else "gbrp"
    if name.startswith("gray") or len(frame.format.components) == 1:
        return "gray12le" if deep else "gray"
    chroma = frame.format.chroma_width(16), frame.format.chroma_height(16)
    sampling = {(8, 8): "420", (8, 16): "422"}.get(chroma, "444")
    return f"yuv{sampling}p{'12le' if deep else ''}"


def planar(frame: VideoFrame) -> VideoFrame:
    """The frame in a format whose planes can be taken as they are; the samples change only their places."""
    name = _planar_name(frame)
    return frame if frame.format.name == name else frame.reformat(format=name)


def as_plane(plane: Tensor, layout: Layout) -> Tensor:
    """A plane as the dtype of its layout, without a copy."""
    return plane if layout.bits == 8 else plane.view(torch.int16)


def pixel_format(layout: Layout) -> str:
    """FFmpeg's name of a layout."""
    depth = "" if layout.bits == 8 else f"{layout.bits}le"
    if layout.kind == "gray":
        return f"gray{depth}"
    if layout.kind == "gbr":
        return f"gbrp{depth}"
    sampling = {(2, 2): "420", (2, 1): "422", (1, 1): "444", (1, 2): "440"}
    return f"yuv{sampling[layout.horizontal, layout.vertical]}p{depth}"
