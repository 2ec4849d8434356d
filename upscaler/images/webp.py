"""Whether a WebP is compressed without loss, which Pillow does not tell."""

from pathlib import Path

_HEADER_BYTES = 12  # "RIFF", size, "WEBP"
_FRAME_HEADER_BYTES = 16  # of a frame of an animation (RFC 9649, 2.7.1.1)


def is_lossless(path: Path) -> bool:
    """Whether a file is a WebP whose image, or first frame, is lossless (RFC 9649, 2.6 and 2.7)."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
            if header[:4] != b"RIFF" or header[8:] != b"WEBP":
                return False
            while len(head := file.read(8)) == 8:
                kind, length = head[:4], int.from_bytes(head[4:], "little")
                if kind in (b"VP8L", b"VP8 "):
                    return kind == b"VP8L"
                # A frame contains chunks of its own; any other chunk is skipped, padded to an even length.
                file.seek(_FRAME_HEADER_BYTES if kind == b"ANMF" else length + length % 2, 1)
    except OSError:  # removed since it was read
        pass
    return False
