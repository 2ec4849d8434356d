"""Networks that give planes, against RGB out of the same network and the conversion of ``yuv.from_rgb``."""

import pytest
import torch
from support.pictures import photograph
from torch import Tensor, nn

from upscaler.models import shipped, weight_file
from upscaler.models.fold import fold_for_inference
from upscaler.models.plane_network import PlaneNetwork, can_give, products
from upscaler.models.registry import build
from upscaler.video.yuv import Layout, from_rgb, plane_output

NETWORKS = {
    "compact": ("compact", {"channels": 8, "depth": 2}),
    "gated": ("compact", {"channels": 8, "depth": 2, "gate_px": 3}),
    "srresnet": ("srresnet", {"channels": 8, "blocks": 1}),
}
SAMPLINGS = {"420": (2, 2), "422": (2, 1), "444": (1, 1), "440": (1, 2)}
LAYOUTS = [
    *(
        Layout(bits=bits, horizontal=columns, vertical=rows, siting=siting, matrix="bt2020")
        for bits in (8, 10)
        for columns, rows in SAMPLINGS.values()
        for siting in ("left", "center", "topleft")
    ),
    Layout(kind="gray", horizontal=1, vertical=1),
    Layout(kind="gbr", horizontal=1, vertical=1, full_range=True),
    Layout(bits=12, matrix="bt601", full_range=True),
]


def random_network(name: str, scale: int) -> nn.Module:
    """With detail that leaves [0, 1] in places, so that codes are clamped."""
    architecture, arguments = NETWORKS[name]
    network = build(architecture, arguments | {"scale": scale}).eval()
    nn.init.normal_(network.tail.weight, std=0.2)
    nn.init.normal_(network.tail.bias, std=0.1)
    return fold_for_inference(network)


def difference(one: list[Tensor], other: list[Tensor]) -> int:
    """The largest, in codes."""
    pairs = zip(one, other, strict=True)
    return max(int((a.to(torch.int32) - b.to(torch.int32)).abs().max()) for a, b in pairs)


@torch.no_grad()
def planes_of(
    network: nn.Module, layout: Layout, scale: int, lr: Tensor, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Planes straight out of a network, for the first frame; the network is changed."""
    output = plane_output(layout)
    packed = PlaneNetwork(network, output).to(dtype)(lr)
    assert packed.dtype == torch.float32 and packed.shape[-2:] == lr.shape[-2:]
    return [plane[0] for plane in output.unpack(output.as_codes(packed), scale)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_planes_are_those_of_the_rgb_path(layout: Layout) -> None:
    torch.manual_seed(3)
    for name, scale, size in (("compact", 2, (9, 7)), ("srresnet", 4, (1, 6)), ("gated", 2, (5, 1))):
        lr = torch.rand(2, 3, *size).contiguous(memory_format=torch.channels_last) * 1.2 - 0.1
        network = random_network(name, scale)
        with torch.no_grad():
            expected = from_rgb(network(lr)[0], layout)
        result = planes_of(network, layout, scale, lr)
        assert [plane.shape for plane in result] == [plane.shape for plane in expected]
        assert [plane.dtype for plane in result] == [plane.dtype for plane in expected]
        assert difference(result, expected) <= 1
        assert len(expected[0].unique()) > 5


def test_a_network_that_restores_gives_whole_chroma() -> None:
    layout = Layout(horizontal=1, vertical=1)
    lr = torch.rand(1, 3, 8, 8)
    network = random_network("gated", 1)
    with torch.no_grad():
        expected = from_rgb(network(lr)[0], layout)
    assert difference(planes_of(network, layout, 1, lr), expected) <= 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_no_further_from_single_than_the_rgb_path(dtype: torch.dtype) -> None:
    """On a photograph, with weights as training leaves them; 5 % is 0.2 dB."""
    layout, file = Layout(bits=12), weight_file.load(shipped.weight_files("fast-photo")[2])
    lr = torch.from_numpy(photograph(64, 64)).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        single, half = (
            from_rgb(file.inference_network().to(kind)(lr)[0], layout) for kind in (torch.float32, dtype)
        )
    direct = planes_of(file.inference_network(), layout, 2, lr, dtype)
    for exact, usual, folded in zip(single, half, direct, strict=True):
        assert 0 < mean_square(folded, exact) < 1.05 * mean_square(usual, exact)


def mean_square(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).square().mean())


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 3), (3, 3)])
def test_matrix_products_are_the_convolution(size: tuple[int, int]) -> None:
    pixels, kernel, bias = torch.rand(2, 5, 6, 7), torch.rand(4, 5, *size), torch.rand(4)
    expected = nn.functional.conv2d(pixels, kernel, bias)
    assert torch.allclose(products(pixels, kernel, bias), expected, atol=1e-5)
    assert torch.allclose(products(pixels, kernel), expected - bias.view(-1, 1, 1), atol=1e-5)


def test_what_cannot_be_folded() -> None:
    output = plane_output(Layout())
    paper = fold_for_inference(
        build("srresnet", {"scale": 2, "channels": 8, "blocks": 1, "tail": "paper"}).eval()
    )
    assert not can_give(paper, output)
    assert not can_give(build("srcnn", {"scale": 2}), output)
    assert not can_give(random_network("compact", 3), output)  # chroma lies at another place in each LR pixel
    assert can_give(random_network("compact", 3), plane_output(Layout(horizontal=1, vertical=1)))
    assert plane_output(Layout(bits=16)) is None


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
def test_tiles_need_the_receptive_radius_and_no_more(siting: str) -> None:
    torch.manual_seed(1)
    network = PlaneNetwork(random_network("compact", 2), plane_output(Layout(siting=siting)))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.3)  # so that what is furthest away counts
    lr, radius = torch.rand(1, 3, 40, 9), network.contract.receptive_radius_px
    with torch.no_grad():
        whole = network(lr)[:, :, 20:]
        errors = [
            float((network(lr[:, :, 20 - seen :])[:, :, seen:] - whole).abs().max())
            for seen in (radius, radius - 1)
        ]
    assert errors[0] < 0.01 < 0.04 < errors[1]
