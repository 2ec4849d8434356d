"""The explicit tables: which networks there are, and the named presets that the trainer takes."""

from typing import Any

from upscaler.errors import WeightsError
from upscaler.models.compact import Compact
from upscaler.models.contract import Network
from upscaler.models.film import Film
from upscaler.models.srcnn import SRCNN
from upscaler.models.srresnet import SRResNet
from upscaler.models.srvgg import SRVGG

SCALES = (1, 2, 3, 4, 8)

NETWORKS: dict[str, type[Network]] = {
    "compact": Compact,
    "film": Film,
    "srresnet": SRResNet,
    "srcnn": SRCNN,
    "srvgg": SRVGG,
}

# What `upscale-train --network` takes: a network and the arguments besides the scale.
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "fast": ("compact", {"channels": 32, "depth": 5}),
    "balanced": ("compact", {"channels": 48, "depth": 8}),
    "deep": ("compact", {"channels": 48, "depth": 16}),  # `balanced` at x8, where LR pixels are few
    "restore": ("compact", {"channels": 48, "depth": 8, "gate_px": 33}),  # `balanced`, at scale 1
    "film": ("film", {"channels": 48, "depth": 8}),  # sees what it made of the frame before
    "srresnet": ("srresnet", {}),
    "srresnet-paper": ("srresnet", {"norm": "batch", "tail": "paper"}),
    "srcnn": ("srcnn", {}),
    # The sizes in which Real-ESRGAN's compact network is shared, by channels and depth.
    "srvgg-64x16": ("srvgg", {}),
    "srvgg-64x32": ("srvgg", {"depth": 32}),
    "srvgg-64x8": ("srvgg", {"depth": 8}),
    "srvgg-24x8": ("srvgg", {"channels": 24, "depth": 8}),
}

# What the sizes of a network may be: a file must not make the machine build whatever it says.
_SIZES = {
    "channels": range(2, 1025),
    "blocks": range(1, 257),
    "depth": range(1, 257),
    "gate_px": range(258),
}


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
    for name, possible in (_SIZES | {"scale": SCALES}).items():
        value = arguments.get(name, possible[0])
        if type(value) is not int or value not in possible:
            span = f"it is a whole number from {possible[0]} to {possible[-1]}"
            raise WeightsError(f"network '{architecture}' cannot have {name} {value!r}", span)
    try:
        return NETWORKS[architecture](**arguments)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"network '{architecture}' cannot be built: {error}") from error
