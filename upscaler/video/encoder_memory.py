"""How much memory an encoder takes, and how x264 takes less of it where there is little.

x264 keeps the frames that it looks ahead at. In its preset medium, frames of 3840x2160 take 1.25 GB; with 10
instead of 40 frames of lookahead, 0.48 GB; docs/performance.md says what that does to bytes and quality.
"""

from dataclasses import replace

from upscaler.system import memory, processors
from upscaler.video.encoders import EncoderChoice

# Share of the memory that this process may have which the encoder may take before it looks less far ahead.
_SHARE = 0.3
_LOOKAHEAD_MIN = 10
# As measured, 8 bits, for each pixel of a frame: of any encoder; of x264 with one thread and no lookahead, by
# preset if it refers to more frames than medium; of a frame of its lookahead; of each further thread.
_BYTES = {"libx264": 160, "libx265": 240, "libsvtav1": 300, "libvpx-vp9": 160, "ffv1": 30, "prores_ks": 30}
_X264_BYTES, _X264_SLOW_BYTES, _LOOKAHEAD_BYTES, _THREAD_BYTES = 30, 130, 3.2, 9
# Frames of lookahead of x264's presets.
_LOOKAHEAD = {
    "ultrafast": 0,
    "superfast": 0,
    "veryfast": 10,
    "faster": 20,
    "fast": 30,
    "medium": 40,
    "slow": 50,
    "slower": 60,
    "veryslow": 60,
    "placebo": 60,
}
_SLOW = ("slower", "veryslow", "placebo")


def bounded(choice: EncoderChoice, width: int, height: int) -> EncoderChoice:
    """The choice, with less lookahead and fewer threads if x264 would take a large share of little memory.

    The share is of what this process may have at all, not of what is free now, so that an interrupted job
    finds the same settings when it resumes. What the user has set stays.

    Args:
        choice: Of the encoder.
        width: Of the output, pixels.
        height: Of the output, pixels.
    """
    given = dict(choice.options)
    if choice.encoder.name != "libx264" or given.keys() & {"x264-params", "x264opts", "rc-lookahead"}:
        return choice
    budget = memory.limit_bytes() * _SHARE / (width * height * _bytes_per_sample(choice))
    lookahead, threads = _LOOKAHEAD[given["preset"]], _threads()
    if _x264_bytes(given["preset"], lookahead, threads) <= budget or lookahead < _LOOKAHEAD_MIN:
        return choice
    fixed = _x264_bytes(given["preset"], 0, threads)
    lookahead = max(_LOOKAHEAD_MIN, min(lookahead, int((budget - fixed) / _LOOKAHEAD_BYTES)))
    while threads > 1 and _x264_bytes(given["preset"], lookahead, threads) > budget:
        threads -= 1
    settings = f"rc-lookahead={lookahead}" + (f":threads={threads}" if threads < _threads() else "")
    note = f"memory is small for frames of {width}x{height}: x264 looks {lookahead} frames ahead"
    if threads < _threads():
        note += f", with {threads} thread{'s' * (threads > 1)}"
    options = tuple(sorted((given | {"x264-params": settings}).items()))
    return replace(choice, options=options, notes=(*choice.notes, note))


def needed_bytes(choice: EncoderChoice, width: int, height: int) -> int:
    """About how much main memory the encoder takes; 0 if it is that of a GPU, which has its own.

    Args:
        choice: Of the encoder.
        width: Of the output, pixels.
        height: Of the output, pixels.
    """
    each: float = _BYTES.get(choice.encoder.name, 0)
    given = dict(choice.options)
    if choice.encoder.name == "libx264":
        parameters = dict(
            pair.partition("=")[::2] for pair in given.get("x264-params", "").split(":") if "=" in pair
        )
        preset = given["preset"]
        lookahead = parameters.get("rc-lookahead", given.get("rc-lookahead", ""))
        threads = parameters.get("threads", "")
        each = _x264_bytes(
            preset,
            int(lookahead) if lookahead.isdecimal() else _LOOKAHEAD[preset],
            int(threads) if threads.isdecimal() else _threads(),
        )
    return int(each * width * height * _bytes_per_sample(choice))


def _x264_bytes(preset: str, lookahead: int, threads: int) -> float:
    """For each pixel of a frame."""
    fixed = _X264_SLOW_BYTES if preset in _SLOW else _X264_BYTES
    return fixed + _LOOKAHEAD_BYTES * lookahead + _THREAD_BYTES * (max(threads, 1) - 1)


def _threads() -> int:
    """As many as x264 starts."""
    return max(1, processors.count() * 3 // 2)


def _bytes_per_sample(choice: EncoderChoice) -> int:
    return 2 if choice.layout.bits > 8 else 1
