"""Weights out of the files of other programs: PyTorch checkpoints and safetensors. Runs no code from them."""

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from upscaler.errors import WeightsError

PICKLED_SUFFIXES = (".pth", ".pt", ".ckpt")
SUFFIXES = (".safetensors", *PICKLED_SUFFIXES)

# Formats that other programs run, and the suffix under which the same model usually exists.
_OTHER_FORMATS = {".onnx": "ONNX", ".param": "ncnn", ".bin": "ncnn"}
# Where trainers keep the weights inside a checkpoint, best first: averaged ones give the better pictures.
_WRAPPERS = ("params_ema", "params-ema", "params", "model_state_dict", "state_dict", "model", "net", "netG")
_NESTING_MAX = 8  # a hostile checkpoint may contain itself
_PREFIXES = ("module.", "netG.", "_orig_mod.")  # DataParallel, BasicSR, torch.compile
# Architectures are rebuilt from the numbers in the names: these must not make the machine build at will.
_LAYER_NUMBER_MAX = 4096


def check_format(path: Path) -> None:
    """Refuse a file of another runtime.

    Raises:
        WeightsError: It is an ONNX or ncnn model.
    """
    if name := _OTHER_FORMATS.get(path.suffix.lower()):
        hint = "the page of the model usually has it as .pth or .safetensors too"
        raise WeightsError(f"'{path}' is an {name} model, which upscale does not run", hint)


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the weights of a generator from a file.

    Args:
        path: ``.safetensors``, or a PyTorch checkpoint in zip or legacy format. Averaged weights are
            preferred where a checkpoint holds several; wrappers and prefixes of trainers are removed.

    Returns:
        Tensors by name, on the CPU, and the metadata of a safetensors file.

    Raises:
        WeightsError: The file is missing, damaged, of another format, holds no weights, or would need code of
            its author to be run.
    """
    check_format(path)
    if not path.is_file():
        raise WeightsError(f"no weight file '{path}'")
    content: object
    if path.suffix.lower() == ".safetensors":
        content, metadata = read_safetensors(path)
    else:
        content, metadata = _read_pickled(path), {}
    state = _without_prefix({str(name): value for name, value in _unwrapped(content).items()})
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    _check_state(path, tensors)
    return tensors, metadata


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name and metadata of a safetensors file.

    Raises:
        WeightsError: The file is not one.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - no dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"'{path}' is not a safetensors file: {error}") from error


def _read_pickled(path: Path) -> object:
    """What ``torch.load`` makes of a checkpoint without running code.

    Its errors advise to switch the protection off, so they are not shown.
    """
    if _is_torchscript(path):
        hint = "use the .pth or .safetensors of the same model"
        raise WeightsError(f"'{path}' is a TorchScript program, not a file of weights", hint)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _starts_like_pickle(path) and "unsupported" in str(error).lower():
            hint = "loading it would run code of its author: use a file with nothing but weights"
            raise WeightsError(f"'{path}' holds Python objects, not only weights", hint) from error
        raise WeightsError(f"'{path}' is not a PyTorch checkpoint, or is damaged") from error
    except Exception as error:  # whatever a damaged file makes an unpickler raise
        raise WeightsError(f"'{path}' is not a PyTorch checkpoint, or is damaged") from error


def _starts_like_pickle(path: Path) -> bool:
    """Whether a file is a zip archive, as torch writes, or a bare pickle of protocol 2 or later."""
    with path.open("rb") as file:
        start = file.read(2)
    return start in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def _is_torchscript(path: Path) -> bool:
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except OSError as error:
        raise WeightsError(f"cannot read '{path}': {error.strerror}") from error
    except Exception:  # BadZipFile, and whatever else damage makes zipfile raise
        return False


def _unwrapped(content: object) -> dict[Any, Any]:
    """The innermost mapping of weights in a checkpoint; empty if there is none."""
    for _ in range(_NESTING_MAX):
        if not isinstance(content, dict):
            return {}
        wrapped = [content[name] for name in _WRAPPERS if isinstance(content.get(name), dict)]
        if not wrapped and len(content) == 1:
            wrapped = [inner for inner in content.values() if isinstance(inner, dict)]
        if not wrapped:
            return content
        content = wrapped[0]
    return {}


def _without_prefix(state: dict[str, Any]) -> dict[str, Any]:
    for prefix in _PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _check_state(path: Path, state: dict[str, Tensor]) -> None:
    """Refuse what no trainer writes: nothing, layers by the million, tensors larger than the file."""
    if not state:
        raise WeightsError(f"'{path}' holds no weights")
    numbers = (int(part) for name in state for part in name.split(".") if part.isdecimal())
    claimed_bytes = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if max(numbers, default=0) > _LAYER_NUMBER_MAX or claimed_bytes > 2 * path.stat().st_size + 65536:
        raise WeightsError(f"'{path}' is damaged: it names more layers or values than it holds")
