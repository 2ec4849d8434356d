"""Named models that have few scales, and ``--perceptual``, the blend of two models' weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.command import run
from support.makers import Ship
from support.media import clip, save
from support.messages import Messages
from support.pictures import photograph
from torch import Tensor

from upscaler import Upscaler, pipeline
from upscaler.cli import app
from upscaler.errors import UsageError, WeightsError
from upscaler.jobs import Job
from upscaler.models import shipped, weight_file
from upscaler.options import VideoOptions
from upscaler.results import Done, Progress
from upscaler.resume import job_folder


@pytest.fixture
def pair(ship: Ship) -> None:
    ship("srresnet", 2, 4)
    ship("srgan", 2, 4)


def upscale_noise(upscaler: Upscaler) -> Tensor:
    lr = torch.rand(1, 3, 10, 13, generator=torch.Generator().manual_seed(1))
    return upscaler.upscale(lr, upscaler.plan(10, 13))


@pytest.mark.parametrize(("perceptual", "flavour"), [(0.0, ""), (0.25, ""), (0.25, "-photo"), (1.0, "")])
def test_weights_are_blended_whichever_of_the_two_models_is_named(
    pair: None, ship: Ship, perceptual: float, flavour: str
) -> None:
    names = ("srresnet-photo", "real") if flavour else ("srresnet", "srgan")
    if flavour:
        for name in names:
            ship(name, 4)
    states = [weight_file.load(shipped.weight_files(name)[4]).state for name in names]
    expected = weight_file.load(shipped.weight_files(names[0])[4]).network()
    expected.load_state_dict(
        {
            name: (1 - perceptual) * states[0][name].float() + perceptual * states[1][name].float()
            for name in states[0]
        }
    )
    lr = torch.rand(1, 3, 10, 13, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        sr = expected(lr)
    result = [upscale_noise(Upscaler(name, 4, precision="fp32", perceptual=perceptual)) for name in names]
    assert torch.equal(*result)
    assert float((result[0] - sr).abs().max()) < 1e-5


def test_blends_of_0_and_1_are_the_models_themselves(pair: None) -> None:
    for end, name in enumerate(("srresnet", "srgan")):
        alone = upscale_noise(Upscaler(name, 2, precision="fp32"))
        assert torch.equal(alone, upscale_noise(Upscaler("srgan", 2, precision="fp32", perceptual=end)))
    middle = upscale_noise(Upscaler("srgan", 2, precision="fp32", perceptual=0.5))
    assert float((alone - middle).abs().max()) > 1e-2


def test_some_models_are_a_blend_without_being_asked(ship: Ship) -> None:
    ship("balanced-photo", 4)
    ship("real-fast", 4)
    share = shipped.DEFAULT_PERCEPTUAL["real-fast"]
    made = [
        upscale_noise(Upscaler(*model, scale=4, precision="fp32", perceptual=perceptual))
        for model, perceptual in (((), None), (("real-fast",), None), (("balanced-photo",), share), ((), 1))
    ]
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])
    assert float((made[0] - made[3]).abs().max()) > 1e-3


def test_the_counterpart_alone_is_a_blend_of_0_at_all_its_scales_and_not_listed(ship: Ship) -> None:
    ship("balanced-photo", 2, 4)
    ship("real-fast", 4)
    for scale in (2, 4):
        faithful = Upscaler("real-fast", scale, precision="fp32", perceptual=0)
        assert faithful.plan(10, 13).scales == (scale,)
        alone = upscale_noise(Upscaler("balanced-photo", scale, precision="fp32"))
        assert torch.equal(upscale_noise(faithful), alone)
    assert shipped.installed_models() == ["real-fast"]


@pytest.mark.parametrize(
    ("perceptual", "scale", "alone"), [(None, 2, True), (1, 2, True), (0.5, 4, False), (0, 4, False)]
)
def test_a_model_without_counterpart_at_a_scale_stands_alone_unless_another_share_is_asked_for(
    ship: Ship, perceptual: float | None, scale: int, alone: bool
) -> None:
    ship("srresnet-photo", 4)
    ship("real", 2, 4)
    made = Upscaler("real", 2, precision="fp32", perceptual=perceptual)
    assert made.plan(10, 13).scales == (scale,)
    file = Upscaler(shipped.weight_files("real")[2], 2, precision="fp32")
    assert torch.equal(upscale_noise(made), upscale_noise(file)) == alone


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_blend_out_of_range_is_an_error(pair: None, value: float) -> None:
    with pytest.raises(UsageError, match="must be a number from 0 to 1"):
        Upscaler("srgan", perceptual=value)


def test_blending_other_models_is_an_error_before_work_starts(pair: None, ship: Ship, tmp_path: Path) -> None:
    ship("balanced", 4)
    source = save(tmp_path / "a.png")
    for model in (["--model", "balanced"], ["--model", shipped.weight_files("srgan")[4]]):
        said = run(source, *model, "--perceptual", 0.5, code=2)
        assert (
            "has no faithful counterpart to blend with (use --perceptual with srgan, real or real-fast)"
            in said
        )
        assert len(said.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.png"]


def test_blending_needs_both_models_with_equal_scales_and_networks(ship: Ship) -> None:
    ship("srresnet", 4)
    with pytest.raises(WeightsError, match="'srgan' has no weights"):
        Upscaler("srresnet", perceptual=0.5)
    ship("srgan", 2)
    with pytest.raises(WeightsError, match="different scales"):
        Upscaler("srresnet", perceptual=0.5)
    ship("srgan", 4, channels=7)
    with pytest.raises(WeightsError, match="different networks"):
        Upscaler("srresnet", perceptual=0.5)


def test_the_command_blends(pair: None, tmp_path: Path) -> None:
    source = save(tmp_path / "a.png")
    result = {}
    for name, options in {
        "blend": ["--model", "srgan", "--perceptual", 0.5],
        "same": ["--model", "srresnet", "--perceptual", 0.5],
        "srgan": ["--model", "srgan"],
    }.items():
        run(source, "-o", tmp_path / f"{name}.png", *options)
        with Image.open(tmp_path / f"{name}.png") as image:
            result[name] = np.asarray(image)
    assert np.array_equal(result["blend"], result["same"])
    assert not np.array_equal(result["blend"], result["srgan"])


@pytest.mark.parametrize(
    ("first", "then", "reason"),
    [
        ({"perceptual": 0.5}, {"perceptual": 0.25}, "option perceptual was 0.5 and is 0.25"),
        ({"perceptual": 0.0}, {}, "hash of the weights was"),
        ({"tta": True}, {}, "option tta was True and is False"),
    ],
)
def test_a_video_with_other_weights_restarts(
    pair: None,
    tmp_path: Path,
    first: dict[str, object],
    then: dict[str, object],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("upscaler.video.segments._FRAMES_MIN", 2)
    monkeypatch.setattr("upscaler.video.segments._FRAMES_MAX", 2)
    source, target = clip(tmp_path / "in.mp4", frames=8), tmp_path / "out.mp4"
    notes = Messages()

    def upscale(options: dict[str, object], on_progress: object) -> Done:
        engine = Upscaler("srgan", 2, precision="fp32", **options)  # type: ignore[arg-type]
        job = Job(source, target, "video")
        return pipeline.upscale_video(job, engine, VideoOptions(), on_progress, notes)  # type: ignore[arg-type]

    def until_closed(progress: Progress) -> None:
        while progress.done == 7 and not list(job_folder.folder_of(target).glob("segment-*.json")):
            pass
        if progress.done == 7:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        upscale(first, until_closed)
    assert upscale(then, lambda progress: None).frames == 8
    assert reason in next(note for note in notes if "restarting" in note)
    if first.get("tta"):
        assert any("8 passes" in note for note in notes)


@pytest.mark.parametrize("scale", range(1, 9))
@pytest.mark.parametrize("scales", [(4,), (2, 4), (3,)])
def test_few_scales_cover_every_factor(ship: Ship, scales: tuple[int, ...], scale: int) -> None:
    ship("srresnet", *(each for each in scales if each in shipped.WEIGHTS["srresnet"]))
    ship("fast", *scales)
    model = "srresnet" if 3 not in scales else "fast"
    upscaler = Upscaler(model, scale, precision="fp32")
    assert upscaler.image(photograph(32, 32)[:9, :11]).shape == (9 * scale, 11 * scale, 3)
    if scales == (2, 4):
        assert upscaler.plan(9, 11).scales == {1: (2,), 2: (2,), 3: (4,), 4: (4,)}.get(scale, (4, 2))


def test_a_restoring_model_works_at_scale_1_only(ship: Ship, tmp_path: Path) -> None:
    ship("restore", 1)
    source = save(tmp_path / "a.png", 24, 32)
    run(source, "--model", "restore")
    with Image.open(tmp_path / "a_x1.png") as result:
        assert result.size == (32, 24)
    for options in (["--scale", 4], ["--size", "100x100"]):
        said = run(source, "--model", "restore", *options, code=2)
        assert "restores without upscaling (use --scale 1, or add a model that upscales" in said


def test_a_single_weight_file_can_be_named(ship: Ship) -> None:
    ship("fast", 2, 4)
    upscaler = Upscaler("fast-x2")
    assert upscaler.scale == 2 and upscaler.plan(4, 4).scales == (2,)
    with pytest.raises(WeightsError, match="'fast-x3' has no weights on this machine"):
        Upscaler("fast-x3")
    with pytest.raises(WeightsError, match="'fast-x5' is unknown"):
        Upscaler("fast-x5")


def test_help_lists_installed_models(ship: Ship) -> None:
    ship("fast", 4)
    ship("srgan", 2)
    assert shipped.installed_models() == ["fast", "srgan"]
    parameter = app._signature().parameters["model"].annotation.__metadata__[0]
    assert parameter.help.startswith("fast, srgan, or a model file")
