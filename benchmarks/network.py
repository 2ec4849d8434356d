"""The networks alone, per runtime, on a processor: milliseconds for one 320x180 picture at x4.

    python benchmarks/network.py [--rounds 15] [--network fast ...]

Method: the same weights (random: speed does not depend on them) and the same input for all runtimes of a row,
taking turns in one process; medians. `peers` is the usual way: fp32, NCHW, eager, unfolded. `engine` is the
network as `upscaler.Upscaler` runs it. `onnxruntime` and `openvino` take part when they are installed
(`pip install onnx onnxruntime openvino`); OpenVINO chooses its own precision (bf16 where that is native).
`limit` is the time that the counted multiply-accumulates take at the measured peak of matrix products.
"""

import argparse
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from timing import matrix_peak_flops, print_table, take_turns
from torch import nn

from upscaler import device
from upscaler.models.contract import Network
from upscaler.models.fold import folded
from upscaler.models.registry import PRESETS, build

HEIGHT, WIDTH, SCALE = 180, 320, 4
NETWORKS = {name: PRESETS[name] for name in ("fast", "balanced", "srresnet", "srresnet-paper")} | {
    "compact 64x16": ("compact", {"channels": 64, "depth": 16})
}


def made(name: str) -> Network:
    """A network with weights of which none is at its special starting value."""
    architecture, arguments = NETWORKS[name]
    network = build(architecture, arguments | {"scale": SCALE}).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.02)
    return network


def alternatives(network: Network, low: torch.Tensor, folder: Path) -> dict[str, Callable[[], object]]:
    """Every way to run ``network`` that this machine has."""
    dtype = device.fast_dtype(torch.device("cpu"))
    ours = folded(network).to(dtype)
    ours.to(memory_format=torch.channels_last)
    ours_low = low.contiguous(memory_format=torch.channels_last)
    unfolded = made_like(network).to(dtype)
    unfolded.to(memory_format=torch.channels_last)
    ways: dict[str, Callable[[], object]] = {
        "peers": lambda: network(low),
        "unfolded": lambda: unfolded(ours_low),
        "engine": lambda: ours(ours_low),
    }
    if device.has_compiler():
        compiled = torch.compile(ours, dynamic=False)
        ways["compiled"] = lambda: compiled(ours_low)
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx"):
        ways |= other_runtimes(network, low, folder / "network.onnx")
    return ways


def made_like(network: Network) -> Network:
    """A second copy of a network."""
    architecture = "srresnet" if "blocks" in network.arguments else "compact"
    copy = build(architecture, network.arguments).eval()
    copy.load_state_dict(network.state_dict())
    return copy


def other_runtimes(network: Network, low: torch.Tensor, path: Path) -> dict[str, Callable[[], object]]:
    """onnxruntime, and OpenVINO where it is installed, from one exported file."""
    import onnxruntime

    torch.onnx.export(network, (low,), str(path), dynamo=False, opset_version=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    array = low.numpy()
    name = session.get_inputs()[0].name
    ways: dict[str, Callable[[], object]] = {"onnxruntime": lambda: session.run(None, {name: array})}
    if importlib.util.find_spec("openvino"):
        import openvino

        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
        model = core.compile_model(core.read_model(path), "CPU", settings)
        ways["openvino"] = lambda: model([array])
    return ways


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--network", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    arguments = parser.parse_args()
    cpu = torch.device("cpu")
    dtype = device.fast_dtype(cpu)
    peak = matrix_peak_flops(dtype)
    print(f"{device.describe(cpu)}; torch {torch.__version__}; {dtype}; peak {peak / 1e12:.2f} TFLOP/s")
    rows = {}
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        for name in arguments.network:
            torch.compiler.reset()
            network = made(name)
            low = torch.rand(1, 3, HEIGHT, WIDTH)
            seconds = take_turns(alternatives(network, low, Path(folder)), arguments.rounds)
            limit = 2 * network.contract.macs_per_pixel * HEIGHT * WIDTH / peak
            rows[name] = {way: f"{1e3 * value:.0f} ms" for way, value in seconds.items()}
            rows[name]["limit"] = f"{1e3 * limit:.0f} ms"
            rows[name]["engine vs peers"] = f"{seconds['peers'] / seconds['engine']:.2f}x"
    print_table(f"x{SCALE}, {WIDTH}x{HEIGHT}", rows)


if __name__ == "__main__":
    main()
