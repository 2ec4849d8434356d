"""Properties of the reader: images of any size and kind, intact and damaged in any way."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from upscaler.errors import UpscalerError
from upscaler.images import animation, losses, stills
from upscaler.images.formats import FORMATS

MODES = {
    ".avif": ["RGB", "RGBA"],
    ".bmp": ["1", "L", "P", "RGB"],
    ".gif": ["1", "L", "P", "RGB"],
    ".jpg": ["L", "RGB", "CMYK"],
    ".png": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    ".tif": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"],
    ".webp": ["RGB", "RGBA"],
}
LOSSLESS = {(".webp", "lossless"), *((suffix, "") for suffix in (".bmp", ".png", ".tif"))}
TIFF_COMPRESSIONS = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]
# Few and always the same, so that the check is quick and repeatable; many and random if asked for.
FEW = settings(max_examples=40, deadline=None, derandomize=True, database=None)
MANY = settings(max_examples=3000, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def encoded(draw: st.DrawFn) -> tuple[str, str, Image.Image, bytes]:
    """Suffix, "lossless" or nothing, an image of random pixels, and its file."""
    suffix = draw(st.sampled_from(sorted(MODES)))
    mode = draw(st.sampled_from(MODES[suffix]))
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 9)))
    codes: Any = random.integers(0, 256, (height, width, 4)).astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(codes.view(np.uint16)[:, :, 0].copy())
    elif mode == "F":
        image = Image.fromarray((codes[:, :, 0] / 255).astype(np.float32))
    else:
        alpha = Image.fromarray(codes[:, :, 3].copy())
        image = Image.fromarray(codes[:, :, :3].copy()).convert(mode[:-1] if mode in ("LA", "RGBA") else mode)
        if mode in ("LA", "RGBA"):
            image.putalpha(alpha)
    options: dict[str, Any] = {}
    kind = ""
    if suffix == ".webp" and draw(st.booleans()):
        options, kind = {"lossless": True, "exact": True}, "lossless"
    elif suffix == ".tif" and mode != "1":
        options = {"compression": draw(st.sampled_from(TIFF_COMPRESSIONS))}
    output = io.BytesIO()
    [name] = [row.name for row in FORMATS if suffix in row.suffixes]
    image.save(output, name, **options)
    return suffix, kind, image, output.getvalue()


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """Suffix and content of a file that is cut, overwritten, or has bytes removed or added."""
    suffix, _, _, content = draw(encoded())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        what = draw(st.sampled_from(["cut", "overwrite", "remove", "insert"]))
        some = draw(st.binary(min_size=1, max_size=12))
        if what == "cut":
            content = content[:at]
        elif what == "insert":
            content = content[:at] + some + content[at:]
        else:
            content = content[:at] + (some if what == "overwrite" else b"") + content[at + len(some) :]
    return suffix, content


def intact_is_right(folder: Path, drawn: tuple[str, str, Image.Image, bytes]) -> None:
    suffix, kind, image, content = drawn
    path = folder / f"a{suffix}"
    path.write_bytes(content)
    still = stills.read(path)
    assert still.pixels.shape == (image.height, image.width, 3) and not still.damage
    assert (still.alpha is not None) == (image.mode in ("LA", "RGBA"))
    if (suffix, kind) not in LOSSLESS or image.mode == "CMYK":
        return
    if image.mode in ("I;16", "F"):
        white = 65_535 if image.mode == "F" else 1
        assert np.abs(still.pixels[:, :, 0] - np.asarray(image) * float(white)).max() <= 0.51
    else:
        rgba = np.asarray(image.convert("RGBA"))
        assert np.array_equal(still.pixels, rgba[:, :, :3])
        assert still.alpha is None or np.array_equal(still.alpha, rgba[:, :, 3])
        assert still.gray == (image.mode in ("1", "L", "LA") and suffix != ".webp")


def damaged_is_read_or_refused(folder: Path, drawn: tuple[str, bytes]) -> None:
    """And what is read can be written."""
    suffix, content = drawn
    path = folder / f"a{suffix}"
    path.write_bytes(content)
    try:
        if animation.is_animated(path):
            with animation.opened(path) as moving:
                list(moving.frames())
            return
        still = stills.read(path, tolerant=True)
        if still.pixels.size > 1 << 22:  # damage of the size: right, but slow
            return
        for row in FORMATS:
            losses.describe_still(still, row)
        stills.write(folder / f"b{suffix}", still)
    except UpscalerError as error:
        assert str(path) in str(error) and "\n" not in str(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@given(encoded())
@FEW
def test_an_intact_image_is_read_rightly(folder: Path, drawn: tuple[str, str, Image.Image, bytes]) -> None:
    intact_is_right(folder, drawn)


@given(damaged())
@FEW
def test_a_damaged_image_is_read_or_refused_in_one_line(folder: Path, drawn: tuple[str, bytes]) -> None:
    damaged_is_read_or_refused(folder, drawn)


@pytest.mark.slow
@given(encoded())
@MANY
def test_many_intact_images(folder: Path, drawn: tuple[str, str, Image.Image, bytes]) -> None:
    intact_is_right(folder, drawn)


@pytest.mark.slow
@given(damaged())
@MANY
def test_many_damaged_images(folder: Path, drawn: tuple[str, bytes]) -> None:
    damaged_is_read_or_refused(folder, drawn)
