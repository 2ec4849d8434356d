"""From the name of a model, or the path of a weight file, to the weight files by scale."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Blend:
    """A weighted mean of the weights of two models.

    Attributes:
        first: Name of the one, faithful or for clean images.
        second: Name of the other, which adds detail, or removes noise, blur and JPEG artifacts.
        share: Of the second, 0..1.
    """

    first: str
    second: str
    share: float


def blends(
    models: Sequence[str], perceptual: float | None = None, denoise: float | None = None
) -> dict[str, Blend | None]:
    """The blend of each model of a chain: what is asked for, else what the model stands for, if any.

    What is asked for applies to those models of the chain that it is for.

    Raises:
        UsageError: A share is asked for that is for none of the models, or both are.
    """
    named = " then ".join(map(repr, models))
    if perceptual is not None and not any(_pair_of(model, shipped.BLENDABLE) for model in models):
        raise UsageError(
            f"model {named} has no faithful counterpart to blend with",
            f"use --perceptual with {_any_of(textured for _, textured in shipped.BLENDABLE)}",
        )
    if perceptual is not None and denoise is not None:
        raise UsageError("--perceptual and --denoise exclude each other")
    if denoise is not None and not any(_pair_of(model, shipped.DENOISABLE) for model in models):
        raise UsageError(
            f"model {named} has no other weights for --denoise",
            f"use it with {_any_of(clean for clean, _ in shipped.DENOISABLE)}; real, real-fast and "
            "art-fast always denoise, the first two faithfully with --perceptual 0",
        )
    return {model: _blend(model, perceptual, denoise) for model in models}


def _blend(model: str, perceptual: float | None, denoise: float | None) -> Blend | None:
    pair = _pair_of(model, shipped.DENOISABLE)
    if denoise is not None and pair is not None:
        if 0 < denoise < 1 and pair[0] in shipped.DENOISED_WHOLLY:
            raise UsageError(f"model '{model}' takes --denoise 0 or 1: what lies between is worse than both")
        return Blend(*pair, denoise)
    share = shipped.DEFAULT_PERCEPTUAL.get(model) if perceptual is None else perceptual
    pair = _pair_of(model, shipped.BLENDABLE)
    return None if pair is None or share is None else Blend(*pair, share)


def _pair_of(model: str, pairs: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    return next((pair for pair in pairs if model in pair), None)


def _any_of(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}"


def blendable_files(model: str, blend: Blend | None) -> Mapping[int, tuple[Path, ...]]:
    """What ``blending.load_blended`` needs, by scale: two files each where two are blended.

    A model that adds detail stands alone at a scale that the faithful one lacks, for its default share only.

    Args:
        model: Its name or path.
        blend: From ``blends``.

    Raises:
        WeightsError: The model is unknown, or its file is missing or damaged.
    """
    if blend is None or blend.share in (0, 1):
        alone = model if blend is None else blend.second if blend.share else blend.first
        return {scale: (file,) for scale, file in weight_files(alone).items()}
    first, second = weight_files(blend.first), weight_files(blend.second)
    files: dict[int, tuple[Path, ...]] = {
        scale: (file, second[scale]) for scale, file in first.items() if scale in second
    }
    if not files:
        raise WeightsError(
            f"{blend.first} and {blend.second} are installed for different scales and cannot be blended"
        )
    if blend.share == shipped.DEFAULT_PERCEPTUAL.get(blend.second):
        files = {scale: (file,) for scale, file in second.items()} | files
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
