"""Types of the fixtures that make files, settings and weights, and which network a model uses."""

from collections.abc import Callable
from pathlib import Path

from upscaler.models import shipped
from upscaler.trainer.config.config import TrainConfig

MakePhotos = Callable[..., list[Path]]
Configure = Callable[..., TrainConfig]
Ship = Callable[..., None]


def network_of(model: str, scale: int) -> str:
    """The network, a key of ``PRESETS``, of a model that ships at a scale."""
    name = model.removesuffix(shipped.PHOTO)
    if (name, scale) == ("balanced", 8):
        return "deep"
    networks = {"srgan": "srresnet", "real": "srresnet", "real-fast": "balanced", "art-fast": "balanced"}
    return networks.get(name, name)
