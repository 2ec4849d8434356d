"""What a network is: architectures, their contract, and the weight file. Imports torch and errors only."""

from upscaler.models.checkpoint import WeightFile, load, save
from upscaler.models.contract import Contract, Network
from upscaler.models.registry import NETWORKS, PRESETS, WEIGHTS, build, weights_path

__all__ = [
    "NETWORKS",
    "PRESETS",
    "WEIGHTS",
    "Contract",
    "Network",
    "WeightFile",
    "build",
    "load",
    "save",
    "weights_path",
]
