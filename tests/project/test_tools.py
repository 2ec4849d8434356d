"""The scripts that make training pictures and finished weights."""

import importlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from support.command import run

from upscaler.models import weight_file
from upscaler.models.compact import Compact
from upscaler.models.srresnet import SRResNet
from upscaler.trainer.data.photos import load_photos
from upscaler.trainer.stages.adversarial import sharpened

TOOLS = Path(__file__).parents[2] / "tools"
PHOTOGRAPH = Path(__file__).parents[2] / "samples" / "astronaut.png"


def test_downscaled_images_and_their_originals_are_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import make_reduced

    with Image.open(PHOTOGRAPH) as picture:
        (tmp_path / "odd").mkdir()
        for left in (0, 50):
            picture.crop((left, 0, left + 203, 130)).save(tmp_path / "odd" / f"{left}.png")
    monkeypatch.setattr("sys.argv", ["make_reduced", str(tmp_path / "odd"), str(tmp_path / "lr")])
    make_reduced.main()
    run(tmp_path / "lr", "-o", tmp_path / "taught", "--model", "fast", "--scale", 4)
    taught = load_photos((str(tmp_path / "taught"),), 4, 16, lr_dirs=(str(tmp_path / "lr"),))
    for pair in taught.training + taught.held_out:
        assert (tuple(pair.lr.shape), tuple(pair.hr.shape)) == ((32, 50, 3), (128, 200, 3))


@pytest.mark.parametrize("script", ["make_reduced", "make_softer", "make_sizes"])
def test_pictures_of_one_name_in_several_folders_all_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    module = importlib.import_module(script)
    source, target = tmp_path / "train", tmp_path / "reduced"
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    for name in ("a.png", "one/a.png", "one/cats/a.png", "two/cats/a.png"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(source / name)
    monkeypatch.setattr("sys.argv", [script, str(source), str(target)])
    module.main()
    sizes = ("-48", "-36", "-24") if script == "make_sizes" else ("",)
    names = ("one-a", "one-cats-a", "train-a", "two-cats-a")
    assert {path.name for path in target.iterdir()} == {
        f"{name}{size}.png" for name in names for size in sizes
    }
    Image.fromarray(noise).save(source / "one" / "a.jpg")
    with pytest.raises(SystemExit, match=r"a.jpg' and '.*a.png' would both become 'one-a.png'"):
        module.main()


def test_a_closed_gate_adds_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import close_gate

    network = Compact(scale=1, channels=8, depth=1, gate_px=5)
    with torch.no_grad():
        network.tail.weight.normal_(std=0.1)
    weight_file.save(tmp_path / "open.safetensors", network, network.state_dict(), {"minutes": 3})
    close_gate.close_gate(tmp_path / "open.safetensors", tmp_path / "closed.safetensors", 2.0)
    before, after = (weight_file.load(tmp_path / f"{name}.safetensors") for name in ("open", "closed"))
    picture = torch.rand(1, 3, 20, 20)
    changes = [file.network()(picture) - picture for file in (before, after)]
    share = float(torch.tensor(1.0).sigmoid() / torch.tensor(3.0).sigmoid())  # verdicts of 1 instead of 3
    assert changes[0].abs().max() > 0.01
    assert torch.allclose(changes[1], changes[0] * share, atol=1e-3)
    assert after.training == {"minutes": 3, "gate_closed_by": 2.0}


def test_a_level_set_is_that_of_the_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import set_level

    network = Compact(scale=2, channels=8, depth=1)
    darker = torch.tensor([0.01, 0.0, -0.01])  # of R, G and B
    with torch.no_grad():
        network.tail.bias.copy_(-darker.repeat_interleave(4))
    weight_file.save(tmp_path / "dark.safetensors", network, network.state_dict(), {"minutes": 3})
    added = set_level.set_level(tmp_path / "dark.safetensors", tmp_path / "level.safetensors", [PHOTOGRAPH])
    assert torch.allclose(added.float(), darker, atol=2e-3)  # what is clamped makes the difference
    after = weight_file.load(tmp_path / "level.safetensors")
    with Image.open(PHOTOGRAPH) as picture:
        error = set_level.mean_error(after.network(), np.array(picture.convert("RGB")))
    assert error.abs().max() < 2e-3
    assert after.training["level_raised_by"] == [round(float(value), 5) for value in added]
    paper = SRResNet(scale=2, channels=8, blocks=1, tail="paper")
    weight_file.save(tmp_path / "paper.safetensors", paper, paper.state_dict(), {})
    with pytest.raises(SystemExit, match="no single tail"):
        set_level.set_level(tmp_path / "paper.safetensors", tmp_path / "never.safetensors", [PHOTOGRAPH])


def test_sharper_weights_draw_what_an_unsharp_mask_makes_of_their_blend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import sharpen_weights

    files = {name: tmp_path / f"{name}.safetensors" for name in ("textured", "faithful", "sharp", "paper")}
    for seed, name in enumerate(("textured", "faithful")):
        torch.manual_seed(seed)
        network = SRResNet(scale=2, channels=16, blocks=1)
        torch.nn.init.normal_(network.tail.weight, std=0.01)
        weight_file.save(files[name], network, network.state_dict(), {"minutes": 3})
    with Image.open(PHOTOGRAPH) as picture:
        rgb = picture.convert("RGB")
    for left in (0, 250):
        (tmp_path / "train").mkdir(exist_ok=True)
        rgb.crop((left, 0, left + 200, 200)).save(tmp_path / "train" / f"{left}.png")
    lr = torch.from_numpy(np.array(rgb.resize((96, 96)))).permute(2, 0, 1)[None] / 255
    arguments = [str(path) for path in (*list(files.values())[:3], tmp_path / "train")]
    options = ["--share", "0.5", "--amount", "0.5", "--batches", "2", "--degradation", "clean"]
    monkeypatch.setattr("sys.argv", ["sharpen_weights", *arguments, *options])
    sharpen_weights.main()
    weights = {name: weight_file.load(files[name]) for name in ("textured", "faithful", "sharp")}
    before, after = weights["textured"].state, weights["sharp"].state
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed == {"tail.weight", "tail.bias"}
    drawn = []
    for name in ("textured", "sharp"):
        pair = weights[name].state, weights["faithful"].state
        network.load_state_dict({key: (pair[0][key].float() + pair[1][key].float()) / 2 for key in pair[0]})
        drawn.append(network(lr).detach().clamp(0, 1))
    wanted = sharpened(drawn[0], 0.5)
    errors = [(picture - wanted)[..., 4:-4, 4:-4].square().mean() for picture in drawn]
    assert errors[1] < errors[0] / 4
    assert weights["sharp"].training == {"minutes": 3, "sharpened_by": 0.5, "sharpened_at_share": 0.5}
    paper = SRResNet(scale=2, channels=8, blocks=1, tail="paper")
    weight_file.save(files["paper"], paper, paper.state_dict(), {})
    monkeypatch.setattr("sys.argv", ["sharpen_weights", str(files["paper"]), *arguments[1:]])
    with pytest.raises(SystemExit, match="no single tail"):
        sharpen_weights.main()


@pytest.mark.parametrize(("frequency", "expected"), [(0.1, 1.0), (0.3, 1.0), (0.375, 0.7), (0.46, 0.4)])
@pytest.mark.parametrize("axis", [0, 1])
def test_softer_pictures_keep_what_is_coarse(
    frequency: float, expected: float, axis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import make_softer

    wave = np.cos(2 * np.pi * frequency * np.arange(200))
    levels = np.broadcast_to(np.expand_dims(wave, 1 - axis), (200, 200))
    picture = np.repeat(np.round(128 + 100 * levels)[..., None], 3, 2).astype(np.uint8)
    soft = make_softer.softened(picture, 0.4)
    assert soft.shape == picture.shape and soft.dtype == np.uint8
    inner = np.s_[50:150, 50:150]
    kept = ((soft[inner] - 128.0) * levels[inner][..., None]).sum() / (100 * (levels[inner] ** 2).sum() * 3)
    assert kept == pytest.approx(expected, abs=0.01)


def test_deeper_weights_give_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import make_deeper

    network = Compact(scale=2, channels=8, depth=3)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    weight_file.save(tmp_path / "plain.safetensors", network, network.state_dict(), {"minutes": 3})
    make_deeper.make_deeper(tmp_path / "plain.safetensors", tmp_path / "deeper.safetensors")
    before, after = (weight_file.load(tmp_path / f"{name}.safetensors") for name in ("plain", "deeper"))
    assert after.arguments == before.arguments | {"depth": 6}
    assert after.training == {"minutes": 3, "deepened": True}
    picture = torch.rand(1, 3, 20, 20)
    assert torch.allclose(after.network()(picture), before.network()(picture), atol=1e-5)
    other = SRResNet(scale=2, channels=8, blocks=1)
    weight_file.save(tmp_path / "other.safetensors", other, other.state_dict(), {})
    with pytest.raises(SystemExit, match="is not compact"):
        make_deeper.make_deeper(tmp_path / "other.safetensors", tmp_path / "never.safetensors")


def test_drawings_repeat_and_each_kind_has_ink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import make_drawings

    for number in range(len(make_drawings.KINDS)):
        pixels = np.asarray(make_drawings.picture(number, []))
        assert pixels.shape == (512, 512, 3)
        steps = np.abs(np.diff(pixels.astype(int), axis=1)).max(2)
        assert 0.02 < (steps > 40).mean() < 0.6, number  # lines
        assert (steps == 0).mean() > 0.3, number  # and flat places
    assert not np.array_equal(pixels, np.asarray(make_drawings.picture(number + 5, [])))
    assert np.array_equal(pixels, np.asarray(make_drawings.picture(number, [])))


def test_web_drawings_are_the_place_with_most_edges_and_worn_copies_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import make_web_drawings

    pixels = np.full((600, 900, 3), 255, np.uint8)
    pixels[:, 640:900:20, :] = 0  # lines on the right; the left is empty
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "lines.png")
    monkeypatch.setattr("sys.argv", ["make_web_drawings", str(tmp_path / "in"), str(tmp_path / "out")])
    make_web_drawings.main()
    hr, x4, x2 = (
        np.asarray(Image.open(tmp_path / "out" / folder / "00-lines.png")).astype(float)
        for folder in ("HR", "LRwebx4", "LRwebx2")
    )
    assert (hr[0, :, 0] == 0).sum() == 13  # all of the lines
    for scale, lr in ((4, x4), (2, x2)):
        small = hr.reshape(512 // scale, scale, 512 // scale, scale, 3).mean((1, 3))
        assert 1 < np.abs(lr - small).mean() < 12, scale


def test_cartoons_stand_still_and_pan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import make_cartoon

    frames = make_cartoon.film(0, 8)
    moved = [float((a != b).any(2).mean()) for a, b in pairwise(frames)]
    assert moved[0] == 0  # figures are drawn on twos, before a still background
    assert moved[1] > 0.001
    assert moved[3] > 0.1 > moved[6]  # the pan, and the stand after it


def test_degraded_crops_are_pairs_for_a_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LR downscaled from the same place as HR; again with the same seed; too small photographs are named."""
    monkeypatch.syspath_prepend(str(TOOLS))
    import make_degraded_crops

    (tmp_path / "train").mkdir()
    with Image.open(PHOTOGRAPH) as picture:
        picture.resize((320, 304)).save(tmp_path / "train" / "a.png")
    for folder in ("one", "two"):
        arguments = [str(tmp_path / "train"), str(tmp_path / folder), "--count", "2"]
        monkeypatch.setattr("sys.argv", ["make_degraded_crops", *arguments])
        make_degraded_crops.main()
    assert sorted(path.name for path in (tmp_path / "one" / "lr").iterdir()) == ["00000.png", "00001.png"]
    for name in ("00000.png", "00001.png"):
        with (
            Image.open(tmp_path / "one" / "lr" / name) as lr,
            Image.open(tmp_path / "one" / "hr" / name) as hr,
        ):
            assert (lr.size, hr.size) == ((64, 64), (256, 256))
            reduced = np.asarray(hr.resize(lr.size, Image.Resampling.BOX)).astype(int)
            assert np.abs(np.asarray(lr) - reduced).mean() < 12  # another place is off by 40 and more
            shifted = np.roll(reduced, 16, 1)
            assert np.abs(np.asarray(lr) - reduced).mean() < np.abs(np.asarray(lr) - shifted).mean() / 2
        assert (tmp_path / "one" / "lr" / name).read_bytes() == (tmp_path / "two" / "lr" / name).read_bytes()
    monkeypatch.setattr(
        "sys.argv", ["make_degraded_crops", str(TOOLS.parent / "samples"), str(tmp_path / "no")]
    )
    with pytest.raises(SystemExit, match="no photograph of at least 288 pixels a side"):
        make_degraded_crops.main()


def test_matched_images_have_the_colors_of_the_reference_and_their_own_detail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import match_colors

    with Image.open(PHOTOGRAPH) as picture:
        reference = np.array(picture.convert("RGB"))
    detail = np.where(np.indices(reference.shape[:2]).sum(0) % 2, 6, -6)[..., None]
    darker = np.clip(reference.astype(int) - np.array([12, 3, 7]) + detail, 0, 255).astype(np.uint8)
    result = match_colors.matched(darker, reference).astype(int)
    inside = (reference > 30) & (reference < 225)
    off = (result - reference)[inside]
    assert abs(off.mean()) < 0.5  # it was 7 levels
    assert np.abs(off - np.broadcast_to(detail, reference.shape)[inside]).mean() < 1.5


def test_blind_sheets_show_every_model_in_an_order_that_the_key_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import make_blind_sheets

    levels = {"a": 10, "b": 100, "c": 200}
    for name in ("1", "2"):
        for folder, level, side in (("lr", 50, 12), *((model, level, 24) for model, level in levels.items())):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.new("RGB", (side, side), (level,) * 3).save(tmp_path / folder / f"{name}.png")
    models = [f"{name}={tmp_path / name}" for name in levels]
    sheets = str(tmp_path / "sheets")
    arguments = ["tool", "make", str(tmp_path / "lr"), sheets, *models, "--scale", "2", "--crop-px", "20"]
    monkeypatch.setattr("sys.argv", arguments)
    make_blind_sheets.main()
    key = json.loads((tmp_path / "sheets" / "key.json").read_text())
    sheet = np.asarray(Image.open(tmp_path / "sheets" / "01.png"))
    for number, row in enumerate(key):
        line = sheet[14 + 10 + number * 40]
        assert [line[10 + column * 26, 0] for column in range(4)] == [50] + [levels[n] for n in row["order"]]
    counts = make_blind_sheets.preferences(
        [{"order": ["a", "b", "c"]}, {"order": ["b", "c", "a"]}], ["1: B A=C", "2: C A B"]
    )
    assert counts["b", "better", "a"] == counts["a", "worse", "b"] == 1
    assert counts["a", "better", "b"] == counts["a", "better", "c"] == counts["a", "equal", "c"] == 1


def test_niqe_is_0_for_the_pictures_it_was_fitted_to_and_grows_with_blur(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import measure_niqe

    with Image.open(PHOTOGRAPH) as picture:
        photograph = picture.convert("L").resize((384, 384))
    row = torch.tensor([1.0, 6, 15, 20, 15, 6, 1], dtype=torch.float64) / 64
    window = row[:, None] * row
    levels, blurred = (
        np.asarray(image, np.float64) for image in (photograph, photograph.filter(ImageFilter.BoxBlur(2)))
    )
    features = measure_niqe.features(torch.from_numpy(levels), window)
    model = features.mean(0), features.T.cov(), window
    assert measure_niqe.niqe(levels, *model) < 1e-6
    assert measure_niqe.niqe(blurred, *model) > 5


@pytest.mark.parametrize("shape", [1.0, 2.0])
def test_a_generalised_gaussian_is_fitted(monkeypatch: pytest.MonkeyPatch, shape: float) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import measure_niqe

    rng = np.random.default_rng(0)
    drawn = abs(rng.laplace(size=40_000) if shape == 1 else rng.normal(size=40_000) / 2**0.5)
    drawn *= rng.choice([-1, 2], 40_000, p=[1 / 3, 2 / 3])  # as often as it is wide
    found = measure_niqe.fitted(torch.from_numpy(drawn)[None])
    assert [float(value) for value in found] == pytest.approx([shape, 1, 2], rel=0.04)


def test_portraits_repeat_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import make_portraits

    one, again, other = (np.asarray(make_portraits.portrait(number), np.int16) for number in (1, 1, 2))
    assert one.shape == (make_portraits.SIDE_PX, make_portraits.SIDE_PX, 3)
    assert np.array_equal(one, again)
    assert np.abs(one - other).mean() > 10  # not the same face on another wall
