"""Objects of a store, by URL: list, read, write. Every failure is one line that names the URL.

The packages behind it (fsspec with s3fs or gcsfs) find the credentials as every tool of that store does, and
none of them is ever part of a message.
"""

import datetime
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upscaler.errors import (
    TAKEN_HINT,
    DiskFullError,
    MediaError,
    NetworkError,
    TargetTakenError,
    UpscalerError,
    UsageError,
    first_line,
)
from upscaler.system import disk
from upscaler.system.threads import Stopped

_INSTALL = "pip install 'upscaler[remote]'"
# Names of the classes that botocore, aiohttp and google-auth raise, in place of imports of all of them.
_WITHOUT_CREDENTIALS = {
    "CredentialRetrievalError",
    "DefaultCredentialsError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "RefreshError",
}
# What gcsfs raises where access is refused, and where it has found no credentials.
_FORBIDDEN, _UNAUTHORIZED = "Forbidden: ", "401"
# A path of Google's protocol that names a bucket and no object: what gcsfs names if the bucket is not found.
_GS_BUCKET = re.compile(r"(^|/)b/[^/]+/o($|\?)")
_CREDENTIALS = {"s3": "AWS_ACCESS_KEY_ID or AWS_PROFILE", "gs": "GOOGLE_APPLICATION_CREDENTIALS"}
_ENDPOINT = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST"}
_WITHOUT_NETWORK = {"ClientConnectionError", "ConnectionError", "HTTPClientError", "TimeoutError", "gaierror"}


@dataclass(frozen=True)
class Entry:
    """An object.

    Attributes:
        url: Its URL.
        size_bytes: Its size.
    """

    url: str
    size_bytes: int


class Store:
    """Object stores, each opened when the first URL of its scheme comes."""

    def __init__(self) -> None:
        self._systems: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End all transfers; they raise ``Stopped``."""
        self._stopping.set()

    def find(self, url: str) -> Entry | None:
        """The object of this URL; ``None`` if there is none.

        Raises:
            MediaError: The store cannot be asked.
        """
        found = self._info(url)
        return None if found is None or found["type"] != "file" else Entry(url, int(found["size"]))

    def below(self, url: str) -> list[Entry]:
        """All objects below a prefix, in the order of their names; none if there are none.

        Raises:
            MediaError: The store cannot be asked, or has no such bucket.
        """
        with _naming(url):
            found = self._system(url).find(f"{url}/", detail=True)
        scheme = url.partition("://")[0]
        entries = [
            Entry(f"{scheme}://{name.lstrip('/')}", int(each["size"]))
            for name, each in sorted(found.items())
            if each["type"] == "file" and not name.endswith("/")  # which some programs make for a folder
        ]
        return [each for each in entries if each.url.startswith(f"{url}/")]

    def heads(self, urls: Sequence[str], count_bytes: int) -> list[bytes]:
        """The first bytes of objects.

        Raises:
            MediaError: One of them cannot be read.
        """
        if not urls:
            return []
        with _naming(urls[0]):
            system = self._system(urls[0])
            paths = [system._strip_protocol(url) for url in urls]
            heads = system.cat_ranges(paths, 0, count_bytes, on_error="raise")
        return [bytes(head) for head in heads]

    def get(self, url: str, path: Path) -> None:
        """Download an object; the file gets its time of change.

        Args:
            url: Of the object.
            path: Of the file; its folder exists. It has its old or its whole new content.

        Raises:
            MediaError: It cannot be read, or the disk is full.
            Stopped: By ``stop``.
        """
        partial = path.with_name(f".{path.name[-40:]}.part")
        try:
            found = self._info(url)
            if found is None:
                raise MediaError(f"'{url}' does not exist any more")
            if int(found["size"]) > shutil.disk_usage(path.parent).free:
                raise DiskFullError(f"no space left in '{path.parent}' for '{url}'", "free some")
            with _naming(url):
                self._system(url).get_file(url, str(partial), callback=self._callback())
            if changed_ns := _changed_ns(found):
                os.utime(partial, ns=(changed_ns, changed_ns))
            disk.replace(partial, path)
        except OSError as error:
            raise MediaError(f"cannot write '{path}': {error.strerror}") from error
        finally:
            partial.unlink(missing_ok=True)

    def put(self, path: Path, url: str, *, replaces: bool) -> None:
        """Upload a file. The object appears when all of it has arrived, and not before.

        Args:
            path: Of the file.
            url: Of the object.
            replaces: Replace an object of that name. Otherwise the server itself refuses to: it does not
                matter who else writes.

        Raises:
            TargetTakenError: The object exists, and is not replaced.
            MediaError: It cannot be written.
            Stopped: By ``stop``.
        """
        mode = "overwrite" if replaces else "create"
        with _naming(url):
            self._system(url).put_file(str(path), url, mode=mode, callback=self._callback())

    def _info(self, url: str) -> dict[str, Any] | None:
        with _naming(url):
            try:
                found: dict[str, Any] = self._system(url).info(url)
            except FileNotFoundError as error:
                if _is_bucket_missing(error):
                    raise
                return None
        return found

    def _system(self, url: str) -> Any:  # noqa: ANN401 - fsspec has no types
        scheme = url.partition("://")[0]
        with self._lock:
            if scheme not in self._systems:
                try:
                    # A listing that is remembered would hide what others write.
                    system_class = _system_class(scheme)
                    self._systems[scheme] = system_class(skip_instance_cache=True, use_listings_cache=False)
                except ImportError as error:
                    text = f"'{scheme}://' needs packages that are not installed"
                    raise UsageError(text, _INSTALL) from error
            return self._systems[scheme]

    def _callback(self) -> Any:  # noqa: ANN401 - as above
        from fsspec.callbacks import Callback

        stopping = self._stopping

        class StopCallback(Callback):  # type: ignore[misc]  # as above
            def relative_update(self, inc: int = 1) -> None:
                if stopping.is_set():
                    raise Stopped

        return StopCallback()


def _system_class(scheme: str) -> Any:  # noqa: ANN401 - as above
    if scheme == "gs":
        # What gcsfs (2026.10) registers asks for the kind of each bucket, by another protocol, and logs a
        # line each time that it gets no answer.
        from gcsfs.core import GCSFileSystem

        return GCSFileSystem
    from fsspec import get_filesystem_class

    return get_filesystem_class(scheme)


@contextmanager
def _naming(url: str) -> Iterator[None]:
    """Turn what the libraries raise into one line that names the URL."""
    try:
        yield
    except (UpscalerError, Stopped):
        raise
    except Exception as error:
        raise _described(error, url) from error


def _described(error: Exception, url: str) -> UpscalerError:
    names = {each.__name__ for each in type(error).__mro__}
    bucket, scheme = "/".join(url.split("/")[:3]), url.partition("://")[0]
    if isinstance(error, FileExistsError):
        return TargetTakenError(f"'{url}' exists by now, and is not replaced", TAKEN_HINT)
    if isinstance(error, FileNotFoundError):
        return MediaError(f"'{bucket if _is_bucket_missing(error) else url}' does not exist")
    if isinstance(error, PermissionError) or str(error).startswith(_FORBIDDEN):
        hint = "check the credentials in the environment, and their rights to this bucket"
        return MediaError(f"access to '{url}' is refused", hint)
    if names & _WITHOUT_CREDENTIALS or str(getattr(error, "code", "")) == _UNAUTHORIZED:
        hint = f"set them as for every tool of this store, such as {_CREDENTIALS[scheme]}"
        return MediaError(f"there are no credentials for '{bucket}'", hint)
    if names & _WITHOUT_NETWORK:
        hint = f"check the network, and {_ENDPOINT[scheme]} if it is set"
        return NetworkError(f"the server of '{bucket}' cannot be reached", hint)
    if disk.is_full(error):
        return DiskFullError(f"no space left on the disk for '{url}'", "free some")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
    return MediaError(f"'{url}': {reason}")


def _is_bucket_missing(error: BaseException | None) -> bool:
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict) and response.get("Error", {}).get("Code") == "NoSuchBucket":
            return True
        if isinstance(error, FileNotFoundError) and _GS_BUCKET.search(str(error)):
            return True
        error = error.__cause__
    return False


def _changed_ns(info: dict[str, Any]) -> int | None:
    """When an object was changed, if the store says so: s3fs and gcsfs name it differently."""
    for name in ("LastModified", "mtime", "updated"):
        changed = info.get(name)
        if isinstance(changed, str):
            changed = datetime.datetime.fromisoformat(changed)
        if isinstance(changed, datetime.datetime):
            return round(changed.timestamp()) * 10**9
    return None
