"""The weight file: safetensors whose metadata rebuild the network. No pickle, so loading runs no code."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from upscaler import atomic
from upscaler.errors import UsageError, WeightsError
from upscaler.models import shipped
from upscaler.models.contract import Network
from upscaler.models.registry import NETWORKS, SCALES, build

FORMAT_VERSION = 1


@dataclass(frozen=True)
class WeightFile:
    """What a weight file holds.

    Args:
        architecture: A key of ``NETWORKS``.
        arguments: Keyword arguments that build the network, the scale among them.
        state: Parameters and buffers by name.
        training: How the weights came to be (data, command, machine, minutes, scores); free-form JSON.
    """

    architecture: str
    arguments: dict[str, Any]
    state: dict[str, Tensor]
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def scale(self) -> int:
        """Output size over input size."""
        return int(self.arguments["scale"])

    def network(self) -> Network:
        """Build the network with these weights, fp32, in evaluation mode.

        Raises:
            WeightsError: The weights do not fit the network that the metadata describe.
        """
        network = build(self.architecture, self.arguments)
        try:
            network.load_state_dict({name: tensor.float() for name, tensor in self.state.items()})
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise WeightsError(f"weights do not fit network '{self.architecture}': {reason}") from error
        return network.eval()


def save(path: Path, network: Network, state: dict[str, Tensor], training: dict[str, Any]) -> None:
    """Write a weight file in fp16, atomically: the old file stays until the new one is complete.

    Args:
        path: Target; the folder must exist.
        network: Names the architecture and its arguments.
        state: The weights to write, for example the averaged ones; names as in ``network``.
        training: How they came to be; must be JSON-serialisable.

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
        atomic.write_bytes(path, serialise(halves, metadata))
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
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"'{path}' is not a safetensors file: {error}") from error
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
    return WeightFile(architecture, arguments, state, training)


def transfer(source: WeightFile, network: Network) -> list[str]:
    """Copy the body of ``source``, and of its tail and gate what has the same name and shape.

    This starts a training from another scale: the body is copied, the tail stays new.

    Returns:
        Names of the tensors of ``network`` that were not in ``source``.

    Raises:
        WeightsError: The source is of another architecture, width, depth or kind.
    """
    if type(network) is not NETWORKS[source.architecture]:
        raise WeightsError(f"weights of network '{source.architecture}' cannot start this one")
    if not fits(source, network):
        raise WeightsError("the weights to start from have another width, depth or kind of layers")
    own = network.state_dict()
    fitting = {
        name: tensor.float()
        for name, tensor in source.state.items()
        if name in own and own[name].shape == tensor.shape
    }
    network.load_state_dict(own | fitting)
    return sorted(set(own) - set(fitting))


def fits(source: WeightFile, network: Network) -> bool:
    """Whether ``source`` has the body of the network: its kind, width and depth."""
    if type(network) is not NETWORKS[source.architecture]:
        return False
    return _body_shapes(source.state) == _body_shapes(network.state_dict())


def _body_shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items() if not name.startswith(("tail.", "gate."))}


def blended(files: tuple[Path, ...], perceptual: float) -> WeightFile:
    """The weights of one file, or every weight between those of two files.

    Weights trained one from the other lie so near that each blend is a good network, from the fidelity of the
    first to the texture of the second (network interpolation: ESRGAN, arXiv 1809.00219, section 3.4).

    Args:
        files: One, or two of equal networks.
        perceptual: Share of the second, 0..1.

    Raises:
        WeightsError: A file is missing or damaged, or the networks differ.
    """
    first, *others = map(load, files)
    for other in others:
        if (first.architecture, first.arguments) != (other.architecture, other.arguments):
            raise WeightsError(f"'{files[0]}' and '{files[1]}' are of different networks: no blend of them")
        state = {
            name: torch.lerp(tensor.float(), other.state[name].float(), perceptual)
            for name, tensor in first.state.items()
        }
        first = replace(first, state=state)
    return first


def blendable_files(model: str | Path, perceptual: float | None) -> Mapping[int, tuple[Path, ...]]:
    """What ``blended`` needs for a named model or a file, by scale: two files each with ``perceptual``.

    Raises:
        UsageError: ``perceptual`` is given for a model that has no such pair.
        WeightsError: The model is unknown, or its file is missing or damaged.
    """
    if perceptual is None:
        return {scale: (file,) for scale, file in weight_files(model).items()}
    pair = next((pair for pair in shipped.BLENDABLE if str(model) in pair), None)
    if pair is None:
        known = ", or ".join(" and ".join(pair) for pair in shipped.BLENDABLE)
        one_of = " or ".join(pair[1] for pair in shipped.BLENDABLE)
        raise UsageError(f"model '{model}' has no --perceptual: it blends {known}", f"use --model {one_of}")
    faithful, textured = map(weight_files, pair)
    files = {scale: (file, textured[scale]) for scale, file in faithful.items() if scale in textured}
    if not files:
        raise WeightsError(f"{' and '.join(pair)} are installed for different scales: no blend of them")
    return files


def weight_files(model: str | Path) -> dict[int, Path]:
    """The weight files of a named model or of a file, by scale.

    Raises:
        WeightsError: The model is unknown, or its file is missing or damaged.
    """
    path = Path(model)
    if path.suffix == ".safetensors" or path.is_file():
        return {load(path).scale: path}
    return shipped.weight_files(str(model))


def default_scale(model: str | Path) -> float:
    """The factor when none is asked for; raises as above.

    A weight file's own; 4 for a named model that enlarges, 1 for one that only restores.
    """
    files = weight_files(model)
    enlarges = str(model) in shipped.WEIGHTS and max(files) > 1
    return shipped.DEFAULT_SCALE if enlarges else float(min(files))
