"""Engines with networks that see neighbouring frames."""

from pathlib import Path

import torch
from torch import nn

from upscaler.inference.engine import Upscaler
from upscaler.models import weight_file
from upscaler.models.film import Film


def film_network(**arguments: int) -> Film:
    """A small network whose result depends on all that it sees; other arguments than these replace some."""
    torch.manual_seed(1)
    network = Film(**({"scale": 2, "channels": 6, "depth": 1} | arguments)).eval()
    nn.init.normal_(network.tail.weight, std=0.1)
    nn.init.normal_(network.memory[2].weight, std=0.3)
    nn.init.normal_(network.gate.weight, std=0.5)
    nn.init.zeros_(network.gate.bias)
    return network


def film_engine(folder: Path, network: Film | None = None, **options: object) -> Upscaler:
    """An engine with that network; without, with the one whose weights are in the folder, or a new one."""
    path = folder / "film-network.safetensors"
    if network is not None or not path.exists():
        network = network or film_network()
        weight_file.save(path, network, network.state_dict(), {})
    return Upscaler(path, **({"device": "cpu", "precision": "fp32"} | options))
