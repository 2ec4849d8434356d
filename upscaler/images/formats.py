"""The image formats that are read and written: one row each. Loads no image library."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ImageFormat:
    """What a format stores and how it is written.

    Attributes:
        name: Pillow's name, or ``EXR``.
        suffixes: In lower case, with the dot.
        signature: Pattern of the first bytes. TIFF has none, because raw files of cameras begin likewise, but
            all that can be read of them is a thumbnail.
        save_arguments: For Pillow's ``save``.
        max_side_px: The longest side that the format, or its usual reader, allows; ``None`` for no limit.
        alpha: Whether it stores transparency. GIF stores one bit of it.
        gray: Whether it stores grayscale; the others store it as three equal channels.
        gray_alpha: Whether it stores grayscale with transparency.
        sixteen_bit: Whether it stores 16 bits per sample.
        lossless: Whether it stores pixels as they are; WebP does if asked to.
        metadata: Whether it stores an ICC profile, EXIF and XMP.
        resolution: Whether it stores pixels per inch.
        animation_bytes_per_pixel: Memory for a pixel of a frame until an animation is written, as measured:
            our frames and, for some formats, Pillow's copies. 0 if it stores no animations.
    """

    name: str
    suffixes: tuple[str, ...]
    signature: bytes = b""
    save_arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    max_side_px: int | None = None
    alpha: bool = False
    gray: bool = False
    gray_alpha: bool = False
    sixteen_bit: bool = False
    lossless: bool = False
    metadata: bool = False
    resolution: bool = False
    animation_bytes_per_pixel: int = 0

    @property
    def has_quality(self) -> bool:
        """Whether its encoder takes a quality from 1 to 100."""
        return "quality" in self.save_arguments


@dataclass(frozen=True, kw_only=True)
class ReadOnlyFormat:
    """A format that is read only.

    Attributes:
        name: Pillow's name, or, where a package of its own or a module of ours reads it, ours.
        suffixes: In lower case, with the dot.
        target: Suffix of the format that is written instead.
        signature: Pattern of the first bytes; empty if they say nothing.
        by_pillow: Whether Pillow reads it.
    """

    name: str
    suffixes: tuple[str, ...]
    target: str
    signature: bytes = b""
    by_pillow: bool = True


FORMATS = (
    ImageFormat(
        name="AVIF",
        suffixes=(".avif",),
        signature=rb"....ftypavi[fs]",
        save_arguments={"quality": 90, "subsampling": "4:4:4"},
        max_side_px=32_768,  # libavif writes larger ones, but does not read them
        alpha=True,
        metadata=True,
        animation_bytes_per_pixel=7,
    ),
    ImageFormat(
        name="BMP",
        suffixes=(".bmp", ".dib"),
        signature=rb"BM....\0\0\0\0",
        gray=True,
        lossless=True,
        resolution=True,
    ),
    ImageFormat(
        name="EXR",
        suffixes=(".exr",),
        signature=rb"\x76\x2f\x31\x01",
        alpha=True,
        gray=True,
        gray_alpha=True,
        sixteen_bit=True,  # as floats
        lossless=True,
    ),
    ImageFormat(
        name="GIF",
        suffixes=(".gif",),
        signature=rb"GIF8[79]a",
        max_side_px=65_535,
        alpha=True,
        gray=True,
        animation_bytes_per_pixel=2,
    ),
    ImageFormat(
        name="JPEG",
        suffixes=(".jpg", ".jpeg", ".jfif", ".jpe"),
        signature=rb"\xff\xd8\xff",
        save_arguments={"quality": 95, "subsampling": 0},  # 0 is 4:4:4
        max_side_px=65_500,
        gray=True,
        metadata=True,
        resolution=True,
    ),
    ImageFormat(
        name="PNG",
        suffixes=(".png", ".apng"),
        signature=rb"\x89PNG\r\n\x1a\n",
        save_arguments={"compress_level": 4},  # half the time of the default 6, for 1 % more bytes
        alpha=True,
        gray=True,
        gray_alpha=True,
        sixteen_bit=True,
        lossless=True,
        metadata=True,
        resolution=True,
        animation_bytes_per_pixel=8,
    ),
    ImageFormat(
        name="TIFF",
        suffixes=(".tif", ".tiff"),
        alpha=True,
        gray=True,
        gray_alpha=True,
        sixteen_bit=True,
        lossless=True,
        metadata=True,
        resolution=True,
    ),
    ImageFormat(
        name="WEBP",
        suffixes=(".webp",),
        signature=rb"RIFF....WEBP",
        save_arguments={"quality": 95, "method": 4},  # of lossless files, quality is effort
        max_side_px=16_383,
        alpha=True,
        lossless=True,
        metadata=True,
        animation_bytes_per_pixel=4,
    ),
)

_BY_SUFFIX = {suffix: row for row in FORMATS for suffix in row.suffixes}
WRITABLE_SUFFIXES = tuple(sorted(_BY_SUFFIX))
LOSSLESS_SUFFIXES = tuple(suffix for suffix, row in sorted(_BY_SUFFIX.items()) if row.lossless)
_RAW_SUFFIXES = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".kdc", ".mef",
    ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
# What is written instead: lossless where the source may be, floats for floats, 16 bits for raw files.
READ_ONLY_FORMATS = (
    # Several JPEG images, of which the first is read, as a JPEG.
    ReadOnlyFormat(name="MPO", suffixes=(".mpo",), target=".jpg", by_pillow=False),
    ReadOnlyFormat(name="DDS", suffixes=(".dds",), target=".png", signature=rb"DDS "),
    ReadOnlyFormat(name="ICO", suffixes=(".ico",), target=".png", signature=rb"\0\0\x01\0[\x01-\xff]\0"),
    ReadOnlyFormat(
        name="JPEG2000",
        suffixes=(".jp2", ".j2k", ".j2c", ".jpc", ".jpx", ".jpf"),
        target=".png",
        signature=rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    ),
    ReadOnlyFormat(
        name="PCX", suffixes=(".pcx",), target=".png", signature=rb"\x0a[\0\x02-\x05]\x01[\x01-\x08]"
    ),
    ReadOnlyFormat(
        name="PPM", suffixes=(".pbm", ".pgm", ".ppm", ".pnm"), target=".png", signature=rb"P[1-6]\s"
    ),
    ReadOnlyFormat(name="PSD", suffixes=(".psd",), target=".png", signature=rb"8BPS\0\x01"),
    ReadOnlyFormat(name="QOI", suffixes=(".qoi",), target=".png", signature=rb"qoif"),
    ReadOnlyFormat(name="TGA", suffixes=(".tga", ".icb", ".vda", ".vst"), target=".png"),
    ReadOnlyFormat(
        name="HEIF",
        suffixes=(".heic", ".heif", ".hif"),
        target=".jpg",
        signature=rb"....ftyp(hei[cxms]|hev[cx]|mif1|msf1)",
        by_pillow=False,
    ),
    ReadOnlyFormat(
        name="HDR", suffixes=(".hdr",), target=".tif", signature=rb"#\?(RADIANCE|RGBE)\n", by_pillow=False
    ),
    ReadOnlyFormat(
        name="JXL",
        suffixes=(".jxl",),
        target=".png",
        signature=rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
        by_pillow=False,
    ),
    ReadOnlyFormat(name="PFM", suffixes=(".pfm",), target=".tif", signature=rb"P[Ff]\s", by_pillow=False),
    ReadOnlyFormat(
        name="RAW",
        suffixes=_RAW_SUFFIXES,
        target=".tif",
        by_pillow=False,
    ),
)
READ_ONLY_SUFFIXES = MappingProxyType(
    {suffix: row.target for row in READ_ONLY_FORMATS for suffix in row.suffixes}
)
# Packages that read one format each, by their names in Python; all are in the extra `formats`.
PACKAGES = MappingProxyType(
    {"OpenEXR": "OpenEXR", "pi_heif": "pi-heif", "pylibjxl": "pylibjxl", "rawpy": "rawpy"}
)
# How a TIFF or BigTIFF begins, and raw files of cameras, too.
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
JPEG_SUFFIX, TIFF_SUFFIX = ".jpg", ".tif"
# What Pillow may take a file for, whatever its suffix: it knows many more formats, and starts Ghostscript for
# PostScript. DIB is a BMP without its file header.
READ_FORMATS = (
    *(row.name for row in FORMATS if row.name != "EXR"),
    "DIB",
    *(row.name for row in READ_ONLY_FORMATS if row.by_pillow and row.signature),
)
# What Pillow cannot recognise by the first bytes, and would take other files for.
_BY_SUFFIX_ONLY = {
    suffix: row.name
    for row in READ_ONLY_FORMATS
    if row.by_pillow and not row.signature
    for suffix in row.suffixes
}
IMAGE_SUFFIXES = tuple(sorted([*WRITABLE_SUFFIXES, *READ_ONLY_SUFFIXES]))
ANIMATION_SUFFIXES = tuple(
    suffix for suffix, row in sorted(_BY_SUFFIX.items()) if row.animation_bytes_per_pixel
)


def pillow_formats(path: Path) -> tuple[str, ...]:
    """What Pillow may take a file for."""
    more = _BY_SUFFIX_ONLY.get(path.suffix.lower())
    return (*READ_FORMATS, more) if more else READ_FORMATS


def format_of(path: Path) -> ImageFormat | None:
    """The format to write a file in, by its suffix in any case; ``None`` if none is written with it."""
    return _BY_SUFFIX.get(path.suffix.lower())
