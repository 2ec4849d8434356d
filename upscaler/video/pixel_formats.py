"""FFmpeg's pixel formats and colour codes <-> layouts of planes."""

import re
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction

import av
import av.filter
import av.logging
import torch
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from upscaler.color_matrices import Matrix
from upscaler.errors import UsageError
from upscaler.video.demux import MEDIA_ERRORS
from upscaler.video.ffmpeg_log import captured_log
from upscaler.video.yuv import Layout, Siting, guessed_matrix

# Codes of ITU-T H.273, which FFmpeg uses too. Several codes denote one matrix; 10 (BT.2020 with constant
# luminance) is treated as 9 in both directions.
MATRICES: dict[int, Matrix] = {
    1: "bt709",
    4: "fcc",
    5: "bt601",
    6: "bt601",
    7: "smpte240m",
    9: "bt2020",
    10: "bt2020",
}
MATRIX_CODES: dict[Matrix, int] = {"bt709": 1, "fcc": 4, "bt601": 6, "smpte240m": 7, "bt2020": 9}
# With these codes, the primaries determine the matrix, or samples encode something else than YUV.
_CHROMA_DERIVED = 12
_BY_PRIMARIES: dict[int, Matrix] = {1: "bt709", 6: "smpte240m", 7: "smpte240m", 9: "bt2020"}
_UNSUPPORTED = {
    8: "YCgCo",
    11: "SMPTE ST 2085",
    _CHROMA_DERIVED: "chroma-derived YUV of unusual primaries",
    13: "chroma-derived YUV of constant luminance",
    14: "ICtCp",
    15: "IPT-PQ-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
RGB_MATRIX, UNSPECIFIED = 0, 2
_BT2020_PRIMARIES = 9
_UNSPECIFIED_RANGE, _FULL_RANGE = 0, 2
_SITINGS: tuple[Siting, ...] = ("left", "center", "topleft")
_SAMPLINGS = {"420": (2, 2), "422": (2, 1), "444": (1, 1), "440": (1, 2)}
_HIGH_COLOUR = ("rgb555", "bgr555", "rgb565", "bgr565")  # 5 or 6 bits per sample
_DEPTHS = {"": 8, "9le": 9, "10le": 10, "12le": 12, "14le": 14, "16le": 16}


def _planar_formats() -> dict[str, Layout]:
    formats = {}
    for depth, bits in _DEPTHS.items():
        for name, (horizontal, vertical) in _SAMPLINGS.items():
            plain = Layout(bits=bits, horizontal=horizontal, vertical=vertical)
            formats[f"yuv{name}p{depth}"] = plain
            formats[f"yuva{name}p{depth}"] = replace(plain, alpha=True)
            if bits == 8:
                formats[f"yuvj{name}p"] = replace(plain, full_range=True)
        full_chroma = Layout(bits=bits, horizontal=1, vertical=1)
        formats[f"gray{depth}"] = replace(full_chroma, kind="gray")
        formats[f"gbrp{depth}"] = replace(full_chroma, kind="gbr", full_range=True)
        formats[f"gbrap{depth}"] = replace(full_chroma, kind="gbr", full_range=True, alpha=True)
    return formats


# Pixel formats whose planes are used directly, with those parts of the layout that the format determines.
PLANAR = _planar_formats()


def siting_of(frame: VideoFrame) -> Siting:
    """Where the chroma samples of a frame lie; left when unspecified, as H.264 and HEVC define.

    Decoders know the default of their codec (center for JPEG and H.263).
    """
    words = _shown_info(frame).split()
    return next((name for name in _SITINGS if f"cl:{name}" in words), "left")


def aspect_of_frame(frame: VideoFrame) -> Fraction | None:
    """The pixel aspect that a frame itself declares, width over height; ``None`` if it does not."""
    found = re.search(r"\bsar:(\d+)/(\d+)", _shown_info(frame))
    if not found or "0" in found.groups():
        return None
    return Fraction(int(found.group(1)), int(found.group(2)))


def _shown_info(frame: VideoFrame) -> str:
    """What FFmpeg's filter ``showinfo`` logs of a frame: av 18.1 has no attribute for some of it."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
    )
    showinfo, sink = graph.add("showinfo"), graph.add("buffersink")
    source.link_to(showinfo)
    showinfo.link_to(sink)
    graph.configure()
    try:
        with captured_log(av.logging.INFO) as lines:
            graph.push(frame)
            graph.pull()
    except MEDIA_ERRORS:
        return ""
    return " ".join(lines)


def layout_of(frame: VideoFrame, siting: Siting, *, untagged_gray_is_full: bool = False) -> Layout:
    """The layout of the planes of ``planar(frame)``; an untagged matrix is guessed.

    Args:
        frame: As decoded.
        siting: From ``siting_of``.
        untagged_gray_is_full: Whether grayscale without a range tag has full range.
    """
    layout = PLANAR[_planar_name(frame)]
    tagged = int(frame.color_range)
    full = layout.full_range or frame.format.name.startswith("yuvj") or tagged == _FULL_RANGE
    if layout.kind == "gray" and tagged == _UNSPECIFIED_RANGE:
        full = untagged_gray_is_full
    return replace(layout, matrix=_matrix_of(frame), full_range=full, siting=siting)


def unsupported_matrix(frame: VideoFrame) -> str:
    """What the samples of a frame encode, if that cannot be converted; else empty."""
    if frame.format.is_rgb or _tagged_matrix(frame):
        return ""
    return _UNSUPPORTED.get(int(frame.colorspace), "")


def _tagged_matrix(frame: VideoFrame) -> Matrix | None:
    code = int(frame.colorspace)
    if code == _CHROMA_DERIVED:
        return _BY_PRIMARIES.get(int(frame.color_primaries))
    return MATRICES.get(code)


def _matrix_of(frame: VideoFrame) -> Matrix:
    """The tagged matrix; else a guess from the primaries or the size."""
    if tagged := _tagged_matrix(frame):
        return tagged
    if int(frame.color_primaries) == _BT2020_PRIMARIES:
        return "bt2020"
    return guessed_matrix(frame.height, frame.width)


def matrix_code(frame: VideoFrame) -> int:
    """The matrix code to tag the output with: the frame's where it is supported, else that of the guess."""
    return int(frame.colorspace) if _tagged_matrix(frame) else MATRIX_CODES[_matrix_of(frame)]


def _planar_name(frame: VideoFrame) -> str:
    """The planar format with the same samples; the frame's own format if its planes can be used directly."""
    name = frame.format.name
    if name in PLANAR:
        return name
    components = frame.format.components
    bits = min(16, max(component.bits for component in components))
    depth = next(suffix for suffix, depth in _DEPTHS.items() if depth >= bits)
    alpha = "a" if any(component.is_alpha for component in components) else ""
    if frame.format.is_rgb or frame.format.has_palette:
        return f"gbr{alpha}p{depth}"
    if len(components) == 1:
        return f"gray{depth}"
    chroma = frame.format.chroma_width(16), frame.format.chroma_height(16)
    sampling = {(8, 8): "420", (8, 16): "422", (16, 8): "440"}.get(chroma, "444")
    return f"yuv{alpha}{sampling}p{depth}"


def planar(frame: VideoFrame) -> VideoFrame:
    """The frame in a format whose planes can be used directly; samples are rearranged, never changed."""
    name = _planar_name(frame)
    if frame.format.name.startswith(_HIGH_COLOUR):
        frame = frame.reformat(format="rgb24")  # directly to planes, swscale turns white into 248
    return frame if frame.format.name == name else frame.reformat(format=name)


def as_planes(frame: VideoFrame, layout: Layout) -> list[Tensor]:
    """The planes of a frame in a planar format, without a copy where possible.

    Args:
        frame: From ``planar``.
        layout: From ``layout_of``.

    Returns:
        ``(h, w)`` each, codes of ``layout.dtype``, in the order of the format: Y, U, V, or G, B, R.
    """
    planes = [
        _flipped(plane, layout) if plane.line_size < 0 else from_dlpack(plane) for plane in frame.planes
    ]
    return planes if layout.bits == 8 else [plane.view(torch.int16) for plane in planes]


def _flipped(plane: VideoPlane, layout: Layout) -> Tensor:
    """A copy of a plane that is stored from bottom to top (AMV), which DLPack cannot express."""
    stored = torch.frombuffer(plane, dtype=layout.dtype)
    return stored.view(plane.height, -1)[:, : plane.width].flip(0)


def pixel_format(layout: Layout) -> str:
    """FFmpeg's name of a layout."""
    depth = next(suffix for suffix, bits in _DEPTHS.items() if bits == layout.bits)
    if layout.kind == "gray":
        return f"gray{depth}"
    if layout.kind == "gbr":
        return f"gbr{'a' if layout.alpha else ''}p{depth}"
    sampling = next(
        name for name, steps in _SAMPLINGS.items() if steps == (layout.horizontal, layout.vertical)
    )
    return f"yuv{'a' if layout.alpha else ''}{sampling}p{depth}"


def known_format(name: str) -> Layout:
    """The layout of a pixel format named by the user.

    Raises:
        UsageError: The name is not FFmpeg's, or not among ``PLANAR``.
    """
    with suppress(ValueError):
        av.VideoFormat(name)
        if name in PLANAR and not name.startswith("yuvj"):  # deprecated names; range tags express the same
            return PLANAR[name]
    raise UsageError(
        f"unknown pixel format '{name}'", "use yuv420p, yuv422p10le, yuv444p or gbrp10le, for example"
    )


def sampling_name(layout: Layout) -> str:
    """The usual notation of chroma subsampling, such as 4:2:0."""
    names = {(2, 2): "4:2:0", (2, 1): "4:2:2", (1, 1): "4:4:4", (1, 2): "4:4:0"}
    return names[layout.horizontal, layout.vertical]
