"""Make weights draw sharper without training: the last convolution learns its output after an unsharp mask.

    python tools/sharpen_weights.py real-x4.safetensors srresnet-photo-x4.safetensors sharp.safetensors train/

The output is linear in the weights of the last convolution, so least squares over crops of photographs finds
them. In use (``--perceptual``), the first weights are blended with the second: their blend at ``--share``
learns to draw what it drew before, sharpened by ``--amount``. Only the first weights change; the larger their
share of a blend, the sharper it gets.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler.models import blending, weight_file
from upscaler.models.contract import Network
from upscaler.models.weight_file import WeightFile
from upscaler.trainer.data.crops import Crops
from upscaler.trainer.data.photos import load_photos
from upscaler.trainer.stages.adversarial import sharpened

BATCH, PATCH_PX = 8, 48
_BORDER_PX = 2  # LR pixels at the edges of a crop that the mask and the convolution would see padding from
_RIDGE = 1e-6  # share of the mean square of the features: some hardly vary


def _features_and_output(network: Network, lr: Tensor) -> tuple[Tensor, Tensor]:
    """What the last convolution sees, ``(N, C, h, w)``, and the output, ``(N, 3, h * scale, w * scale)``."""
    seen: list[Tensor] = []
    hook = network.get_submodule("tail").register_forward_hook(lambda _, given, __: seen.append(given[0]))
    with torch.inference_mode():
        sr = network(lr)
    hook.remove()
    return seen[0], sr


def sharper_tail(network: Network, crops: Crops, *, amount: float, batches: int) -> tuple[Tensor, Tensor]:
    """Changes of weight and bias of the last convolution after which the network draws sharper.

    Args:
        network: In evaluation mode; its ``tail`` is one 3x3 convolution before one pixel shuffle.
        crops: LR crops of photographs.
        amount: As in ``sharpened``.
        batches: How many batches of ``BATCH`` crops are looked at.

    Returns:
        ``(3 * scale ** 2, C, 3, 3)`` and ``(3 * scale ** 2,)``.
    """
    products = correlations = torch.zeros(())
    for _ in range(batches):
        features, sr = _features_and_output(network, crops.draw(BATCH, PATCH_PX)[0])
        change = F.pixel_unshuffle(sharpened(sr.clamp(0, 1), amount) - sr.clamp(0, 1), network.contract.scale)
        seen = F.unfold(features, 3, padding=1).view(BATCH, -1, *features.shape[2:])
        inner = slice(_BORDER_PX, -_BORDER_PX)
        inputs, changes = (
            part[..., inner, inner].permute(0, 2, 3, 1).flatten(0, 2).double() for part in (seen, change)
        )
        inputs = F.pad(inputs, (0, 1), value=1)  # for the bias
        products = products + inputs.T @ inputs
        correlations = correlations + inputs.T @ changes
    ridge = _RIDGE * products.diagonal().mean() * torch.eye(len(products), dtype=torch.float64)
    found = torch.linalg.solve(products + ridge, correlations).T.float()
    return found[:, :-1].reshape(len(found), -1, 3, 3), found[:, -1]


def sharpen_weights(
    source: Path, faithful: Path, target: Path, crops: Crops, *, share: float, amount: float, batches: int
) -> None:
    """Write ``source`` to ``target`` with a last convolution whose blend with ``faithful`` draws sharper.

    Args:
        source: Weights with a single tail, to be blended with ``faithful``.
        faithful: Weights of the same network, which stay as they are.
        target: Gets the weights; their metadata record ``share`` and ``amount``.
        crops: LR crops of photographs.
        share: Of ``source`` in the blend that learns, above 0.
        amount: As in ``sharpened``.
        batches: How many batches of ``BATCH`` crops are looked at.

    Raises:
        SystemExit: The network has no single tail convolution.
        WeightsError: The weights are of different networks, or a file is damaged.
    """
    weights = weight_file.load(source)
    bias = weights.state.get("tail.bias")
    if bias is None or len(bias) != 3 * weights.scale**2:
        raise SystemExit(f"the network of '{source}' has no single tail")
    blend = blending.load_blended((faithful, source), share)
    assert isinstance(blend, WeightFile), "weights of this project make one"
    network = blend.network()
    changes = sharper_tail(network, crops, amount=amount, batches=batches)
    # Of the change of the blend, these weights contribute `share`.
    changed = {
        name: weights.state[name].float() + change / share
        for name, change in zip(("tail.weight", "tail.bias"), changes, strict=True)
    }
    history = weights.training | {"sharpened_by": amount, "sharpened_at_share": share}
    weight_file.save(target, network, weights.state | changed, history)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("source", "faithful", "target", "photographs"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--share", type=float, default=0.8)
    parser.add_argument("--amount", type=float, default=0.35)
    parser.add_argument("--degradation", default="real")
    parser.add_argument("--batches", type=int, default=12)
    arguments = parser.parse_args()
    scale = weight_file.load(arguments.source).scale
    photos = load_photos((str(arguments.photographs),), scale, PATCH_PX)
    sharpen_weights(
        arguments.source,
        arguments.faithful,
        arguments.target,
        Crops(photos.training, scale, 0, arguments.degradation),
        share=arguments.share,
        amount=arguments.amount,
        batches=arguments.batches,
    )


if __name__ == "__main__":
    main()
