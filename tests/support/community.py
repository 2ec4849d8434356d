"""Models of other projects: tiny and random, built through spandrel, saved as their trainers save them."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from spandrel import MAIN_REGISTRY
from spandrel.architectures.Compact import Compact
from spandrel.architectures.DAT import DAT
from spandrel.architectures.DnCNN import DnCNN
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.PLKSR import PLKSR, RealPLKSR
from spandrel.architectures.SPAN import SPAN
from spandrel.architectures.SwinIR import SwinIR
from torch import Tensor, nn

State = dict[str, Tensor]

MAKERS: dict[str, Callable[[], nn.Module]] = {
    "Compact": lambda: Compact(num_feat=8, num_conv=3, upscale=2),
    "Compact x1": lambda: Compact(num_feat=8, num_conv=3, upscale=1),
    "SPAN": lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2),
    "RRDB": lambda: ESRGAN(num_filters=8, num_blocks=2, scale=4),
    "RRDB deep": lambda: ESRGAN(num_filters=4, num_blocks=6, scale=2),
    "RRDB unshuffled": lambda: ESRGAN(in_nc=12, num_filters=8, num_blocks=1, scale=4, shuffle_factor=2),
    "PLKSR": lambda: PLKSR(dim=8, n_blocks=2, upscaling_factor=2, kernel_size=9),
    "RealPLKSR": lambda: RealPLKSR(dim=8, n_blocks=2, upscaling_factor=2, kernel_size=9),
    "SwinIR": lambda: SwinIR(
        embed_dim=12, depths=[2], num_heads=[2], window_size=8, upscale=2, upsampler="pixelshuffle"
    ),
    "DAT": lambda: DAT(embed_dim=32, split_size=[4, 8], depth=[2], num_heads=[2], expansion_factor=2),
    "DnCNN gray": lambda: DnCNN(in_nc=1, out_nc=1, nc=8, nb=4),
}


def state_of(name: str) -> State:
    """Weights of a network of ``MAKERS``, always the same."""
    torch.manual_seed(0)
    with warnings.catch_warnings():  # of torch, about the code of these architectures
        warnings.simplefilter("ignore")
        return MAKERS[name]().eval().state_dict()


def save_pth(path: Path, name: str, wrapper: str = "params_ema") -> Path:
    """Save a network of ``MAKERS`` as BasicSR does."""
    torch.save({wrapper: state_of(name)}, path)
    return path


def new_rrdb_names(state: State) -> State:
    """Weights of an ESRGAN x4 under the names of Real-ESRGAN."""
    ends = {"3": "conv_up1", "6": "conv_up2", "8": "conv_hr", "10": "conv_last", "0": "conv_first"}
    renamed = {}
    for name, tensor in state.items():
        block = re.fullmatch(r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.(\w+)", name)
        end = re.fullmatch(r"model\.(\d+)\.(\w+)", name)
        if block:
            renamed["body.{}.rdb{}.conv{}.{}".format(*block.groups())] = tensor
        elif end:
            renamed[f"{ends[end[1]]}.{end[2]}"] = tensor
        else:
            renamed[f"conv_body.{name.rpartition('.')[2]}"] = tensor
    return renamed


def spandrel_result(state: State, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What spandrel makes of a whole picture, ``(H, W, 3)`` RGB."""
    descriptor = MAIN_REGISTRY.load(dict(state))
    picture = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0) / 255
    hr = descriptor(picture)
    return (hr[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
