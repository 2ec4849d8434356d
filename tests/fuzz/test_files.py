"""Damaged pictures and clips through the command: a right result, a warning, or one clear line for each.

Never a traceback, a crash, a bug's line, a file that has half of its content, or a file that is left over.
"""

import json
import subprocess
import sys
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from support import kept
from support.command import files_below
from support.media import clip
from support.mutation import mutated
from support.pictures import photograph

from upscaler.images import animation, stills

pytestmark = pytest.mark.slow
UPSCALE = [sys.executable, "-m", "upscaler"]
CODES = {0, 1, 3}


def picture(path: Path) -> Path:
    image = Image.fromarray(photograph(20, 24))
    if path.stem.startswith("deep"):
        image = Image.fromarray((photograph(20, 24)[:, :, 0].astype(np.uint16)) * 257)
    elif path.stem.startswith("palette"):
        image = image.quantize(16)
    elif path.stem.startswith("clear"):
        image.putalpha(128)
    if path.stem.startswith("moving"):
        others = [Image.fromarray(photograph(20, 24, seed)) for seed in (1, 2)]
        image.save(path, save_all=True, append_images=others, duration=50)
    else:
        image.save(path)
    return path


PICTURES = (
    "a.jpg", "a.png", "deep.png", "palette.png", "clear.png", "moving.png", "a.gif", "moving.gif", "a.webp",
    "moving.webp", "a.tif", "deep.tif", "a.bmp", "a.avif", "moving.avif",
)  # fmt: skip
CLIPS = (
    ("a.mp4", "libx264", ["aac"]),
    ("b.mp4", "libx265", ["aac"]),
    ("a.mkv", "libx264", ["flac", "aac"]),
    ("a.ts", "libx264", ["aac"]),
    ("b.ts", "mpeg2video", ["mp2"]),
    ("a.avi", "mpeg4", ["mp2"]),
    ("a.webm", "libvpx-vp9", ["libopus"]),
    ("a.mpg", "mpeg2video", ["mp2"]),
    ("a.mov", "prores_ks", ["pcm_s16le"]),
)


def upscaled(folder: Path, output: Path, weights: Path) -> list[dict[str, object]]:
    """Upscale a folder by the command; checks what holds for every input, and returns the report."""
    report = output.with_suffix(".json")
    command = [*UPSCALE, str(folder), "-o", str(output), "--model", str(weights), "--json", str(report)]
    done = subprocess.run(
        [*command, "--precision", "fp32"],
        capture_output=True, text=True, errors="replace", check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode in CODES, (done.returncode, done.stderr[-3000:])
    for bad in ("Traceback", "internal error", "Exception ignored"):
        assert bad not in done.stderr, done.stderr[-3000:]
    results = [json.loads(line) for line in report.read_text().splitlines()]
    assert len(results) == len(files_below(folder))
    for result in results:
        target = Path(str(result["target"]))
        assert target.exists() == (result["outcome"] in ("done", "done with warnings")), result
        if result["outcome"] == "failed":
            assert result["error"] and "\n" not in str(result["error"]), result
    written = {str(Path(str(result["target"])).relative_to(output)) for result in results}
    assert set(files_below(output)) <= written, "something is left over"
    return results


def mutants(originals: list[Path], folder: Path, each: int) -> None:
    folder.mkdir()
    for number, original in enumerate(originals):
        content = original.read_bytes()
        for seed in range(each):
            name = f"{original.stem}-{seed:03}{original.suffix}"
            (folder / name).write_bytes(mutated(content, 1000 * number + seed))


def test_pictures(tmp_path: Path, tiny_weights: Path) -> None:
    (tmp_path / "originals").mkdir()
    originals = [picture(tmp_path / "originals" / name) for name in PICTURES]
    others = [*kept.read_only_kinds(), (".exr", "float32", kept.with_light("float32"))]
    for number, (suffix, _, make) in enumerate(others):
        originals.append(tmp_path / "originals" / f"other{number}{suffix}")
        make(originals[-1])
    mutants(originals, tmp_path / "damaged", 30)
    results = upscaled(tmp_path / "damaged", tmp_path / "out", tiny_weights)
    outcomes = {str(result["outcome"]) for result in results}
    assert outcomes == {"done", "done with warnings", "failed"}, "the damage is neither all nor nothing"
    for result in results:
        target = Path(str(result["target"]))
        if target.exists():  # whole: it can be read to its end
            if animation.is_animated(target):
                with animation.opened(target) as moving:
                    assert sum(1 for _ in moving.frames()) == moving.count
            else:
                stills.read(target)


def test_clips(tmp_path: Path, tiny_weights: Path) -> None:
    (tmp_path / "originals").mkdir()
    originals = []
    for name, encoder, audio in CLIPS:
        of_codec: dict[str, object] = {"pixel_format": "yuv422p10le"} if encoder == "prores_ks" else {}
        if encoder in ("mpeg4", "mpeg2video"):
            of_codec["time_base"] = Fraction(1, 25)
        path = tmp_path / "originals" / name
        originals.append(clip(path, frames=8, encoder=encoder, audio=audio, seconds=0.4, **of_codec))
    mutants(originals, tmp_path / "damaged", 10)
    results = upscaled(tmp_path / "damaged", tmp_path / "out", tiny_weights)
    assert {"done", "failed"} <= {str(result["outcome"]) for result in results}
    for result in results:
        target = Path(str(result["target"]))
        if target.exists():
            with av.open(str(target)) as container:
                frames = sum(1 for _ in container.decode(video=0))
            assert frames == result["frames_in"], result


def test_files_of_other_kinds_under_every_name(tmp_path: Path, tiny_weights: Path) -> None:
    """Each content with each suffix; what decodes is upscaled, and nothing else happens."""
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(800))
    contents = {
        "sound": (tmp_path / "a.wav").read_bytes(),
        "text": b"hello\n" * 100,
        "list": b"ffconcat version 1.0\nfile 'text.mp4'\n",
        "playlist": b"#EXTM3U\n#EXTINF:1,\ntext.ts\n",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "zip": b"PK\x03\x04" + bytes(200),
        "program": b"\x7fELF" + bytes(200),
        "pdf": b"%PDF-1.4\n",
        "zeros": bytes(4096),
        "empty": b"",
        "picture": picture(tmp_path / "p.png").read_bytes(),
        "clip": clip(tmp_path / "c.mp4", frames=2).read_bytes(),
    }
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name, content in contents.items():
        for suffix in (".jpg", ".png", ".tif", ".mp4", ".mkv", ".ts", ".avi"):
            (folder / f"{name}{suffix[1:]}{suffix}").write_bytes(content)
    command = [*UPSCALE, str(folder), "-o", str(tmp_path / "out"), "--model", str(tiny_weights)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in CODES, done.stderr[-3000:]
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr, done.stderr[-3000:]
    assert all(name.startswith(("picture", "clip")) for name in files_below(tmp_path / "out"))
    assert len(files_below(tmp_path / "out")) == 14, done.stderr[-3000:]
