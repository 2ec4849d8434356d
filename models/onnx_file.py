"""Networks of ours as ONNX files, for programs that run those. Needs the extra ``export``."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upscaler import atomic
from upscaler.errors import UsageError, WeightsError
from upscaler.models.contract import Network

_OPSET = 18  # the first whose Resize can leave out what lies beyond the border, as SRCNN's enlargement does
_BICUBIC = "aten::_upsample_bicubic2d_aa"


def save(path: Path, network: Network, facts: dict[str, str]) -> None:
    """Write a network, atomically.

    The file has one input ``lr``, RGB ``(batch, 3, height, width)`` of any size, fp32 in [0, 1], and one
    output ``sr``, ``(batch, 3, height*scale, width*scale)``, fp32, not clamped.

    Args:
        path: The target.
        network: On the CPU, fp32, in evaluation mode.
        facts: Texts to store in the file, besides scale and receptive radius.

    Raises:
        UsageError: The extra is not installed.
        WeightsError: The file cannot be written.
    """
    try:
        import onnx
    except ImportError as error:
        raise UsageError("writing ONNX needs the package onnx", "pip install 'upscaler[export]'") from error
    facts = {
        "scale": str(network.contract.scale),
        "receptive_radius_px": str(network.contract.receptive_radius_px),
        "arguments": json.dumps(network.arguments),
    } | facts
    try:
        with atomic.replacing(path) as partial:
            _trace(partial, network)
            model = onnx.load(partial)
            onnx.helper.set_model_props(model, facts)
            onnx.checker.check_model(model, full_check=True)
            onnx.save(model, partial)
    except OSError as error:
        raise WeightsError(f"cannot write '{path}': {error.strerror}") from error


def _trace(path: Path, network: Network) -> None:
    """Have torch write the file. Its newer exporter needs a further package, and is no better for these."""
    lr = torch.rand(1, 3, 16, 20)
    names = {"lr": {0: "batch", 2: "height", 3: "width"}, "sr": {0: "batch", 2: "out_height", 3: "out_width"}}
    torch.onnx.register_custom_op_symbolic(_BICUBIC, _resize, _OPSET)  # type: ignore[attr-defined]
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # that this exporter is the older one
            torch.onnx.export(
                network,
                (lr,),
                str(path),
                dynamo=False,
                opset_version=_OPSET,
                input_names=["lr"],
                output_names=["sr"],
                dynamic_axes=names,
            )
    finally:
        torch.onnx.unregister_custom_op_symbolic(_BICUBIC, _OPSET)  # type: ignore[attr-defined]


def _resize(graph: Any, source: Tensor, size: Any, *_: object) -> Any:  # noqa: ANN401 - torch's graph
    """Torch's antialiased bicubic enlargement as ONNX's Resize; only pixels of the picture count."""
    start, stop = (graph.op("Constant", value_t=torch.tensor([index])) for index in (0, 2))
    batch_and_channels = graph.op("Slice", graph.op("Shape", source), start, stop)
    int64 = 7  # in ONNX's numbering
    whole = graph.op("Concat", batch_and_channels, graph.op("Cast", size, to_i=int64), axis_i=0)
    nothing = graph.op("Constant", value_t=torch.tensor([], dtype=torch.float32))
    return graph.op(
        "Resize",
        source,
        nothing,
        nothing,
        whole,
        mode_s="cubic",
        cubic_coeff_a_f=-0.5,  # as with ``antialias``
        exclude_outside_i=1,
        coordinate_transformation_mode_s="half_pixel",
    )
