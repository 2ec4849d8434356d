"""The networks alone, per runtime, on a CPU: milliseconds for one 320x180 image at x4.

    python benchmarks/network.py [--rounds 15] [--network fast ...]

Method: the same network with random weights (speed does not depend on them) and one size of input for all
runtimes of a row. Every runtime has its own process, because their threads and allocators would
interfere; the processes take turns, five calls each per round; medians are compared.

- `peers`: the usual way: fp32, NCHW, eager, unfolded, default allocator;
- `unfolded`: as `upscaler.Upscaler` runs it, but without the rewrites of `models/fold.py`;
- `engine`: as `upscaler.Upscaler` runs it eagerly; `compiled`: the same, compiled;
- `onnxruntime` (fp32) and `openvino` (bf16 where that is native, its default) take part when they are
  installed: `pip install onnx onnxruntime openvino`;
- `limit`: the time that the counted multiply-accumulates take at the measured peak of matrix products.
"""

import argparse
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from timing import Apart, matrix_peak_flops, memory_bandwidth, print_table, take_turns
from torch import nn

from upscaler.inference import devices
from upscaler.models.contract import Network
from upscaler.models.fold import fold_for_inference
from upscaler.models.registry import PRESETS, build
from upscaler.process_settings import keep_freed_memory

HEIGHT, WIDTH, SCALE = 180, 320, 4
CALLS = 5  # per turn
NETWORKS = {name: PRESETS[name] for name in ("fast", "balanced", "srresnet", "srresnet-paper")} | {
    "compact 64x16": ("compact", {"channels": 64, "depth": 16})
}
CPU = torch.device("cpu")


def random_network(name: str) -> Network:
    """A network with weights that differ from every special initial value."""
    architecture, arguments = NETWORKS[name]
    network = build(architecture, arguments | {"scale": SCALE}).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.02)
    return network


def peers(name: str) -> Callable[[], object]:
    """See the module."""
    network, lr = random_network(name), torch.rand(1, 3, HEIGHT, WIDTH)
    return torch.inference_mode()(lambda: network(lr))


def ours(name: str, rewritten: bool, compiled: bool) -> Callable[[], object]:
    """See the module: `unfolded`, `engine` and `compiled`."""
    keep_freed_memory()
    network = fold_for_inference(random_network(name)) if rewritten else random_network(name)
    network = network.to(devices.fast_dtype(CPU)).to(memory_format=torch.channels_last)
    lr = torch.rand(1, 3, HEIGHT, WIDTH).contiguous(memory_format=torch.channels_last)
    run = torch.compile(network, dynamic=False) if compiled else network
    return torch.inference_mode()(lambda: run(lr))


def onnxruntime(name: str) -> Callable[[], object]:
    """See the module."""
    import onnxruntime as runtime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        lr = torch.rand(1, 3, HEIGHT, WIDTH)
        torch.onnx.export(random_network(name), (lr,), str(path), dynamo=False, opset_version=17)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: lr.numpy()}
    return lambda: session.run(None, inputs)


def openvino(name: str) -> Callable[[], object]:
    """See the module."""
    import openvino as runtime

    lr = torch.rand(1, 3, HEIGHT, WIDTH)
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
    converted = runtime.convert_model(random_network(name), example_input=lr)
    request = runtime.Core().compile_model(converted, "CPU", settings).create_infer_request()
    inputs = [lr.numpy()]
    return lambda: request.infer(inputs, share_inputs=True, share_outputs=True)


def alternatives(name: str) -> dict[str, Apart]:
    """Every runtime that is available on this machine."""
    ways = {
        "peers": Apart(peers, name, calls=CALLS),
        "unfolded": Apart(ours, name, False, False, calls=CALLS),
        "engine": Apart(ours, name, True, False, calls=CALLS),
    }
    if devices.has_compiler():
        ways["compiled"] = Apart(ours, name, True, True, calls=CALLS)
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx"):
        ways["onnxruntime"] = Apart(onnxruntime, name, calls=CALLS)
    if importlib.util.find_spec("openvino"):
        ways["openvino"] = Apart(openvino, name, calls=CALLS)
    return ways


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--network", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    arguments = parser.parse_args()
    dtype = devices.fast_dtype(CPU)
    peak = matrix_peak_flops(dtype)
    print(f"{devices.describe(CPU)}; torch {torch.__version__}; {dtype}")
    print(f"peak {peak / 1e12:.2f} TFLOP/s; memory {memory_bandwidth() / 1e9:.1f} GB/s")
    rows = {}
    for name in arguments.network:
        ways = alternatives(name)
        try:
            seconds = take_turns(ways, arguments.rounds)
        finally:
            for way in ways.values():
                way.close()
        limit = 2 * random_network(name).contract.macs_per_pixel * HEIGHT * WIDTH / peak
        rows[name] = {way: f"{1e3 * value / CALLS:.0f} ms" for way, value in seconds.items()}
        rows[name]["limit"] = f"{1e3 * limit:.0f} ms"
        for other in ("peers", "onnxruntime", "openvino"):
            if other in seconds:
                rows[name][f"{other} / engine"] = f"{seconds[other] / seconds['engine']:.2f}"
    print_table(f"x{SCALE}, {WIDTH}x{HEIGHT}", rows)


if __name__ == "__main__":
    main()
