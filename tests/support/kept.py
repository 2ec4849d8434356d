"""What is kept of an image, measured: files of every format and kind are read, doubled, written and compared.

Files are made and examined with Pillow, tifffile and FFmpeg, not with the program's own reader.
"""

import functools
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import OpenEXR
import pylibjxl
import tifffile
from av.video.frame import VideoFrame
from PIL import ExifTags, Image, PngImagePlugin
from support import heif_files, phone_files
from support.pictures import photograph
from support.png import encode_png
from support.profiles import exchanged, linear_gray

from upscaler.images import animation, losses, stills
from upscaler.images.formats import format_of

RGB = photograph(24, 32)
GRAY = np.ascontiguousarray(RGB[:, :, 0])
ALPHA = np.ascontiguousarray(RGB[::-1, :, 1])
XMP = phone_files.packet(b'xmp:Rating="4"')
IPTC = b"\x1c\x02\x78\0\x05hello"
Maker = Callable[[Path], None]


@dataclass(frozen=True)
class Kind:
    """A kind of file: its suffix, its name in the table, and how it is made."""

    suffix: str
    name: str
    make: Maker


def exif() -> Image.Exif:
    block = Image.Exif()
    block[ExifTags.Base.Make] = "Maker"
    details = block.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = "2026:01:02 03:04:05"
    details[ExifTags.Base.MakerNote] = b"private!!"
    block.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return block


def iptc_segment() -> bytes:
    resources = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HxxI", 0x0404, len(IPTC)) + IPTC
    return phone_files.segment(0xED, resources)


def with_pillow(image: Image.Image, name: str, **options: Any) -> Maker:  # noqa: ANN401 - as Pillow's
    """A file with everything that Pillow writes into its format."""
    profile = linear_gray() if image.mode in ("1", "L", "LA") else exchanged()
    if image.mode == "CMYK":
        profile = profile[:16] + b"CMYK" + profile[20:]
    arguments: dict[str, Any] = dict(options)
    if name in ("AVIF", "JPEG", "PNG", "WEBP"):
        arguments |= {"exif": exif(), "icc_profile": profile}
        arguments |= {} if name == "PNG" else {"xmp": XMP}
    if name in ("BMP", "JPEG", "PNG"):
        arguments["dpi"] = (300, 300)
    if name == "PNG":
        arguments["pnginfo"] = PngImagePlugin.PngInfo()
        arguments["pnginfo"].add_text("Comment", "a cat")
        arguments["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    if name == "JPEG":
        arguments |= {"comment": b"hello", "extra": iptc_segment(), "quality": 97, "subsampling": 0}
    if name == "GIF":
        arguments["comment"] = b"hello"
    return lambda path: image.save(path, name, **arguments)


def deep_png(codes: Any) -> Maker:  # noqa: ANN401 - an array
    profile = linear_gray() if codes.ndim == 2 or codes.shape[2] == 2 else exchanged()
    chunks = [
        (b"iCCP", b"ICC\0\0" + zlib.compress(profile)),
        (b"pHYs", struct.pack(">IIB", 11811, 11811, 1)),
        (b"eXIf", exif().tobytes().removeprefix(b"Exif\0\0")),
        (b"tEXt", b"Comment\0a cat"),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    ]
    return lambda path: _write(path, encode_png(codes, 16, chunks=chunks))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def tiff(samples: Any, photometric: str, *, alpha: bool = False) -> Maker:  # noqa: ANN401 - an array
    def make(path: Path) -> None:
        profile = {
            "rgb": exchanged(),
            "minisblack": linear_gray(),
            "separated": exchanged().replace(b"RGB ", b"CMYK", 1),
        }
        tifffile.imwrite(
            path,
            samples,
            photometric=photometric,
            planarconfig="contig" if samples.ndim == 3 else None,
            extrasamples=["unassalpha"] if alpha else None,
            iccprofile=profile.get(photometric),
            resolution=(300, 300),
            resolutionunit="INCH",
            metadata=None,
            software=False,
            extratags=[
                (271, 2, 6, "Maker\0", True),
                (700, 1, len(XMP), XMP, True),
                (33723, 7, len(IPTC), IPTC, True),
                (33550, 12, 3, (0.5, 0.5, 0.0), True),
            ],
        )

    return make


def tiff_of_a_camera(path: Path) -> None:
    """With directories of EXIF and GPS, which neither Pillow nor tifffile writes."""
    photo = path.with_suffix(".jpg")
    with_pillow(Image.fromarray(RGB), "JPEG")(photo)
    stills.write(path, stills.read(photo))


def deep_avif(path: Path) -> None:
    with av.open(str(path), "w", format="avif") as output:
        stream = output.add_stream("libsvtav1", rate=1, options={"preset": "8"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        stream.time_base = Fraction(1)
        stream.codec_context.color_primaries, stream.codec_context.color_trc = 12, 13
        frame = VideoFrame.from_ndarray(photograph(64, 64)).reformat(format="yuv420p10le")
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def animated(name: str, **options: Any) -> Maker:  # noqa: ANN401 - as Pillow's
    frames = [
        Image.fromarray(np.dstack([np.roll(RGB, 5 * number, 1), np.full_like(GRAY, 255)]))
        for number in range(3)
    ]
    frames = [frame.convert("P") for frame in frames] if name == "GIF" else frames
    return lambda path: frames[0].save(
        path, name, save_all=True, append_images=frames[1:], duration=[50, 120, 90], **options
    )


def deep_animation(path: Path) -> None:
    frames = [
        animation.Frame(np.roll(RGB, number, 1).astype(np.uint16) * 257, None, 90) for number in range(3)
    ]
    animation.write(path, frames, 2, replace(stills.Still(RGB).metadata))


def kinds() -> Iterator[Kind]:
    """Every format and mode."""
    image = Image.fromarray(RGB)
    gray, rgba = Image.fromarray(GRAY), Image.fromarray(np.dstack([RGB, ALPHA]))
    gray_alpha = Image.merge("LA", (gray, Image.fromarray(ALPHA)))
    yield Kind(".avif", "RGB", with_pillow(image, "AVIF"))
    yield Kind(".avif", "RGB with alpha", with_pillow(rgba, "AVIF"))
    yield Kind(".avif", "10 bits, Display P3", deep_avif)
    yield Kind(".avif", "animated", animated("AVIF"))
    yield Kind(".bmp", "gray", with_pillow(gray, "BMP"))
    yield Kind(".bmp", "palette", with_pillow(image.convert("P"), "BMP"))
    yield Kind(".bmp", "RGB", with_pillow(image, "BMP"))
    yield Kind(".gif", "palette", with_pillow(image.convert("P"), "GIF"))
    yield Kind(".gif", "palette with transparency", with_pillow(image.convert("P"), "GIF", transparency=7))
    yield Kind(".gif", "animated", animated("GIF", loop=1))
    yield Kind(".jpg", "gray", with_pillow(gray, "JPEG"))
    yield Kind(".jpg", "RGB", with_pillow(image, "JPEG"))
    yield Kind(".jpg", "CMYK", with_pillow(image.convert("CMYK"), "JPEG"))
    yield Kind(".jpg", "HDR with gain map", lambda path: _write(path, phone_files.ultra_hdr()))
    yield Kind(
        ".jpg", "motion photo", lambda path: _write(path, phone_files.ultra_hdr(video=phone_files.VIDEO))
    )
    yield Kind(".png", "bilevel", with_pillow(gray.convert("1"), "PNG"))
    yield Kind(".png", "gray", with_pillow(gray, "PNG"))
    yield Kind(".png", "gray with alpha", with_pillow(gray_alpha, "PNG"))
    yield Kind(".png", "palette", with_pillow(image.convert("P"), "PNG"))
    yield Kind(".png", "RGB", with_pillow(image, "PNG"))
    yield Kind(".png", "RGB with alpha", with_pillow(rgba, "PNG"))
    for name, codes in deep_codes().items():
        yield Kind(".png", f"16-bit {name}", deep_png(codes))
    yield Kind(".png", "animated", animated("PNG", loop=2))
    yield Kind(".png", "animated, 16 bits", deep_animation)
    for name, codes in deep_codes().items():
        photometric = "minisblack" if name.startswith("gray") else "rgb"
        for bits in (8, 16):
            samples = codes if bits == 16 else (codes >> 8).astype(np.uint8)
            yield Kind(".tif", f"{bits}-bit {name}", tiff(samples, photometric, alpha="alpha" in name))
    yield Kind(".tif", "of a camera", tiff_of_a_camera)
    yield Kind(".tif", "CMYK", tiff(np.asarray(image.convert("CMYK")), "separated"))
    yield Kind(".tif", "int16", tiff(GRAY.astype(np.int16) - 99, "minisblack"))
    yield Kind(".tif", "float32", tiff(GRAY.astype(np.float32) / 7, "minisblack"))
    yield Kind(".exr", "float32", with_light("float32"))
    yield Kind(".exr", "float16 with alpha", with_light("float16"))
    for suffix, name, make in read_only_kinds():
        yield Kind(suffix, name, make)
    yield Kind(".webp", "RGB", with_pillow(image, "WEBP"))
    yield Kind(".webp", "RGB with alpha", with_pillow(rgba, "WEBP"))
    yield Kind(".webp", "lossless", with_pillow(image, "WEBP", lossless=True))
    yield Kind(".webp", "animated", animated("WEBP", loop=2))


def with_light(dtype: str) -> Maker:
    """An EXR with light up to four times white, and primaries."""
    light = np.ascontiguousarray((RGB / 255.0) ** 2.2 * 4, dtype)
    opaque = np.ones((*light.shape[:2], 1), dtype) / 2
    samples = np.dstack([light * opaque, opaque]) if dtype == "float16" else light
    header = {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "chromaticities": (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329),
    }
    name = "RGBA" if dtype == "float16" else "RGB"
    return lambda path: OpenEXR.File(header, {name: samples}).write(str(path))


def read_only_kinds() -> Iterator[tuple[str, str, Maker]]:
    """Formats of which another is written."""
    image, block = Image.fromarray(RGB), exif().tobytes().removeprefix(b"Exif\0\0")
    large = photograph(64, 96)
    rgba = np.ascontiguousarray(np.dstack([RGB, ALPHA]))
    described = {
        "exif": block,
        "xmp": XMP,
        "gain_map": np.ascontiguousarray(large[:, :, 0]),
        "colors": heif_files.profile_box(exchanged()),
    }
    yield ".heic", "of a phone", lambda path: _write(path, heif_files.heic(large, **described))
    p3 = heif_files.codes_box(12, 13)
    yield (
        ".heic",
        "10 bits, Display P3",
        lambda path: _write(path, heif_files.heic(large, bits=10, colors=p3)),
    )
    jpeg_xl = pylibjxl.encode(rgba, lossless=True, exif=block, xmp=XMP, icc=exchanged())
    yield ".jxl", "RGB with alpha", lambda path: _write(path, jpeg_xl)
    for suffix, name in {".dds": "DDS", ".qoi": "QOI", ".tga": "TGA"}.items():
        yield suffix, "RGB with alpha", functools.partial(Image.fromarray(rgba).save, format=name)
    yield ".jp2", "RGB", lambda path: image.save(path, "JPEG2000")
    yield ".ppm", "RGB", lambda path: image.save(path, "PPM")
    yield (
        ".pfm",
        "float32",
        lambda path: _write(path, b"PF\n32 24\n-1\n" + (RGB / 99).astype("<f4").tobytes()),
    )
    deep = RGB.astype(">u2") * 257
    yield ".ppm", "16-bit RGB", lambda path: _write(path, b"P6\n32 24\n65535\n" + deep.tobytes())


def deep_codes() -> dict[str, Any]:
    """Arrays of 16 bits by name."""
    deep = RGB.astype(np.uint16) * 256 + 77
    alpha = ALPHA.astype(np.uint16) * 256 + 77
    return {
        "gray": np.ascontiguousarray(deep[:, :, 0]),
        "gray with alpha": np.dstack([deep[:, :, 0], alpha]),
        "RGB": deep,
        "RGB with alpha": np.dstack([deep, alpha]),
    }


# What a file can hold -> how a line names its loss.
FACTS = {
    "more than 8 bits": "16 bits per sample",
    "sample type": " samples",
    "grayscale": "",  # three equal channels show the same
    "alpha": "transparency",
    "CMYK": "CMYK colours",
    "profile": "colour",
    "stated colours": "Display P3 colours",
    "EXIF": "EXIF",
    "GPS": "EXIF",
    "maker notes": "maker notes",
    "XMP": "XMP",
    "IPTC": "IPTC",
    "resolution": "resolution",
    "texts": "texts of the PNG",
    "comment": "comment",
    "GeoTIFF": "GeoTIFF",
    "gain map": "HDR gain map",
    "gain map of Apple": "HDR gain map",
    "EXR attributes": "EXR attributes",
    "video": "video of the motion photo",
    "frames": "",  # refused
    "loops": "number of plays",
    "lossless": "",  # of WebP only
}


def facts(path: Path) -> set[str]:
    """What a file holds."""
    others = {".tif": _tiff_facts, ".exr": _exr_facts, ".heic": _heic_facts, ".jxl": _jpeg_xl_facts}
    if path.suffix in others:
        return others[path.suffix](path)
    content = path.read_bytes()
    if content.startswith((b"PF", b"P6")):
        is_float, is_deep = content.startswith(b"PF"), b"65535" in content[:20]
        return {"sample type", "more than 8 bits"} if is_float else {"more than 8 bits"} if is_deep else set()
    with Image.open(path) as image:
        found = _pillow_facts(image)
    marks = {
        "gain map": b"hdrgm:GainMapMax",
        "gain map of Apple": b"aux:hdrgainmap",
        "video": b"ftypmp42",
        "stated colours": b"cICP",
        "lossless": b"VP8L",
    }
    found |= {name for name, mark in marks.items() if mark in content}
    if content.startswith(b"\x89PNG"):
        found |= {"more than 8 bits"} if content[24] == 16 else set()
        found |= {"grayscale"} if content[25] in (0, 4) else set()
    if content[4:12] == b"ftypavif":
        found |= {"stated colours"} if b"colrnclx\0\x0c" in content else set()
        found |= {"more than 8 bits"} if content[content.index(b"av1C") + 6] & 0x40 else set()
    return found


def _pillow_facts(image: Image.Image) -> set[str]:
    info, block = image.info, image.getexif()
    present = {
        "grayscale": image.mode in ("1", "L", "LA", "I;16", "I;16B"),
        "alpha": image.has_transparency_data,
        "CMYK": image.mode == "CMYK",
        "profile": bool(info.get("icc_profile")),
        "EXIF": block.get(ExifTags.Base.Make) == "Maker",
        "GPS": bool(block.get_ifd(ExifTags.IFD.GPSInfo)),
        "maker notes": ExifTags.Base.MakerNote in block.get_ifd(ExifTags.IFD.Exif),
        "XMP": bool(info.get("xmp")),
        "IPTC": b"hello" in (info.get("photoshop") or {}).get(0x0404, b""),
        "resolution": abs((info.get("dpi") or (0, 0))[0] - 300) < 1,
        "texts": info.get("Comment") == "a cat",
        "comment": info.get("comment") == b"hello",
        "loops": "loop" in info and getattr(image, "n_frames", 1) > 1,
        "frames": getattr(image, "n_frames", 1) > 1 and image.format != "MPO",
    }
    return {name for name, is_present in present.items() if is_present}


def _tiff_facts(path: Path) -> set[str]:
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        tags = {tag.code: tag.value for tag in page.tags}
    present = {
        "more than 8 bits": page.dtype.itemsize > 1,
        "sample type": page.dtype not in (np.uint8, np.uint16),
        "grayscale": page.photometric == 1,
        "alpha": bool(page.extrasamples),
        "CMYK": page.photometric == 5,
        "profile": 34675 in tags,
        "EXIF": str(tags.get(271, "")).strip("\0") == "Maker",
        "GPS": 34853 in tags,
        "maker notes": "MakerNote" in tags.get(34665, {}),
        "XMP": 700 in tags,
        "IPTC": 33723 in tags,
        "resolution": round(float(Fraction(*tags.get(282, (0, 1))))) == 300,
        "GeoTIFF": 33550 in tags,
    }
    return {name for name, is_present in present.items() if is_present}


def _exr_facts(path: Path) -> set[str]:
    file = OpenEXR.File(str(path))
    channels = file.channels()
    present = {
        "more than 8 bits": next(iter(channels.values())).pixels.dtype == np.float32,
        "sample type": True,
        "grayscale": "Y" in channels,
        "alpha": "RGBA" in channels or "A" in channels,
        "EXR attributes": "chromaticities" in file.header(),
    }
    return {name for name, is_present in present.items() if is_present}


def _heic_facts(path: Path) -> set[str]:
    content = path.read_bytes()
    settings = content.index(b"hvcC") + 4
    present = {
        "more than 8 bits": content[settings + 17] & 7 > 0,
        "profile": b"colrprof" in content,
        "stated colours": b"colrnclx\0\x0c" in content,
        "EXIF": b"Exif\0\0II*" in content or b"Exif\0\0MM\0*" in content,
        "XMP": XMP in content,
        "gain map of Apple": b"aux:hdrgainmap" in content,
    }
    found = {name for name, is_present in present.items() if is_present}
    return found | {"GPS", "maker notes"} if "EXIF" in found else found


def _jpeg_xl_facts(path: Path) -> set[str]:
    pixels, found = pylibjxl.decode(path.read_bytes(), metadata=True)
    names = {"EXIF": "exif", "GPS": "exif", "maker notes": "exif", "XMP": "xmp", "profile": "icc"}
    return {name for name, key in names.items() if key in found} | (
        {"alpha"} if pixels.shape[2] == 4 else set()
    )


def convert(source: Path, target: Path) -> str:
    """Double a still, or copy the frames of an animation; returns the line about losses."""
    image_format = format_of(target)
    assert image_format is not None
    if animation.is_animated(source):
        with animation.opened(source) as moving:
            animation.write(target, moving.frames(), moving.plays, moving.metadata)
            return losses.describe_animation(moving, image_format)
    still = stills.read(source)
    alpha: Any = None if still.alpha is None else still.alpha.repeat(2, 0).repeat(2, 1)
    stills.write(target, replace(still, pixels=still.pixels.repeat(2, 0).repeat(2, 1), alpha=alpha))
    return losses.describe_still(still, image_format)


def outcomes(source: Path, target: Path) -> dict[str, bool]:
    """Whether each thing in a source is in the target.

    Raises:
        AssertionError: Something is lost that no line names.
    """
    before = facts(source)
    line = convert(source, target)
    after = facts(target)
    for name in before - after:
        is_named = FACTS[name] in line or (name == "maker notes" and "EXIF" in line)
        assert is_named, f"{source.name} -> {target.name}: {name} is lost, and the line is '{line}'"
    return {name: name in after for name in FACTS if name in before}
