"""The engine's messages go to the job that causes them, once each."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.messages import Messages, held_by
from support.networks import weights
from support.pictures import photograph

from upscaler import Upscaler
from upscaler.inference.runtime import Runtime
from upscaler.results import Message

REDONE = "values overflowed in bf16: redone in fp32"


@pytest.fixture
def overflowing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upscaler:
    """An engine whose every tile overflows in bf16."""
    run: Callable[[Runtime, torch.Tensor], torch.Tensor] = Runtime.__call__

    def overflow(self: Runtime, lr: torch.Tensor) -> torch.Tensor:
        sr = run(self, lr)
        return sr if self.network.dtype is torch.float32 else sr + float("inf")

    monkeypatch.setattr(Runtime, "__call__", overflow)
    return Upscaler(weights(tmp_path / "w.safetensors"), precision="bf16", tile_px=20, batch=1)


def test_each_job_gets_a_message_once_while_it_runs(overflowing: Upscaler) -> None:
    for _ in range(2):
        messages, said_after_tile = Messages(), list[int]()
        with overflowing.messages_to(messages):
            overflowing.image(photograph(40, 50), lambda *_: said_after_tile.append(len(messages)))  # noqa: B023
        assert messages == [REDONE]
        assert len(said_after_tile) > 1 and set(said_after_tile) == {1}  # from the first tile on


def test_messages_between_jobs_are_held_for_the_next_one(overflowing: Upscaler) -> None:
    overflowing.image(photograph(40, 50))
    assert held_by(overflowing) == [REDONE]
    assert held_by(overflowing) == []


def test_a_job_that_fails_leaves_its_messages_to_no_other(overflowing: Upscaler) -> None:
    messages = Messages()
    with pytest.raises(ZeroDivisionError), overflowing.messages_to(messages):
        overflowing.image(photograph(40, 50))
        raise ZeroDivisionError
    assert messages == [REDONE] and held_by(overflowing) == []


def test_exceptions_of_the_callback_end_the_job(overflowing: Upscaler) -> None:
    def refuse(message: Message) -> None:
        raise ZeroDivisionError(message.text)

    with pytest.raises(ZeroDivisionError, match=REDONE), overflowing.messages_to(refuse):
        overflowing.image(photograph(40, 50))
