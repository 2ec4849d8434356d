"""Which arguments are URLs. Loads nothing, so that the command line can ask."""

import re
from collections.abc import Iterable
from pathlib import Path

from upscaler.errors import UsageError

SCHEMES = ("s3", "gs")
# A `Path` has one slash where the URL had two or three.
_URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)", re.DOTALL)


def is_remote(path: str | Path) -> bool:
    """Whether a path is the URL of an object, or of all objects below a prefix."""
    found = _URL.fullmatch(Path(path).as_posix())
    return found is not None and found[1] in SCHEMES


def url_of(path: str | Path) -> str:
    """The URL, which must be remote, without a slash at its end.

    Raises:
        UsageError: It names no bucket, or contains a password.
    """
    found = _URL.fullmatch(Path(path).as_posix())
    assert found and found[1] in SCHEMES, f"'{path}' is not remote"
    scheme, rest = found.groups()
    bucket = rest.partition("/")[0]
    if "@" in bucket:  # not repeated in the message
        raise UsageError(
            f"{scheme}:// takes no user name and password", "the credentials come from the environment"
        )
    if not bucket:
        raise UsageError(f"'{scheme}://' names no bucket", f"use {scheme}://BUCKET/NAME")
    return f"{scheme}://{rest}"


def local_path(path: Path) -> Path:
    """A path as it is, and that of a ``file://`` URL.

    Raises:
        UsageError: It is a URL of another kind than those in ``SCHEMES``.
    """
    found = _URL.fullmatch(path.as_posix())
    if found is None or is_remote(path) or path.exists():
        return path
    if found[1] == "file":
        return Path(f"/{found[2]}")
    known = ", ".join(f"{scheme}://" for scheme in (*SCHEMES, "file"))
    raise UsageError(f"'{found[1]}://' is not supported", f"use {known}, or a local file")


def any_remote(paths: Iterable[Path | None]) -> bool:
    """Whether one of these is remote."""
    return any(path is not None and is_remote(path) for path in paths)
