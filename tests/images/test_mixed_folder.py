"""A folder of 500 images of every kind, 20 of them bad."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from support import phone_files
from support.command import files_below, run
from support.networks import Nearest
from support.pictures import photograph

from upscaler.images import stills
from upscaler.models import registry, weight_file

RGB = photograph(24, 32)
LOSSLESS = (".bmp", ".png", ".tif")


def save(path: Path, number: int) -> None:
    """One of 24 kinds."""
    image = Image.fromarray(np.roll(RGB, number, axis=1))
    deep: Any = np.asarray(image).astype(np.uint16) * 257
    alpha = Image.fromarray(RGB[:, :, 0])
    kinds: list[tuple[str, Any]] = [
        *((suffix, image) for suffix in (".jpg", ".png", ".tif", ".webp", ".bmp", ".gif", ".avif")),
        *((suffix, image.convert("L")) for suffix in (".jpg", ".png", ".tif", ".bmp", ".gif")),
        *(
            (suffix, Image.merge("RGBA", (*image.split(), alpha)))
            for suffix in (".png", ".tif", ".webp", ".avif")
        ),
        *((suffix, image.convert("P")) for suffix in (".png", ".tif", ".gif")),
        (".jpg", image.convert("CMYK")),
        (".tif", deep),
        (".tif", deep[:, :, 0].astype(np.float32) / 7),
        (".jpg", phone_files.ultra_hdr()),
        (".png", image.convert("1")),
    ]
    suffix, content = kinds[number % len(kinds)]
    path = path.with_name(f"{path.name}{suffix}")
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, Image.Image):
        content.save(path)
    else:
        tifffile.imwrite(path, content, photometric="rgb" if content.ndim == 3 else "minisblack")


def spoil(path: Path, number: int) -> None:
    """Empty, text, cut in its header, or without its header."""
    content = path.read_bytes()
    path.write_bytes([b"", b"not an image", content[:20], bytes(40) + content[40:]][number % 4])


@pytest.mark.slow
def test_500_files_of_which_20_are_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.NETWORKS, "nearest", Nearest)
    network = Nearest(scale=2)
    weight_file.save(tmp_path / "nearest.safetensors", network, network.state_dict(), {})
    for number in range(500):
        (tmp_path / f"p/{number % 5}").mkdir(parents=True, exist_ok=True)
        save(tmp_path / f"p/{number % 5}/{number:03}", number)
    sources = sorted((tmp_path / "p").rglob("*.*"))
    bad = sources[::25]
    for number, path in enumerate(bad):
        spoil(path, number)
    said = run(tmp_path / "p", "--model", tmp_path / "nearest.safetensors", "--precision", "fp32", code=1)
    errors = re.findall(r"^error: (.*)$", said, re.MULTILINE)
    assert len(sources) == 500 and len(bad) == len(errors) == 20
    assert all(any(f"'{path}'" in line for line in errors) for path in bad)
    assert "480 of 500 files" in said and "; 20 failed" in said and "Traceback" not in said
    good = [path for path in sources if path not in bad]
    assert files_below(tmp_path / "p_x2") == sorted(str(path.relative_to(tmp_path / "p")) for path in good)
    for path in good:
        before, after = stills.read(path), stills.read(tmp_path / "p_x2" / path.relative_to(tmp_path / "p"))
        expected = before.pixels.repeat(2, 0).repeat(2, 1).astype(float)
        visible = (
            np.ones(expected.shape[:2], bool)
            if before.alpha is None
            else before.alpha.repeat(2, 0).repeat(2, 1) > 0
        )
        off = np.abs(after.pixels - expected)[visible]
        assert off.max() <= 1 if path.suffix in LOSSLESS else off.mean() < 12, path
        assert (after.alpha is None) == (before.alpha is None)
