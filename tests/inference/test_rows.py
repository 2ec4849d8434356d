"""Pictures in rows of tiles: what comes out band by band is what comes out at once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.networks import Nearest, weights

from upscaler.inference.engine import Upscaler
from upscaler.models import registry, weight_file
from upscaler.pixels import Pixels


def in_rows(upscaler: Upscaler, pixels: Pixels, each: int = 7) -> Pixels:
    def bands() -> Iterator[Pixels]:
        return (pixels[start : start + each] for start in range(0, len(pixels), each))

    said: list[tuple[int, int]] = []
    result = list(
        upscaler.rows(bands, *pixels.shape[:2], on_progress=lambda done, total: said.append((done, total)))
    )
    assert not said or said[-1][0] == said[-1][1], "all tiles are counted"
    joined: Any = np.concatenate(result)
    return joined  # type: ignore[no-any-return]


def picture(height: int, width: int, dtype: type) -> Pixels:
    generator = np.random.default_rng(height)
    smooth = np.linspace(0, 1, height)[:, None, None] * np.linspace(0, 1, width)[None, :, None]
    values = (smooth + generator.uniform(-0.3, 0.3, (height, width, 3))).clip(0, 1)
    codes: Any = np.rint(values * np.iinfo(dtype).max).astype(dtype)
    return codes  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (np.uint8, {}),
        (np.uint16, {}),
        (np.uint8, {"tta": True}),
        (np.uint8, {"strength": 0.4}),
        (np.uint16, {"strength": 0.4}),
        (np.uint8, {"chain": True}),
        (np.uint8, {"tile_px": 30, "batch": 4}),
        (np.uint16, {"height": 5}),
    ],
    ids=str,
)
def test_rows_give_the_bits_of_the_whole(tmp_path: Path, dtype: type, options: dict[str, Any]) -> None:
    options = {"tile_px": 40, "precision": "fp32", **options}
    model: list[Path] = [weights(tmp_path / "w.safetensors", scale=2)]
    if options.pop("chain", False):
        model.append(weights(tmp_path / "v.safetensors", scale=3))
    pixels = picture(options.pop("height", 91), 57, dtype)
    upscaler = Upscaler(model, **options)
    assert upscaler.whole_only(upscaler.plan(*pixels.shape[:2])) == ""
    assert np.array_equal(in_rows(upscaler, pixels), upscaler.image(pixels))


@pytest.mark.parametrize(
    "options", [{"scale": 1.7}, {"scale": 2.9}, {"size_px": (30, 50)}, {"strength": 0.4}]
)
def test_a_factor_between_differs_by_one_code_at_most(tmp_path: Path, options: dict[str, Any]) -> None:
    if "strength" in options:
        options["scale"] = 1.3
    pixels = picture(131, 77, np.uint8)
    upscaler = Upscaler(weights(tmp_path / "w.safetensors", scale=2), tile_px=40, precision="fp32", **options)
    rows, whole = in_rows(upscaler, pixels), upscaler.image(pixels)
    assert rows.shape == whole.shape
    different = rows.astype(int) - whole
    assert abs(different).max() <= 1 and (different != 0).mean() < 1e-4


def test_a_network_that_needs_certain_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.NETWORKS, "nearest", Nearest)
    network = Nearest(scale=2, multiple_of=8)
    weight_file.save(tmp_path / "n.safetensors", network, network.state_dict(), {})
    pixels = picture(131, 77, np.uint8)
    upscaler = Upscaler(tmp_path / "n.safetensors", tile_px=40, precision="fp32")
    assert np.array_equal(in_rows(upscaler, pixels), pixels.repeat(2, 0).repeat(2, 1))


class Approximate(Nearest):
    """Its tiles are blended where they meet."""

    def __init__(self, **arguments: int) -> None:
        super().__init__(**arguments)
        self.contract = replace(self.contract, tiling="approximate", feather_px=4)


def test_blended_tiles_in_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.NETWORKS, "approximate", Approximate)
    network = Approximate(scale=2)
    weight_file.save(tmp_path / "a.safetensors", network, network.state_dict(), {})
    pixels = picture(91, 57, np.uint8)
    upscaler = Upscaler(tmp_path / "a.safetensors", tile_px=24, precision="fp32")
    said: list[str] = []
    with upscaler.messages_to(lambda message: said.append(message.text)):
        assert np.array_equal(in_rows(upscaler, pixels), pixels.repeat(2, 0).repeat(2, 1))
    assert "approximate the whole image" in said[0]


def test_rows_go_on_when_memory_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = picture(140, 120, np.uint8)
    upscaler = Upscaler(weights(tmp_path / "w.safetensors", scale=2), precision="fp32")
    expected = upscaler.image(pixels)
    (network,) = upscaler._networks.values()
    forward = network._forward

    def failing(lr: torch.Tensor, *others: object) -> torch.Tensor:
        if lr[:, 0].numel() > 60 * 60:
            raise MemoryError
        return forward(lr, *others)

    monkeypatch.setattr(network, "_forward", failing)
    rows = in_rows(upscaler, pixels)
    assert abs(rows.astype(int) - expected).max() <= 1


def test_what_needs_the_whole_picture_says_so(tmp_path: Path) -> None:
    upscaler = Upscaler(weights(tmp_path / "w.safetensors", scale=2), tileable=True)
    assert "--tileable" in upscaler.whole_only(upscaler.plan(20, 20))
