"""What every test may use: fixed seeds, makers of small pictures and of settings. Nothing is downloaded."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.makers import Configure, MakePhotos, Ship, network_of
from support.networks import weights
from support.pictures import photograph
from torch import nn

from upscaler import Upscaler
from upscaler.models import shipped, weight_file
from upscaler.models.registry import PRESETS, build
from upscaler.system import stop_signals
from upscaler.trainer.config.config import TrainConfig


@pytest.fixture(autouse=True)
def _same_every_time() -> None:
    torch.set_num_threads(1)  # small tensors: waking a second thread takes longer than the work
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session", autouse=True)
def _signals_as_in_a_terminal() -> None:
    """Commands leave ignored signals ignored: here, all do if the suite runs in the background."""
    for number in stop_signals.STOP_SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:  # a child gets the default instead of a handler
            signal.signal(number, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What an earlier run measured or compiled must not decide what this one sees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSCALER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weight file of scale 2 with few random weights: upsamples bilinearly and adds a little."""
    torch.manual_seed(0)
    return weights(tmp_path_factory.mktemp("tiny") / "tiny.safetensors", channels=4, depth=1, detail=0.02)


@pytest.fixture(scope="module")
def engine(tiny_weights: Path) -> Upscaler:
    """For tests of what happens around the network, whatever its weights."""
    return Upscaler(tiny_weights, precision="fp32")


@pytest.fixture(scope="session")
def make_photos() -> MakePhotos:
    """Maker of PNG files ``photo00.png``, ``photo01.png``, ... in a folder; each call gives the same."""

    def make(folder: Path, count: int, height: int = 112, width: int = 128) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"photo{index:02}.png" for index in range(count)]
        for index, path in enumerate(paths):
            Image.fromarray(photograph(height, width, index)).save(path)
        return paths

    return make


@pytest.fixture
def lock_folder(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a folder impossible to list, for root, too, who may read every folder."""
    real = os.scandir

    def lock(folder: Path) -> None:
        def scandir(path: str) -> object:
            if Path(path) == folder:
                raise PermissionError(13, "Permission denied", path)
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return lock


@pytest.fixture
def configure(tmp_path: Path, make_photos: MakePhotos) -> Configure:
    """Maker of settings for a short run; keyword arguments replace settings."""
    make_photos(tmp_path / "photos", 4)

    def make(name: str = "weights", **settings: Any) -> TrainConfig:  # noqa: ANN401 - settings of any type
        known: dict[str, Any] = {
            "photos": (str(tmp_path / "photos"),),
            "output": str(tmp_path / f"{name}.safetensors"),
            "network": "fast",
            "scale": 2,
            "batch": 4,
            "patch_px": 12,
            "phase2_batch": 3,
            "phase2_patch_px": 16,
            "warmup_steps": 4,
            "device": "cpu",
            "threads": 1,
            "compiled": False,
        }
        if "minutes" not in settings:
            known["steps"] = 8
        return TrainConfig(**known | settings)

    return make


@pytest.fixture
def ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ship:
    """Has only what it is called for installed: small random weights of a named model, for some scales."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(shipped, "_FOLDER", folder)

    def put(model: str, *scales: int, **arguments: int) -> None:
        for scale in scales:
            architecture = PRESETS[network_of(model, scale)][0]
            small = {"srresnet": {"channels": 6, "blocks": 1}, "compact": {"channels": 6, "depth": 1}}
            torch.manual_seed(scale + sum(map(ord, model)))
            network = build(architecture, small[architecture] | {"scale": scale} | arguments)
            nn.init.normal_(network.tail.weight, std=0.2)
            file = folder / shipped.WEIGHTS[model][scale]
            weight_file.save(file, network, network.state_dict(), {})

    return put
