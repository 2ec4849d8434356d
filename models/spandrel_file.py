"""Networks of ours as files that spandrel detects as Compact, and with it chaiNNer and ComfyUI."""

import io
from pathlib import Path

import torch
from safetensors.torch import save as serialize

from upscaler import atomic
from upscaler.errors import WeightsError
from upscaler.models.as_srvgg import as_srvgg
from upscaler.models.contract import Network
from upscaler.models.srvgg import SRVGG
from upscaler.models.srvgg_state import to_real_esrgan


def save(path: Path, network: Network) -> SRVGG:
    """Write a network, atomically; in fp16 if that rounds nothing.

    Args:
        path: Ends in ``.safetensors``, or in ``.pth`` for a PyTorch checkpoint.
        network: See ``as_srvgg``.

    Returns:
        The form in which it was written.

    Raises:
        WeightsError: The network has no such form, or the file cannot be written.
    """
    form = as_srvgg(network)
    state = {name: tensor.contiguous() for name, tensor in to_real_esrgan(form).items()}
    halves = {name: tensor.half() for name, tensor in state.items()}
    if all(torch.equal(halves[name].float(), tensor) for name, tensor in state.items()):
        state = halves
    if path.suffix.lower() == ".safetensors":
        content = serialize(state)
    else:
        buffer = io.BytesIO()
        torch.save({"params": state}, buffer)
        content = buffer.getvalue()
    try:
        atomic.write_bytes(path, content)
    except OSError as error:
        raise WeightsError(f"cannot write '{path}': {error.strerror}") from error
    return form
