"""The file with a discriminator's weights, from which another stage two can start: safetensors, fp32."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from upscaler import atomic
from upscaler.errors import WeightsError, last_line
from upscaler.models.discriminator import Discriminator, Kind

_FORMAT = "upscaler-discriminator-1"


def save(path: Path, network: Discriminator, kind: Kind) -> None:
    """Write the weights atomically.

    Raises:
        WeightsError: The file cannot be written.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    try:
        atomic.write_bytes(path, serialize(state, {"format": _FORMAT, "kind": kind}))
    except OSError as error:
        raise WeightsError(f"cannot write '{path}': {error.strerror}") from error


def load_into(path: Path, network: Discriminator, kind: Kind) -> None:
    """Load the weights of a file.

    Raises:
        WeightsError: The file is missing or damaged, or of another kind, width or side of crops.
    """
    if not path.is_file():
        raise WeightsError(f"no file '{path}'", "use NAME-discriminator.safetensors of a training")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"'{path}' cannot be read as weights: {last_line(error)}") from error
    if metadata.get("format") != _FORMAT:
        raise WeightsError(f"'{path}' holds no discriminator", "use NAME-discriminator.safetensors")
    if metadata.get("kind") != kind:
        raise WeightsError(
            f"'{path}' is a discriminator of kind {metadata.get('kind')}, not {kind}",
            f"use --set gan.discriminator={metadata.get('kind')}",
        )
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"'{path}' does not fit the discriminator: {last_line(error)}") from error
