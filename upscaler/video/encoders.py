"""Which encoder makes the video, with which options, in which pixel format: decided before the first frame.

Nothing is believed that can be tried: hardware encoders, options and pixel formats that a user asks for are
opened for a small picture first.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import cast

import av
import av.logging
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext

from upscaler.errors import UsageError
from upscaler.options import VideoOptions
from upscaler.video import hdr
from upscaler.video.codecs import CODECS, Codec, Encoder, holds_alpha
from upscaler.video.demux import MEDIA_ERRORS
from upscaler.video.hdr import Hdr
from upscaler.video.info import ColorTags
from upscaler.video.pixel_formats import RGB_MATRIX, UNSPECIFIED, known_format, pixel_format, sampling_name
from upscaler.video.yuv import Layout

os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 prints its settings to the terminal unless told not to

# What av raises when an encoder cannot be opened; the last for names that FFmpeg was built without.
_OPEN_ERRORS = (*MEDIA_ERRORS, av.codec.codec.UnknownCodecError)
# x264, x265 and SVT-AV1 only log what they do not understand in the options that go through to them.
_NOT_UNDERSTOOD = ("Error parsing option", "Unknown option", "Invalid value for")
_TRIAL_PX = 256  # hardware encoders refuse smaller pictures


@dataclass(frozen=True)
class Choice:
    """What will encode a video.

    Attributes:
        codec: A key of ``codecs.CODECS``.
        family: A key of its ``encoders``.
        layout: Of the planes to encode.
        options: All of the encoder's options, in order of their names.
        notes: Lines worth telling: hardware that was passed over, what the layout leaves out.
    """

    codec: str
    family: str
    layout: Layout
    options: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()

    @property
    def spec(self) -> Encoder:
        """The encoder."""
        return CODECS[self.codec].encoders[self.family]

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name of what the encoder is given."""
        layout = self.layout
        subsampled = layout.kind == "yuv" and (layout.horizontal, layout.vertical) == (2, 2)
        if self.spec.semi_planar and subsampled and layout.bits == 10:
            return "p010le"
        if self.spec.semi_planar_8 and subsampled and layout.bits == 8:
            return "nv12"
        return pixel_format(layout)

    def line(self) -> str:
        """Codec, the settings that matter and the encoder, for the user."""
        options = dict(self.options)
        words = [self.codec]
        if self.spec.quality_options:
            words += ["crf", options[self.spec.quality_options[0]]]
        if self.spec.preset_option in options:
            words += ["preset", options[self.spec.preset_option]]
        return f"{' '.join(words)} ({self.spec.name}, {self.pixel_format})"


@dataclass(frozen=True)
class EncodeSettings:
    """Everything an encoder needs before the first frame.

    Attributes:
        choice: The encoder and its options.
        width: Of the output, pixels.
        height: Of the output, pixels.
        time_base: Unit of every PTS.
        rate: Frames per second, for rate control only.
        sample_aspect: Width of a pixel over its height.
        colors: Tags to write.
        hdr: HDR metadata to write.
    """

    choice: Choice
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
        """Of files that hold the encoded video before the final merge.

        mp4 keeps any time base exactly, but neither ProRes, nor VP9's alpha, nor the colour tags of FFV1.
        Matroska counts in milliseconds, so its segments need the stamps beside them.
        """
        if self.choice.codec == "prores":
            return ".mov"
        vp9_alpha = self.choice.codec == "vp9" and self.layout.alpha
        return ".mkv" if vp9_alpha or self.choice.codec == "ffv1" else ".mp4"


def choose(suffix: str, options: VideoOptions, source: Layout | None = None) -> Choice:
    """The encoder for a container and a source, and all of its options.

    Without a codec it is the one that plays in most places: VP9 in webm, else H.264. For sources of more than
    8 bits it is AV1 in webm, else HEVC: few can play those as H.264, and VP9 of 10 bits is made by none here.

    Args:
        suffix: Of the target.
        options: What was asked for.
        source: Layout of the source; ``None``: not known yet, so only what was asked for is checked.

    Raises:
        UsageError: The container does not take the codec, or the codec not the crf, the preset, the pixel
            format or an option.
    """
    known = source or Layout()
    name = options.codec or _default_codec(suffix, known)
    codec = CODECS[name]
    if suffix not in codec.containers:
        raise UsageError(f"a {suffix} file cannot hold {name} video", f"use {', '.join(codec.containers)}")
    passed_over = []
    families = _families(codec, options.encoder)
    if options.encoder != "software" and families == ["software"]:
        passed_over.append(f"there is no {options.encoder.replace('auto', 'hardware')} encoder for {name}")
    for family in families:
        encoder = codec.encoders[family]
        fallen_back = family == "software" and options.encoder not in ("software", "auto")
        if fallen_back and options.preset not in encoder.presets:
            options = replace(options, preset=None)
        try:
            choice = _chosen(name, family, suffix, options, known)
        except UsageError as error:
            if family == "software" or options.encoder != "auto":
                raise
            passed_over.append(error.message)
            continue
        reason = _refusal(choice, options)
        if reason is None:
            break
        if family == "software":
            raise UsageError(f"{encoder.name} cannot be used as asked: {reason}")
        passed_over.append(f"{encoder.name} cannot be used here: {reason}")
    notes = [f"{'; '.join(passed_over)}; using {choice.spec.name}"] if passed_over else []
    return replace(choice, notes=(*notes, *_left_out(known, choice)))


def _default_codec(suffix: str, source: Layout) -> str:
    if suffix == ".webm":
        return "av1" if source.bits > 8 and not source.alpha else "vp9"
    return "hevc" if source.bits > 8 else "h264"


def _families(codec: Codec, asked: str) -> list[str]:
    """Families of encoders to try, in order; software at last."""
    hardware = [family for family in codec.encoders if family != "software" and asked in ("auto", family)]
    return [*hardware, "software"]


def _chosen(name: str, family: str, suffix: str, options: VideoOptions, source: Layout) -> Choice:
    encoder = CODECS[name].encoders[family]
    layout = _layout(source, name, encoder, suffix, options)
    settings = dict(encoder.options)
    if options.crf is not None and not encoder.quality_options:
        raise UsageError(f"{name} has no crf", "leave --crf out")
    if options.crf is not None and not encoder.crf_min <= options.crf <= encoder.crf_max:
        raise UsageError(
            f"crf {options.crf} is out of range for {encoder.name}",
            f"use {encoder.crf_min} to {encoder.crf_max}",
        )
    crf = encoder.crf if options.crf is None else options.crf
    settings |= dict.fromkeys(encoder.quality_options, str(crf))
    if options.preset is not None and options.preset not in encoder.presets:
        known = ", ".join(encoder.presets)
        hint = f"use {known}" if known else "leave --preset out"
        raise UsageError(f"{encoder.name} has no preset '{options.preset}'", hint)
    preset = options.preset or encoder.preset or _prores_profile(name, layout)
    if preset:
        settings[encoder.preset_option] = preset
    settings["chroma_sample_location"] = layout.siting
    for key, value in options.encoder_options:
        settings[key] = _joined(settings.get(key), value) if key.endswith("-params") else value
    return Choice(name, family, layout, tuple(sorted(settings.items())))


def _prores_profile(name: str, layout: Layout) -> str:
    if name != "prores":
        return ""
    return "4444" if layout.horizontal == 1 else "hq"


def _joined(first: str | None, second: str) -> str:
    return second if first is None else f"{first}:{second}"


def _layout(source: Layout, codec: str, encoder: Encoder, suffix: str, options: VideoOptions) -> Layout:
    """The layout to encode.

    As asked for; else the source's own for FFV1, what the profile says or else suits for ProRes, and 4:2:0,
    which plays everywhere, for the rest. Alpha is kept where codec and container can hold it.

    Raises:
        UsageError: The pixel format asked for is unknown, or its alpha has no place in the container.
    """
    alpha = source.alpha and holds_alpha(suffix, codec)
    if options.pixel_format is not None:
        layout = known_format(options.pixel_format)
        if layout.alpha and not holds_alpha(suffix, codec):
            raise UsageError(f"a {suffix} file cannot hold {codec} video with alpha")
        if codec == "vp9" and layout.vertical > layout.horizontal:  # mp4 segments of it cannot be read
            raise UsageError("vp9 with 4:4:0 chroma cannot be written", "use yuv444p")
    elif codec == "ffv1":  # which takes no planar RGB of 8 bits
        layout = replace(source, bits=max(10, source.bits)) if source.kind == "gbr" else source
    elif codec == "prores":
        whole = alpha or source.kind == "gbr" or (source.kind, source.horizontal) == ("yuv", 1)
        if options.preset is not None:
            whole = options.preset.startswith("4444")
        layout = Layout(bits=10, horizontal=1 if whole else 2, vertical=1, alpha=alpha and whole)
    else:
        deep = source.bits > 8 and encoder.bits[-1] > 8 and not alpha  # VP9 has alpha with 8 bits only
        layout = Layout(bits=10 if deep else 8, alpha=alpha)
    return replace(
        layout,
        matrix=source.matrix,
        full_range=layout.kind == "gbr" or (source.full_range and source.kind != "gbr"),
        siting=source.siting if (source.kind, source.horizontal) == ("yuv", 2) else "left",
    )


def _left_out(source: Layout, choice: Choice) -> Iterator[str]:
    """What of the source's layout the chosen one cannot hold, one line each."""
    layout = choice.layout
    if source.alpha and not layout.alpha:
        yield "the alpha channel is lost; vp9 in .webm, prores in .mov and ffv1 in .mkv keep it"
    if layout.bits < source.bits:
        yield f"{source.bits} bits become {layout.bits}"
    before, after = (source.horizontal, source.vertical), (layout.horizontal, layout.vertical)
    if source.kind != "gray" and before < after:
        finer = pixel_format(replace(layout, horizontal=source.horizontal, vertical=source.vertical))
        taken = av.Codec(choice.spec.name, "w").video_formats or []
        keeps = f"; --pixel-format {finer} keeps {sampling_name(source)}"
        hint = keeps if finer in (each.name for each in taken) else ""
        yield f"chroma is reduced to {sampling_name(layout)}{hint}"


def _refusal(choice: Choice, options: VideoOptions) -> str | None:
    """Why an encoder cannot be opened as chosen, or None when it can. Tried for a small picture."""
    usual = choice.family == "software" and options.pixel_format is None and not options.encoder_options
    if usual:  # what the tests open
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
    level = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as lines:
            context = cast(VideoCodecContext, CodecContext.create(choice.spec.name, "w"))
            configure(context, settings)
            context.framerate = settings.rate
            context.open()
    except _OPEN_ERRORS as error:
        said = [text.strip() for _, _, text in lines if text.strip()]
        return said[0] if said else _short(error)
    finally:
        av.logging.set_level(level)
    unknown = sorted(set(context.options) & {key for key, _ in options.encoder_options})
    if unknown:
        return f"it has no option {', '.join(unknown)}"
    return next((text.strip() for _, _, text in lines if any(word in text for word in _NOT_UNDERSTOOD)), None)


def _short(error: BaseException) -> str:
    return str(getattr(error, "strerror", "") or error or type(error).__name__)


def configure(context: VideoCodecContext, settings: EncodeSettings) -> None:
    """Set everything on an encoder that is not open yet, but its frame rate.

    Raises:
        ValueError: There is no such pixel format.
    """
    choice = settings.choice
    options = dict(choice.options)
    if settings.hdr:
        for key, value in hdr.encoder_options(settings.hdr, choice.spec.name).items():
            options[key] = _joined(options.get(key), value)
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
