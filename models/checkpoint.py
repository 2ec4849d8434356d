"""Weights out of the files of other programs: PyTorch checkpoints and safetensors. Runs no code from them."""

import pickle
import re
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

# Models for other runtimes, by suffix and by their first bytes: ncnn's text format begins with its number;
# ONNX, a protobuf, with the field of its version, and a name, text or graph as the next field.
_OTHER_FORMATS = {".onnx": "ONNX", ".param": "ncnn", ".bin": "ncnn"}
_NCNN_START = b"7767517"
_ONNX_START = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x32\x3a]")
# Where trainers keep the weights inside a checkpoint, best first: averaged ones give the better pictures.
_WRAPPERS = ("params_ema", "params-ema", "params", "model_state_dict", "state_dict", "model", "net", "netG")
_NESTING_MAX = 8  # a hostile checkpoint may contain itself
# DataParallel, BasicSR, torch.compile; and wrappers that a converter to safetensors wrote into the names.
_PREFIXES = ("params_ema.", "params.", "state_dict.", "module.", "netG.", "_orig_mod.")
# Architectures are rebuilt from the numbers in the names: these must not make the machine build at will.
_LAYER_NUMBER_MAX = 4096


def check_format(path: Path) -> None:
    """Refuse a file of another runtime, whatever its name. A missing file passes, if its suffix does.

    Raises:
        WeightsError: It is an ONNX or ncnn model.
    """
    start = _start(path)
    if _starts_like_pickle(start) or _starts_like_safetensors(path, start):
        return
    name = _OTHER_FORMATS.get(path.suffix.lower())
    if start.startswith(_NCNN_START):
        name = "ncnn"
    elif _ONNX_START.match(start):
        name = "ONNX"
    if name:
        hint = "the page of the model usually has it as .pth or .safetensors too"
        raise WeightsError(f"'{path}' is an {name} model, which upscale does not run", hint)


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the weights of a generator from a file.

    Args:
        path: safetensors, or a PyTorch checkpoint in zip or legacy format; the content decides, not the
            suffix. Averaged weights are preferred where a checkpoint holds several; wrappers and prefixes of
            trainers are removed.

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
    start = _start(path)
    named_safetensors = path.suffix.lower() == ".safetensors" and not _starts_like_pickle(start)
    if named_safetensors or _starts_like_safetensors(path, start):
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
        with warnings.catch_warnings(), path.open("rb") as file:  # from a path, torch goes by the suffix
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _starts_like_pickle(_start(path)) and "unsupported" in str(error).lower():
            hint = "loading it would run code of its author: use a file with nothing but weights"
            raise WeightsError(f"'{path}' holds Python objects, not only weights", hint) from error
        raise WeightsError(f"'{path}' is not a PyTorch checkpoint, or is damaged") from error
    except Exception as error:  # whatever a damaged file makes an unpickler raise
        raise WeightsError(f"'{path}' is not a PyTorch checkpoint, or is damaged") from error


def _start(path: Path) -> bytes:
    """The first bytes of a file; none if it is missing or cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError:
        return b""


def _starts_like_pickle(start: bytes) -> bool:
    """Whether a file is a zip archive, as torch writes, or a bare pickle of protocol 2 or later."""
    return start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def _starts_like_safetensors(path: Path, start: bytes) -> bool:
    """Whether a file begins with the size of a JSON header that it can hold."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size - 8


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
