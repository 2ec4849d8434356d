"""The table of codecs: containers, encoders and their options. Loads neither torch nor av.

To add a video codec, add a row to ``CODECS``; ``encoders`` chooses from it.
"""

from dataclasses import dataclass

from upscaler.video.formats import container_of


@dataclass(frozen=True)
class Encoder:
    """An encoder and what is specific to it.

    Attributes:
        name: FFmpeg's name.
        bits: Supported bit depths with subsampled chroma.
        quality_options: Names of the options for the constant rate factor; empty if there are none.
        crf: Default constant rate factor, if any.
        crf_max: Its largest value.
        crf_min: Its smallest value; hardware encoders interpret 0 as automatic.
        preset_option: Name of the option that trades speed for size; empty if there is none.
        preset: Its default.
        presets: Its values.
        options: Further options.
        semi_planar: Whether it requires interleaved chroma (p010le) for more than 8 bits.
        semi_planar_8: Whether it requires interleaved chroma (nv12) for 8 bits, too.
        largest_px: (width, height) of the largest picture; ``None`` if none that can be made is too large,
            and for hardware, whose limits differ.
        smallest_px: (width, height) of the smallest picture.
    """

    name: str
    bits: tuple[int, ...]
    quality_options: tuple[str, ...] = ()
    crf: int = 0
    crf_max: int = 0
    preset_option: str = ""
    preset: str = ""
    presets: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    semi_planar: bool = False
    semi_planar_8: bool = False
    crf_min: int = 0
    largest_px: tuple[int, int] | None = None
    smallest_px: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Codec:
    """A video codec.

    Attributes:
        containers: Suffixes of the containers that support it.
        encoders: By family. All codecs have ``software``; the others are tried in this order.
        tag: Four-character code for mp4 and mov, where the default plays in fewer programs.
        stores_aspect: Whether the bitstream itself stores the pixel aspect.
        stores_alpha_in: Suffixes of the containers in which it can have an alpha channel.
    """

    containers: tuple[str, ...]
    encoders: dict[str, Encoder]
    tag: str | None = None
    stores_aspect: bool = False
    stores_alpha_in: tuple[str, ...] = ()


_X26X_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
_PRORES_PROFILES = ("proxy", "lt", "standard", "hq", "4444", "4444xq")
_QSV_PRESETS = ("veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_MP4_AND_MKV = (".mp4", ".m4v", ".mov", ".mkv")


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(count))


def _nvenc(codec: str, bits: tuple[int, ...], crf: int, crf_max: int = 51) -> Encoder:
    return Encoder(
        f"{codec}_nvenc",
        bits,
        ("cq",),
        crf,
        crf_max,
        "preset",
        "p5",
        tuple(f"p{number}" for number in range(1, 8)),
        (("rc", "vbr"), ("b", "0")),
        semi_planar=True,
        crf_min=1,
    )


def _qsv(codec: str, bits: tuple[int, ...], crf: int) -> Encoder:
    return Encoder(
        f"{codec}_qsv",
        bits,
        ("global_quality",),
        crf,
        51,
        "preset",
        "medium",
        _QSV_PRESETS,
        semi_planar=True,
        semi_planar_8=True,
        crf_min=1,
    )


def _amf(codec: str, bits: tuple[int, ...], crf: int) -> Encoder:
    return Encoder(
        f"{codec}_amf",
        bits,
        ("qp_i", "qp_p"),
        crf,
        51,
        "quality",
        "balanced",
        ("speed", "balanced", "quality"),
        (("rc", "cqp"),),
        semi_planar=True,
        semi_planar_8=True,
    )


CODECS: dict[str, Codec] = {
    "h264": Codec(
        _MP4_AND_MKV,
        {
            "software": Encoder(
                "libx264",
                (8, 10),
                ("crf",),
                18,
                51,
                "preset",
                "medium",
                _X26X_PRESETS,
                largest_px=(16_384, 16_384),
            ),
            "nvenc": _nvenc("h264", (8,), 19),
            "qsv": _qsv("h264", (8,), 19),
            "amf": _amf("h264", (8,), 19),
        },
        stores_aspect=True,
    ),
    "hevc": Codec(
        _MP4_AND_MKV,
        {
            "software": Encoder(
                "libx265",
                (8, 10, 12),
                ("crf",),
                20,
                51,
                "preset",
                "medium",
                _X26X_PRESETS,
                (("x265-params", "log-level=error"),),
                # Of 48 pixels and less, it writes beyond its buffers (seen with glibc's malloc.check=3).
                smallest_px=(50, 1),
            ),
            "nvenc": _nvenc("hevc", (8, 10), 21),
            "qsv": _qsv("hevc", (8, 10), 21),
            "amf": _amf("hevc", (8, 10), 21),
        },
        tag="hvc1",
        stores_aspect=True,
    ),
    "av1": Codec(
        (".mp4", ".mkv", ".webm"),
        {
            "software": Encoder(
                "libsvtav1",
                (8, 10),
                ("crf",),
                24,
                63,
                "preset",
                "8",
                _numbered(14),
                largest_px=(16_384, 8_704),
            ),
            "nvenc": _nvenc("av1", (8, 10), 27, 63),
            "qsv": _qsv("av1", (8, 10), 27),
        },
    ),
    "vp9": Codec(
        (".webm", ".mp4", ".mkv"),
        {
            "software": Encoder(
                "libvpx-vp9",
                (8,),  # the limit of the FFmpeg that av bundles
                ("crf",),
                24,
                63,
                "cpu-used",
                "3",
                _numbered(9),
                (("b", "0"), ("row-mt", "1"), ("deadline", "good")),
            ),
        },
        stores_alpha_in=(".webm", ".mkv"),  # the muxers of the others drop it without an error
    ),
    "prores": Codec(
        (".mov", ".mkv"),
        {
            "software": Encoder(
                "prores_ks",
                (10,),
                preset_option="profile",
                presets=_PRORES_PROFILES,
                options=(("vendor", "apl0"),),  # Apple's players expect it
            )
        },
        stores_alpha_in=(".mov", ".mkv"),
    ),
    "ffv1": Codec(
        (".mkv",),
        {
            # Version 3 with checksums and only key frames, as archives require.
            "software": Encoder(
                "ffv1",
                (8, 9, 10, 12, 14, 16),
                options=(("level", "3"), ("slicecrc", "1"), ("g", "1"), ("slices", "4")),
            )
        },
        stores_alpha_in=(".mkv",),
    ),
}


# Families of encoders; `auto` tries hardware first.
ENCODER_FAMILIES = tuple(dict.fromkeys(family for codec in CODECS.values() for family in codec.encoders))
# Audio codec -> FFmpeg's encoder.
AUDIO_ENCODERS = {"aac": "aac", "alac": "alac", "flac": "flac", "mp3": "libmp3lame", "opus": "libopus"}


def stores_pixel_aspect(suffix: str, codec: str) -> bool:
    """Whether a file can have non-square pixels: av cannot write the aspect into Matroska's own header."""
    return container_of(suffix).is_mp4 or CODECS[codec].stores_aspect


def stores_alpha(suffix: str, codec: str) -> bool:
    """Whether a file can have an alpha channel."""
    return suffix in CODECS[codec].stores_alpha_in
