"""A local folder that mirrors object stores: ``s3://bucket/a/b.png`` is ``ROOT/s3/bucket/a/b.png``.

Planning, targets next to their inputs, job folders and resuming work there as they do for any other files.
"""

import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from upscaler.remote.urls import SCHEMES
from upscaler.resume import job_folder


@dataclass(frozen=True)
class Mirror:
    """The folder.

    Attributes:
        root: Absolute.
    """

    root: Path

    def local(self, url: str) -> Path | None:
        """Where the file of an object is; ``None`` if its name cannot be that of a file."""
        scheme, _, rest = url.partition("://")
        parts = rest.split("/")
        if any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts):
            return None
        return self.root.joinpath(scheme, *parts)

    def url(self, path: Path) -> str | None:
        """The URL that a path stands for; ``None`` if it is not in the mirror."""
        if not path.is_relative_to(self.root):
            return None
        scheme, *parts = path.relative_to(self.root).parts
        return f"{scheme}://{'/'.join(parts)}"

    def shown(self, text: str) -> str:
        """A text with URLs in place of paths; job folders, which exist only here, keep their paths."""
        local_only = rf"(?![^'\n]*{re.escape(job_folder.SUFFIX)})"
        for scheme in SCHEMES:
            text = re.sub(rf"{re.escape(str(self.root / scheme))}[/\\]+{local_only}", f"{scheme}://", text)
        return text

    @staticmethod
    def announce(path: Path, size_bytes: int, head: bytes) -> None:
        """Make a file of the size and with the first bytes of an object; it takes no more room than these.

        Args:
            path: In the mirror.
            size_bytes: Of the object.
            head: Its first bytes; may be empty.

        Raises:
            OSError: It cannot be made.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(head)
            file.truncate(size_bytes)

    def clean(self) -> None:
        """Remove everything but the job folders of interrupted videos, and the folders above them."""
        _clean(self.root)


def _clean(folder: Path) -> None:
    for path in folder.iterdir():
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
        elif not path.name.endswith(job_folder.SUFFIX):
            _clean(path)
            with suppress(OSError):  # it holds a job folder
                path.rmdir()
        elif not any(path.iterdir()):
            shutil.rmtree(path, ignore_errors=True)
