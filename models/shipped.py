"""The weights that ship: which named model has which file for which scale. Loads no torch."""

from collections.abc import Iterable
from pathlib import Path

from upscaler.errors import WeightsError
from upscaler.option_fields import did_you_mean

# What `upscale --model` takes besides a file: the file in weights/ for each scale.
WEIGHTS: dict[str, dict[int, str]] = {
    "balanced": {scale: f"balanced-x{scale}.safetensors" for scale in (2, 3, 4, 8)},
    "fast": {scale: f"fast-x{scale}.safetensors" for scale in (2, 3, 4, 8)},
    "balanced-photo": {scale: f"balanced-photo-x{scale}.safetensors" for scale in (2, 4)},
    "fast-photo": {scale: f"fast-photo-x{scale}.safetensors" for scale in (2, 4)},
    "srresnet": {scale: f"srresnet-x{scale}.safetensors" for scale in (2, 4)},
    "srgan": {scale: f"srgan-x{scale}.safetensors" for scale in (2, 4)},
    "srresnet-photo": {4: "srresnet-photo-x4.safetensors"},
    "real": {scale: f"real-x{scale}.safetensors" for scale in (2, 4)},
    "real-fast": {scale: f"real-fast-x{scale}.safetensors" for scale in (2, 4)},
    "art-fast": {scale: f"art-fast-x{scale}.safetensors" for scale in (2, 4)},
    "restore": {1: "restore-x1.safetensors"},
    "film": {scale: f"film-x{scale}.safetensors" for scale in (2, 4)},
    "film-photo": {4: "film-photo-x4.safetensors"},
}

# The models between whose weights `upscale --denoise` blends: the second of a pair also removes noise, blur
# and JPEG artifacts. It is known by name, but not listed: `--denoise 1` is that model alone. `real` and
# `real-fast` are blended with two of them, and training starts from them.
DENOISABLE = (
    ("fast", "fast-photo"),
    ("balanced", "balanced-photo"),
    ("srresnet", "srresnet-photo"),
    ("film", "film-photo"),
)

# Pairs trained too far apart: what lies between is worse than both (docs/models.md), so it is 0 or 1.
DENOISED_WHOLLY = ("fast", "balanced", "film")

# Ends the names of the flavour trained on what cameras, phones and the web give: JPEG, slight blur, noise; of
# networks for films, on compressed videos.
PHOTO = "-photo"

# The models between whose weights `upscale --perceptual` blends: the second of a pair, which makes texture,
# is trained from the first, which is faithful.
BLENDABLE = (
    ("srresnet", "srgan"),
    ("srresnet-photo", "real"),
    ("balanced-photo", "real-fast"),
)

# The blend that a model stands for without `--perceptual`: the largest share that takes no small face away
# from its original (docs/models.md); 0.9 is crisper, but puts specks on some. A scale that the counterpart
# lacks (`real-x2`) is then not blended: at x2 there are no specks.
DEFAULT_PERCEPTUAL = {"real": 0.8, "real-fast": 0.8}

# A single file goes by its name, too: `balanced-x2`.
_NAMED = WEIGHTS | {
    Path(file).stem: {scale: file} for files in WEIGHTS.values() for scale, file in files.items()
}

# The factor of a named model when none is asked for.
DEFAULT_SCALE = 4.0

_FOLDER = Path(__file__).parent / "weights"


def installed_scales(model: str) -> list[int]:
    """The scales for which the named model has weights on this machine, ascending."""
    files = _NAMED.get(model, {})
    return sorted(scale for scale, name in files.items() if (_FOLDER / name).is_file())


def installed_models() -> list[str]:
    """The named models to choose from that have weights on this machine."""
    unlisted = dict(DENOISABLE).values()
    return [model for model in WEIGHTS if model not in unlisted and installed_scales(model)]


def installed_choices() -> dict[str, str]:
    """What to write after ``--model`` for each set of weights on this machine, and its name.

    >>> installed_choices()["fast --denoise 1"]
    'fast-photo'
    """
    denoising, choices = dict(DENOISABLE), {}
    for model in installed_models():
        choices[model] = model
        if model in denoising and installed_scales(denoising[model]):
            choices[f"{model} --denoise 1"] = denoising[model]
    return choices


def is_known(name: str) -> bool:
    """Whether this names a shipped model or a single file of one, installed or not."""
    return name in _NAMED


def weight_files(model: str, also_known: Iterable[str] = ()) -> dict[int, Path]:
    """The installed weight files by scale, at least one, of a model, or of a single file as ``balanced-x2``.

    Args:
        model: Its name.
        also_known: Further names that the user may have meant.

    Raises:
        WeightsError: There is no such model, or its weights are not installed.
    """
    files = {scale: _FOLDER / _NAMED[model][scale] for scale in installed_scales(model)}
    if not files:
        what = "has no weights on this machine" if model in _NAMED else "is unknown"
        installed = [name for name in _NAMED if installed_scales(name)]
        known = f"use {', '.join([*installed_models(), *also_known, 'a model file'])}"
        near = did_you_mean(model, [*installed, *also_known])
        raise WeightsError(f"model '{model}' {what}{near}", known)
    return files
