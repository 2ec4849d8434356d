"""A training with the real compiler."""

import pytest
import torch
from support.makers import Configure

from upscaler.inference import devices
from upscaler.trainer import loops
from upscaler.trainer.config.gan import GanConfig
from upscaler.trainer.run.session import TrainingSession
from upscaler.trainer.stages.stage import Stage


def graphs() -> int:
    """How many graphs were compiled so far."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


@pytest.mark.slow
@pytest.mark.skipif(not devices.can_compile(torch.device("cpu")), reason="no C++ compiler")
def test_everything_is_compiled_before_the_clock_starts(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crops of stage one and of stage two, which have other sizes."""
    begun: list[int] = []
    begin = TrainingSession.begin_stage

    def begin_stage(session: TrainingSession, stage: Stage) -> None:
        begun.append(graphs())
        begin(session, stage)

    monkeypatch.setattr(TrainingSession, "begin_stage", begin_stage)
    before = graphs()
    gan = GanConfig(batch=2, patch_px=10, vgg_weight=0.0)
    size = {"channels": 8, "depth": 2}
    config = configure(stages="1,2", phase2_share=0.0, compiled=True, network_size=size, gan=gan)
    said: list[str] = []
    loops.train(config, lambda report: said.append(report.message) if report.message else None)
    assert "compiling ..." in said
    assert not any("compiling failed" in line for line in said)
    assert begun[0] > before
    assert begun == [begun[0]] * 2
    assert graphs() == begun[0]
