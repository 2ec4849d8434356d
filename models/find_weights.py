"""From the name of a model, or the path of a weight file, to the weight files by scale."""

from collections.abc import Mapping
from pathlib import Path

from upscaler.errors import UsageError, WeightsError
from upscaler.models import model_file, model_folder, shipped


def weight_files(model: str | Path) -> dict[int, Path]:
    """The weight files of a model, by scale: a file, a shipped model, or one in the user's model folders.

    Raises:
        WeightsError: The model is unknown, or its file is missing or damaged.
    """
    path = Path(model)
    if shipped.is_known(str(model)) and not path.is_file():
        return shipped.weight_files(str(model))
    if not path.is_file():
        path = model_folder.find(str(model)) or path
    if model_file.is_model_path(path):
        return {model_file.load(path).scale: path}
    return shipped.weight_files(str(model), also_known=model_folder.installed())  # raises: it is unknown


def perceptual_share(model: str | Path, given: float | None) -> float | None:
    """The blend that is asked for, or else the one that the model stands for, if any."""
    return shipped.DEFAULT_PERCEPTUAL.get(str(model)) if given is None else given


def blendable_files(model: str | Path, perceptual: float | None) -> Mapping[int, tuple[Path, ...]]:
    """What ``blending.load_blended`` needs, by scale: two files each if ``perceptual`` is given.

    Raises:
        UsageError: ``perceptual`` is given for a model that has no such pair.
        WeightsError: The model is unknown, or its file is missing or damaged.
    """
    if perceptual is None:
        return {scale: (file,) for scale, file in weight_files(model).items()}
    pair = next((pair for pair in shipped.BLENDABLE if str(model) in pair), None)
    if pair is None:
        *others, last = (textured for _, textured in shipped.BLENDABLE)
        raise UsageError(
            f"model '{model}' has no faithful counterpart to blend with",
            f"use --perceptual with {', '.join(others)} or {last}",
        )
    faithful = weight_files(pair[0])
    if perceptual == 0:  # nothing is blended, and the counterpart may have more scales
        return {scale: (file,) for scale, file in faithful.items()}
    textured = weight_files(pair[1])
    files = {scale: (file, textured[scale]) for scale, file in faithful.items() if scale in textured}
    if not files:
        raise WeightsError(f"{' and '.join(pair)} are installed for different scales and cannot be blended")
    return files


def default_scale(model: str | Path) -> float:
    """The default of ``--scale``: a weight file's own; 4 for a named model, 1 for one that only restores.

    Raises:
        WeightsError: The model is unknown, or its file is missing or damaged.
    """
    files = weight_files(model)
    enlarges = str(model) in shipped.WEIGHTS and max(files) > 1
    return shipped.DEFAULT_SCALE if enlarges else float(min(files))
