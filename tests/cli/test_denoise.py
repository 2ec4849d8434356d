"""``--denoise``: blends with weights that remove artifacts, and the default for video."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.command import run
from support.makers import Ship
from support.media import clip, save
from support.pictures import photograph

from upscaler import Upscaler
from upscaler.batch.batch import Batch
from upscaler.cli import list_models
from upscaler.errors import UsageError
from upscaler.jobs import JobList
from upscaler.models import shipped
from upscaler.options import EngineOptions, Options


@pytest.fixture(autouse=True)
def _models(ship: Ship) -> None:
    for model in ("fast", "fast-photo"):
        ship(model, 2, 4)
    ship("fast", 3)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_its_ends_are_the_two_models_themselves(scale: int) -> None:
    pixels = photograph(16, 18)

    def upscaled(model: str, denoise: float | None) -> tuple[bytes, Upscaler]:
        engine = Upscaler(model, scale, denoise=denoise, precision="fp32", device="cpu")
        return engine.image(pixels).tobytes(), engine

    ends = [upscaled("fast", share) for share in (0, 1)]
    alone = [upscaled(model, None) for model in ("fast", "fast-photo")]
    assert [made for made, _ in ends] == [made for made, _ in alone] and ends[0][0] != ends[1][0]
    assert [engine.loaded_weights() for _, engine in ends] == [engine.loaded_weights() for _, engine in alone]
    used = [engine.plan(16, 18).scales for _, engine in ends]
    assert used == [(scale,), (4 if scale == 3 else scale,)]  # then downscaled


def test_srresnet_takes_what_lies_between_and_the_others_do_not(ship: Ship) -> None:
    ship("srresnet", 2, 4)
    ship("srresnet-photo", 4)
    pixels = photograph(16, 18)
    made = [
        Upscaler("srresnet", 4, denoise=share, precision="fp32", device="cpu").image(pixels).astype(float)
        for share in (0, 0.5, 1)
    ]
    assert all(abs(made[1] - end).max() > 3 for end in (made[0], made[2]))
    middle = Upscaler("srresnet", 2, denoise=0.5, device="cpu")
    assert middle.plan(8, 8).scales == (4,) and len(middle.loaded_weights()) == 2
    with pytest.raises(UsageError, match="model 'fast' takes --denoise 0 or 1"):
        Upscaler("fast", denoise=0.5, device="cpu")


def test_videos_are_denoised_unless_a_model_is_named(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=2)
    made = []
    for options in ([], ["--model", "fast", "--denoise", 1], ["--model", "fast-photo"], ["--model", "fast"]):
        target = tmp_path / f"{len(made)}.mp4"
        run(source, "-o", target, "--scale", 2, *options)
        made.append(target.read_bytes())
    assert made[0] == made[1] == made[2] != made[3]


@pytest.mark.parametrize(
    ("options", "refused"), [({"perceptual": 0.5}, "in.mp4"), ({"denoise": 0.0}, "a.png")]
)
def test_of_images_and_videos_together_a_share_is_for_those_whose_default_model_has_the_weights(
    tmp_path: Path, ship: Ship, options: dict[str, float], refused: str
) -> None:
    for model in ("real-fast", "balanced-photo"):
        ship(model, 4)
    inputs = [save(tmp_path / "a.png"), clip(tmp_path / "in.mp4", frames=2)]
    with Batch(inputs, Options(**options)) as batch:  # type: ignore[arg-type]
        engines = {kind: engine.options for kind, engine in batch.engines.items()}
        again = JobList(batch.job_list.jobs[1:], [], skipped=batch.job_list.jobs[:1])
    alone = {
        "still": EngineOptions("real-fast", perceptual=options.get("perceptual")),
        "video": EngineOptions("fast", denoise=options.get("denoise", 1.0)),
    }
    assert {kind: replace(used, model=used.models[0]) for kind, used in engines.items()} == alone
    with Batch(inputs, Options(**options), again):  # type: ignore[arg-type]
        pass  # what is skipped counts
    with pytest.raises(UsageError, match="has no"):
        Batch([tmp_path / refused], Options(**options))  # type: ignore[arg-type]


def test_in_a_chain_it_is_for_the_models_that_have_such_weights(ship: Ship) -> None:
    ship("restore", 1)
    chain = Upscaler(["restore", "fast"], 2, denoise=1, device="cpu")
    assert [file.stem for file in chain.weights_of(chain.plan(8, 8))] == ["restore-x1", "fast-photo-x2"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "model 'real-fast' has no other weights for --denoise"),
        ({"model": "restore"}, "model 'restore' has no other weights for --denoise"),
        ({"model": ["restore", "real"]}, "model 'restore' then 'real' has no other weights"),
        ({"model": "srresnet", "perceptual": 0.5}, "--perceptual and --denoise exclude each other"),
        ({"model": "fast", "blend_with": "fast-photo"}, "--blend-with and --denoise exclude each other"),
    ],
)
def test_what_has_no_such_weights_is_an_error(options: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        Upscaler(denoise=1, device="cpu", **options)  # type: ignore[arg-type]


def test_the_error_is_one_line_that_names_the_models(tmp_path: Path) -> None:
    said = run(save(tmp_path / "a.png"), "--model", shipped.weight_files("fast")[2], "--denoise", 1, code=2)
    assert said.count("\n") == 1 and "fast, balanced, srresnet or film; real, real-fast and art-fast" in said


def test_the_list_shows_what_to_write_and_the_help_the_names_alone() -> None:
    rows = [line.split("  ")[0] for line in list_models.lines()]
    assert rows[:3] == ["name", "fast", "fast --denoise 1"]
    assert shipped.installed_models() == ["fast"]
