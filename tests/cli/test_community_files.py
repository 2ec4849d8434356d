"""Files through models of other projects, alone and in chains: alpha, animation, resumed video, report."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import LENGTH, run
from support.community import save_pth, spandrel_result, state_of
from support.interrupted import cut
from support.interrupted import run as run_video
from support.media import clip, frame_times
from support.messages import Messages, held_by
from support.networks import network_of, weights
from support.pictures import photograph
from torch import Tensor

from upscaler import Upscaler
from upscaler.models.community import CommunityNetwork
from upscaler.video import segments

# Options of the command: one model of another project, or a chain of one and of ours.
Model = list[object]


@pytest.fixture(params=["one", "chain"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    folder = tmp_path / "models"
    folder.mkdir()
    if request.param == "one":
        return ["--model", save_pth(folder / "2x.pth", "SPAN")]
    restores, upscales = save_pth(folder / "1x.pth", "Compact x1"), weights(folder / "2x.safetensors")
    return ["--model", restores, "--model", upscales]


def models_of(model: Model) -> list[Path]:
    return [Path(str(path)) for path in model[1::2]]


def test_alpha_gray_and_16_bits(tmp_path: Path, model: Model) -> None:
    rgba = Image.fromarray(photograph(24, 32)).convert("RGBA")
    rgba.putalpha(Image.fromarray(np.repeat(np.arange(0, 256, 8, np.uint8)[None], 24, 0)))
    rgba.save(tmp_path / "rgba.png")
    Image.fromarray(photograph(24, 32)[:, :, 0]).save(tmp_path / "gray.png")
    Image.fromarray(photograph(24, 32)[:, :, 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    names = ["rgba.png", "gray.png", "deep.png"]
    run(*(tmp_path / name for name in names), *model, "-o", tmp_path / "out")
    modes = {}
    for name in names:
        with Image.open(tmp_path / "out" / name) as result:
            assert result.size == (64, 48)
            modes[name] = result.mode
    assert modes == {"rgba.png": "RGBA", "gray.png": "L", "deep.png": "I;16"}
    engine = Upscaler(models_of(model), device="cpu")
    with Image.open(tmp_path / "out" / "rgba.png") as written:
        assert np.array_equal(np.asarray(written), np.asarray(engine.image(rgba)))
        alpha = np.asarray(written)[:, :, 3].astype(int)
    assert np.ptp(alpha) > 100


def test_animation(tmp_path: Path, model: Model) -> None:
    frames = [Image.fromarray(photograph(24, 32, seed)) for seed in range(3)]
    frames[0].save(
        tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=[40, 70, 90], lossless=True
    )
    run(tmp_path / "a.webp", *model, "-o", tmp_path / "b.webp")
    with Image.open(tmp_path / "b.webp") as result:
        assert (result.n_frames, result.size) == (3, (64, 48))
        result.seek(2)
        last = np.asarray(result.convert("RGB")).astype(int)
    expected = Upscaler(models_of(model), device="cpu").image(np.asarray(frames[2])).astype(int)
    assert np.abs(last - expected).mean() < 3


def test_interrupted_video_writes_the_same_bytes(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "_FRAMES_MIN", LENGTH)
    monkeypatch.setattr(segments, "_FRAMES_MAX", LENGTH)
    # Not smaller: below 128x96, x264 with AVX-512 does not always write the same bytes for the same frames.
    source = clip(tmp_path / "in.mp4", frames=LENGTH + 2, height=48, width=64, audio=["aac"])
    engine = Upscaler(models_of(model), device="cpu")
    run_video(engine, source, tmp_path / "whole.mp4")
    cut(engine, source, tmp_path / "out.mp4", LENGTH)
    _, notes, _ = run_video(engine, source, tmp_path / "out.mp4")
    assert any(f"resuming after {LENGTH} frames" in note for note in notes)
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert frame_times(tmp_path / "out.mp4") == frame_times(source)
    cut(engine, source, tmp_path / "other.mp4", LENGTH)
    first = models_of(model)[0]
    save_pth(first, "Compact x1" if len(model) > 2 else "Compact", wrapper="another")
    changed = Upscaler(models_of(model), device="cpu")
    _, notes, _ = run_video(changed, source, tmp_path / "other.mp4")
    assert any("restarting" in note and "hash of the weights" in note for note in notes)


def test_the_report_names_every_model_with_architecture_and_hash(tmp_path: Path, model: Model) -> None:
    Image.fromarray(photograph(16, 16)).save(tmp_path / "a.png")
    said = run(tmp_path / "a.png", *model, "--json", tmp_path / "report.jsonl")
    (line,) = (tmp_path / "report.jsonl").read_text().splitlines()
    used = json.loads(line)["weights"]
    assert [each["file"] for each in used] == [str(path) for path in models_of(model)]
    assert all(len(each["sha256"]) == 64 for each in used)
    assert used[0]["architecture"].startswith("SPAN" if len(used) == 1 else "RealESRGAN Compact")
    chain = "(x2)" if len(used) == 1 else "(1x.pth x1 then 2x.safetensors x2)"
    assert f"16x16 -> 32x32 {chain}" in said


@pytest.mark.parametrize("name", ["SPAN", pytest.param("RRDB deep", marks=pytest.mark.slow)])
def test_memory_limit_and_lack_of_memory_make_tiles_smaller(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_pth(tmp_path / "w.pth", name)
    pixels = photograph(130, 150)
    expected = spandrel_result(state_of(name), pixels).astype(float)
    near_db = 45 if name == "RRDB deep" else 60
    bound = Upscaler(
        path, device="cpu", precision="fp32", memory_limit_gb=0.01 if name == "RRDB deep" else 0.003
    )
    assert len(network_of(bound, 2).tiles(130, 150)) > 1
    assert psnr_db(bound.image(pixels), expected) > near_db
    whole = CommunityNetwork.forward

    def small_memory(self: CommunityNetwork, lr: Tensor) -> Tensor:
        if lr.shape[2] * lr.shape[3] > 12_000:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return whole(self, lr)

    monkeypatch.setattr(CommunityNetwork, "forward", small_memory)
    short, messages = Upscaler(path, device="cpu", precision="fp32"), Messages()
    with short.messages_to(messages):
        assert psnr_db(short.image(pixels), expected) > near_db
    same = "" if name == "RRDB deep" else " (same output)"
    assert messages[0] == f"out of memory: retrying with smaller tiles{same}"
    assert held_by(short) == []


def psnr_db(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((one.astype(float) - other) ** 2))))
