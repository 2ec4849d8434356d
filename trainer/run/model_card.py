"""The model card beside a weight file: what it does, how it was trained, its scores."""

from typing import Any

from upscaler.models.contract import Network
from upscaler.trainer.config.config import SIZES
from upscaler.trainer.run.counting import counted

_LOSSES = {
    "pixel": "pixel_weight",
    "spectrum": "fft_weight",
    "flicker": "calm_weight",
    "VGG19 features": "vgg_weight",
    "adversarial": "adversarial_weight",
    "discriminator's features": "feature_weight",
    "total variation": "tv_weight",
    "grid": "grid_weight",
    "power": "power_weight",
    "artifacts (LDL)": "ldl_weight",
}


def text(name: str, network: Network, history: dict[str, Any]) -> str:
    """The card of a weight file.

    Args:
        name: Name of the file without suffix.
        network: With the weights.
        history: The metadata of the file: settings, steps, minutes, scores.
    """
    settings, scale = history["settings"], network.contract.scale
    what = f"Upscales images by {scale}" if scale > 1 else "Restores images without upscaling"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    sizes = ", ".join(f"{size} {value}" for size, value in network.arguments.items() if size in SIZES)
    lines = [
        f"# {name}",
        "",
        f"{what}. Network `{settings['network']}`{sizes and f' ({sizes})'}: {parameters:,} parameters, "
        f"{network.contract.macs_per_pixel:,} multiply-accumulates per LR pixel, fp16.",
        "",
        f"    upscale IMAGE --model {name}.safetensors",
        "",
        "## Scores",
        "",
        f"On {counted(history['held_out'], 'image')} not trained on:",
        "",
        f"- Y-PSNR {history['psnr_db']:.2f} dB (LR degraded as in training)",
    ]
    if "ssim" in history:
        lines.append(f"- SSIM {history['ssim']:.4f}")
    if "lpips" in history:
        lines.append(f"- LPIPS (squeeze) {history['lpips']:.4f} (lower is better)")
    if "vgg_distance" in history:
        lines.append(
            f"- VGG distance {history['vgg_distance']:.4f} (LPIPS with equal weights; lower is better)"
        )
    lines += [
        "",
        "## Training",
        "",
        f"- data: {counted(history['photographs'], 'photograph')} from {', '.join(settings['photos'])}; "
        "name their licences here before you share the weights",
        f"- LR images: {history['degradation']}",
        f"- started from: {settings['start_from']}",
        f"- stage {history['stage']} of {settings['stages']}: {_losses(history)}",
        f"- {counted(history['steps'], 'step')} in {history['minutes']:.1f} minutes, "
        f"seed {settings['seed']}, "
        f"{counted(history['processes'], 'process', 'processes')} on {history['device']}, "
        f"upscaler {history['upscaler']}",
        "",
        "All settings are in the metadata of the weight file and in `config.toml` in the run folder.",
        "",
        "## Limits",
        "",
        "For images like those it was trained on; others may come out worse than with the weights it started "
        "from.",
    ]
    if history["stage"] == 2:
        lines.append(
            "Invents texture that the input does not contain: not for evidence, medicine or measurement."
        )
    return "\n".join(lines) + "\n"


def _losses(history: dict[str, Any]) -> str:
    """Such as ``1 x pixel (l1), 10 x spectrum``."""
    settings = history["settings"] if history["stage"] == 1 else history["settings"]["gan"]
    kinds = {"pixel": "pixel_loss", "VGG19 features": "vgg_loss", "adversarial": "adversarial"}
    found = []
    for name, weight in _LOSSES.items():
        if settings.get(weight):
            kind = f" ({settings[kinds[name]]})" if name in kinds else ""
            found.append(f"{settings[weight]:g} x {name}{kind}")
    return ", ".join(found) + (", over luma first" if settings.get("loss_colors") == "luma" else "")
