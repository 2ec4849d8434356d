"""From the name of a model, or the path of a weight file, to the weight files by scale."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from upscaler.errors import UsageError, WeightsError
from upscaler.models import model_file, model_folder, shipped
from upscaler.options import SCALE_MAX


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


def perceptual_shares(models: Sequence[str], given: float | None) -> dict[str, float | None]:
    """The blend of each model of a chain: what is asked for, else what the model stands for, if any.

    What is asked for applies to those that have a faithful or textured counterpart.

    Raises:
        UsageError: ``given`` is not ``None``, and none of the models has one.
    """
    if given is None:
        return {model: shipped.DEFAULT_PERCEPTUAL.get(model) for model in models}
    if not any(map(_pair_of, models)):
        *others, last = (textured for _, textured in shipped.BLENDABLE)
        raise UsageError(
            f"model {' then '.join(map(repr, models))} has no faithful counterpart to blend with",
            f"use --perceptual with {', '.join(others)} or {last}",
        )
    return {model: given if _pair_of(model) else None for model in models}


def _pair_of(model: str) -> tuple[str, str] | None:
    return next((pair for pair in shipped.BLENDABLE if model in pair), None)


def blendable_files(model: str, perceptual: float | None) -> Mapping[int, tuple[Path, ...]]:
    """What ``blending.load_blended`` needs, by scale: two files each if ``perceptual`` is given.

    The textured model stands alone at a scale that the faithful one lacks, but only for its default share and
    for 1.

    Args:
        model: Its name or path; one with a counterpart if ``perceptual`` is given.
        perceptual: From ``perceptual_shares``.

    Raises:
        WeightsError: The model is unknown, or its file is missing or damaged.
    """
    pair = _pair_of(model)
    if perceptual is None or pair is None:
        return {scale: (file,) for scale, file in weight_files(model).items()}
    faithful = weight_files(pair[0])
    if perceptual == 0:  # nothing is blended, and the counterpart may have more scales
        return {scale: (file,) for scale, file in faithful.items()}
    textured = weight_files(pair[1])
    files: dict[int, tuple[Path, ...]] = {
        scale: (file, textured[scale]) for scale, file in faithful.items() if scale in textured
    }
    if not files:
        raise WeightsError(f"{' and '.join(pair)} are installed for different scales and cannot be blended")
    if perceptual in (1, shipped.DEFAULT_PERCEPTUAL.get(pair[1])):
        files = {scale: (file,) for scale, file in textured.items()} | files
    return files


def own_pair(faithful: str, textured: str) -> Mapping[int, tuple[Path, ...]]:
    """What ``blending.load_blended`` needs of two models of the same network, by scale.

    Raises:
        WeightsError: A model is unknown, its file is missing or damaged, or they have no scale in common.
    """
    first, second = weight_files(faithful), weight_files(textured)
    files = {scale: (file, second[scale]) for scale, file in first.items() if scale in second}
    if not files:
        scales = [" and ".join(f"x{scale}" for scale in found) for found in (first, second)]
        raise WeightsError(
            f"'{faithful}' is for {scales[0]} and '{textured}' for {scales[1]}: they cannot be blended"
        )
    return files


def default_scale(models: Iterable[str]) -> float:
    """The default of ``--scale``: what the models reach together, one after the other.

    A weight file has its own scale; a named model stands for 4, or for 1 if it only restores.

    Raises:
        UsageError: That is more than ``--scale`` may be.
        WeightsError: A model is unknown, or its file is missing or damaged.
    """
    scale = math.prod(_default_scale(model) for model in models)
    if scale > SCALE_MAX:
        raise UsageError(
            f"one after the other, the models upscale {scale:g} times, more than {SCALE_MAX:g}",
            f"name the factor with --scale, at most {SCALE_MAX:g}: what exceeds it is downscaled at the end",
        )
    return scale


def _default_scale(model: str) -> float:
    files = weight_files(model)
    enlarges = model in shipped.WEIGHTS and max(files) > 1
    return shipped.DEFAULT_SCALE if enlarges else float(min(files))
