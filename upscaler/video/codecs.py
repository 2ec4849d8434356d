"""The table of video codecs: what can hold each of them, and which encoders make it, with which options.

A codec is added here; ``encoders`` chooses among what is here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Encoder:
    """An encoder and what is specific to it.

    Attributes:
        name: FFmpeg's.
        bits: Depths that it takes with subsampled chroma.
        quality_options: Names of the options that take the constant rate factor, or nothing.
        crf: Default constant rate factor, where there is one.
        crf_max: Largest that it takes.
        crf_min: Least that it takes as such; hardware takes 0 for "as you like".
        preset_option: Name of the option that trades speed for size, or nothing.
        preset: Its default.
        presets: Values that it takes.
        options: Further options.
        semi_planar: Whether it wants both chroma planes as one (nv12, p010le); for more than 8 bits only,
            unless ``semi_planar_8``.
        semi_planar_8: Whether for 8 bits too.
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


@dataclass(frozen=True)
class Codec:
    """A codec, what can hold it and what makes it.

    Attributes:
        containers: Suffixes of the containers that can hold it.
        encoders: By family; ``software`` is there always, the others in the order in which they are tried.
        tag: Four-character code for mp4 and mov, where the default plays in fewer programs.
        says_aspect: Whether the coded video itself says the shape of its pixels.
    """

    containers: tuple[str, ...]
    encoders: dict[str, Encoder]
    tag: str | None = None
    says_aspect: bool = False


_X26X = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip
_PRORES = ("proxy", "lt", "standard", "hq", "4444", "4444xq")
_MOST = (".mp4", ".m4v", ".mov", ".mkv")
_VP9_ALPHA = (".webm", ".mkv")  # the muxers of the others drop it without a word


def _numbers(count: int) -> tuple[str, ...]:
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
        ("veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"),
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
        _MOST,
        {
            "software": Encoder("libx264", (8, 10), ("crf",), 18, 51, "preset", "medium", _X26X),
            "nvenc": _nvenc("h264", (8,), 19),
            "qsv": _qsv("h264", (8,), 19),
            "amf": _amf("h264", (8,), 19),
        },
        says_aspect=True,
    ),
    "hevc": Codec(
        _MOST,
        {
            "software": Encoder(
                "libx265",
                (8, 10, 12),
                ("crf",),
                20,
                51,
                "preset",
                "medium",
                _X26X,
                (("x265-params", "log-level=error"),),
            ),
            "nvenc": _nvenc("hevc", (8, 10), 21),
            "qsv": _qsv("hevc", (8, 10), 21),
            "amf": _amf("hevc", (8, 10), 21),
        },
        tag="hvc1",
        says_aspect=True,
    ),
    "av1": Codec(
        (".mp4", ".mkv", ".webm"),
        {
            "software": Encoder("libsvtav1", (8, 10), ("crf",), 24, 63, "preset", "8", _numbers(14)),
            "nvenc": _nvenc("av1", (8, 10), 27, 63),
            "qsv": _qsv("av1", (8, 10), 27),
        },
    ),
    "vp9": Codec(
        (".webm", ".mp4", ".mkv"),
        {
            "software": Encoder(
                "libvpx-vp9",
                (8,),  # as FFmpeg is built for av
                ("crf",),
                24,
                63,
                "cpu-used",
                "3",
                _numbers(9),
                (("b", "0"), ("row-mt", "1"), ("deadline", "good")),
            ),
        },
    ),
    "prores": Codec(
        (".mov", ".mkv"),
        {
            "software": Encoder(
                "prores_ks",
                (10,),
                preset_option="profile",
                presets=_PRORES,
                options=(("vendor", "apl0"),),  # players of Apple look for it
            )
        },
    ),
    "ffv1": Codec(
        (".mkv",),
        {
            # Version 3 with checksums, every frame on its own: what archives ask for.
            "software": Encoder(
                "ffv1",
                (8, 9, 10, 12, 14, 16),
                options=(("level", "3"), ("slicecrc", "1"), ("g", "1"), ("slices", "4")),
            )
        },
    ),
}


def keeps_pixel_aspect(suffix: str, codec: str) -> bool:
    """Whether pixels that are not square stay so: av cannot write their shape into Matroska's own header."""
    return suffix not in (".mkv", ".webm") or CODECS[codec].says_aspect


def holds_alpha(suffix: str, codec: str) -> bool:
    """Whether alpha has a place in this codec and container."""
    return codec in ("ffv1", "prores") or (codec == "vp9" and suffix in _VP9_ALPHA)
