import copy

import pytest
import torch
from torch import Tensor, nn

from upscaler.models.registry import build
from upscaler.trainer.stages.optimizer import Muon, Optimizer, orthogonalise

KINDS = pytest.mark.parametrize("kind", ["muon", "adamw"])


def nearest_orthogonal(matrix: Tensor) -> Tensor:
    """The exact answer, by singular value decomposition."""
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


@pytest.mark.parametrize("shape", [(8, 8), (8, 72), (48, 27), (32, 288)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape) * torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    for matrix, result in zip(matrices, orthogonalise(matrices), strict=True):
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        turned = left.mT @ result @ right.mT  # diagonal if the directions are those of the matrix
        values = turned.diagonal()
        assert 0.6 < float(values.min()) <= float(values.max()) < 1.25
        assert float((turned - values.diag()).abs().max()) < 1e-3


def test_matrix_without_gradient_stays_zero() -> None:
    """The body's gradient is zero as long as the tail is."""
    assert torch.equal(orthogonalise(torch.zeros(2, 4, 9)), torch.zeros(2, 4, 9))


def test_muon_treats_a_convolution_as_one_matrix() -> None:
    gradient = torch.randn(16, 1, 3, 3)  # taller than wide: its step is larger by sqrt(16 / 9)
    weight = nn.Parameter(torch.randn(16, 1, 3, 3))
    before = weight.detach().clone()
    weight.grad = gradient.clone()
    Muon([weight], lr=0.02).step()
    step = (before - weight.detach()).flatten(1) / (0.02 * (16 / 9) ** 0.5)
    expected = nearest_orthogonal(gradient.flatten(1))
    values = torch.linalg.svdvals(step)
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.25
    similarity = torch.nn.functional.cosine_similarity(step.flatten(), expected.flatten(), dim=0)
    assert similarity > 0.97


def test_muon_takes_channels_last_weights_as_it_takes_others() -> None:
    results = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        convolution = nn.Conv2d(4, 6, 3)
        convolution.to(memory_format=memory_format)
        optimizer = Muon([convolution.weight], lr=0.02)
        for _ in range(3):
            convolution(torch.rand(2, 4, 5, 5)).square().sum().backward()
            optimizer.step()
        results.append(convolution.weight.detach().contiguous())
    torch.testing.assert_close(results[0], results[1])


def test_muon_leaves_weights_without_a_gradient_alone() -> None:
    weights = [nn.Parameter(torch.randn(4, 2, 3, 3)) for _ in range(3)]
    before = [weight.detach().clone() for weight in weights]
    weights[0].grad, weights[2].grad = torch.randn(4, 2, 3, 3), torch.randn(4, 2, 3, 3)
    Muon(weights, lr=0.1, weight_decay=0.5).step()
    assert [torch.equal(*pair) for pair in zip(weights, before, strict=True)] == [False, True, False]
    Muon([nn.Parameter(torch.ones(1, 1, 3, 3))], lr=0.1).step()  # none has one: nothing happens


def test_muon_decays_in_proportion_to_the_step() -> None:
    weight = nn.Parameter(torch.ones(2, 2, 1, 1))
    weight.grad = torch.zeros(2, 2, 1, 1)
    Muon([weight], lr=0.1, weight_decay=0.5).step()
    assert weight.flatten().tolist() == pytest.approx([0.95] * 4)


def test_muon_remembers_earlier_gradients() -> None:
    weight = nn.Parameter(torch.zeros(2, 2, 1, 1))
    optimizer = Muon([weight], lr=1.0)
    forward, nothing = torch.eye(2).view(2, 2, 1, 1), torch.zeros(2, 2, 1, 1)
    for gradient in (forward, nothing):
        before = weight.detach().clone()
        weight.grad = gradient.clone()
        optimizer.step()
    assert (before - weight.detach()).flatten(1).diagonal().min() > 0.5


@KINDS
def test_rate_factor_scales_the_step(kind: str) -> None:
    steps = []
    for factor in (1.0, 0.5):
        torch.manual_seed(0)
        network = build("compact", {"scale": 2, "channels": 4, "depth": 1})
        before = copy.deepcopy(network.state_dict())
        optimizer = Optimizer(network, kind, 0.01, 0.0)
        network(torch.rand(2, 3, 6, 6)).square().mean().backward()
        optimizer.step(factor)
        assert all(parameter.grad is None for parameter in network.parameters())
        steps.append({name: tensor - before[name] for name, tensor in network.state_dict().items()})
    whole, half = steps
    assert any(step.abs().max() > 0 for step in whole.values())
    for name, step in whole.items():
        torch.testing.assert_close(half[name], step / 2, rtol=1e-3, atol=1e-6)


@KINDS
def test_saved_state_continues_bit_for_bit(kind: str) -> None:
    batches = [torch.rand(2, 3, 6, 6) for _ in range(6)]

    def trained(split: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        network = build("compact", {"scale": 2, "channels": 4, "depth": 2})
        optimizer = Optimizer(network, kind, 0.01, 0.1)
        for index, batch in enumerate(batches):
            if split and index == 3:
                saved = copy.deepcopy(optimizer.state_dict())
                optimizer = Optimizer(network, kind, 0.01, 0.1)
                optimizer.load_state_dict(saved)
            (network(batch) - 0.5).abs().mean().backward()
            optimizer.step(1 - index / 10)
        return network.state_dict()

    straight, continued = trained(split=False), trained(split=True)
    assert all(torch.equal(tensor, continued[name]) for name, tensor in straight.items())


@pytest.mark.parametrize(("clip_norm", "expected"), [(0.5, 0.5), (0.0, 4.0)])
def test_gradients_are_clipped_to_the_norm_unless_it_is_0(clip_norm: float, expected: float) -> None:
    """Momentum of AdamW after a first step is (1 - beta1) times the gradient it got."""
    network = nn.Conv2d(1, 1, 1, bias=False)
    optimizer = Optimizer(network, "adamw", 0.1, 0.0, betas=(0.75, 0.99), clip_norm=clip_norm)
    network.weight.grad = torch.full_like(network.weight, 4.0)
    assert optimizer.step(1.0) == 4.0
    moment = optimizer.state_dict()[0]["state"][0]["exp_avg"]
    assert float(moment) == pytest.approx(0.25 * expected)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_parts_learn_at_rates_of_their_own(kind: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 3, 3))
    optimizer = Optimizer(
        network, kind, 0.01, 0.0, factor_of=lambda name: 1.0 if name.startswith("0") else 0.1
    )
    before = [parameter.detach().clone() for parameter in network.parameters()]
    network(torch.rand(1, 3, 8, 8)).square().mean().backward()
    optimizer.step(1.0)
    first, _, second, _ = (
        float((new.detach() - old).square().mean().sqrt())
        for new, old in zip(network.parameters(), before, strict=True)
    )
    assert second == pytest.approx(0.1 * first, rel=0.3)
