"""The threads beside the network: what fails in them must not pass for the end of a video."""

from collections.abc import Iterator

import pytest
from torch import Tensor

from upscaler.video.threads import Ahead, Behind


def test_what_a_decoder_raises_comes_after_its_frames() -> None:
    def frames() -> Iterator[int]:
        yield from (1, 2)
        raise ZeroDivisionError("planted")

    taken = []
    with pytest.raises(ZeroDivisionError, match="planted"), Ahead(frames()) as ahead:
        for frame in ahead:
            taken.append(frame)
    assert taken == [1, 2]


def test_what_an_encoder_raises_comes_at_the_end_at_the_latest() -> None:
    def write(_planes: list[Tensor], _pts: int) -> None:
        raise ZeroDivisionError("planted")

    with pytest.raises(ZeroDivisionError, match="planted"), Behind(write) as behind:
        behind.put([], 0)
        behind.finish()
