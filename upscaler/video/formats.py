"""The video containers that are read and written, by suffix. Loads neither torch nor av."""

import re
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


@dataclass(frozen=True)
class Signature:
    """How the files of a container or a raw stream begin.

    Attributes:
        pattern: Regular expression for the first bytes.
        suffix: The usual one.
        demuxer: FFmpeg's name.
    """

    pattern: bytes
    suffix: str
    demuxer: str


# Suffix -> container that is written.
CONTAINERS = {
    ".mp4": Container("mp4", "alac", "aac", "mov_text", exact_times=True),
    ".m4v": Container("mp4", "alac", "aac", "mov_text", exact_times=True),
    ".mov": Container("mov", "alac", "aac", "mov_text", exact_times=True),
    ".mkv": Container("matroska", "flac", "aac", "srt", attachments=True),
    ".webm": Container("webm", "libopus", "libopus", "webvtt"),
}
# YUV4MPEG2, which has no other streams.
RAW_SUFFIX = ".y4m"
_READ_ONLY = (
    ".3g2", ".3gp", ".amv", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".h264", ".hevc", ".insv",
    ".ivf", ".m2t", ".m2ts", ".m2v", ".mjpeg", ".mod", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogg",
    ".ogm", ".ogv", ".rm", ".rmvb", ".tod", ".tp", ".trp", ".ts", ".vob", ".wmv", ".wtv", ".y4m",
)  # fmt: skip
# All suffixes that a video is recognised by.
VIDEO_SUFFIXES = tuple(sorted((*CONTAINERS, *_READ_ONLY)))
# Of these, the ones that source code has, too: TypeScript, and modules of several languages.
SUFFIXES_OF_CODE = (".mod", ".mts", ".ts")
# A stream of JPEG images begins like one image.
SUFFIXES_OF_JPEG_STREAMS = (".mjpeg",)
HEAD_BYTES = 1024  # all that signatures match against
# In the order in which they are tried.
SIGNATURES = (
    Signature(rb"....ftypqt  ", ".mov", "mov"),
    # Neither pictures, even if only a later brand says so, nor music.
    Signature(rb"....ftyp(?!hei|hev|crx|avi[fs]|M4[AB] |(....){0,8}m[is]f1)", ".mp4", "mov"),
    Signature(rb"\0...(moov|wide|free|skip|pnot)|....mdat", ".mov", "mov"),
    Signature(rb"\x1aE\xdf\xa3.{0,64}webm", ".webm", "matroska"),
    Signature(rb"\x1aE\xdf\xa3", ".mkv", "matroska"),
    Signature(rb"RIFF....AVI ", ".avi", "avi"),
    Signature(rb"RIFF....AMV ", ".amv", "avi"),
    Signature(rb"FLV\x01", ".flv", "flv"),
    Signature(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", ".wmv", "asf"),
    Signature(rb"OggS", ".ogv", "ogg"),
    Signature(rb"\.RMF", ".rm", "rm"),
    Signature(rb"\0\0\x01\xba", ".mpg", "mpeg"),
    Signature(rb"\0\0\x01\xb3", ".m2v", "mpegvideo"),
    Signature(rb"\0\0\0\x01[\x06\x09\x27\x47\x67]", ".h264", "h264"),
    Signature(rb"\0\0\0\x01[\x40\x42\x46]\x01", ".hevc", "hevc"),
    Signature(rb"YUV4MPEG2 ", ".y4m", "yuv4mpegpipe"),
    Signature(rb"DKIF", ".ivf", "ivf"),
    Signature(rb"\x1f\x07\0[\x3f\xbf]", ".dv", "dv"),
    Signature(rb"\x06\x0e\x2b\x34\x02\x05\x01\x01", ".mxf", "mxf"),
    Signature(rb"\xb7\xd8\0\x20\x37\x49\xda\x11\xa6\x4e\0\x07\xe9\x5e\xad\x8d", ".wtv", "wtv"),
    # Transport streams may have been cut inside a packet.
    Signature(rb".{0,187}?G.{187}G.{187}G.{187}G", ".ts", "mpegts"),
    Signature(rb".{0,191}?G.{191}G.{191}G.{191}G", ".m2ts", "mpegts"),
)
# FFmpeg's demuxers that may open a file: those of the signatures, of raw streams that have none, and of
# animations. It knows playlists, lists of files and devices as well, which open what else they name.
DEMUXERS = tuple(
    sorted({each.demuxer for each in SIGNATURES} | {"apng", "gif", "m4v", "mjpeg", "obu", "vc1", "vvc"})
)
# FFmpeg's options for every input.
INPUT_OPTIONS = {"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "file"}


def container_of(suffix: str) -> Container:
    """The container to write for a suffix, in any case; it must be one of ``CONTAINERS``."""
    return CONTAINERS[suffix.lower()]


def demuxer_of(head: bytes) -> str | None:
    """FFmpeg's demuxer for a file that begins with ``head``; ``None`` if no signature fits."""
    return next(
        (each.demuxer for each in SIGNATURES if re.match(each.pattern, head, re.DOTALL)),
        None,
    )
