"""The network for films, and what it knows of the frame before."""

import pytest
import torch
from support.films import film_network
from support.pictures import photograph
from torch import Tensor

from upscaler.errors import WeightsError
from upscaler.models import motion, transfer
from upscaler.models.compact import Compact
from upscaler.models.contract import add_upsampled
from upscaler.models.film import STATE_LIMIT, Film
from upscaler.models.film_step import FilmStep
from upscaler.models.weight_file import WeightFile
from upscaler.optical_flow import flow_between


def clip(frames: int) -> Tensor:
    """Of one place, with some noise."""
    generator = torch.Generator().manual_seed(0)
    place = torch.rand(1, 1, 3, 9, 11, generator=generator)
    return place + 0.02 * torch.randn(1, frames, 3, 9, 11, generator=generator)


def panned(by_px: float, frames: int = 2) -> Tensor:
    """A scene that moves to the left, ``(frames, 3, 40, 56)``, by so many pixels per frame."""
    large = torch.from_numpy(photograph(160, 320, 0)).permute(2, 0, 1).float().div(255)
    views = [large[:, :, (start := round(4 * by_px * time)) : start + 224] for time in range(frames)]
    return torch.nn.functional.avg_pool2d(torch.stack(views), 4)


def test_a_result_depends_on_all_frames_before() -> None:
    network, lr = film_network(), clip(5)
    with torch.inference_mode():
        result = network(lr)[:, 3]
        changed = []
        for time in range(5):
            other = lr.clone()
            other[:, time] += 0.01
            changed.append(not torch.equal(network(other)[:, 3], result))
    assert changed == [True, True, True, True, False]


def test_a_picture_is_a_clip_of_one_frame() -> None:
    network, lr = film_network(), clip(1)
    with torch.inference_mode():
        assert torch.equal(network(lr[:, 0]), network(lr)[:, 0])
        assert torch.equal(add_upsampled(network.detail(lr[:, 0]), lr[:, 0], 2), network(lr)[:, 0])


def test_steps_give_what_the_whole_clip_gives() -> None:
    """What the pipeline does, frame by frame with a state between."""
    network, lr = film_network(), clip(4)
    before = state = None
    with torch.inference_mode():
        whole = network(lr)
        step = FilmStep(network)
        for time in range(4):
            given = step(motion.what_a_step_sees(lr[:, time], before, state, 2))
            packed, state = given.tensor_split((12,), 1)
            result = torch.nn.functional.pixel_shuffle(packed, 2)
            assert torch.allclose(result, whole[:, time], atol=1e-5)
            before = lr[:, time]


def test_a_state_is_bounded() -> None:
    network = film_network()
    torch.nn.init.constant_(network.tail.bias, 50.0)
    with torch.inference_mode():
        _, state = network.step(torch.ones(1, network.seen_channels, 5, 5))
    assert float(state.abs().max()) == STATE_LIMIT


def test_starts_as_the_plain_network_it_is_made_from() -> None:
    plain = Compact(scale=2, channels=6, depth=3).eval()
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    network = Film(scale=2, channels=6, depth=3).eval()
    source = WeightFile("compact", plain.arguments, plain.state_dict())
    assert transfer.body_matches(source, network)
    assert all(name.startswith(Film.added_parts) for name in transfer.transfer_body(source, network))
    lr = clip(3)
    with torch.inference_mode():
        film, alone = network(lr)[0], plain(lr[0])
    assert torch.allclose(film[0], alone[0], atol=1e-6)
    assert not torch.allclose(film[1:], alone[1:], atol=1e-3)


@pytest.mark.parametrize("arguments", [{"channels": 8}, {"depth": 2}, {"gate_px": 9}])
def test_other_networks_cannot_start_it(arguments: dict[str, int]) -> None:
    plain = Compact(**({"scale": 2, "channels": 6, "depth": 1} | arguments))
    network = Film(scale=2, channels=6, depth=1)
    with pytest.raises(WeightsError):
        transfer.transfer_body(WeightFile("compact", plain.arguments, plain.state_dict()), network)


@pytest.mark.parametrize("by_px", [0.25, 1.5, 3.0])
def test_flow_finds_motion_by_parts_of_pixels(by_px: float) -> None:
    before, frame = panned(by_px).split(1)
    flow = flow_between(motion.luma_of(frame), motion.luma_of(before))
    inside = flow[..., 8:-8, 8:-8]
    assert float((inside[:, 0] - by_px).abs().median()) < 0.15  # what moves left was further right before
    assert float(inside[:, 1].abs().median()) < 0.15
    back = motion.moved(before, flow)
    assert float((back - frame)[..., 4:-4, 4:-4].abs().mean()) < 0.7 * float((before - frame).abs().mean())


def test_nothing_moves_in_tiny_and_in_equal_frames() -> None:
    tiny = torch.rand(1, 1, 5, 30)
    assert torch.equal(flow_between(tiny, tiny.flip(-1)), torch.zeros(1, 2, 5, 30))
    (frame,) = panned(0, frames=1).split(1)
    seen = motion.what_a_step_sees(frame, frame, torch.zeros(1, 16, 40, 56), 4)
    assert seen.shape == (1, motion.seen_channels(4), 40, 56)
    assert float(seen[:, 3:6].abs().max()) < 1e-3  # change
    assert float(seen[:, 6].min()) > 0.99  # sureness
    assert float(seen[:, 7:].abs().max()) < 1e-3  # known


def test_what_was_elsewhere_is_not_taken_to_be_known() -> None:
    frame, other = panned(0, frames=1), panned(0, frames=1).flip(-1, -2)
    seen = motion.what_a_step_sees(frame, other, torch.zeros(1, 16, 40, 56), 4)
    assert float(seen[:, 6].mean()) < 0.3
