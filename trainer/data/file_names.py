"""File names that are not UTF-8, which Python represents with lone surrogates."""

import zlib


def seed_of(name: str) -> int:
    """A random seed from a name, the same on every machine."""
    return zlib.crc32(name.encode("utf-8", "surrogateescape"))


def encoded(text: str) -> bytes:
    """UTF-8 of a text with file names in it; what is not UTF-8 becomes backslash escapes."""
    return text.encode("utf-8", "backslashreplace")
