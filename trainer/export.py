"""Weights of ours for other programs: ``upscale-train --export``."""

from pathlib import Path

from upscaler.errors import UsageError, WeightsError
from upscaler.models import blending, find_weights, onnx_file, shipped, spandrel_file
from upscaler.models.weight_file import WeightFile

# Format -> suffixes of its files, the default first.
FORMATS = {"spandrel": (".pth", ".safetensors"), "onnx": (".onnx",)}


def export(file_format: str, model: str, target: Path | None = None, scale: int | None = None) -> str:
    """Write the weights of a model in the format of other programs.

    Args:
        file_format: A key of ``FORMATS``.
        model: Weight file, or name of shipped weights, which are blended as ``upscale`` does by default.
        target: The file; default: the name of the model in the current folder, with the format's suffix.
        scale: Of a model with several networks; default: 4, or the nearest that there is.

    Returns:
        What was written, for the user.

    Raises:
        UsageError: The arguments are not possible, or a package is missing.
        WeightsError: The weights cannot be read, or not be written in this format.
    """
    if file_format not in FORMATS:
        raise UsageError(f"--export '{file_format}' must be {' or '.join(FORMATS)}")
    blend = find_weights.blends([model])[model]
    files = find_weights.blendable_files(model, blend)
    if scale is not None and scale not in files:
        known = ", ".join(f"x{each}" for each in sorted(files))
        raise UsageError(f"model '{model}' has no network of scale {scale}", f"it has {known}")
    scale = scale or min(files, key=lambda each: abs(each - shipped.DEFAULT_SCALE))
    target = target or Path(_default_name(model, scale, several=len(files) > 1) + FORMATS[file_format][0])
    _check_target(target, file_format)
    weights = blending.load_blended(files[scale], blend.share if blend else 0)
    if not isinstance(weights, WeightFile):
        raise WeightsError(f"'{model}' is a model of another project", "name one of this project")
    network = weights.network()
    if network.contract.sees_other_frames:
        raise WeightsError(f"'{model}' sees neighbouring frames, which other programs do not give it")
    if file_format == "onnx":
        onnx_file.save(target, network, {"architecture": weights.architecture})
        return f"{target} (ONNX, x{scale}: input lr, output sr, any size)"
    form = spandrel_file.save(target, network)
    cost = form.contract.macs_per_pixel / network.contract.macs_per_pixel
    size = "{channels}x{depth}".format(**form.arguments)
    times = f", {cost:.1f} times the work of the original" if cost > 1 else ""
    return f"{target} (Compact {size}, x{scale}{times})"


def _default_name(model: str, scale: int, *, several: bool) -> str:
    if Path(model).is_file():
        return Path(model).stem
    return f"{model}-x{scale}" if several else model


def _check_target(target: Path, file_format: str) -> None:
    suffixes = FORMATS[file_format]
    if target.suffix.lower() not in suffixes:
        raise UsageError(f"--export {file_format} cannot write '{target}'", f"use {' or '.join(suffixes)}")
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder '{target.parent}'", "make it, or choose another -o")
    if target.exists():
        raise UsageError(f"'{target}' already exists", "remove it, or choose another name with -o")
