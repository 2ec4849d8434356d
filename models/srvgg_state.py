"""Weights of ``SRVGG`` under the names of Real-ESRGAN, which spandrel and the programs on top of it know."""

import re

from torch import Tensor

from upscaler.errors import WeightsError
from upscaler.models.srvgg import SRVGG
from upscaler.models.weight_file import WeightFile

State = dict[str, Tensor]
_NAME = re.compile(r"body\.(\d+)\.(weight|bias)")


def to_real_esrgan(network: SRVGG) -> State:
    """Tensors by name ``body.N.weight`` and ``body.N.bias``, where N counts convolutions and activations."""
    last = 2 * network.arguments["depth"] + 2
    return {_to_foreign(name, last): tensor.detach() for name, tensor in network.state_dict().items()}


def from_real_esrgan(state: State) -> WeightFile | None:
    """The same as a weight file of ours; ``None`` if the tensors are not those of such a network."""
    numbers = [int(name.split(".")[1]) for name in state if _NAME.fullmatch(name)]
    last = max(numbers, default=0)
    if last < 4 or last % 2:
        return None
    renamed = {_to_ours(name, last): tensor for name, tensor in state.items()}
    try:
        channels, colors = renamed["head.weight"].shape[:2]
        scale = round((renamed["tail.weight"].shape[0] / 3) ** 0.5)
        arguments = {"scale": scale, "channels": int(channels), "depth": last // 2 - 1}
        file = WeightFile("srvgg", arguments, renamed)
        fits = {name: tensor.shape for name, tensor in file.network().state_dict().items()} == {
            name: tensor.shape for name, tensor in renamed.items()
        }
    except (KeyError, ValueError, WeightsError):
        return None
    return file if fits and colors == 3 else None


def _to_foreign(name: str, last: int) -> str:
    part, _, rest = name.partition(".")
    if part == "body":
        number, _, rest = rest.partition(".")
        return f"body.{int(number) + 2}.{rest}"
    return f"body.{ {'head': 0, 'head_activation': 1, 'tail': last}[part] }.{rest}"


def _to_ours(name: str, last: int) -> str:
    found = _NAME.fullmatch(name)
    if not found:
        return name  # then the tensors do not fit
    number = int(found[1])
    parts = {0: "head", 1: "head_activation", last: "tail"}
    return f"{parts.get(number, f'body.{number - 2}')}.{found[2]}"
