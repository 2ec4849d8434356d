"""The video containers that are read and written, by suffix. Loads neither torch nor av."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Container:
    """What is specific to a container that is written.

    Attributes:
        muxer: FFmpeg's name. Explicit, because the muxer that FFmpeg guesses for .m4v refuses HEVC.
        lossless_audio: Encoder for lossless audio that cannot be copied.
        lossy_audio: Encoder for other audio that cannot be copied, or that ``lossless_audio`` does not take.
        subtitles: Encoder for text subtitles that cannot be copied.
        exact_times: Whether times are stored in the video's own time base; otherwise in milliseconds.
        attachments: Whether files such as fonts can be attached.
    """

    muxer: str
    lossless_audio: str
    lossy_audio: str
    subtitles: str
    exact_times: bool = False
    attachments: bool = False

    @property
    def is_mp4(self) -> bool:
        """Whether it is of the ISO base media family (mp4, mov)."""
        return self.muxer in ("mp4", "mov")


# Suffix -> container that is written.
CONTAINERS = {
    ".mp4": Container("mp4", "alac", "aac", "mov_text", exact_times=True),
    ".m4v": Container("mp4", "alac", "aac", "mov_text", exact_times=True),
    ".mov": Container("mov", "alac", "aac", "mov_text", exact_times=True),
    ".mkv": Container("matroska", "flac", "aac", "srt", attachments=True),
    ".webm": Container("webm", "libopus", "libopus", "webvtt"),
}
_READ_ONLY = (".3gp", ".avi", ".flv", ".m2ts", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".wmv")
# All suffixes that a video is recognised by.
VIDEO_SUFFIXES = tuple(sorted((*CONTAINERS, *_READ_ONLY)))


def container_of(suffix: str) -> Container:
    """The container to write for a suffix, in any case; it must be one of ``CONTAINERS``."""
    return CONTAINERS[suffix.lower()]
