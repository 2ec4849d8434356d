"""LPIPS (Zhang et al., arXiv 1801.03924), version 0.1: the perceptual distance of two images."""

import contextlib
import importlib.util
import io
import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from upscaler.errors import WeightsError

Net = Literal["squeeze", "alex", "vgg"]

# For each trunk: torchvision's name, after which of its `features` layers are compared, and their channels.
_TRUNKS: dict[Net, tuple[str, tuple[int, ...], tuple[int, ...]]] = {
    "squeeze": ("squeezenet1_1", (2, 5, 8, 10, 11, 12, 13), (64, 128, 256, 384, 384, 512, 512)),
    "alex": ("alexnet", (2, 5, 8, 10, 12), (64, 192, 384, 256, 256)),
    "vgg": ("vgg16", (4, 9, 16, 23, 30), (64, 128, 256, 512, 512)),
}
NETS = tuple(_TRUNKS)

# In smaller images, the deepest features of the trunks have no pixel left.
SMALLEST_SIDE_PX = 32

# Normalisation of RGB in [-1, 1], as in the training of the trunks.
_MEAN = (-0.030, -0.088, -0.188)
_DEVIATION = (0.458, 0.448, 0.450)
_EPSILON = 1e-10


class Lpips:
    """Measures LPIPS.

    Args:
        net: The trunk; published tables mostly use ``alex``. Values of different trunks are not comparable.
        trunk: File with torchvision's weights of the trunk (``features.*``; safetensors or a plain state);
            ``None``: torchvision's own, which it downloads.
        heads: File with LPIPS's linear layers (``linN.model.1.weight``, also with the net's name before);
            ``None``: those that the package torchmetrics brings.
        device: Where it runs.

    Raises:
        WeightsError: Weights cannot be had, or are of something else.
    """

    def __init__(self, net: Net, trunk: Path | None, heads: Path | None, device: torch.device) -> None:
        name, ends, channels = _TRUNKS[net]
        self._device = device
        self._trunk = _trunk(name, ends[-1], trunk).to(device)
        self._ends = ends
        self._heads = [head.to(device) for head in _heads(net, channels, heads)]
        self._mean, self._deviation = (
            torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (_MEAN, _DEVIATION)
        )

    @torch.inference_mode()
    def distance(self, sr: NDArray[np.uint8], hr: NDArray[np.uint8]) -> float:
        """LPIPS of two images ``(H, W, 3)`` RGB uint8 of at least 32x32 pixels; 0 if they are equal."""
        both = torch.stack([torch.tensor(sr), torch.tensor(hr)]).to(self._device)
        features = (both.permute(0, 3, 1, 2).float() / 127.5 - 1 - self._mean) / self._deviation
        total, start = 0.0, 0
        for end, head in zip(self._ends, self._heads, strict=True):
            features = self._trunk[start:end](features)  # (2, C, h, w)
            unit = features / (features.square().sum(1, keepdim=True).sqrt() + _EPSILON)
            difference = (unit[0] - unit[1]).square()
            total += float((difference * head).sum(0).mean())
            start = end
        return total


def if_installed(net: Net, trunk: Path | None, heads: Path | None, device: torch.device) -> Lpips | None:
    """LPIPS, if its weights are on this machine: those given, or those that torchvision downloaded before.

    Args:
        net: As in ``Lpips``.
        trunk: As in ``Lpips``, but nothing is downloaded.
        heads: As in ``Lpips``.
        device: As in ``Lpips``.

    Raises:
        WeightsError: A file that was given cannot be used.
    """
    downloads = Path(torch.hub.get_dir()) / "checkpoints"
    known = trunk or next(iter(sorted(downloads.glob(f"{_TRUNKS[net][0]}-*.pth"))), None)
    if known is None or (heads is None and importlib.util.find_spec("torchmetrics") is None):
        return None
    return Lpips(net, known, heads, device)


def _trunk(name: str, layers: int, path: Path | None) -> nn.Sequential:
    """The first layers of a trunk's ``features``."""
    from torchvision import models  # here: the import is slow, and rarely needed

    with torch.device("meta"):  # no initial weights: they would be replaced
        features: nn.Sequential = models.get_model(name).features[:layers]
    state = _downloaded(name) if path is None else _tensors(path)
    expected = features.state_dict()
    given = {key: state[f"features.{key}"].float() for key in expected if f"features.{key}" in state}
    if any(key not in given or given[key].shape != tensor.shape for key, tensor in expected.items()):
        raise WeightsError(f"'{path}' does not hold torchvision's {name}", "LPIPS needs all of its features")
    features.load_state_dict(given, assign=True)
    return features.eval()


def _downloaded(name: str) -> dict[str, Tensor]:
    from torchvision import models

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # torch prints what it downloads
            state: dict[str, Tensor] = models.get_model(name, weights="DEFAULT", progress=False).state_dict()
    except (OSError, RuntimeError) as error:
        hint = "give its weights by --lpips-trunk FILE"
        raise WeightsError(f"torchvision cannot download {name}: {error}", hint) from error
    return state


def _heads(net: Net, channels: tuple[int, ...], path: Path | None) -> list[Tensor]:
    """The weights of the channels of each comparison, ``(C, 1, 1)``."""
    path = path or _packaged_heads(net)
    state = _tensors(path)
    found = []
    for index, count in enumerate(channels):
        name = f"lin{index}.model.1.weight"
        head = state.get(name, state.get(f"{net}.{name}"))
        if head is None or head.shape != (1, count, 1, 1):
            hint = f"no '{name}' of {count} channels"
            raise WeightsError(f"'{path}' does not hold the linear layers of LPIPS {net}", hint)
        found.append(head.float()[0])
    return found


def _packaged_heads(net: Net) -> Path:
    package = importlib.util.find_spec("torchmetrics")
    if package is None or package.origin is None:
        hint = "install upscaler[eval], or give them by --lpips-heads FILE"
        raise WeightsError("LPIPS needs its linear layers", hint)
    return Path(package.origin).parent / "functional" / "image" / "lpips_models" / f"{net}.pth"


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a file; runs no code from it."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"no file '{path}'") from error
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise WeightsError(f"'{path}' cannot be read as weights") from error
    if not isinstance(state, dict):
        raise WeightsError(f"'{path}' cannot be read as weights")
    return state
