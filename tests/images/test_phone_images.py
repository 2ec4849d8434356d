"""What phones append to images: HDR gain maps, videos, depth maps; and sizes in their XMP."""

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from support import phone_files, ultra_hdr
from support.media import identity
from support.messages import Messages
from support.phone_files import VIDEO, directory, jpeg, packet
from support.pictures import photograph

from upscaler import pipeline
from upscaler.images import stills, xmp
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still
from upscaler.jobs import Job
from upscaler.options import ImageOptions


def doubled(source: Path, target: Path) -> bytes:
    """Upscale by repeating pixels; returns the file."""
    still = stills.read(source)
    stills.write(target, replace(still, pixels=still.pixels.repeat(2, axis=0).repeat(2, axis=1)))
    return target.read_bytes()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("video", [b"", VIDEO])
def test_the_hdr_rendering_of_an_ultra_hdr_image_is_that_of_its_source(
    tmp_path: Path, channels: int, video: bytes
) -> None:
    (tmp_path / "a.jpg").write_bytes(phone_files.ultra_hdr(channels=channels, video=video))
    before = ultra_hdr.parse((tmp_path / "a.jpg").read_bytes())
    after = ultra_hdr.parse(doubled(tmp_path / "a.jpg", tmp_path / "b.jpg"))
    assert after.gain_map.shape[:2] == (24, 32) and after.gain_map.ndim == before.gain_map.ndim
    assert after.behind == video
    assert [name for name, _ in after.items] == ["Primary", "GainMap"] + (["MotionPhoto"] if video else [])
    for parameters in ("xmp", "iso"):
        expected = ultra_hdr.render(before, getattr(before, parameters))
        rendered = ultra_hdr.render(after, getattr(after, parameters))
        reduced = rendered.reshape(48, 2, 64, 2, 3).mean((1, 3))
        stops = np.log2((reduced + 1 / 64) / (expected + 1 / 64))
        assert np.abs(stops).mean() < 0.05 and expected.max() > 2
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.getexif()[ExifTags.Base.Make] == "Maker"


@pytest.mark.parametrize("kinds", ["xmp", "iso"])
def test_either_kind_of_metadata_is_enough(tmp_path: Path, kinds: str) -> None:
    (tmp_path / "a.jpg").write_bytes(phone_files.ultra_hdr(kinds=kinds))
    doubled(tmp_path / "a.jpg", tmp_path / "b.jpg")
    written = (tmp_path / "b.jpg").read_bytes()
    assert (written[: written.index(b"\xff\xda")].count(phone_files.ISO_URN) == 1) == (kinds == "iso")
    assert b"hdrgm:GainMapMax" in written and (b"Container:Directory" in written) == (kinds == "xmp")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_gain_map_is_turned_with_the_image(tmp_path: Path, orientation: int) -> None:
    (tmp_path / "a.jpg").write_bytes(phone_files.ultra_hdr(orientation=orientation))
    stored = ultra_hdr.parse((tmp_path / "a.jpg").read_bytes())
    stills.write(tmp_path / "b.jpg", stills.read(tmp_path / "a.jpg"))
    upright = ultra_hdr.parse((tmp_path / "b.jpg").read_bytes())
    turned = ultra_hdr.render(upright, upright.xmp)
    expected = stills.apply_orientation(ultra_hdr.render(stored, stored.xmp), orientation)
    assert np.abs(np.log2((turned + 1 / 64) / (expected + 1 / 64))).mean() < 0.1


def apple_gain_map() -> bytes:
    described = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><apdi:AuxiliaryImageType>'
        b"urn:com:apple:photo:2020:aux:hdrgainmap</apdi:AuxiliaryImageType>"
        b"<HDRGainMap:HDRGainMapVersion>65536</HDRGainMap:HDRGainMapVersion></x:xmpmeta>"
    )
    return jpeg(
        phone_files.gain_pixels(12, 16, 1), phone_files.segment(0xE1, phone_files.XMP_PREFIX + described)
    )


def test_the_gain_map_of_apple(tmp_path: Path) -> None:
    first = jpeg(photograph(48, 64))
    content = phone_files.indexed(first, first.index(b"\xff\xdb"), apple_gain_map())
    (tmp_path / "a.jpg").write_bytes(content)
    written = doubled(tmp_path / "a.jpg", tmp_path / "b.jpg")
    second = written[written.rindex(b"\xff\xd8\xff") :]
    assert b"aux:hdrgainmap" in second and b"HDRGainMapVersion>65536" in second
    with Image.open(io.BytesIO(second)) as gain_map:
        assert (gain_map.size, gain_map.mode) == ((32, 24), "L")


def video_start(content: bytes, described: bytes) -> int:
    """Where readers look for the video."""
    length = re.search(rb'Semantic="MotionPhoto"[^>]*Length="(\d+)"|MicroVideoOffset="(\d+)"', described)
    assert length is not None
    return len(content) - int(length[1] or length[2])


@pytest.mark.parametrize("gap", [b"", b"\0" * 8, b"\0\0\x30\x0a\x10\0\0\0MotionPhoto_Data"])
@pytest.mark.parametrize("version", [1, 2])
def test_the_video_of_a_motion_photo(tmp_path: Path, version: int, gap: bytes) -> None:
    if version == 1:
        described = packet(
            b'xmp:Rating="4" GCamera:MicroVideo="1" GCamera:MicroVideoOffset="%d"' % len(VIDEO)
        )
    else:
        items = directory(("Primary", 0), ("MotionPhoto", len(VIDEO)))
        items = items.replace(b'Padding="0"', b'Padding="%d"' % len(gap))
        described = packet(b'xmp:Rating="4" GCamera:MotionPhoto="1"', items)
    (tmp_path / "a.jpg").write_bytes(jpeg(photograph(48, 64), xmp=described) + gap + VIDEO)
    written = doubled(tmp_path / "a.jpg", tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.size == (128, 96) and image.info["xmp"] == described
    assert written[video_start(written, described) :] == VIDEO and written.endswith(b"\xff\xd9" + gap + VIDEO)


def said_about(source: Path, target: Path) -> list[str]:
    messages = Messages()
    pipeline.upscale_still(
        Job(source, target, "still"), identity(source.parent), ImageOptions(), lambda _: None, messages
    )
    assert not messages.warnings
    return [message for message in messages if message.startswith("not kept")]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".avif"])
def test_other_formats_lose_gain_map_and_video_but_no_other_xmp(tmp_path: Path, suffix: str) -> None:
    content = phone_files.ultra_hdr(video=VIDEO, attributes=b'xmp:Rating="4" ')
    (tmp_path / "a.jpg").write_bytes(content)
    [said] = said_about(tmp_path / "a.jpg", tmp_path / f"b{suffix}")
    assert said.startswith(f"not kept in {suffix}: HDR gain map, video of the motion photo")
    kept = stills.read(tmp_path / f"b{suffix}").metadata.xmp or b""
    assert b'xmp:Rating="4"' in kept
    for gone in (b"hdrgm:Version", b"MotionPhoto", b"Container:Directory"):
        assert gone in content and gone not in kept
    assert said_about(tmp_path / "a.jpg", tmp_path / "c.jpg") == []


def test_depth_maps_are_dropped_with_a_line(tmp_path: Path) -> None:
    """In the packet, in a second packet, and as a further image."""
    extension = phone_files.segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(100))
    described = packet(
        b'xmp:Rating="4" GDepth:Format="RangeInverse" GDepth:Near="0.3" '
        b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%b"' % (b"A" * 32),
        b"<GDepth:Data>AAAA</GDepth:Data><dc:title>kept</dc:title>",
    )
    first = jpeg(photograph(48, 64), extension, xmp=described)
    depth = jpeg(photograph(24, 32), phone_files.segment(0xE1, b"urn:com:apple:photo:aux:depth"))
    (tmp_path / "a.jpg").write_bytes(phone_files.indexed(first, first.index(b"\xff\xdb"), depth))
    assert said_about(tmp_path / "a.jpg", tmp_path / "b.jpg") == ["not kept in .jpg: depth map, extended XMP"]
    kept = stills.read(tmp_path / "b.jpg").metadata.xmp or b""
    assert b'xmp:Rating="4"' in kept and b"<dc:title>kept</dc:title>" in kept
    assert b"GDepth:F" not in kept and b"GDepth:D" not in kept and b"HasExtended" not in kept


def test_other_images_and_unknown_data_are_named(tmp_path: Path) -> None:
    view = jpeg(photograph(48, 64, 1))
    (tmp_path / "a.jpg").write_bytes(jpeg(photograph(48, 64)) + view + b"something")
    assert said_about(tmp_path / "a.jpg", tmp_path / "b.jpg") == [
        "not kept in .jpg: further images, data behind the image"
    ]
    (tmp_path / "c.jpg").write_bytes(jpeg(photograph(48, 64)) + bytes(512))
    assert said_about(tmp_path / "c.jpg", tmp_path / "d.jpg") == []


def test_a_damaged_gain_map_is_named(tmp_path: Path) -> None:
    content = phone_files.ultra_hdr()
    at = content.rindex(b"\xff\xc0")  # the size of the gain map
    (tmp_path / "a.jpg").write_bytes(content[: at + 5] + bytes(4) + content[at + 9 :])
    assert said_about(tmp_path / "a.jpg", tmp_path / "b.jpg") == ["not kept in .jpg: HDR gain map"]
    assert b"hdrgm:Version" not in (tmp_path / "b.jpg").read_bytes()


def test_images_that_only_an_index_finds(tmp_path: Path) -> None:
    """Behind bytes that are neither zeros nor an image."""
    first = jpeg(photograph(48, 64), phone_files.segment(0xE2, phone_files.ISO_URN + bytes(4)))
    padded = phone_files.indexed(first, first.index(b"\xff\xdb"), b"")
    second = phone_files.gain_map(12, 16, 1)
    content = padded + b"padding!" + second
    origin = content.index(b"MPF\0") + 4
    entry = origin + 50 + 16
    sizes = len(second).to_bytes(4, "big") + (len(padded) + 8 - origin).to_bytes(4, "big")
    (tmp_path / "a.jpg").write_bytes(content[: entry + 4] + sizes + content[entry + 12 :])
    assert b"hdrgm:GainMapMax" in doubled(tmp_path / "a.jpg", tmp_path / "b.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_sizes_in_pixels_are_multiplied(tmp_path: Path, suffix: str) -> None:
    described = packet(
        b'GPano:FullPanoWidthPixels="512" GPano:CroppedAreaLeftPixels="10" GPano:PoseHeadingDegrees="90" '
        b'xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#" stDim:w="512"',
        b"<GPano:FullPanoHeightPixels>256</GPano:FullPanoHeightPixels>"
        b"<GPano:CroppedAreaTopPixels> 7</GPano:CroppedAreaTopPixels>",
    )
    stills.write(tmp_path / f"a{suffix}", Still(photograph(24, 32), metadata=Metadata(xmp=described)))
    doubled(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}")
    kept = stills.read(tmp_path / f"b{suffix}").metadata.xmp or b""
    for name, value in {
        b'FullPanoWidthPixels="': b"1024",
        b'CroppedAreaLeftPixels="': b"20",
        b'PoseHeadingDegrees="': b"90",
        b'stDim:w="': b"1024",
        b"FullPanoHeightPixels>": b"512",
        b"CroppedAreaTopPixels> ": b"14",
    }.items():
        assert re.search(re.escape(name) + rb"(\d+)", kept)[1] == value  # type: ignore[index]


def test_a_hostile_packet_is_edited_in_no_time() -> None:
    """Elements that never end, of which a naive search would look for the end again and again."""
    change = xmp.Change(10, 10)
    for hostile in (
        b"<GDepth:a ><a:Directory>" * 10_000,
        b"<rdf:li " * 10_000,
        b" " * 100_000 + b"<hdrgm:a>",
    ):
        assert xmp.updated(hostile, "PNG", change) is not None
        xmp.updated(hostile, "JPEG", change)
