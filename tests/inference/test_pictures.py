"""``Upscaler.image`` gives back what it was given: an array, a Pillow image or a tensor."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.networks import weights
from support.pictures import photograph

from upscaler import Upscaler
from upscaler.errors import UsageError
from upscaler.pixels import as_codes, as_floats


@pytest.fixture
def upscaler(tmp_path: Path) -> Upscaler:
    return Upscaler(weights(tmp_path / "w.safetensors"), precision="fp32")


def test_an_rgb_image_of_pillow(upscaler: Upscaler) -> None:
    pixels = photograph(20, 24)
    given = Image.fromarray(pixels)
    given.info["icc_profile"] = b"profile"
    upscaled = upscaler.image(given)
    assert isinstance(upscaled, Image.Image)
    assert (upscaled.mode, upscaled.size) == ("RGB", (48, 40))
    assert np.array_equal(np.asarray(upscaled), upscaler.image(pixels))
    assert upscaled.info == {"icc_profile": b"profile"}
    assert np.array_equal(np.asarray(given), pixels)


def test_an_image_that_pillow_has_only_opened(upscaler: Upscaler, tmp_path: Path) -> None:
    pixels = photograph(20, 24)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as given:
        upscaled = upscaler.image(given)
    assert np.array_equal(np.asarray(upscaled), upscaler.image(pixels))


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_a_gray_image_of_pillow(upscaler: Upscaler, mode: str) -> None:
    gray = photograph(20, 24)[:, :, 1]
    samples: Any = gray if mode == "L" else gray.astype(np.uint16) * 257
    upscaled = upscaler.image(Image.fromarray(samples))
    assert (upscaled.mode, upscaled.size) == (mode, (48, 40))
    rgb = upscaler.image(np.repeat(samples[:, :, None], 3, axis=2)).astype(float)
    assert np.abs(np.asarray(upscaled) - rgb.mean(axis=2)).max() <= 0.51


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_image_of_pillow_with_alpha(upscaler: Upscaler, mode: str) -> None:
    alpha = np.zeros((20, 24), np.uint8)
    alpha[:, 12:] = 255
    given = Image.fromarray(photograph(20, 24)).convert(mode)
    given.putalpha(Image.fromarray(alpha))
    upscaled = upscaler.image(given)
    assert (upscaled.mode, upscaled.size) == (mode, (48, 40))
    upscaled_alpha = np.asarray(upscaled.getchannel("A"))
    assert (upscaled_alpha[:, :20] == 0).all()
    assert (upscaled_alpha[:, 28:] == 255).all()


def test_hidden_colours_of_pillow_do_not_bleed_into_visible_ones(upscaler: Upscaler) -> None:
    pixels = np.full((20, 24, 4), (200, 100, 50, 255), np.uint8)
    pixels[:, :12] = 0
    even = upscaler.image(np.full((20, 24, 3), (200, 100, 50), np.uint8))
    upscaled = np.asarray(upscaler.image(Image.fromarray(pixels)))
    assert np.array_equal(upscaled[:, :, :3], even)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_float_tensor(upscaler: Upscaler, dtype: torch.dtype) -> None:
    pixels = photograph(20, 24)
    given = as_floats(torch.from_numpy(pixels)).permute(2, 0, 1).to(dtype)
    upscaled = upscaler.image(given)
    assert (upscaled.dtype, upscaled.shape) == (dtype, (3, 40, 48))
    assert upscaled.min() >= 0 and upscaled.max() <= 1
    if dtype in (torch.float32, torch.float64):
        codes = as_codes(upscaled.float(), torch.uint8).permute(1, 2, 0).numpy()
        assert np.abs(codes.astype(int) - upscaler.image(pixels).astype(int)).max() <= 1


def test_an_upscaled_tensor_can_be_used_in_training(upscaler: Upscaler) -> None:
    target = upscaler.image(torch.rand(3, 20, 24))
    weight = torch.ones(1, requires_grad=True)
    (weight * target).sum().backward()  # torch refuses that for tensors made in inference mode
    assert weight.grad is not None


def test_a_tensor_that_requires_a_gradient_is_upscaled(upscaler: Upscaler) -> None:
    given = torch.rand(3, 20, 24)
    expected = upscaler.image(given)
    assert torch.equal(upscaler.image(given.requires_grad_()), expected)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (torch.zeros(20, 24, 3, dtype=torch.uint8), r"of shape \(20, 24, 3\) and uint8 .*in \[0, 1\]"),
        (torch.zeros(3, 20, 24, dtype=torch.uint8), "and uint8 is not an image"),
        (torch.zeros(1, 3, 20, 24), r"of shape \(1, 3, 20, 24\)"),
        (torch.zeros(3, 0, 24), r"of shape \(3, 0, 24\)"),
        (torch.full((3, 8, 8), 200.0), r"values from 200 to 200 .* are not in \[0, 1\].*divide"),
        (torch.full((3, 8, 8), torch.nan), "values from nan to nan"),
        (Image.new("CMYK", (8, 8)), r"mode CMYK is not supported.*convert\('RGB'\)"),
        (Image.new("F", (8, 8)), r"mode F .*as an array"),
        (Image.new("PA", (8, 8)), r"mode PA is not supported.*convert\('RGBA'\)"),
        (Image.new("RGB", (0, 8)), "is empty"),
        ([[1, 2]], "a list is not an array"),
    ],
)
def test_non_images_are_rejected_in_one_line(
    upscaler: Upscaler,
    picture: Any,  # noqa: ANN401
    message: str,
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        upscaler.image(picture)
    assert "\n" not in str(caught.value)


def test_a_transparent_colour_is_not_lost(upscaler: Upscaler) -> None:
    given = Image.new("RGB", (8, 8))
    given.info["transparency"] = (0, 0, 0)
    with pytest.raises(UsageError, match=r"one transparent colour.*convert\('RGBA'\)"):
        upscaler.image(given)


def test_frames_takes_arrays_only(upscaler: Upscaler) -> None:
    picture: Any = Image.new("RGB", (8, 8))
    with pytest.raises(UsageError, match="an Image is not an array"):
        next(upscaler.frames([picture]))
