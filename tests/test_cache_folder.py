"""Where the cache is, and that everything works without one."""

import os
import sys
from pathlib import Path

import numpy as np
import platformdirs
import pytest
import torch
from support.messages import held_by
from support.pictures import photograph

from upscaler import Upscaler, process_settings
from upscaler.cache_folder import cache_folder
from upscaler.errors import CacheError, DeviceError
from upscaler.inference import devices
from upscaler.models import model_folder
from upscaler.system import own_files


def test_the_variable_names_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSCALER_CACHE", str(tmp_path / "here"))
    assert cache_folder("compiled") == tmp_path / "here" / "compiled"
    assert (tmp_path / "here" / "compiled").is_dir()


def test_without_the_variable_it_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UPSCALER_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name, appauthor: tmp_path / name)
    assert cache_folder("compiled") == tmp_path / "upscaler" / "compiled"


@pytest.mark.parametrize("home", ["none", "relative", "a file"])
@pytest.mark.parametrize("runtime", ["compiled", "auto"])
def test_without_a_cache_folder_the_network_runs_uncompiled(
    home: str, runtime: str, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home(name: str, appauthor: bool) -> Path:
        if home == "none":
            raise RuntimeError("could not determine the home directory")
        return Path("~") / name

    monkeypatch.setattr(process_settings, "_CACHE_OF_COMPILER", None)
    monkeypatch.delenv("UPSCALER_CACHE", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", no_home)
    monkeypatch.setattr(devices, "has_compiler", lambda: True)
    monkeypatch.setattr(torch, "compile", lambda network, dynamic: pytest.fail("compiled"))
    if home == "a file":
        (tmp_path / "file").write_bytes(b"")
        monkeypatch.setenv("UPSCALER_CACHE", str(tmp_path / "file"))
    pixels = photograph(20, 24)
    upscaler = Upscaler(tiny_weights, precision="fp32", runtime=runtime)
    with upscaler.prepared(upscaler.plan(20, 24), 20, 24, 10**9):
        upscaled = upscaler.image(pixels)
    assert np.array_equal(upscaled, Upscaler(tiny_weights, precision="fp32").image(pixels))
    (text,) = held_by(upscaler)
    assert text.startswith("no cache folder")
    assert "continuing uncompiled (set UPSCALER_CACHE to a folder that can be written)" in text
    execution = upscaler.execution(upscaler.plan(20, 24)) | {"runtime, x2": "compiled"}
    with (
        pytest.raises(DeviceError, match="was compiled, and cannot be here"),
        upscaler.restored_execution(execution, upscaler.plan(20, 24)),
    ):
        pass


def test_without_a_home_folder_no_models_are_looked_for_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(name: str, appauthor: bool) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(platformdirs, "user_data_path", no_home)
    monkeypatch.delenv("UPSCALER_MODELS", raising=False)
    assert model_folder.folders() == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSCALER_CACHE", str(tmp_path))
    cache_folder("compiled")

    def refuse(_path: Path) -> int:  # the superuser may write everywhere
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(own_files, "create", refuse)
    with pytest.raises(CacheError, match="cannot be written"):
        cache_folder("compiled")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes, and links take a privilege")
def test_only_its_owner_may_use_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled code is loaded from it."""
    monkeypatch.setenv("UPSCALER_CACHE", str(tmp_path))
    (tmp_path / "compiled").mkdir(mode=0o777)
    assert cache_folder("compiled").stat().st_mode & 0o777 == 0o700
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheError, match="no cache folder can be made"):
        cache_folder("link")
    if os.geteuid() == 0:
        os.chown(tmp_path / "compiled", 12345, 12345)
        with pytest.raises(CacheError, match="belongs to another user"):
            cache_folder("compiled")


def test_a_cache_that_fails_later_costs_only_the_compiled_code(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(lr: torch.Tensor) -> torch.Tensor:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(process_settings, "_CACHE_OF_COMPILER", str(tmp_path))
    monkeypatch.setattr(devices, "has_compiler", lambda: True)
    monkeypatch.setattr(torch, "compile", lambda network, dynamic: full)
    upscaler = Upscaler(tiny_weights, precision="fp32", runtime="compiled")
    upscaler.image(photograph(20, 24))
    assert held_by(upscaler) == [
        "compiling the network",
        "compiling failed: continuing uncompiled ([Errno 28] No space left on device)",
    ]
