import json
import resource
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from upscaler.errors import WeightsError
from upscaler.models import transfer, weight_file
from upscaler.models.contract import Network
from upscaler.models.registry import build


def small(scale: int = 4, **arguments: object) -> Network:
    return build("compact", {"scale": scale, "channels": 8, "depth": 2} | arguments)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good weight file."""
    network = small()
    torch.nn.init.normal_(network.get_parameter("tail.weight"))
    target = tmp_path / "weights.safetensors"
    weight_file.save(target, network, network.state_dict(), {"steps": 7, "photos": ["faces"]})
    return target


def rewrite(path: Path, **metadata: str | None) -> None:
    """Change entries of the metadata; None removes one."""
    network = small()
    known = {
        "format": "upscaler-1",
        "architecture": "compact",
        "arguments": json.dumps(network.arguments),
        "training": "{}",
    }
    changed = {key: value for key, value in (known | metadata).items() if value is not None}
    save_file(network.state_dict(), path, changed)


def test_round_trip(tmp_path: Path) -> None:
    network = small()
    state = {name: torch.randn_like(tensor) for name, tensor in network.state_dict().items()}
    target = tmp_path / "w.safetensors"
    weight_file.save(target, network, state, {"steps": 7})
    file = weight_file.load(target)
    assert (file.architecture, file.scale, file.training) == ("compact", 4, {"steps": 7})
    assert file.arguments == network.arguments
    loaded = file.network()
    assert not loaded.training
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[name].half().float())


def test_channels_last_weights_and_counters_survive(tmp_path: Path) -> None:
    network = build("srresnet", {"scale": 2, "channels": 4, "blocks": 1, "norm": "batch"})
    network.to(memory_format=torch.channels_last)
    network(torch.rand(2, 3, 6, 6))  # moves the running statistics and their counter
    weight_file.save(tmp_path / "w.safetensors", network, network.state_dict(), {})
    loaded = weight_file.load(tmp_path / "w.safetensors").network().state_dict()
    for name, tensor in network.state_dict().items():
        expected = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(loaded[name], expected)
    assert any("num_batches_tracked" in name and int(tensor) == 1 for name, tensor in loaded.items())


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weight file '.*nothing\.safetensors'"):
        weight_file.load(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_file(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="is not a safetensors file"):
        weight_file.load(path)


def test_an_image_is_rejected_as_a_weight_file(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    with pytest.raises(WeightsError, match="is not a safetensors file"):
        weight_file.load(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": None, "architecture": None}, "does not say of which network"),
        ({"format": None}, "does not say of which network"),
        ({"format": "upscaler-2"}, "newer upscaler"),
        ({"architecture": "edsr"}, "of network 'edsr'.*known are compact"),
        ({"architecture": None}, "damaged metadata"),
        ({"arguments": None}, "damaged metadata"),
        ({"arguments": "{"}, "damaged metadata"),
        ({"arguments": "[4]"}, "damaged metadata"),
        ({"arguments": "{}"}, "damaged metadata"),
        ({"arguments": '{"scale": 40}'}, "is of scale 40"),
        ({"arguments": '{"scale": 2.0}'}, r"is of scale 2\.0"),
        ({"arguments": "[" * 100_000}, "damaged metadata"),
        ({"training": "7"}, "damaged metadata"),
    ],
)
def test_metadata_that_cannot_be_used(path: Path, metadata: dict[str, str | None], message: str) -> None:
    rewrite(path, **metadata)
    with pytest.raises(WeightsError, match=message):
        weight_file.load(path)


def test_a_weight_file_rewritten_unchanged_can_be_read(path: Path) -> None:
    """Otherwise the errors above could have another cause."""
    rewrite(path)
    assert weight_file.load(path).network().contract.scale == 4


@pytest.mark.parametrize(
    "arguments", [{"scale": 4, "channels": 16, "depth": 2}, {"scale": 2, "channels": 8, "depth": 2}]
)
def test_weights_of_another_shape(path: Path, arguments: dict[str, int]) -> None:
    rewrite(path, arguments=json.dumps(arguments))
    with pytest.raises(WeightsError, match="do not fit network 'compact'"):
        weight_file.load(path).network()


def test_a_file_does_not_decide_how_much_memory_is_taken(path: Path) -> None:
    """Metadata of a few bytes that describe weights of 9.7 GB."""
    rewrite(path, arguments=json.dumps({"scale": 4, "channels": 1024, "depth": 256}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match=rf"weights of '{path}' do not fit network 'compact':"):
        weight_file.load(path).network()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_arguments_out_of_range_name_the_file(path: Path) -> None:
    rewrite(path, arguments=json.dumps({"scale": 4, "depth": 999}))
    with pytest.raises(WeightsError, match=rf"metadata of '{path}' are wrong: .* depth 999"):
        weight_file.load(path).network()


def test_failing_write_keeps_the_old_file(path: Path) -> None:
    """The limit on the size of files acts like a full disk: the write begins and then fails."""
    before = path.read_bytes()
    large = build("compact", {"scale": 4, "channels": 64, "depth": 4})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(WeightsError, match="cannot write"):
            weight_file.save(path, large, large.state_dict(), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_values_beyond_fp16_are_not_written(path: Path, value: float) -> None:
    before = path.read_bytes()
    network = small()
    torch.nn.init.constant_(network.get_parameter("head.bias"), value)
    with pytest.raises(WeightsError, match=r"head\.bias is not finite"):
        weight_file.save(path, network, network.state_dict(), {})
    assert path.read_bytes() == before


@pytest.mark.parametrize("scale", [1, 3, 8])
def test_transfer_to_another_scale_copies_the_body(path: Path, scale: int) -> None:
    source, target = weight_file.load(path), small(scale=scale)
    fresh = transfer.transfer_body(source, target)
    assert fresh == ["tail.bias", "tail.weight"]
    state = target.state_dict()
    for name, tensor in source.state.items():
        if not name.startswith("tail."):
            assert torch.equal(state[name], tensor.float())
    assert not state["tail.weight"].any()


@pytest.mark.parametrize("name", ["compact", "srresnet", "srvgg"])
@pytest.mark.parametrize(("of", "to"), [(4, 2), (8, 2), (8, 4)])
def test_transfer_to_half_the_scale_averages_squares_of_pixels(
    tmp_path: Path, name: str, of: int, to: int
) -> None:
    sizes = {"channels": 8, "blocks" if name == "srresnet" else "depth": 2}
    source, target = (build(name, {"scale": scale, **sizes}) for scale in (of, to))
    torch.nn.init.normal_(source.get_parameter("tail.weight"), std=0.1)
    torch.nn.init.normal_(source.get_parameter("tail.bias"), std=0.1)
    weight_file.save(tmp_path / "of.safetensors", source, source.state_dict(), {})
    file = weight_file.load(tmp_path / "of.safetensors")
    assert transfer.transfer_body(file, target) == []
    lr = torch.rand(1, 3, 7, 5)
    with torch.inference_mode():
        expected = F.avg_pool2d(file.network()(lr), of // to)
        assert torch.allclose(target(lr), expected, atol=1e-5)


def test_transfer_to_the_same_scale_copies_everything(path: Path) -> None:
    source, target = weight_file.load(path), small()
    assert transfer.transfer_body(source, target) == []
    assert torch.equal(target.state_dict()["tail.weight"], source.state["tail.weight"].float())


def test_transfer_to_a_network_with_a_gate_leaves_the_gate_new(path: Path) -> None:
    target = small(scale=1, gate_px=5)
    expected = {name: value.clone() for name, value in target.state_dict().items() if "gate." in name}
    assert set(transfer.transfer_body(weight_file.load(path), target)) >= {"gate.bias", "gate.weight"}
    assert all(torch.equal(target.state_dict()[name], value) for name, value in expected.items())


@pytest.mark.parametrize("arguments", [{"channels": 16}, {"depth": 3}, {"depth": 1}])
def test_transfer_from_another_body_is_rejected(path: Path, arguments: dict[str, int]) -> None:
    target = small(**arguments)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(WeightsError, match="another width, depth or kind"):
        transfer.transfer_body(weight_file.load(path), target)
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_transfer_between_architectures_is_rejected(path: Path) -> None:
    with pytest.raises(WeightsError, match="'compact' cannot start"):
        transfer.transfer_body(weight_file.load(path), build("srresnet", {"scale": 4, "blocks": 1}))
