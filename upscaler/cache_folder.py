"""Where the program keeps what it can make again, such as compiled code: one folder for each user."""

import os
from pathlib import Path

import platformdirs

from upscaler.errors import CacheError
from upscaler.system import own_files

VARIABLE = "UPSCALER_CACHE"
_HINT = f"set {VARIABLE} to a folder that can be written"


def cache_folder(name: str) -> Path:
    """Make a folder in the cache, if it does not exist yet.

    Only its owner may use it, because code is loaded from it. The cache is the folder that ``UPSCALER_CACHE``
    names, else the user's cache folder of the system.

    Args:
        name: Of the folder, after what it holds.

    Returns:
        Its absolute path; it exists, and files can be written into it.

    Raises:
        CacheError: There is no such folder and none can be made, as for a user without a home folder; or it
            belongs to another user.
    """
    folder = _root() / name
    try:
        own_files.make_folder(folder)
    except own_files.NotOursError as error:
        raise CacheError(f"the cache folder '{folder}' belongs to another user", _HINT) from error
    except OSError as error:
        if folder.is_dir() and not folder.is_symlink():
            raise CacheError(f"the cache folder '{folder}' cannot be written", _HINT) from error
        text = f"no cache folder can be made in '{error.filename}': {error.strerror}"
        raise CacheError(text, _HINT) from error
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
