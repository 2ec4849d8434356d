"""Choose the encoder, its options and the pixel format, before the first frame.

What can be tried is not taken on trust: hardware encoders, and options and pixel formats from the user, are
opened for a small picture first.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import cast

import av
import av.logging
import torch
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext

from upscaler.errors import UsageError
from upscaler.option_fields import did_you_mean
from upscaler.options import VideoOptions
from upscaler.process_settings import silence_svt_av1
from upscaler.system import processors
from upscaler.video import hdr
from upscaler.video.codecs import CODECS, Codec, Encoder, stores_alpha
from upscaler.video.demux import MEDIA_ERRORS
from upscaler.video.ffmpeg_log import captured_log
from upscaler.video.hdr import Hdr
from upscaler.video.info import ColorTags
from upscaler.video.pixel_formats import RGB_MATRIX, UNSPECIFIED, known_format, pixel_format, sampling_name
from upscaler.video.yuv import Layout

# What av raises when an encoder cannot be opened; the last for encoders that FFmpeg was built without.
_OPEN_ERRORS = (*MEDIA_ERRORS, av.codec.codec.UnknownCodecError)
# x264, x265 and SVT-AV1 only log invalid parameters that FFmpeg passes through to them.
_INVALID_PARAMETER = ("Error parsing option", "Unknown option", "Invalid value for")
# For processors with AVX-512, whose code in libx264 (of 2025; not reported yet) depends on what was in memory
# before: the same frames gave other bytes in one of ten runs, with this in none of 420.
_WITHOUT_AVX512 = "asm=AVX2,FMA3,BMI2,LZCNT"
# How an encoder with threads of its own is told their number, besides FFmpeg's; SVT-AV1 has levels up to 6.
_OWN_THREADS = {"libx265": ("x265-params", "pools", 1024), "libsvtav1": ("svtav1-params", "lp", 6)}
_TRIAL_PX = 256  # hardware encoders refuse smaller pictures


@dataclass(frozen=True)
class EncoderChoice:
    """The encoder for a video, and its options.

    Attributes:
        codec: A key of ``codecs.CODECS``.
        family: A key of its ``encoders``.
        layout: Of the planes to encode.
        options: All options of the encoder, sorted by name.
        notes: Lines for the user: hardware that cannot be used, what the layout loses.
    """

    codec: str
    family: str
    layout: Layout
    options: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()

    @property
    def encoder(self) -> Encoder:
        """The encoder."""
        return CODECS[self.codec].encoders[self.family]

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name of the encoder's input format."""
        layout = self.layout
        subsampled = layout.kind == "yuv" and (layout.horizontal, layout.vertical) == (2, 2)
        if self.encoder.semi_planar and subsampled and layout.bits == 10:
            return "p010le"
        if self.encoder.semi_planar_8 and subsampled and layout.bits == 8:
            return "nv12"
        return pixel_format(layout)

    def describe(self) -> str:
        """Codec, main settings and encoder, for the user."""
        options = dict(self.options)
        words = [self.codec]
        if self.encoder.quality_options:
            words += ["crf", options[self.encoder.quality_options[0]]]
        if self.encoder.preset_option in options:
            words += ["preset", options[self.encoder.preset_option]]
        return f"{' '.join(words)} ({self.encoder.name}, {self.pixel_format})"


@dataclass(frozen=True)
class EncodeSettings:
    """Everything that an encoder needs before the first frame.

    Attributes:
        choice: The encoder and its options.
        width: Of the output, pixels.
        height: Of the output, pixels.
        time_base: Unit of every PTS.
        rate: Frames per second, for rate control and headers only.
        sample_aspect: Width of a pixel over its height.
        colors: Tags to write.
        hdr: HDR metadata to write.
    """

    choice: EncoderChoice
    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    sample_aspect: Fraction
    colors: ColorTags
    hdr: Hdr | None = None

    @property
    def layout(self) -> Layout:
        """Of the planes to encode."""
        return self.choice.layout

    @property
    def matrix(self) -> int:
        """H.273 code to tag."""
        return RGB_MATRIX if self.layout.kind == "gbr" else self.colors.matrix

    @property
    def segment_suffix(self) -> str:
        """Suffix of segment files.

        mp4 keeps any time base exactly, but supports neither ProRes, nor alpha in VP9, nor the colour tags of
        FFV1. Matroska stores milliseconds, so the exact PTS of its segments come from the JSON file.
        """
        if self.choice.codec == "prores":
            return ".mov"
        vp9_alpha = self.choice.codec == "vp9" and self.layout.alpha
        return ".mkv" if vp9_alpha or self.choice.codec == "ffv1" else ".mp4"


def choose(suffix: str, options: VideoOptions, source: Layout | None = None) -> EncoderChoice:
    """Choose the encoder for a container and a source, and all of its options.

    The default codec is the one that plays almost everywhere: VP9 in webm, else H.264. For sources of more
    than 8 bits it is AV1 in webm, else HEVC: few players support such H.264, and none of the encoders makes
    VP9 of 10 bits.

    Args:
        suffix: Of the target.
        options: The user's options.
        source: Layout of the source; ``None``: unknown, so only the options are checked.

    Raises:
        UsageError: The container does not support the codec, or the encoder not the CRF, preset, pixel format
            or an option.
    """
    source = source or Layout()
    name = options.codec or _default_codec(suffix, source)
    codec = CODECS[name]
    if suffix not in codec.containers:
        raise UsageError(f"{suffix} does not support {name} video", f"use {', '.join(codec.containers)}")
    unusable = []
    families = _families(codec, options.encoder)
    if options.encoder != "software" and families == ["software"]:
        unusable.append(f"there is no {options.encoder.replace('auto', 'hardware')} encoder for {name}")
    for family in families:
        encoder = codec.encoders[family]
        is_fallback = family == "software" and options.encoder not in ("software", "auto")
        if is_fallback and options.preset not in encoder.presets:
            options = replace(options, preset=None)
        try:
            choice = _choose_from(name, family, suffix, options, source)
        except UsageError as error:
            if family == "software" or options.encoder != "auto":
                raise
            unusable.append(error.message)
            continue
        reason = _reason_not_to_open(choice, options)
        if reason is None:
            break
        if family == "software":
            raise UsageError(f"{encoder.name} cannot be opened with these options: {reason}")
        unusable.append(f"{encoder.name} cannot be used: {reason}")
    notes = [f"{'; '.join(unusable)}; using {choice.encoder.name}"] if unusable else []
    return replace(choice, notes=(*notes, *_layout_losses(source, choice)))


def check_size(choice: EncoderChoice, suffix: str, height: int, width: int) -> None:
    """Refuse a picture that is larger or smaller than the encoder takes.

    Args:
        choice: From ``choose``.
        suffix: Of the target.
        height: Of the output.
        width: Of the output.

    Raises:
        UsageError: Names the limit, and codecs of the container without it.
    """
    encoder = choice.encoder
    if _fits(encoder, height, width):
        return
    others = [
        name
        for name, codec in CODECS.items()
        if suffix in codec.containers and _fits(codec.encoders["software"], height, width)
    ]
    codec = f"--codec {' or '.join(others)}, or " if others else ""
    is_too_small = width < encoder.smallest_px[0] or height < encoder.smallest_px[1]
    limit_px = encoder.smallest_px if is_too_small else encoder.largest_px
    most, change = ("least", "larger") if is_too_small else ("most", "smaller")
    assert limit_px, "one of them is the limit"
    raise UsageError(
        f"{choice.codec} pictures ({encoder.name}) have at {most} "
        f"{limit_px[0]}x{limit_px[1]} pixels, not {width}x{height}",
        f"use {codec}a {change} --scale or --size",
    )


def _fits(encoder: Encoder, height: int, width: int) -> bool:
    smallest, largest = encoder.smallest_px, encoder.largest_px or (width, height)
    return smallest[0] <= width <= largest[0] and smallest[1] <= height <= largest[1]


def _default_codec(suffix: str, source: Layout) -> str:
    if suffix == ".webm":
        return "av1" if source.bits > 8 and not source.alpha else "vp9"
    return "hevc" if source.bits > 8 else "h264"


def _families(codec: Codec, requested: str) -> list[str]:
    """Families of encoders to try, in order; software last."""
    hardware = [family for family in codec.encoders if family != "software" and requested in ("auto", family)]
    return [*hardware, "software"]


def _choose_from(name: str, family: str, suffix: str, options: VideoOptions, source: Layout) -> EncoderChoice:
    encoder = CODECS[name].encoders[family]
    layout = _layout(source, name, encoder, suffix, options)
    settings = dict(encoder.options)
    if options.crf is not None and not encoder.quality_options:
        raise UsageError(f"{name} has no CRF", "omit --crf")
    if options.crf is not None and not encoder.crf_min <= options.crf <= encoder.crf_max:
        raise UsageError(
            f"CRF {options.crf} is out of range for {encoder.name}",
            f"use {encoder.crf_min} to {encoder.crf_max}",
        )
    crf = encoder.crf if options.crf is None else options.crf
    settings |= dict.fromkeys(encoder.quality_options, str(crf))
    if options.preset is not None and options.preset not in encoder.presets:
        presets = ", ".join(encoder.presets)
        hint = f"use {presets}" if presets else "omit --preset"
        near = did_you_mean(options.preset, encoder.presets)
        raise UsageError(f"{encoder.name} has no preset '{options.preset}'{near}", hint)
    preset = options.preset or encoder.preset or _prores_profile(name, layout)
    if preset:
        settings[encoder.preset_option] = preset
    settings["chroma_sample_location"] = layout.siting
    for key, value in options.encoder_options:
        settings[key] = _joined(settings.get(key), value) if key.endswith("-params") else value
    return EncoderChoice(name, family, layout, tuple(sorted(settings.items())))


def _prores_profile(name: str, layout: Layout) -> str:
    if name != "prores":
        return ""
    return "4444" if layout.horizontal == 1 else "hq"


def _joined(first: str | None, second: str) -> str:
    return second if first is None else f"{first}:{second}"


def _layout(source: Layout, codec: str, encoder: Encoder, suffix: str, options: VideoOptions) -> Layout:
    """The layout to encode.

    The user's choice; else the source's for FFV1, that of the profile or a suitable one for ProRes, and
    4:2:0, which plays everywhere, for all others. Alpha is kept where codec and container support it.

    Raises:
        UsageError: The user's pixel format is unknown, or has alpha that the container does not support.
    """
    alpha = source.alpha and stores_alpha(suffix, codec)
    if options.pixel_format is not None:
        layout = known_format(options.pixel_format)
        if layout.alpha and not stores_alpha(suffix, codec):
            raise UsageError(f"{suffix} does not support {codec} video with alpha")
        if codec == "vp9" and layout.vertical > layout.horizontal:  # segments in mp4 would be unreadable
            raise UsageError("VP9 with 4:4:0 chroma cannot be written", "use yuv444p")
    elif codec == "ffv1":  # which does not support planar RGB of 8 bits
        layout = replace(source, bits=max(10, source.bits)) if source.kind == "gbr" else source
    elif codec == "prores":
        full_chroma = alpha or source.kind == "gbr" or (source.kind, source.horizontal) == ("yuv", 1)
        if options.preset is not None:
            full_chroma = options.preset.startswith("4444")
        layout = Layout(bits=10, horizontal=1 if full_chroma else 2, vertical=1, alpha=alpha and full_chroma)
    else:
        # VP9 supports alpha with 8 bits only.
        ten_bit = source.bits > 8 and encoder.bits[-1] > 8 and not alpha
        layout = Layout(bits=10 if ten_bit else 8, alpha=alpha)
    return replace(
        layout,
        matrix=source.matrix,
        full_range=layout.kind == "gbr" or (source.full_range and source.kind != "gbr"),
        siting=source.siting if (source.kind, source.horizontal) == ("yuv", 2) else "left",
    )


def _layout_losses(source: Layout, choice: EncoderChoice) -> Iterator[str]:
    """What the chosen layout loses of the source's, one line each."""
    layout = choice.layout
    if source.alpha and not layout.alpha:
        yield "the alpha channel is lost; vp9 in .webm, prores in .mov and ffv1 in .mkv keep it"
    if layout.bits < source.bits:
        yield f"reducing {source.bits} bits to {layout.bits}"
    before, after = (source.horizontal, source.vertical), (layout.horizontal, layout.vertical)
    if source.kind != "gray" and before < after:
        finer = pixel_format(replace(layout, horizontal=source.horizontal, vertical=source.vertical))
        supported = av.Codec(choice.encoder.name, "w").video_formats or []
        keeps = f"; --pixel-format {finer} keeps {sampling_name(source)}"
        hint = keeps if finer in (each.name for each in supported) else ""
        yield f"reducing chroma to {sampling_name(layout)}{hint}"


def _reason_not_to_open(choice: EncoderChoice, options: VideoOptions) -> str | None:
    """Try to open an encoder for a small picture; the reason if that fails."""
    standard = choice.family == "software" and options.pixel_format is None and not options.encoder_options
    if standard:  # covered by tests
        return None
    settings = EncodeSettings(
        choice,
        _TRIAL_PX,
        _TRIAL_PX,
        Fraction(1, 25),
        Fraction(25),
        Fraction(1),
        ColorTags(UNSPECIFIED, UNSPECIFIED, UNSPECIFIED, choice.layout.full_range),
    )
    try:
        with captured_log(av.logging.WARNING) as lines:
            context = cast(VideoCodecContext, CodecContext.create(choice.encoder.name, "w"))
            configure(context, settings)
            context.framerate = settings.rate
            context.open()
    except _OPEN_ERRORS as error:
        return lines[0] if lines else _message(error)
    unknown = sorted(set(context.options) & {key for key, _ in options.encoder_options})
    if unknown:
        return f"it has no option {', '.join(unknown)}"
    return next((line for line in lines if any(word in line for word in _INVALID_PARAMETER)), None)


def _message(error: BaseException) -> str:
    return str(getattr(error, "strerror", "") or error or type(error).__name__)


def configure(context: VideoCodecContext, settings: EncodeSettings) -> None:
    """Set everything but the frame rate on an encoder that is not open yet.

    Raises:
        ValueError: The pixel format does not exist.
    """
    silence_svt_av1()
    choice = settings.choice
    options = dict(choice.options)
    if settings.hdr:
        for key, value in hdr.encoder_options(settings.hdr, choice.encoder.name).items():
            options[key] = _joined(options.get(key), value)
    if processors.are_limited():
        context.thread_count = processors.count()
        _bound_threads(options, choice.encoder.name, processors.count())
    if choice.encoder.name == "libx264" and torch.backends.cpu.get_cpu_capability() == "AVX512":
        given = options.get("x264-params")
        options["x264-params"] = _joined(_WITHOUT_AVX512, given) if given else _WITHOUT_AVX512
    context.options = options
    context.width, context.height = settings.width, settings.height
    context.pix_fmt = choice.pixel_format
    context.time_base = settings.time_base
    context.thread_type = "FRAME"  # the default, slices, costs quality with x264
    context.sample_aspect_ratio = settings.sample_aspect
    context.colorspace = settings.matrix
    context.color_range = 2 if settings.colors.full_range else 1
    context.color_primaries = settings.colors.primaries
    context.color_trc = settings.colors.transfer
    tag = CODECS[choice.codec].tag
    if tag:
        context.codec_tag = tag


def _bound_threads(options: dict[str, str], encoder: str, threads: int) -> None:
    """Add the option that limits the threads of an encoder that looks at the machine's processors itself."""
    if encoder in _OWN_THREADS:
        option, name, most = _OWN_THREADS[encoder]
        given = options.get(option)
        options[option] = (
            _joined(f"{name}={min(threads, most)}", given) if given else f"{name}={min(threads, most)}"
        )
