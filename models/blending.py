"""Blends of two sets of weights of the same network."""

from dataclasses import replace
from pathlib import Path

import torch

from upscaler.errors import WeightsError
from upscaler.models.model_file import ModelFile, load
from upscaler.models.weight_file import WeightFile


def load_blended(files: tuple[Path, ...], share: float) -> ModelFile:
    """The weights of one file, or a weighted mean of those of two files.

    If one was fine-tuned from the other, every blend is a good network, with some of what each is good at
    (network interpolation: ESRGAN, arXiv 1809.00219, section 3.4).

    Args:
        files: One, or two of the same network.
        share: Of the second, 0..1.

    Raises:
        WeightsError: A file is missing or damaged, or the networks differ.
    """
    first, *others = map(load, files)
    for other in others:
        if not (isinstance(first, WeightFile) and isinstance(other, WeightFile)):
            foreign = files[1] if isinstance(first, WeightFile) else files[0]
            raise WeightsError(f"'{foreign}' is a model of another project and cannot be blended")
        if (first.architecture, first.arguments) != (other.architecture, other.arguments):
            raise WeightsError(f"'{files[0]}' and '{files[1]}' are different networks and cannot be blended")
        state = {
            name: torch.lerp(tensor.float(), other.state[name].float(), share)
            for name, tensor in first.state.items()
        }
        first = replace(first, state=state)
    return first
