"""The explicit tables: which networks there are, the named presets, and the weights that ship."""

from pathlib import Path
from typing import Any

from upscaler.errors import WeightsError
from upscaler.models.compact import Compact
from upscaler.models.contract import Network
from upscaler.models.srresnet import SRResNet

SCALES = (1, 2, 3, 4, 8)

NETWORKS: dict[str, type[Network]] = {
    "compact": Compact,
    "srresnet": SRResNet,
}

# What `upscale-train --network` takes: a network and the arguments besides the scale.
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "fast": ("compact", {"channels": 32, "depth": 5}),
    "balanced": ("compact", {"channels": 48, "depth": 8}),
    "srresnet": ("srresnet", {}),
    "srresnet-paper": ("srresnet", {"norm": "batch", "tail": "paper"}),
}

# What `upscale --model` takes besides a file: the file in weights/ for each scale.
WEIGHTS: dict[str, dict[int, str]] = {
    "balanced": {4: "balanced-x4.safetensors"},
    "fast": {2: "fast-x2.safetensors", 4: "fast-x4.safetensors"},
}

_WEIGHTS_FOLDER = Path(__file__).parent / "weights"


def build(architecture: str, arguments: dict[str, Any]) -> Network:
    """Build a network with fresh random weights.

    Args:
        architecture: A key of ``NETWORKS``.
        arguments: Its keyword arguments, the scale among them.

    Raises:
        WeightsError: No such architecture, or arguments that it does not take.
    """
    if architecture not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise WeightsError(f"unknown network architecture '{architecture}'", f"this version knows {known}")
    if arguments.get("scale") not in SCALES:
        raise WeightsError(f"no network of scale {arguments.get('scale')}", f"scales are {SCALES}")
    try:
        return NETWORKS[architecture](**arguments)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"network '{architecture}' cannot be built: {error}") from error


def installed_scales(model: str) -> list[int]:
    """The scales for which the named model has weights on this machine, ascending."""
    files = WEIGHTS.get(model, {})
    return sorted(scale for scale, name in files.items() if (_WEIGHTS_FOLDER / name).is_file())


def installed_models() -> list[str]:
    """The named models that have weights on this machine."""
    return [model for model in WEIGHTS if installed_scales(model)]


def weights_path(model: str, scale: int) -> Path:
    """The shipped weight file of a named model.

    Raises:
        WeightsError: The model is unknown, or has no weights for this scale.
    """
    if model not in WEIGHTS:
        known = ", ".join(installed_models())
        raise WeightsError(f"unknown model '{model}'", f"use {known}, or a .safetensors file")
    if scale not in installed_scales(model):
        scales = ", ".join(f"x{scale}" for scale in installed_scales(model)) or "no scale"
        raise WeightsError(f"model '{model}' has no weights for x{scale}", f"there are weights for {scales}")
    return _WEIGHTS_FOLDER / WEIGHTS[model][scale]
