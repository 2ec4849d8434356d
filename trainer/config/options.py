"""The options of ``upscale-train``: the settings that have a flag of their own. Loads no torch.

Any other setting takes ``--set NAME=VALUE``. Ranges are those of the settings, see ``TrainConfig``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from upscaler.option_fields import SWITCH, Kind, convert_options, option, options_of, text


def _repeated(values: Iterable[str]) -> list[str]:
    return [str(value) for value in values]


NUMBER = Kind("NUMBER", "a number", float)
WHOLE = Kind("NUMBER", "a whole number", int)
FOLDERS = Kind("FOLDER", "a folder", _repeated, repeatable=True)
FILE = text("FILE")
NAME = text("NAME")

# Options that set a key of the table [gan].
_STAGE_TWO = ("vgg", "from_discriminator")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """``None`` leaves a setting to the settings file, the preset or its default."""

    output: str | None = option(None, "Weight file to write (.safetensors).", FILE)
    network: str | None = option(
        None,
        "fast, balanced, deep, restore, film, srresnet, srresnet-paper, srcnn, srvgg-64x16, "
        "srvgg-64x32, srvgg-64x8 or srvgg-24x8.",
        NAME,
        default_text="that of --from FILE, else balanced",
    )
    scale: int | None = option(
        None,
        "1 (restores at the image's own size), 2, 3, 4 or 8.",
        WHOLE,
        default_text="that of --from FILE, else 4",
    )
    lr_dirs: list[str] | None = option(
        None,
        "Folder with LR versions of the photographs; repeatable.",
        FOLDERS,
        flag="lr-dir",
        default_text="make them",
    )
    pairs: str | None = option(
        None,
        "left-hr or right-hr: every image holds the photograph and its LR version side by side.",
        NAME,
        default_text="separate",
    )
    degradation: str | None = option(
        None,
        "How LR images are made: photo, clean, bilinear, jpegN, jpegN-M, mild, mild-combined, real, drawn, "
        "strong, video, videoN or film.",
        NAME,
        default_text="photo",
    )
    show_degraded: bool | None = option(None, "First write a page of example LR images.", SWITCH)
    start_from: str | None = option(
        None,
        "Weights to start from: name of shipped weights, file of any scale, or none.",
        text("NAME|FILE"),
        flag="from",
        default_text="the shipped weights of the network",
    )
    teacher: str | None = option(
        None, "Distil: stage one learns the output of these weights (name or file).", text("NAME|FILE")
    )
    stages: str | None = option(
        None,
        "1 (pixel loss), 2 (perceptual and adversarial losses) or 1,2.",
        text("NUMBERS"),
        default_text="1,2",
    )
    preset: str | None = option(
        None,
        "balanced, sharp, paper, tutorial, mae-noise or soft-label.",
        NAME,
        default_text="balanced",
    )
    vgg: str | None = option(
        None,
        "Perceptual network of stage two: small (a shipped encoder), torchvision (VGG19, downloaded once), "
        "or a file with VGG19 weights, complete or the first layers.",
        text("NAME|FILE"),
        default_text="small",
    )
    valid: list[str] | None = option(
        None,
        "Folder with validation images; repeatable.",
        FOLDERS,
        default_text="hold out some photographs",
    )
    valid_lr_dirs: list[str] | None = option(
        None, "Folder with LR versions of the validation images; repeatable.", FOLDERS, flag="valid-lr-dir"
    )
    from_discriminator: str | None = option(
        None,
        "Weights that the discriminator of stage two starts from, NAME-discriminator.safetensors.",
        FILE,
        default_text="random ones",
    )
    minutes: float | None = option(None, "Length of the run in minutes.", NUMBER)
    steps: int | None = option(None, "Length of the run in steps, both stages together.", WHOLE)
    epochs: float | None = option(
        None, "Length of the run in epochs, each of as many crops as there are photographs.", NUMBER
    )
    patience: int | None = option(
        None, "End a stage after this many validations without gain.", WHOLE, default_text="never"
    )
    keep: str | None = option(None, "Weights that the output holds: best or last.", NAME, default_text="best")
    focus: str | None = option(
        None,
        "Where crops come from: everywhere, or detail (more often from places with more detail).",
        NAME,
        default_text="everywhere",
    )
    batch: int | None = option(None, "Crops per step in stage one.", WHOLE)
    patch_px: int | None = option(None, "Side of a crop in stage one, LR pixels.", WHOLE)
    phase2_batch: int | None = option(None, "Crops per step in phase 2, the end of stage one.", WHOLE)
    phase2_patch_px: int | None = option(None, "Side of a crop in phase 2, LR pixels.", WHOLE)
    phase2_share: float | None = option(None, "Share of stage one that is phase 2.", NUMBER)
    optimizer: str | None = option(None, "Optimizer of stage one: muon or adamw.", NAME)
    learning_rate: float | None = option(
        None, "Peak learning rate of stage one.", NUMBER, default_text="depends on the network"
    )
    weight_decay: float | None = option(
        None, "Weight decay of stage one.", NUMBER, default_text="depends on the network"
    )
    warmup_steps: int | None = option(None, "Warm-up steps of stage one.", WHOLE, flag="warmup")
    pixel_loss: str | None = option(None, "Pixel loss of stage one: l1, mse or charbonnier.", NAME)
    fft_weight: float | None = option(None, "Weight of the spectrum loss of stage one.", NUMBER)
    seed: int | None = option(None, "Seed of initial weights and crops.", WHOLE)
    device: str | None = option(None, "auto, cpu, cuda, cuda:N, mps or xpu.", NAME, default_text="auto")
    precision: str | None = option(
        None, "auto (bf16 where it is fast), bf16 or fp32.", NAME, default_text="auto"
    )
    threads: int | None = option(None, "CPU threads; 0 uses all cores.", WHOLE)
    compiled: bool | None = option(
        None, "Compile the network.", SWITCH, flag="compile", default_text="compile"
    )
    checkpointing: bool | None = option(
        None, "Recompute features in the backward pass: less memory, more time.", SWITCH
    )
    lpips_trunk: str | None = option(
        None,
        "Weights of SqueezeNet, for LPIPS at every validation.",
        FILE,
        default_text="torchvision's, if downloaded before",
    )
    lpips_heads: str | None = option(
        None, "Linear layers of LPIPS.", FILE, default_text="those in torchmetrics, if installed"
    )
    tensorboard: bool | None = option(None, "Also write TensorBoard event files.", SWITCH)
    wandb: bool | None = option(None, "Also send everything to Weights & Biases.", SWITCH)

    def __post_init__(self) -> None:
        convert_options(self, lambda: ())

    def settings(self) -> dict[str, Any]:
        """What was given, as a settings file has it."""
        values = {each.name: getattr(self, each.name) for each in options_of(TrainOptions)}
        given = {name: value for name, value in values.items() if value is not None}
        gan = {name: given.pop(name) for name in _STAGE_TWO if name in given}
        return given | ({"gan": gan} if gan else {})
