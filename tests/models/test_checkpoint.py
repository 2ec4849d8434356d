"""Files of other programs: read without running their code, refused in one line that says what they are."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.community import save_pth, state_of
from torch import nn

from upscaler.errors import WeightsError
from upscaler.models.checkpoint import read_state


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


class HostileShell(Hostile):
    """The same by a function of a module that torch blocks by name, with another message."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.target}",)


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_state(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert "weights_only" not in text  # torch's advice to switch the safety off
    return text


@pytest.mark.parametrize("wrapper", ["params_ema", "params", "state_dict", "model"])
@pytest.mark.parametrize("zipped", [True, False])
def test_wrapped_weights_are_found(tmp_path: Path, wrapper: str, zipped: bool) -> None:
    state = state_of("Compact")
    prefixed = {f"module.{name}": tensor for name, tensor in state.items()}
    path = tmp_path / "w.pth"
    torch.save({wrapper: prefixed, "epoch": 3}, path, _use_new_zipfile_serialization=zipped)
    found, _ = read_state(path)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


def test_averaged_weights_are_preferred(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"params": {"a": torch.zeros(1)}, "params_ema": {"a": torch.ones(1)}}, path)
    assert read_state(path)[0]["a"].item() == 1


def test_parameters_and_old_ordered_dictionaries_are_read(tmp_path: Path) -> None:
    path = tmp_path / "w.ckpt"
    torch.save(OrderedDict(a=nn.Parameter(torch.ones(2))), path)
    assert read_state(path)[0]["a"].tolist() == [1, 1]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("hostile", [Hostile, HostileShell])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(
    tmp_path: Path, zipped: bool, hostile: type[Hostile]
) -> None:
    path, target = tmp_path / "w.pth", tmp_path / "was-run"
    content = {"params": state_of("Compact"), "extra": hostile(target)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert "holds Python objects, not only weights" in refusal(path)
    assert not target.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_bare_hostile_pickle_is_refused_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    path, target = tmp_path / "w.pth", tmp_path / "was-run"
    path.write_bytes(pickle.dumps(Hostile(target), protocol))
    refusal(path)
    assert not target.exists()


def test_a_whole_pickled_module_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(nn.Conv2d(3, 3, 3), path)
    assert "holds Python objects" in refusal(path)


def test_torchscript_is_named(tmp_path: Path) -> None:
    import io
    import zipfile

    path = tmp_path / "w.pt"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("w/constants.pkl", b"")
        archive.writestr("w/code/__torch__.py", b"")
    path.write_bytes(buffer.getvalue())
    assert "is a TorchScript program" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(99), b"PK\x03\x04junk"])
def test_files_that_are_no_checkpoints_are_named_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    assert "is not a PyTorch checkpoint, or is damaged" in refusal(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_cut_checkpoint_is_damaged(tmp_path: Path, share: float) -> None:
    path = save_pth(tmp_path / "w.pth", "Compact")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "is not a PyTorch checkpoint, or is damaged" in refusal(path)


@pytest.mark.parametrize(("suffix", "name"), [(".onnx", "ONNX"), (".param", "ncnn"), (".bin", "ncnn")])
def test_formats_of_other_runtimes_are_named(tmp_path: Path, suffix: str, name: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"anything")
    assert f"is an {name} model" in refusal(path)


@pytest.mark.parametrize(
    ("content", "name"),
    [(b"\x08\x07\x12\x07pytorch\x1a\x05", "ONNX"), (b"7767517\n75 87\nInput data 0 1 data\n", "ncnn")],
)
def test_formats_of_other_runtimes_are_named_under_other_names(
    tmp_path: Path, content: bytes, name: str
) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    assert f"is an {name} model" in refusal(path)


@pytest.mark.parametrize("prefix", ["", "params_ema."])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_safetensors_are_read_under_any_name(tmp_path: Path, name: str, prefix: str) -> None:
    state = state_of("Compact")
    save_file({prefix + key: tensor for key, tensor in state.items()}, tmp_path / name)
    assert read_state(tmp_path / name)[0].keys() == state.keys()


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin"])
@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints_are_read_under_any_name(tmp_path: Path, name: str, zipped: bool) -> None:
    state = state_of("Compact")
    torch.save(state, tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert read_state(tmp_path / name)[0].keys() == state.keys()


def test_a_checkpoint_without_tensors_holds_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"epoch": 3}, path)
    assert "holds no weights" in refusal(path)


def test_a_checkpoint_that_contains_itself_holds_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    content: dict[str, object] = {}
    content["params"] = content
    torch.save(content, path)
    assert "holds no weights" in refusal(path)


def test_tensors_larger_than_the_file_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"params": {"a.weight": torch.zeros(1).expand(100_000, 100_000)}}, path)
    assert "is damaged" in refusal(path)


def test_layers_by_the_million_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"body.99999999.weight": torch.zeros(1)}, path)
    assert "is damaged" in refusal(path)
