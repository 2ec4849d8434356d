"""The weights that ship: which named model has which file for which scale. Loads no torch."""

from pathlib import Path

from upscaler.errors import WeightsError

# What `upscale --model` takes besides a file: the file in weights/ for each scale.
WEIGHTS: dict[str, dict[int, str]] = {
    "balanced": {4: "balanced-x4.safetensors"},
    "fast": {2: "fast-x2.safetensors", 4: "fast-x4.safetensors"},
}

# The factor of a named model when none is asked for.
DEFAULT_SCALE = 4.0

_FOLDER = Path(__file__).parent / "weights"


def installed_scales(model: str) -> list[int]:
    """The scales for which the named model has weights on this machine, ascending."""
    files = WEIGHTS.get(model, {})
    return sorted(scale for scale, name in files.items() if (_FOLDER / name).is_file())


def installed_models() -> list[str]:
    """The named models that have weights on this machine."""
    return [model for model in WEIGHTS if installed_scales(model)]


def weight_files(model: str) -> dict[int, Path]:
    """The installed weight files of a named model by scale; at least one.

    Raises:
        WeightsError: There is no such model, or its weights are not installed.
    """
    files = {scale: _FOLDER / WEIGHTS[model][scale] for scale in installed_scales(model)}
    if not files:
        what = "has no weights on this machine" if model in WEIGHTS else "is unknown"
        known = ", ".join([*installed_models(), "a .safetensors file"])
        raise WeightsError(f"model '{model}' {what}", f"there is {known}")
    return files
