"""Weights of ours in other programs: the same pictures, through spandrel and onnxruntime."""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from spandrel import MAIN_REGISTRY
from support.community import save_pth, state_of
from support.makers import Configure
from support.pictures import photograph
from support.training import silent
from torch import nn
from typer.testing import CliRunner

from upscaler import Upscaler
from upscaler.errors import UsageError, WeightsError
from upscaler.models import find_weights, onnx_file, spandrel_file, weight_file
from upscaler.models.as_srvgg import as_srvgg
from upscaler.models.contract import Network
from upscaler.models.registry import NETWORKS, PRESETS, build
from upscaler.models.srvgg_state import from_real_esrgan, to_real_esrgan
from upscaler.trainer.cli import app
from upscaler.trainer.export import export
from upscaler.trainer.loops import train

SMALL = {
    "compact": {"channels": 6, "depth": 2},
    "srresnet": {"channels": 6, "blocks": 2},
    "srcnn": {"channels": 6},
    "srvgg": {"channels": 6, "depth": 2},
}
EXPORTED = ["fast", "restore", "srresnet", "srresnet-paper", "srcnn", "srvgg-64x16"]
SIZES = [(1, 1), (1, 7), (2, 2), (9, 13)]


def random_network(architecture: str, scale: int, **arguments: object) -> Network:
    network = build(architecture, SMALL[architecture] | arguments | {"scale": scale}).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.requires_grad_(False)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("architecture", ["compact", "srresnet", "srvgg"])
def test_spandrel_makes_the_same_picture(tmp_path: Path, architecture: str, scale: int) -> None:
    """To the borders, where enlargement and convolutions see different things."""
    network = random_network(architecture, scale)
    path = tmp_path / "w.safetensors"
    spandrel_file.save(path, network)
    loaded = MAIN_REGISTRY.load(load_file(path))
    assert (loaded.architecture.id, loaded.scale) == ("Compact", scale)
    for height, width in SIZES:
        lr = torch.rand(1, 3, height, width)
        expected = network(lr)
        made = loaded._call_fn(loaded.model.eval(), lr).detach()
        assert torch.allclose(made, expected, atol=2e-6 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("file_format", ["spandrel", "onnx"])
def test_other_programs_have_no_networks_for_films(tmp_path: Path, file_format: str) -> None:
    network = build("film", {"scale": 2, "channels": 6, "depth": 1})
    weight_file.save(tmp_path / "film.safetensors", network, network.state_dict(), {})
    with pytest.raises(WeightsError, match="sees neighbouring frames"):
        export(file_format, str(tmp_path / "film.safetensors"))


@pytest.mark.parametrize("name", ["fast-x2", "fast-x4"])
def test_shipped_weights_as_compact_give_the_picture_of_upscale(tmp_path: Path, name: str) -> None:
    export("spandrel", name, tmp_path / "w.pth")
    pixels = photograph(40, 52)
    theirs, ours = (
        Upscaler(model, device="cpu", precision="fp32").image(pixels).astype(int)
        for model in (tmp_path / "w.pth", name)
    )
    assert np.abs(theirs - ours).max() <= 1
    assert (theirs != ours).mean() < 0.001


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("compact", {"gate_px": 33}),
        ("srresnet", {"tail": "paper"}),
        ("srresnet", {"norm": "batch"}),
        ("srcnn", {}),
    ],
)
def test_what_compact_cannot_express_is_said(architecture: str, arguments: dict[str, object]) -> None:
    with pytest.raises(WeightsError, match=r"cannot express .* \(use --export onnx\)"):
        as_srvgg(random_network(architecture, 2, **arguments))


def test_every_network_is_among_those_that_are_exported() -> None:
    assert {PRESETS[preset][0] for preset in EXPORTED} == set(NETWORKS) - {"film"}


@pytest.mark.parametrize("preset", EXPORTED)
def test_onnxruntime_makes_the_same_picture(tmp_path: Path, preset: str) -> None:
    architecture, arguments = PRESETS[preset]
    for scale in (1, 3) if preset in ("restore", "srcnn") else (2,):
        network = random_network(architecture, scale, **(arguments | SMALL[architecture]))
        path = tmp_path / "w.onnx"
        onnx_file.save(path, network, {"architecture": architecture})
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for frames, height, width in ((1, 16, 20), (2, 9, 31)):
            lr = torch.rand(frames, 3, height, width)
            expected = network(lr)
            (sr,) = session.run(None, {"lr": lr.numpy()})
            assert np.allclose(sr, expected, atol=5e-6 * float(expected.abs().max()), rtol=0)
        facts = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
        assert (facts["scale"], facts["architecture"]) == (str(scale), architecture)


def test_names_are_exported_as_upscale_runs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["--export", "onnx", "real-fast"])
    assert result.stdout.startswith("wrote real-fast-x4.onnx (ONNX, x4")
    session = onnxruntime.InferenceSession(tmp_path / "real-fast-x4.onnx")
    pixels = photograph(20, 24)
    lr = pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255
    (sr,) = session.run(None, {"lr": lr})
    blended = Upscaler("real-fast", device="cpu", precision="fp32").image(pixels)
    assert np.abs((sr[0].transpose(1, 2, 0).clip(0, 1) * 255).round() - blended).max() <= 1
    assert "wrote fast-x2.pth (Compact 53x5, x2, 2.6" in (
        CliRunner().invoke(app, ["--export", "spandrel", "fast", "--scale", "2"]).stdout
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--export", "tensorflow", "fast"], "must be spandrel or onnx"),
        (["--export", "onnx"], "takes one weight file or name"),
        (["--export", "onnx", "fast", "--steps", "3"], "no option but -o and --scale"),
        (["--export", "onnx", "fast", "--scale", "7"], "no network of scale 7"),
        (["--export", "onnx", "fast", "-o", "w.pth"], "use .onnx"),
        (["--export", "onnx", "fast", "-o", "gone/w.onnx"], "no folder 'gone'"),
        (["--export", "onnx", "fast", "-o", "there.onnx"], "already exists"),
        (["--export", "onnx", "theirs.pth"], "is a model of another project"),
        (["--export", "spandrel", "restore"], "cannot express its gate"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.onnx").touch()
    save_pth(tmp_path / "theirs.pth", "Compact")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs.pth", "there.onnx"]


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UsageError, match=r"needs the package onnx \(pip install 'upscaler\[export\]'\)"):
        export("onnx", "fast", tmp_path / "w.onnx")


def test_a_foreign_compact_is_the_same_network_here() -> None:
    state = state_of("Compact")
    file = from_real_esrgan(state)
    assert file is not None
    network = file.network()
    back = to_real_esrgan(network)
    assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)
    lr = torch.rand(1, 3, 7, 9)
    theirs = MAIN_REGISTRY.load(dict(state))
    assert torch.allclose(network(lr), theirs._call_fn(theirs.model.eval(), lr), atol=1e-6)
    del state["body.8.bias"]
    assert from_real_esrgan(state) is None
    assert from_real_esrgan(state_of("RRDB")) is None


def test_training_starts_from_a_foreign_compact_and_returns_to_it(
    tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "srvgg-24x8", ("srvgg", {"channels": 8, "depth": 3}))  # as the file's
    start = save_pth(tmp_path / "theirs.pth", "Compact")
    outcome = train(
        configure(network="srvgg-24x8", start_from=str(start), stages="1", steps=1, learning_rate=1e-9),
        silent,
    )
    trained = weight_file.load(outcome.weights[0]).network()
    for name, tensor in to_real_esrgan(trained).items():
        assert torch.allclose(tensor, state_of("Compact")[name], atol=2e-3)
    export("spandrel", str(outcome.weights[0]), tmp_path / "back.pth")
    assert find_weights.weight_files(tmp_path / "back.pth") == {2: tmp_path / "back.pth"}
    with pytest.raises(WeightsError, match="is a ESRGAN model, which upscale-train cannot train"):
        train(configure("other", start_from=str(save_pth(tmp_path / "rrdb.pth", "RRDB")), steps=1), silent)
