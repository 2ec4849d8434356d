"""Damaged weight files, hostile pickles, and wrong settings: one clear line, and no code of a file runs."""

import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from support.community import save_pth
from support.makers import Configure
from support.mutation import mutated
from support.pictures import photograph
from typer.testing import CliRunner

from upscaler import Upscaler
from upscaler.errors import UpscalerError
from upscaler.trainer.cli import app as train
from upscaler.trainer.config.config import TrainConfig

pytestmark = pytest.mark.slow
PICTURE = photograph(20, 24)


def check(path: Path) -> bool:
    """Whether a weight file is used; if not, the error has one line."""
    try:
        result = Upscaler(path, precision="fp32").image(PICTURE)
    except UpscalerError as error:
        assert "\n" not in str(error)
        return False
    assert result.dtype == np.uint8
    assert result.ndim == 3
    return True


@pytest.mark.parametrize("kind", ["safetensors", "pth", "old pth"])
def test_weight_files(tmp_path: Path, tiny_weights: Path, kind: str) -> None:
    original = tiny_weights if kind == "safetensors" else save_pth(tmp_path / "a.pth", "Compact")
    if kind == "old pth":
        state = torch.load(original, weights_only=True)
        torch.save(state, original, _use_new_zipfile_serialization=False)
    content = original.read_bytes()
    used = 0
    for seed in range(150):
        path = tmp_path / f"mutant{seed}{original.suffix}"
        path.write_bytes(mutated(content, seed))
        used += check(path)
    assert 0 < used < 150, "the damage is neither all nor nothing"


class _Runs:
    """Pickled, it is a call."""

    def __init__(self, call: object, *arguments: object) -> None:
        self.call = (call, arguments)

    def __reduce__(self) -> object:
        return self.call


def test_pickles_run_nothing(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    calls = {
        "system": _Runs(os.system, f"touch {canary}"),
        "open": _Runs(open, str(canary), "w"),
        "mkdir": _Runs(os.mkdir, str(canary)),
        "eval": _Runs(eval, f"open({str(canary)!r}, 'w')"),
        "exec": _Runs(exec, f"open({str(canary)!r}, 'w')"),
        "path": _Runs(Path.touch, canary),
    }
    for name, call in calls.items():
        wrapped = {"plain": call, "state": {"params": {"conv.weight": call}}, "listed": [call] * 3}
        for shape, content in wrapped.items():
            for suffix in (".pth", ".pt", ".ckpt", ".safetensors"):
                path = tmp_path / f"{name}-{shape}{suffix}"
                path.write_bytes(pickle.dumps(content))
                assert not check(path)
                torch.save(content, path)
                assert not check(path)
                torch.save(content, path, _use_new_zipfile_serialization=False)
                assert not check(path)
    assert not canary.exists()


VALUES = (
    "-1", "0", "1", "3", "1e400", "nan", "inf", '""', '"fast"', "true", "[]", "[1, 2]", "{}", "1979-05-27",
    '"../../etc/passwd"', "999999999999", "0.5", '"\\u0000"',
)  # fmt: skip


def test_settings_files(configure: Configure, tmp_path: Path) -> None:
    """Every setting with every value of every type, some of them damaged; training itself never starts."""
    photos = str(configure().photos[0])
    names = list(TrainConfig.__dataclass_fields__)
    chance = random.Random(0)
    for seed in range(150):
        chosen = chance.sample(names, 3)
        text = "".join(f"{name} = {chance.choice(VALUES)}\n" for name in chosen) + "steps = 0\n"
        content = mutated(text.encode(), seed) if seed % 3 == 0 else text.encode()
        settings = tmp_path / "settings.toml"
        settings.write_bytes(content)
        result = CliRunner().invoke(
            train, [photos, "-o", str(tmp_path / "w.safetensors"), "--config", str(settings), "--steps", "0"]
        )
        assert result.exit_code in (1, 2), (content, result.output)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            content,
            result.exception,
        )
        assert "Traceback" not in result.output and "internal error" not in result.output, (
            content,
            result.output,
        )
        assert not (tmp_path / "w.safetensors").exists()
