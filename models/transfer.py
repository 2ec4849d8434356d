"""Starting a network from other weights, also of another scale: the body is copied.

The tail is copied at the same scale and averaged for a scale that divides the other; else it starts new.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from upscaler.errors import WeightsError
from upscaler.models import community, weight_file
from upscaler.models.checkpoint import read_state
from upscaler.models.contract import Network
from upscaler.models.film import Film
from upscaler.models.registry import NETWORKS
from upscaler.models.srvgg_state import from_real_esrgan
from upscaler.models.weight_file import WeightFile


def load_start(path: Path) -> WeightFile:
    """Weights that training can start from: ours, or those of a Compact of another project.

    Raises:
        WeightsError: The file is missing or damaged, or of a network that the trainer does not have.
    """
    if not path.is_file() or weight_file.is_ours(path):
        return weight_file.load(path)
    state, _ = read_state(path)
    if file := from_real_esrgan(state):
        return file
    architecture = community.architecture_of(path, state)
    raise WeightsError(
        f"'{path}' is a {architecture} model, which upscale-train cannot train",
        "of other projects it takes Compact models",
    )


def transfer_body(source: WeightFile, network: Network) -> list[str]:
    """Copy the body of ``source``, and the tensors of its tail and gate that have the same name and shape.

    From x4 to x2, from x8 to x4 and so on, the network then gives what ``source`` gives, averaged over
    squares of pixels. A network for films also starts from a plain one, and then gives what that gave.

    Returns:
        Names of the tensors of ``network`` that were not copied.

    Raises:
        WeightsError: The source has another architecture, width, depth or kind of layers.
    """
    source = _for_films(source, network)
    if type(network) is not NETWORKS[source.architecture]:
        raise WeightsError(f"weights of network '{source.architecture}' cannot start this one")
    if not body_matches(source, network):
        sizes = [
            ", ".join(f"{name} {value}" for name, value in arguments.items() if name != "scale")
            for arguments in (source.arguments, network.arguments)
        ]
        raise WeightsError(
            f"the weights to start from have another width, depth or kind of layers: {sizes[0]}; "
            f"the network: {sizes[1]}"
        )
    own = network.state_dict()
    state = source.state | _averaged_tail(source, network.contract.scale)
    fitting = {
        name: tensor.float()
        for name, tensor in state.items()
        if name in own and own[name].shape == tensor.shape
    }
    network.load_state_dict(own | fitting)
    return sorted(set(own) - set(fitting))


def body_matches(source: WeightFile, network: Network) -> bool:
    """Whether ``source`` has the body of the network: its kind, width and depth."""
    source = _for_films(source, network)
    if type(network) is not NETWORKS[source.architecture]:
        return False
    return _body_shapes(source.state) == _body_shapes(network.state_dict())


def averages_tail(source: WeightFile, scale: int) -> bool:
    """Whether a network of this scale can start with what ``source`` gives, averaged over squares."""
    outputs = {len(tensor) for name, tensor in source.state.items() if name.startswith("tail.")}
    return 1 < scale < source.scale and source.scale % scale == 0 and outputs == {3 * source.scale**2}


def _averaged_tail(source: WeightFile, scale: int) -> dict[str, Tensor]:
    """The last convolution for a smaller scale: the mean of the filters whose pixels become one.

    Nothing is rounded: the pixel shuffle moves values only, and bilinear (or nearest) enlargement averaged
    over such squares is that of the smaller scale. At scale 1, where networks restore, it would not be.
    """
    if not averages_tail(source, scale):
        return {}
    squares = source.scale // scale
    averaged = {}
    for name in ("tail.weight", "tail.bias"):
        tensor = source.state[name].float()
        positions = tensor.view(3, scale, squares, scale, squares, *tensor.shape[1:])
        averaged[name] = positions.mean((2, 4)).flatten(0, 2)
    return averaged


def _for_films(source: WeightFile, network: Network) -> WeightFile:
    """The weights of a plain network as those of a network for films, if that is what starts from them."""
    fits = source.architecture == "compact" and not source.arguments.get("gate_px")
    if not isinstance(network, Film) or not fits:
        return source
    return replace(source, architecture="film")


def _body_shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    other = ("tail.", "gate.", *Film.added_parts)
    return {name: tensor.shape for name, tensor in state.items() if not name.startswith(other)}
