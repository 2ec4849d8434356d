"""The model card beside a weight file: what it does, how it came to be, what it scores."""

from typing import Any

from upscaler.models.contract import Network

_LOSSES = {
    "pixel": "pixel_weight",
    "spectrum": "fft_weight",
    "VGG19 features": "vgg_weight",
    "adversarial": "adversarial_weight",
    "discriminator's features": "feature_weight",
    "total variation": "tv_weight",
    "grid": "grid_weight",
    "power": "power_weight",
    "artefacts (LDL)": "ldl_weight",
}


def text(name: str, network: Network, history: dict[str, Any]) -> str:
    """The card of one weight file.

    Args:
        name: Of the file, without suffix.
        network: With the weights.
        history: As in the file's metadata: settings, steps, minutes, scores.
    """
    settings, scale = history["settings"], network.contract.scale
    what = f"Enlarges pictures {scale} times" if scale > 1 else "Restores pictures at their size"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    lines = [
        f"# {name}",
        "",
        f"{what}. Network `{settings['network']}`: {parameters:,} weights, "
        f"{network.contract.macs_per_pixel:,} multiply-accumulates per LR pixel, fp16.",
        "",
        f"    upscale PICTURE --model {name}.safetensors",
        "",
        "## Scores",
        "",
        f"On {history['held_out']} photographs of the folder that were held out of the training:",
        "",
        f"- Y-PSNR {history['psnr_db']:.2f} dB (LR by the degradation of the training)",
    ]
    if "vgg_distance" in history:
        lines.append(
            f"- VGG distance {history['vgg_distance']:.4f} (LPIPS with equal weights; lower is better)"
        )
    lines += [
        "",
        "## Training",
        "",
        f"- data: {history['photographs']} photographs from {', '.join(settings['photos'])}; "
        "their licences are to be named here by whoever passes the weights on",
        f"- LR pictures: {history['degradation']}",
        f"- started from: {settings['start_from']}",
        f"- stage {history['stage']} of {settings['stages']}: {_losses(history)}",
        f"- {history['steps']:,} steps in {history['minutes']:.1f} minutes, seed {settings['seed']}, "
        f"{history['processes']} process(es) on {history['device']}, upscaler {history['upscaler']}",
        "",
        "All settings are in the metadata of the weight file, and in `config.toml` in the folder of the run.",
        "",
        "## Limits",
        "",
        "Made for pictures like those it was trained on; others may come out worse than with the weights it "
        "started from.",
    ]
    if history["stage"] == 2:
        lines.append(
            "Textures are invented where the input holds none: not for evidence, medicine or measuring."
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
