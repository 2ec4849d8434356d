"""LPIPS with random weights against a plain reckoning, and with real ones where they are."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from safetensors.torch import save_file
from support.pictures import photograph
from torch import Tensor
from torchvision import models
from typer.testing import CliRunner

from upscaler.errors import WeightsError
from upscaler.trainer.eval_cli import app
from upscaler.trainer.evaluation.lpips import Lpips, Net

CPU = torch.device("cpu")
NAMES: dict[Net, str] = {"squeeze": "squeezenet1_1", "alex": "alexnet", "vgg": "vgg16"}
CHANNELS: dict[Net, list[int]] = {
    "squeeze": [64, 128, 256, 384, 384, 512, 512],
    "alex": [64, 192, 384, 256, 256],
    "vgg": [64, 128, 256, 512, 512],
}
# The layers after which the reference implementation compares, as their activations: relu1, fire2, ...
LAST: dict[Net, list[int]] = {
    "squeeze": [1, 4, 7, 9, 10, 11, 12],
    "alex": [1, 4, 7, 9, 11],
    "vgg": [3, 8, 15, 22, 29],
}


def trunk_of(net: Net) -> torch.nn.Sequential:
    with torch.device("meta"):
        features: torch.nn.Sequential = models.get_model(NAMES[net]).features
    features = features.to_empty(device="cpu")
    for parameter in features.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return features.eval()


def heads_of(net: Net) -> dict[str, Tensor]:
    return {
        f"lin{index}.model.1.weight": torch.rand(1, channels, 1, 1)
        for index, channels in enumerate(CHANNELS[net])
    }


def files(
    folder: Path, net: Net, prefix: str = ""
) -> tuple[torch.nn.Sequential, dict[str, Tensor], Path, Path]:
    trunk, heads = trunk_of(net), heads_of(net)
    paths = folder / "trunk.safetensors", folder / "heads.safetensors"
    save_file({f"features.{name}": tensor for name, tensor in trunk.state_dict().items()}, paths[0])
    save_file({f"{prefix}{name}": tensor for name, tensor in heads.items()}, paths[1])
    return trunk, heads, *paths


def blurred(pixels: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


@pytest.mark.parametrize("net", ["squeeze", "alex", "vgg"])
def test_against_a_plain_implementation(tmp_path: Path, net: Net) -> None:
    trunk, heads, trunk_file, heads_file = files(tmp_path, net, prefix=f"{net}.")
    one, other = photograph(64, 72), blurred(photograph(64, 72), 1.5)
    expected = 0.0
    inputs = []
    for pixels in (one, other):
        scaled = torch.tensor(pixels).permute(2, 0, 1).double() / 255 * 2 - 1
        for channel, (mean, deviation) in enumerate(((-0.030, 0.458), (-0.088, 0.448), (-0.188, 0.450))):
            scaled[channel] = (scaled[channel] - mean) / deviation
        inputs.append(scaled[None])
    trunk = trunk.double()
    with torch.inference_mode():
        for index, last in enumerate(LAST[net]):
            first, second = (trunk[: last + 1](each)[0] for each in inputs)
            first, second = (each / (each.norm(dim=0) + 1e-10) for each in (first, second))
            weights = heads[f"lin{index}.model.1.weight"][0].double()
            expected += float((weights * (first - second) ** 2).sum(0).mean())
    lpips = Lpips(net, trunk_file, heads_file, CPU)
    assert lpips.distance(one, other) == pytest.approx(expected, rel=1e-4)
    assert lpips.distance(other, one) == pytest.approx(expected, rel=1e-4)
    assert lpips.distance(one, one) == 0
    assert expected > 0.001


def test_heads_come_from_the_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for torchmetrics, which tests do not require: the files lie as in its wheel."""
    _, heads, trunk_file, heads_file = files(tmp_path, "squeeze")
    with_file = Lpips("squeeze", trunk_file, heads_file, CPU)
    package = tmp_path / "site" / "torchmetrics"
    (package / "functional" / "image" / "lpips_models").mkdir(parents=True)
    (package / "__init__.py").touch()
    torch.save(heads, package / "functional" / "image" / "lpips_models" / "squeeze.pth")
    monkeypatch.delitem(sys.modules, "torchmetrics", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "site")
    pictures = photograph(48, 48), photograph(48, 48, 1)
    packaged = Lpips("squeeze", trunk_file, None, CPU)
    assert packaged.distance(*pictures) == with_file.distance(*pictures)


def test_missing_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, trunk_file, heads_file = files(tmp_path, "squeeze")
    with pytest.raises(WeightsError, match="no file 'nowhere"):
        Lpips("squeeze", Path("nowhere.pth"), heads_file, CPU)
    with pytest.raises(WeightsError, match="does not hold torchvision's squeezenet1_1"):
        Lpips("squeeze", heads_file, heads_file, CPU)
    with pytest.raises(WeightsError, match="does not hold the linear layers of LPIPS squeeze"):
        Lpips("squeeze", trunk_file, trunk_file, CPU)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        Lpips("squeeze", trunk_file, tmp_path / "text.pth", CPU)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"install upscaler\[eval\], or give them by --lpips-heads"):
        Lpips("squeeze", trunk_file, None, CPU)

    def offline(*_: object, **more: object) -> torch.nn.Module:
        if more.get("weights"):
            raise OSError("planted: no network")
        return meant

    meant = models.squeezenet1_1()
    monkeypatch.setattr(models, "get_model", offline)
    with pytest.raises(WeightsError, match=r"cannot download squeezenet1_1: planted.*--lpips-trunk"):
        Lpips("squeeze", None, heads_file, CPU)


@pytest.mark.parametrize(("net", "other"), [("alex", "squeeze"), ("squeeze", "vgg"), ("alex", "vgg")])
def test_linear_layers_of_another_trunk(tmp_path: Path, net: Net, other: Net) -> None:
    for name in (net, other):
        (tmp_path / name).mkdir()
    _, _, trunk_file, _ = files(tmp_path / net, net)
    _, _, _, heads_file = files(tmp_path / other, other)
    with pytest.raises(WeightsError, match=rf"linear layers of LPIPS {net} .*'lin\d.* of \d+ channels"):
        Lpips(net, trunk_file, heads_file, CPU)


def test_command_measures_lpips(tmp_path: Path) -> None:
    _, _, trunk_file, heads_file = files(tmp_path, "squeeze")
    (tmp_path / "hr").mkdir()
    Image.fromarray(photograph(64, 64)).save(tmp_path / "hr" / "one.png")
    Image.fromarray(photograph(24, 64)).save(tmp_path / "hr" / "small.png")
    arguments = ["bicubic", str(tmp_path / "hr"), "--lpips", "squeeze", "--lpips-trunk", str(trunk_file)]
    result = CliRunner().invoke(app, [*arguments, "--lpips-heads", str(heads_file)])
    assert result.exit_code == 1
    assert "small.png' is too small" in result.stderr
    distance = float(result.stdout.splitlines()[0].split()[-1])
    assert 0 < distance < 10


@pytest.mark.parametrize("more", [["--lpips", "resnet"], ["--lpips-trunk", "x.pth"]])
def test_wrong_options_give_one_line(tmp_path: Path, more: list[str]) -> None:
    Image.fromarray(photograph(64, 64)).save(tmp_path / "one.png")
    result = CliRunner().invoke(app, ["bicubic", str(tmp_path), *more])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_published_weights_distinguish_blur_from_a_shift() -> None:
    """What LPIPS is for: a slight shift costs more PSNR than a blur does, but looks more alike."""
    data = os.environ.get("UPSCALER_TEST_DATA")
    weights = Path(data or "nowhere").parent / "weights"
    trunk, heads = weights / "squeezenet1_1.safetensors", weights / "lpips_lin_v0.1.safetensors"
    if not (trunk.is_file() and heads.is_file()):
        pytest.skip("needs the weights of LPIPS: set UPSCALER_TEST_DATA to the folder beside weights/")
    lpips = Lpips("squeeze", trunk, heads, CPU)
    picture = photograph(128, 128)
    sharp = blurred(picture, 0.5)
    blur, shift = blurred(picture, 2.5), np.roll(sharp, 1, axis=1)
    assert 0 < lpips.distance(shift, sharp) < lpips.distance(blur, sharp) < 1
