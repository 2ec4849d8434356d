"""Where the program keeps what it can make again, such as compiled code: one folder for each user."""

import os
from pathlib import Path

import platformdirs

from upscaler.errors import CacheError

VARIABLE = "UPSCALER_CACHE"
_HINT = f"set {VARIABLE} to a folder that can be written"


def cache_folder(name: str) -> Path:
    """Make a folder in the cache, if it does not exist yet.

    The cache is the folder that ``UPSCALER_CACHE`` names, else the user's cache folder of the system.

    Args:
        name: Of the folder, after what it holds.

    Returns:
        Its absolute path; it exists, and files can be written into it.

    Raises:
        CacheError: There is no such folder and none can be made, as for a user without a home folder.
    """
    folder = _root() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(
            f"no cache folder can be made in '{error.filename}': {error.strerror}", _HINT
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CacheError(f"the cache folder '{folder}' cannot be written", _HINT)
    return folder


def _root() -> Path:
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    try:
        folder = platformdirs.user_cache_path("upscaler", appauthor=False)
        if folder.is_absolute():
            return folder
    except RuntimeError:  # which older versions than 4.4 do not raise: they return the folder "~"
        pass
    raise CacheError("no cache folder: the user has no home folder", _HINT)
