"""The weight file: safetensors with metadata that rebuild the network. No pickle, so loading runs no code."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from upscaler import atomic
from upscaler.errors import WeightsError
from upscaler.models.checkpoint import PICKLED_SUFFIXES, read_safetensors
from upscaler.models.contract import ALL_DTYPES, Network
from upscaler.models.fold import fold_for_inference
from upscaler.models.registry import NETWORKS, SCALES, build

FORMAT_VERSION = 1


@dataclass(frozen=True)
class WeightFile:
    """What a weight file holds.

    Args:
        architecture: A key of ``NETWORKS``.
        arguments: Keyword arguments that build the network, the scale among them.
        state: Parameters and buffers by name.
        training: How the weights were trained (data, command, machine, minutes, scores); free-form JSON.
        path: The file, for errors; ``None`` if the weights come from elsewhere.
    """

    architecture: str
    arguments: dict[str, Any]
    state: dict[str, Tensor]
    training: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @property
    def scale(self) -> int:
        """Output size over input size."""
        return int(self.arguments["scale"])

    @property
    def dtypes(self) -> frozenset[torch.dtype]:
        """In which the network gives sound results; ours are trained for all."""
        return ALL_DTYPES

    def network(self) -> Network:
        """Build the network with these weights, fp32, in evaluation mode.

        Raises:
            WeightsError: The weights do not fit the network that the metadata describe.
        """
        self._check_shapes()
        network = build(self.architecture, self.arguments)
        network.load_state_dict({name: tensor.float() for name, tensor in self.state.items()})
        return network.eval()

    def _check_shapes(self) -> None:
        """Compare them with a network that takes no memory: a file must not have any size made."""
        of_file = f" of '{self.path}'" if self.path else ""
        try:
            with torch.device("meta"):
                network = build(self.architecture, self.arguments)
        except WeightsError as error:
            raise WeightsError(f"the metadata{of_file} are wrong: {error.message}", error.hint) from error
        expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
        given = {name: tensor.shape for name, tensor in self.state.items()}
        for name in (*expected, *given):
            if expected.get(name) != given.get(name):
                reason = f"{name} has {_shape(given.get(name))}, not {_shape(expected.get(name))}"
                raise WeightsError(f"weights{of_file} do not fit network '{self.architecture}': {reason}")

    def inference_network(self) -> Network:
        """The same network with exact rewrites that make it faster; gradients cannot be had from it."""
        return fold_for_inference(self.network())


def _shape(shape: torch.Size | None) -> str:
    """``shape 3x3``; of a tensor that is not there, ``no values``."""
    return "no values" if shape is None else f"shape {'x'.join(map(str, shape)) or '1'}"


def is_ours(path: Path) -> bool:
    """Whether the metadata of a file say that this project wrote it, in whatever version."""
    try:
        with safe_open(path, framework="pt") as file:
            return bool((file.metadata() or {}).get("format", "").startswith("upscaler-"))
    except (SafetensorError, OSError):
        return False


def save(path: Path, network: Network, state: dict[str, Tensor], training: dict[str, Any]) -> None:
    """Write a weight file in fp16, atomically: the old file stays until the new one is complete.

    Args:
        path: Target; the folder must exist.
        network: Names the architecture and its arguments.
        state: The weights to write, such as the EMA; names as in ``network``.
        training: How they were trained; must be JSON-serializable.

    Raises:
        WeightsError: A value is not finite in fp16, or the file cannot be written. The old file stays.
    """
    architecture = next(name for name, kind in NETWORKS.items() if type(network) is kind)
    metadata = {
        "format": f"upscaler-{FORMAT_VERSION}",
        "architecture": architecture,
        "arguments": json.dumps(network.arguments),
        "training": json.dumps(training),
    }
    halves = {name: _halved(tensor) for name, tensor in state.items()}
    broken = [name for name, tensor in halves.items() if not tensor.isfinite().all()]
    if broken:
        raise WeightsError(f"'{path}' is not written: {broken[0]} is not finite in fp16")
    try:
        atomic.write_bytes(path, serialize(halves, metadata))
    except OSError as error:
        raise WeightsError(f"cannot write '{path}': {error.strerror}") from error


def _halved(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if tensor.is_floating_point() else tensor


def load(path: Path) -> WeightFile:
    """Read a weight file.

    Args:
        path: A ``.safetensors`` file written by ``save``.

    Raises:
        WeightsError: The file is missing, damaged, or was not written by this project.
    """
    if not path.is_file():
        raise WeightsError(f"no weight file '{path}'")
    if path.suffix.lower() in PICKLED_SUFFIXES:
        raise WeightsError(f"'{path}' is a model of another program", "use a file written by upscale-train")
    state, metadata = read_safetensors(path)
    return _from_metadata(path, metadata, state)


def _from_metadata(path: Path, metadata: dict[str, str], state: dict[str, Tensor]) -> WeightFile:
    hint = "use a file written by upscale-train"
    format_name = metadata.get("format", "")
    if not format_name.startswith("upscaler-"):
        raise WeightsError(f"'{path}' holds tensors, but does not say of which network", hint)
    if format_name != f"upscaler-{FORMAT_VERSION}":
        raise WeightsError(f"'{path}' has format '{format_name}'", "a newer upscaler wrote it")
    try:
        architecture = metadata["architecture"]
        arguments = dict(json.loads(metadata["arguments"]))
        training = dict(json.loads(metadata.get("training", "{}")))
        scale = arguments["scale"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"'{path}' has damaged metadata: {error}", hint) from error
    if architecture not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise WeightsError(f"'{path}' is of network '{architecture}'", f"known are {known}")
    if type(scale) is not int or scale not in SCALES:
        raise WeightsError(f"'{path}' is of scale {scale}", f"scales are {SCALES}")
    return WeightFile(architecture, arguments, state, training, path)
