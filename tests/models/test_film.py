"""Networks that see neighbouring frames."""

import pytest
import torch
from torch import Tensor

from upscaler.errors import WeightsError
from upscaler.models import transfer
from upscaler.models.compact import Compact
from upscaler.models.film import STATE_LIMIT, Film
from upscaler.models.weight_file import WeightFile


def film(**arguments: int | bool) -> Film:
    network = Film(**({"scale": 2, "channels": 6, "depth": 2} | arguments)).eval()
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    return network


def clip(frames: int, seed: int = 0) -> Tensor:
    return torch.rand(1, frames, 3, 9, 7, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def frames_that_matter(network: Film, seen_from: int, frames: int) -> list[int]:
    """The frames on which the result for one of them depends."""
    lr = clip(frames)
    result = network(lr)[:, seen_from]
    found = []
    for time in range(frames):
        other = lr.clone()
        other[:, time] = clip(1, seed=1)[:, 0]
        if not torch.equal(network(other)[:, seen_from], result):
            found.append(time)
    return found


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 0), (0, 1)])
def test_a_window_sees_what_its_contract_says(before: int, after: int) -> None:
    network = film(frames_before=before, frames_after=after, carries_state=False)
    assert frames_that_matter(network, 3, 7) == list(range(3 - before, 3 + after + 1))
    assert network.contract.frames_before == before and network.contract.frames_after == after


def test_a_state_remembers_all_frames_before() -> None:
    assert frames_that_matter(film(), 4, 7) == [0, 1, 2, 3, 4, 5]


def test_a_picture_is_a_clip_of_one_frame() -> None:
    network, lr = film(), clip(1)
    with torch.inference_mode():
        assert torch.equal(network(lr[:, 0]), network(lr)[:, 0])


def test_steps_give_what_the_whole_clip_gives() -> None:
    """What the pipeline does, frame by frame with a state between."""
    network, lr = film(), clip(4)
    state = torch.zeros(1, 6, 9, 7)
    with torch.inference_mode():
        whole = network(lr)
        for time in range(4):
            window = [lr[:, min(max(each, 0), 3)] for each in (time - 1, time, time + 1)]
            seen = torch.cat([*window, state], 1)
            detail, state = network.step(seen)
            assert torch.equal(network.middle_of(seen), lr[:, time])
            upsampled = network._upscaled(detail, network.middle_of(seen))
            assert torch.equal(upsampled, whole[:, time])


def test_a_state_is_bounded() -> None:
    network = film()
    torch.nn.init.constant_(network.head.weight, 50.0)
    with torch.inference_mode():
        _, state = network.step(torch.ones(1, network.seen_channels, 5, 5))
    assert float(state.abs().max()) == STATE_LIMIT


@pytest.mark.parametrize("depth", [3, 5])
@pytest.mark.parametrize("carries_state", [True, False])
def test_starts_as_the_plain_network_it_is_made_from(depth: int, carries_state: bool) -> None:
    plain = Compact(scale=2, channels=6, depth=3).eval()
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    network = Film(scale=2, channels=6, depth=depth, carries_state=carries_state).eval()
    source = WeightFile("compact", plain.arguments, plain.state_dict())
    assert transfer.body_matches(source, network)
    assert transfer.transfer_body(source, network) == []
    lr = clip(3)
    with torch.inference_mode():
        assert torch.allclose(network(lr)[0], plain(lr[0]), atol=1e-6)


@pytest.mark.parametrize("arguments", [{"channels": 8, "depth": 3}, {"depth": 2}, {"gate_px": 9, "depth": 3}])
def test_other_widths_and_deeper_networks_cannot_start_it(arguments: dict[str, int]) -> None:
    plain = Compact(**({"scale": 2, "channels": 6} | {"depth": 5} | arguments | {}))
    network = Film(scale=2, channels=6, depth=1)
    with pytest.raises(WeightsError):
        transfer.transfer_body(WeightFile("compact", plain.arguments, plain.state_dict()), network)
