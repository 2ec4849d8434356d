"""ICC profiles, EXIF, XMP, IPTC, texts and resolution are kept."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from support.pictures import photograph
from support.profiles import SRGB, exchanged, linear_gray

from upscaler.images import png_chunks, stills
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still

WITH_PROFILE = [".jpg", ".png", ".webp", ".tif", ".avif"]


@pytest.mark.parametrize("suffix", WITH_PROFILE)
def test_the_profile_is_kept_and_pixels_are_not_converted(tmp_path: Path, suffix: str) -> None:
    pixels = photograph(40, 56)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=exchanged())
    still = stills.read(tmp_path / "a.png")
    assert np.array_equal(still.pixels, pixels)
    stills.write(tmp_path / f"b{suffix}", still)
    with Image.open(tmp_path / f"b{suffix}") as picture:
        assert picture.info["icc_profile"] == exchanged()
        assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - pixels).mean() < 8


def test_a_format_without_profiles_gets_srgb(tmp_path: Path) -> None:
    pixels = np.full((8, 8, 3), (200, 50, 10), np.uint8)
    stills.write(tmp_path / "a.bmp", Still(pixels, metadata=Metadata(exchanged())))
    written = stills.read(tmp_path / "a.bmp").pixels
    assert np.abs(written.astype(int) - (50, 200, 10)).max() <= 2


def test_grayscale_with_a_profile_in_formats_that_store_rgb_only(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 128, np.uint8)).save(tmp_path / "a.png", icc_profile=linear_gray())
    still = stills.read(tmp_path / "a.png")
    assert still.gray and (still.pixels == 128).all()
    stills.write(tmp_path / "b.tif", still)
    stills.write(tmp_path / "c.bmp", still)
    stills.write(tmp_path / "d.webp", replace(still, alpha=np.full((8, 8), 255, np.uint8)))
    with Image.open(tmp_path / "b.tif") as picture:
        assert (picture.mode, picture.info["icc_profile"]) == ("L", linear_gray())
    light = round(255 * (1.055 * (128 / 255) ** (1 / 2.4) - 0.055))  # IEC 61966-2-1
    for name in ("c.bmp", "d.webp"):
        written = stills.read(tmp_path / name)
        assert np.abs(written.pixels.astype(int) - light).max() <= 1 and written.metadata.profile is None


def test_a_damaged_profile_does_not_stop_the_image(tmp_path: Path) -> None:
    damaged = SRGB[:16] + b"RGB " + b"\xff" * 40
    stills.write(tmp_path / "a.bmp", Still(photograph(16, 16), metadata=Metadata(damaged)))
    assert np.array_equal(stills.read(tmp_path / "a.bmp").pixels, photograph(16, 16))


def test_a_profile_too_long_for_png_becomes_srgb(tmp_path: Path) -> None:
    profile = exchanged() + bytes(1 << 20)
    pixels = np.full((8, 8, 3), (200, 50, 10), np.uint8)
    stills.write(tmp_path / "a.png", Still(pixels, metadata=Metadata(profile)))
    written = stills.read(tmp_path / "a.png")
    assert written.metadata.profile is None and np.abs(written.pixels.astype(int) - (50, 200, 10)).max() <= 2


def test_lab_becomes_srgb(tmp_path: Path) -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(Image.fromarray(photograph(16, 16)), *profiles, outputMode="LAB")
    assert lab is not None
    lab.save(tmp_path / "a.tif")
    still = stills.read(tmp_path / "a.tif")
    assert np.abs(still.pixels.astype(int) - photograph(16, 16)).mean() < 3


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_profiles_of_another_colour_space_are_dropped(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(photograph(16, 16)).convert(mode)
    profile = SRGB[:16] + b"CMYK" + SRGB[20:]
    picture.save(tmp_path / "a.jpg", icc_profile=profile)
    stills.write(tmp_path / "b.jpg", stills.read(tmp_path / "a.jpg"))
    with Image.open(tmp_path / "b.jpg") as written:
        assert "icc_profile" not in written.info


def camera_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Copyright] = "Maker", "somebody"
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.StripOffsets] = 8  # of another file's structure
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.ExifImageWidth], details[ExifTags.Base.ExifImageHeight] = 32, 24
    details[ExifTags.Base.DateTimeOriginal] = "2026:01:02 03:04:05"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return exif


@pytest.mark.parametrize("suffix", WITH_PROFILE)
def test_exif_is_kept_with_orientation_and_size_updated(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(photograph(24, 32)).save(tmp_path / "a.jpg", exif=camera_exif())
    still = stills.read(tmp_path / "a.jpg")
    assert still.pixels.shape == (32, 24, 3)
    stills.write(tmp_path / f"b{suffix}", replace(still, pixels=photograph(64, 48)))
    with Image.open(tmp_path / f"b{suffix}") as picture:
        exif = picture.getexif()
        details, gps = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    assert (exif[ExifTags.Base.Make], exif[ExifTags.Base.Copyright]) == ("Maker", "somebody")
    assert exif.get(ExifTags.Base.Orientation, 1) == 1
    assert stills.read(tmp_path / f"b{suffix}").pixels.shape == (64, 48, 3)
    assert (details[ExifTags.Base.ExifImageWidth], details[ExifTags.Base.ExifImageHeight]) == (48, 64)
    assert details[ExifTags.Base.DateTimeOriginal] == "2026:01:02 03:04:05"
    assert gps[ExifTags.GPS.GPSLatitudeRef] == "N"


def block(*entries: tuple[int, int, int, bytes]) -> bytes:
    """An EXIF block of (tag, type, count, four bytes of value or offset); values follow the directory."""
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in entries
    )
    return b"Exif\0\0II*\0\x08\0\0\0" + directory + bytes(4) + b"\xff" * 8


@pytest.mark.parametrize(
    "wrong",
    [
        (ExifTags.Base.ResolutionUnit, 1, 1, b"\x02\0\0\0"),  # BYTE instead of SHORT
        (ExifTags.Base.XResolution, 2, 4, b"72\0\0"),  # ASCII instead of RATIONAL
        (ExifTags.Base.XResolution, 10, 1, struct.pack("<I", 50)),  # -1/-1
        (ExifTags.Base.Make, 5, 1, b"\xff\xff\0\0"),  # an offset far behind the end
    ],
)
def test_invalid_tags_do_not_stop_the_image(tmp_path: Path, wrong: tuple[int, int, int, bytes]) -> None:
    turned = (ExifTags.Base.Orientation, 3, 1, b"\x06\0\0\0")
    Image.fromarray(photograph(24, 32)).save(tmp_path / "a.jpg", exif=block(turned, wrong))
    still = stills.read(tmp_path / "a.jpg")
    assert still.pixels.shape == (32, 24, 3)
    stills.write(tmp_path / "b.jpg", still)
    assert stills.read(tmp_path / "b.jpg").pixels.shape == (32, 24, 3)


@pytest.mark.parametrize("order", ["<", ">"])
def test_everything_else_stays_byte_for_byte(tmp_path: Path, order: str) -> None:
    """Exposure compensation below 0 and the type of a comment, which Pillow would lose; both byte orders."""

    def directory(*entries: tuple[int, int, int, bytes], following: int = 0) -> bytes:
        packed = [struct.pack(f"{order}HHI", tag, kind, count) + value for tag, kind, count, value in entries]
        return struct.pack(f"{order}H", len(entries)) + b"".join(packed) + struct.pack(f"{order}I", following)

    def number(value: int, code: str = "I") -> bytes:
        return struct.pack(f"{order}{code}", value).ljust(4, b"\0")  # shorter ones stand to the left

    def whole(
        width: bytes, height: bytes, kind: int, *turned: tuple[int, int, int, bytes], thumbnail: int = 0
    ) -> bytes:
        head = (b"II*\0" if order == "<" else b"MM\0*") + number(8)
        first = directory(*turned, (34665, 4, 1, number(38)), following=thumbnail).ljust(30, b"\0")
        details = directory(
            (37380, 10, 1, number(100)),
            (37510, 7, 4, b"hi!!"),
            (40962, kind, 1, width),
            (40963, kind, 1, height),
        )
        return (head + first + details + bytes(8)).ljust(100, b"\0") + struct.pack(f"{order}ii", -1, 3)

    turned = (274, 3, 1, number(6, "H"))
    before = whole(number(32, "H"), number(24, "H"), 3, turned, thumbnail=108)
    Image.fromarray(photograph(24, 32)).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + before)
    still = stills.read(tmp_path / "a.jpg")
    assert still.pixels.shape == (32, 24, 3)
    for suffix in (".jpg", ".png", ".webp", ".avif"):
        stills.write(tmp_path / f"b{suffix}", replace(still, pixels=photograph(64, 48)))
        with Image.open(tmp_path / f"b{suffix}") as picture:
            written = picture.info["exif"].removeprefix(b"Exif\0\0")
        assert written == whole(number(48), number(64), 4)


def test_non_ascii_text_keeps_its_bytes(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Copyright] = "© Jürgen".encode()
    Image.fromarray(photograph(24, 32)).save(tmp_path / "a.jpg", exif=exif)
    stills.write(tmp_path / "b.jpg", stills.read(tmp_path / "a.jpg"))
    with Image.open(tmp_path / "b.jpg") as picture:
        assert picture.getexif()[ExifTags.Base.Copyright].encode("latin-1").decode() == "© Jürgen"


def test_exif_too_long_for_jpeg_loses_its_maker_notes(tmp_path: Path) -> None:
    exif = camera_exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = bytes(70_000)
    Image.fromarray(photograph(24, 32)).save(tmp_path / "a.png", exif=exif)
    stills.write(tmp_path / "b.jpg", stills.read(tmp_path / "a.png"))
    with Image.open(tmp_path / "b.jpg") as picture:
        assert picture.getexif()[ExifTags.Base.Make] == "Maker"
        assert ExifTags.Base.MakerNote not in picture.getexif().get_ifd(ExifTags.IFD.Exif)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp"])
def test_resolution_is_kept(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(photograph(16, 16)).save(tmp_path / "a.tif", dpi=(300, 150))
    stills.write(tmp_path / f"b{suffix}", stills.read(tmp_path / "a.tif"))
    with Image.open(tmp_path / f"b{suffix}") as picture:
        assert picture.info["dpi"] == pytest.approx((300, 150), abs=0.1)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_images_keep_their_profile(tmp_path: Path, suffix: str, channels: int) -> None:
    samples = np.random.default_rng(0).integers(0, 65536, (6, 7, 3)).astype(np.uint16)
    alpha = samples[:, :, 0] if channels == 4 else None
    profile = linear_gray() if channels == 1 else exchanged()
    rgb = np.repeat(samples[:, :, :1], 3, 2) if channels == 1 else samples
    still = Still(rgb, alpha, channels == 1, Metadata(profile, dpi=(240, 240)))
    stills.write(tmp_path / f"a{suffix}", still)
    again = stills.read(tmp_path / f"a{suffix}")
    assert np.array_equal(again.pixels, rgb) and again.gray == (channels == 1)
    assert (again.alpha is None) == (alpha is None)
    assert alpha is None or np.array_equal(again.alpha, alpha)
    assert again.metadata.profile == profile and again.pixels.dtype == np.uint16
    with Image.open(tmp_path / f"a{suffix}") as picture:
        if suffix == ".tif":
            assert picture.info["dpi"] == (240, 240)
            assert picture.tag_v2.get(ExifTags.Base.ExtraSamples) == ((2,) if channels == 4 else None)


def test_16_bit_png_keeps_exif(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 8, 3), 40_000, np.uint16))
    still = stills.read(tmp_path / "a.png")
    exif = camera_exif()
    del exif[ExifTags.Base.Orientation]
    stills.write(
        tmp_path / "b.png", replace(still, metadata=Metadata(exif=exif.tobytes().removeprefix(b"Exif\0\0")))
    )
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.getexif()[ExifTags.Base.Make] == "Maker"


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:rights="somebody">'
    b"<exif:PixelXDimension>32</exif:PixelXDimension></rdf:Description></x:xmpmeta>"
)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", WITH_PROFILE)
def test_xmp_is_kept_with_orientation_and_size_updated(tmp_path: Path, suffix: str, kind: type) -> None:
    small, large = photograph(24, 32).astype(kind), photograph(64, 48).astype(kind)
    stills.write(tmp_path / f"a{suffix}", Still(small, metadata=Metadata(xmp=XMP)))
    stills.write(tmp_path / f"b{suffix}", replace(stills.read(tmp_path / f"a{suffix}"), pixels=large))
    with Image.open(tmp_path / f"b{suffix}") as picture:
        picture.load()
        assert picture.info["xmp"] == XMP.replace(b"32", b"48").replace(b'="6"', b'="1"')
    assert stills.read(tmp_path / f"b{suffix}").pixels.shape == (64, 48, 3)


def test_orientation_in_xmp_only(tmp_path: Path) -> None:
    Image.fromarray(photograph(24, 32)).save(tmp_path / "a.jpg", xmp=XMP)
    still = stills.read(tmp_path / "a.jpg")
    assert still.pixels.shape == (32, 24, 3)
    stills.write(tmp_path / "b.jpg", still)
    assert stills.read(tmp_path / "b.jpg").pixels.shape == (32, 24, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_xmp_and_exif_are_kept_together(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(photograph(24, 32)).save(tmp_path / "a.webp", exif=camera_exif(), xmp=XMP)
    stills.write(tmp_path / f"b{suffix}", stills.read(tmp_path / "a.webp"))
    with Image.open(tmp_path / f"b{suffix}") as picture:
        assert picture.getexif()[ExifTags.Base.Make] == "Maker" and b"somebody" in picture.info["xmp"]


def test_xmp_too_long_for_jpeg_loses_its_padding_or_is_left_out(tmp_path: Path) -> None:
    end = b'<?xpacket end="w"?>'
    for packet, kept in ((XMP + b" " * 70_000 + end, True), (XMP + b"x" * 70_000 + end, False)):
        stills.write(tmp_path / "a.jpg", Still(photograph(24, 32), metadata=Metadata(xmp=packet)))
        with Image.open(tmp_path / "a.jpg") as picture:
            assert ("xmp" in picture.info) == kept


def chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_text_and_colour_chunks_of_a_png_are_kept(tmp_path: Path, kind: type) -> None:
    """Before and after the pixels; without damaged chunks and another program's copy of EXIF."""
    stills.write(
        tmp_path / "a.png", Still(photograph(24, 32).astype(kind), metadata=Metadata(dpi=(300, 150)))
    )
    whole = (tmp_path / "a.png").read_bytes()
    before = [
        chunk(b"gAMA", struct.pack(">I", 100_000)),
        chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
        chunk(b"cICP", bytes([9, 1, 0, 1])),
    ]
    behind = chunk(b"tEXt", b"parameters\0a cat")
    lost = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n0\n"))
    wrong = chunk(b"iTXt", b"Comment\0\0\0\0\0hello", 1)
    (tmp_path / "a.png").write_bytes(
        whole[:33] + b"".join(before) + lost + whole[33:-12] + behind + wrong + whole[-12:]
    )
    stills.write(tmp_path / "b.png", stills.read(tmp_path / "a.png"))
    written = (tmp_path / "b.png").read_bytes()
    assert all(written.count(each) == 1 for each in (*before, behind))
    assert written.index(behind) < written.index(b"IDAT")
    assert b"Raw profile" not in written and b"Comment" not in written
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.info["dpi"] == pytest.approx((300, 150), abs=0.1)
    stills.write(tmp_path / "c.webp", stills.read(tmp_path / "b.png"))


def test_the_size_in_the_first_exif_directory_is_updated(tmp_path: Path) -> None:
    exif = camera_exif()
    exif[ExifTags.Base.ImageWidth], exif[ExifTags.Base.ImageLength] = 32, 24
    Image.fromarray(photograph(24, 32)).save(tmp_path / "a.jpg", exif=exif)
    stills.write(tmp_path / "b.jpg", replace(stills.read(tmp_path / "a.jpg"), pixels=photograph(64, 48)))
    with Image.open(tmp_path / "b.jpg") as picture:
        written = picture.getexif()
    assert (written[ExifTags.Base.ImageWidth], written[ExifTags.Base.ImageLength]) == (48, 64)
    assert written[ExifTags.Base.Copyright] == "somebody"


def test_a_tiff_without_resolution_gives_a_jpeg_without_one(tmp_path: Path) -> None:
    Image.fromarray(photograph(16, 16)).save(tmp_path / "a.tif")
    still = stills.read(tmp_path / "a.tif")
    assert still.metadata.dpi is None
    stills.write(tmp_path / "b.jpg", still)
    with Image.open(tmp_path / "b.jpg") as picture:
        assert "dpi" not in picture.info


@pytest.mark.parametrize("iptc", [b"\x1c\x02\x78\0\x05hello", b"\x1c\x02\x78\0\x04hall"])
def test_iptc_is_kept_in_jpeg_without_other_photoshop_resources(tmp_path: Path, iptc: bytes) -> None:
    resources = b"Photoshop 3.0\0"
    for number, data in ((0x0404, iptc), (0x040C, b"thumb!")):
        resources += b"8BIM" + struct.pack(">HxxI", number, len(data)) + data + bytes(len(data) % 2)
    segment = b"\xff\xed" + struct.pack(">H", 2 + len(resources)) + resources
    Image.fromarray(photograph(24, 32)).save(tmp_path / "a.jpg", extra=segment, xmp=XMP, exif=camera_exif())
    still = stills.read(tmp_path / "a.jpg")
    stills.write(tmp_path / "b.jpg", still)
    stills.write(tmp_path / "c.webp", still)
    stills.write(tmp_path / "d.jpg", replace(still, metadata=replace(still.metadata, iptc=bytes(70_000))))
    with Image.open(tmp_path / "b.jpg") as picture:
        assert picture.info["photoshop"] == {0x0404: iptc}
        assert b"somebody" in picture.info["xmp"] and picture.getexif()[ExifTags.Base.Make] == "Maker"
    with Image.open(tmp_path / "d.jpg") as picture:
        assert "photoshop" not in picture.info


@pytest.mark.parametrize("packed", [False, True])
def test_long_texts_of_a_png_are_kept(tmp_path: Path, packed: bool) -> None:
    """Programs that generate images keep their whole workflow in one; Pillow allows 1 MB."""
    workflow = '{"nodes": "' + "ab" * (3 << 19) + '"}'
    texts = PngInfo()
    texts.add_text("workflow", workflow, zip=packed)
    Image.fromarray(photograph(16, 24)).save(tmp_path / "a.png", pnginfo=texts)
    still = stills.read(tmp_path / "a.png", tolerant=True)
    assert still.damage == ""
    stills.write(tmp_path / "b.png", still)
    stored = dict(png_chunks.read(tmp_path / "b.png"))
    data = stored[b"zTXt" if packed else b"tEXt"].removeprefix(b"workflow\0")
    assert (zlib.decompress(data[1:]) if packed else data) == workflow.encode()


def test_large_profiles_of_a_png_are_kept(tmp_path: Path) -> None:
    profile = exchanged() + bytes(2 << 20)
    Image.fromarray(photograph(16, 24)).save(tmp_path / "a.png", icc_profile=profile)
    still = stills.read(tmp_path / "a.png", tolerant=True)
    assert (still.damage, still.metadata.profile) == ("", profile)
