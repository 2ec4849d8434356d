"""Every option of ``upscale``, in one place: default, range, unit and help text. Loads neither torch nor av.

To add one, declare its field here; the command line, ``Upscaler``, ``upscale`` and all checks derive from it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

from upscaler.images import formats
from upscaler.option_fields import (
    CROP,
    DEVICE,
    DEVICES,
    LANGUAGES,
    MODELS,
    PAIRS,
    PATH,
    RATE,
    SIZE,
    SWITCH,
    TIME,
    choice,
    convert_options,
    number,
    option,
    options_of,
    pattern,
    text,
    whole,
)
from upscaler.video import codecs

SCALE_MIN, SCALE_MAX = 1.0, 8.0
DEFAULT_MODEL = {"still": "real-fast", "video": "fast", "preview": "fast"}
# With the default model; that of images always denoises, and blends by --perceptual.
DEFAULT_DENOISE = {"still": None, "video": 1.0, "preview": 1.0}
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
RUNTIMES = ("auto", "eager", "compiled")
CODECS = tuple(codecs.CODECS)
ENCODERS = ("auto", *codecs.ENCODER_FAMILIES)
DECODERS = ("software", "auto", "nvdec")
AUDIO_CODECS = tuple(codecs.AUDIO_ENCODERS)
IMAGE_FORMATS = tuple(suffix.removeprefix(".") for suffix in formats.WRITABLE_SUFFIXES)


@dataclass(frozen=True)
class FileOptions:
    """Where results go."""

    output: str | Path | None = option(
        None, "File or folder to write to.", PATH, default_text="next to the input"
    )
    _: KW_ONLY
    overwrite: bool = option(False, "Replace existing files.", SWITCH)
    skip_existing: bool = option(False, "Process only what does not exist yet.", SWITCH)
    name: str | None = option(
        None,
        "Names of results without suffix, for example {stem}_x{scale}; also {size} and {model}.",
        pattern("stem", "scale", "size", "model"),
        default_text="{stem}_x{scale} next to the input, {stem} in a folder",
    )
    keep_dates: bool = option(False, "Give results the modification time of their source.", SWITCH)
    compare: bool = option(
        False,
        "Write an HTML page that shows each image before (bicubic) and after, with a slider.",
        SWITCH,
    )
    reference: str | Path | None = option(
        None, "Folder of originals for --compare: shown too, with PSNR and SSIM.", PATH
    )
    preview: bool = option(
        False,
        "Write one frame of a video (at --start, or the middle) as PNG, by the network and by bicubic.",
        SWITCH,
    )

    def __post_init__(self) -> None:
        convert_options(self, self._conflicts)

    def _conflicts(self) -> Iterator[str]:
        if self.overwrite and self.skip_existing:
            yield "--overwrite and --skip-existing exclude each other"
        if self.reference is not None and not self.compare:
            yield "--reference needs --compare"

    @property
    def output_path(self) -> Path | None:
        """``output`` as a path."""
        return None if self.output is None else Path(self.output)


@dataclass(frozen=True)
class EngineOptions:
    """How frames are upscaled."""

    # `--help` replaces {models} by the installed ones, which this module does not know.
    model: str | Path | Sequence[str | Path] | None = option(
        None,
        "{models}, or a model file: .safetensors, .pth, .pt or .ckpt. Repeatable: the models run one after "
        "the other.",
        MODELS,
        default_text=f"{DEFAULT_MODEL['still']} for images, {DEFAULT_MODEL['video']} --denoise 1 for video",
    )
    scale: float | None = option(
        None,
        "Output size over input size, any number from 1 to 8.",
        number(SCALE_MIN, SCALE_MAX, metavar="FACTOR"),
        default_text="a weight file's own, else 4; of several models, the product",
    )
    _: KW_ONLY
    size_px: tuple[int, int] | None = option(
        None, "Fit into WIDTHxHEIGHT instead, for example 3840x2160.", SIZE
    )
    denoise: float | None = option(
        None,
        "How much fast, balanced and srresnet also remove noise, blur and JPEG artifacts, and film those of "
        "codecs: 0 or 1, for srresnet also between. real, real-fast and art-fast always do.",
        number(0, 1, metavar="SHARE"),
        default_text="0, but 1 for videos without --model",
    )
    perceptual: float | None = option(
        None,
        "Blend the weights of real, real-fast or srgan, which add detail (1), with those of their faithful "
        "counterparts, which add none (0). In a chain, this applies to each of them.",
        number(0, 1, metavar="SHARE"),
        default_text="0.8 for real and real-fast, 0.5 with --blend-with, else the model alone",
    )
    blend_with: str | Path | None = option(
        None,
        "Weights of the same network that add detail, such as those after stage two of a training; --model "
        "then names the faithful ones, --perceptual the share.",
        text("NAME|FILE"),
    )
    strength: float = option(
        1.0,
        "Share of the network in the result, for every model; the rest is plain bicubic enlargement.",
        number(0, 1, metavar="SHARE"),
        default_text="1",
    )
    tta: bool = option(False, "Average over the 8 symmetries of the image; 8 times slower.", SWITCH)
    tileable: bool = option(
        False, "For textures whose opposite borders meet: they still do in the result.", SWITCH
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:N, mps or xpu.", DEVICE)
    precision: str = option(
        "auto",
        "auto (the faster of fp32 and half precision), fp32, bf16, fp16, or int8: on a CPU with VNNI, for "
        "the fast and balanced models; fastest, and up to 0.02 dB worse.",
        choice(*PRECISIONS),
    )
    runtime: str = option(
        "auto", "auto (compiled for long videos if that is faster), eager or compiled.", choice(*RUNTIMES)
    )
    tile_px: int | None = option(
        None,
        "Largest side of a tile in input pixels.",
        whole(1, auto=True, metavar="PIXELS"),
        default_text="auto",
    )
    batch: int | None = option(
        None,
        "Tiles or frames that go through the network together.",
        whole(1, auto=True, metavar="COUNT"),
        default_text="auto",
    )
    memory_limit_gb: float | None = option(
        None,
        "Memory for the network's features; overrides --tile and --batch.",
        number(0, above=True, metavar="GB"),
        default_text="on a GPU 60 % of what is free, on a CPU 1.3",
    )

    def __post_init__(self) -> None:
        convert_options(self, self._conflicts)

    def _conflicts(self) -> Iterator[str]:
        if self.scale is not None and self.size_px is not None:
            yield "--scale and --size exclude each other"
        if self.blend_with is not None and len(self.models) != 1:
            yield "--blend-with needs one --model to blend with"
        if self.blend_with is not None and self.denoise is not None:
            yield "--blend-with and --denoise exclude each other"

    @property
    def models(self) -> tuple[str, ...]:
        """``model`` as names and paths, in the order in which they run; empty: the default is meant."""
        given = self.model or ()
        return (str(given),) if isinstance(given, str | Path) else tuple(map(str, given))

    def completed(self, kind: str) -> "EngineOptions":
        """With the default model for a kind of input, unless models are given.

        ``perceptual`` or ``denoise`` is left out if the default model has no weights for it: of images and
        videos together, it is for the others.
        """
        if self.models:
            return self
        model, denoise = (DEFAULT_MODEL[kind],), DEFAULT_DENOISE[kind]
        if denoise is None:
            return replace(self, model=model, denoise=None)
        return replace(
            self, model=model, denoise=denoise if self.denoise is None else self.denoise, perceptual=None
        )


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How images are written."""

    format: str | None = option(
        None,
        f"Write images as {', '.join(IMAGE_FORMATS)}.",
        choice(*IMAGE_FORMATS),
        default_text="that of the source, or of -o FILE",
    )
    quality: int | None = option(
        None,
        "Quality of AVIF, JPEG and WebP; higher is better.",
        whole(1, 100),
        default_text="90 for AVIF, 95 for JPEG and WebP",
    )
    lossless: bool = option(False, "Write WebP without loss; refuse AVIF, GIF and JPEG.", SWITCH)
    keep_hidden: bool = option(False, "Upscale the colours of fully transparent pixels as they are.", SWITCH)
    max_pixels: int = option(
        536_000_000,
        "Refuse images with more pixels, because a small file can hold a huge image.",
        whole(1),
        default_text="536 million",
    )
    strip: bool = option(
        False, "Write images without metadata; colour profiles and orientation are kept.", SWITCH
    )

    def __post_init__(self) -> None:
        convert_options(self, self._conflicts)

    def _conflicts(self) -> Iterator[str]:
        if self.lossless and self.quality is not None:
            yield "--lossless and --quality exclude each other"

    def given(self) -> list[str]:
        """The options that differ from their defaults, as the command line spells them."""
        return _given(self, ImageOptions)


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """How video is read and encoded, and which part of it."""

    codec: str | None = option(
        None,
        f"{', '.join(CODECS)}.",
        choice(*CODECS),
        default_text="vp9 for .webm, hevc above 8 bits, else h264",
    )
    crf: int | None = option(
        None,
        "Constant rate factor: quality, lower is better; 0 to 51, for vp9 and av1 to 63.",
        whole(0, 63),
        default_text="depends on the codec",
    )
    preset: str | None = option(
        None, "Speed setting of the video encoder.", text(), default_text="depends on the codec"
    )
    pixel_format: str | None = option(
        None,
        "FFmpeg's name of a format that the codec takes, for example yuv444p.",
        text(),
        default_text="4:2:0; ffv1: the source's; prores: 4:2:2 or 4:4:4",
    )
    encoder: str = option(
        "software", f"{', '.join(ENCODERS)}. Hardware falls back to software.", choice(*ENCODERS)
    )
    encoder_options: tuple[tuple[str, str], ...] = option(
        (), "An option for the encoder; repeatable.", PAIRS, flag="encoder-option"
    )
    decoder: str = option(
        "software", f"{', '.join(DECODERS)}. Hardware falls back to software.", choice(*DECODERS)
    )
    video_stream: int | None = option(
        None,
        "Index of the video stream to upscale, counted from 0 over all streams, as in the table of streams.",
        whole(0),
        default_text="the default one",
    )
    program: int | None = option(
        None,
        "Number of the program to take from a transport stream.",
        whole(0),
        default_text="the first with video",
    )
    audio: bool = option(True, "Keep the audio streams.", SWITCH)
    audio_language: tuple[str, ...] = option(
        (), "Keep only audio in these languages: eng,ger.", LANGUAGES, default_text="all"
    )
    audio_codec: str | None = option(
        None,
        f"{', '.join(AUDIO_CODECS)}: encode all audio.",
        choice(*AUDIO_CODECS),
        default_text="copy where possible",
    )
    subtitles: bool = option(True, "Keep the subtitle streams.", SWITCH)
    start_s: Fraction | float | None = option(
        None, "Start of the part to process: 83.5, 1:23.5 or 0:01:23.5.", TIME, default_text="0"
    )
    end_s: Fraction | float | None = option(
        None, "End of the part to process.", TIME, default_text="the end of the video"
    )
    frames: int | None = option(
        None, "Process at most COUNT frames.", whole(1, metavar="COUNT"), default_text="all"
    )
    fps: Fraction | float | None = option(
        None,
        "Frames per second of numbered images; other videos keep their times.",
        RATE,
        default_text="25",
    )
    deinterlace: Literal["auto", "on", "off", "bob", "ivtc"] = option(
        "auto",
        "auto (interlaced frames only), on, off, bob (a frame per field: 50i becomes 50p) or ivtc (inverse "
        "telecine: 3:2 pulldown becomes 24p).",
        choice("auto", "on", "off", "bob", "ivtc", metavar="MODE"),
    )
    field_order: Literal["auto", "top", "bottom"] = option(
        "auto",
        "Which field of a frame is shown first: auto (as flagged, else top), top or bottom.",
        choice("auto", "top", "bottom", metavar="FIELD"),
    )
    crop: tuple[int, int, int, int] | Literal["auto"] | None = option(
        None,
        "Keep this part of the picture: WIDTH:HEIGHT:LEFT:TOP in pixels; auto: all but black bars.",
        CROP,
        default_text="the whole picture",
    )
    resume: bool = option(True, "Resume an interrupted video.", SWITCH)

    def __post_init__(self) -> None:
        convert_options(self, self._conflicts)

    def _conflicts(self) -> Iterator[str]:
        if self.end_s is not None and self.end_s <= self.from_s:
            yield "--end must come after --start"
        if self.audio_language and not self.audio:
            yield "--audio-language and --no-audio exclude each other"
        if self.audio_codec is not None and not self.audio:
            yield "--audio-codec and --no-audio exclude each other"
        if self.deinterlace == "off" and self.field_order != "auto":
            yield "--field-order and --deinterlace off exclude each other"

    @property
    def from_s(self) -> Fraction:
        """Start of the part to process, seconds of the source."""
        return Fraction(self.start_s or 0)

    @property
    def until_s(self) -> Fraction | None:
        """End of the part to process, seconds of the source; ``None``: the end of the video."""
        return None if self.end_s is None else Fraction(self.end_s)

    @property
    def rate(self) -> Fraction:
        """Frames per second of numbered images."""
        return Fraction(25) if self.fps is None else Fraction(self.fps)

    @property
    def trims(self) -> bool:
        """Whether only a part of the source is processed."""
        return self.from_s > 0 or self.end_s is not None or self.frames is not None

    def given(self) -> list[str]:
        """The options that differ from their defaults, as the command line spells them."""
        return _given(self, VideoOptions)


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """What runs the work."""

    workers: int | None = option(
        None,
        "Processes that share the work; each uses its share of the processors.",
        whole(1, metavar="COUNT"),
        default_text="this process alone",
    )
    devices: tuple[str, ...] = option(
        (), "A worker on each of these devices: cuda:0,cuda:1, or all.", DEVICES, default_text="--device"
    )
    cluster: str | None = option(
        None,
        "Workers on a Ray cluster: its address, or auto for that of this machine.",
        text("ADDRESS"),
        default_text="this machine alone",
    )
    strict_plan: bool = option(
        False, "Refuse workers whose device differs, since results may differ in the last bit.", SWITCH
    )

    def __post_init__(self) -> None:
        convert_options(self, self._conflicts)

    def _conflicts(self) -> Iterator[str]:
        if self.workers is not None and self.devices:
            yield "--workers and --devices exclude each other"
        if self.cluster is not None and (self.workers is not None or self.devices):
            yield "--cluster excludes --workers and --devices"
        if "all" in self.devices and len(self.devices) > 1:
            yield "--devices takes all, or a list of devices"

    @property
    def are_shared(self) -> bool:
        """Whether workers do the work."""
        return self.workers is not None or bool(self.devices) or self.cluster is not None


def _given(options: object, declared: type) -> list[str]:
    changed = [each for each in options_of(declared) if getattr(options, each.name) != each.default]
    return [f"--{'no-' * (each.default is True)}{each.flag}" for each in changed]


@dataclass(frozen=True, kw_only=True)
class Options(WorkerOptions, VideoOptions, ImageOptions, EngineOptions, FileOptions):
    """All options of ``upscale``; ``--help`` lists the last base first."""

    @property
    def engine(self) -> EngineOptions:
        """The part for the engine."""
        return EngineOptions(**{each.name: getattr(self, each.name) for each in fields(EngineOptions)})

    @property
    def image(self) -> ImageOptions:
        """The part for images."""
        return ImageOptions(**{each.name: getattr(self, each.name) for each in fields(ImageOptions)})

    @property
    def video(self) -> VideoOptions:
        """The part for video."""
        return VideoOptions(**{each.name: getattr(self, each.name) for each in fields(VideoOptions)})

    def _conflicts(self) -> Iterator[str]:
        yield from FileOptions._conflicts(self)
        yield from EngineOptions._conflicts(self)
        yield from ImageOptions._conflicts(self)
        yield from VideoOptions._conflicts(self)
        yield from WorkerOptions._conflicts(self)
        if self.devices and self.device != "auto":
            yield "--device and --devices exclude each other"
        if self.size_px and "{scale}" in (self.name or ""):
            yield "--name with {scale} needs --scale, and not --size"
        if not self.size_px and "{size}" in (self.name or ""):
            yield "--name with {size} needs --size"
