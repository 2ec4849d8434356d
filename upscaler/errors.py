"""Errors that a user can fix. Imports nothing, so that every module can raise them."""


class UpscalerError(Exception):
    """An error that the user can fix: what is wrong, with which file, and what to do next.

    Args:
        message: One line: what is wrong, with which file or value.
        hint: What to do next, in one line; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or the name of its class if it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def last_line(error: BaseException) -> str:
    """The last line of an error's text, in which torch names a tensor that does not fit; or its class."""
    return str(error).strip().rpartition("\n")[2].strip() or type(error).__name__


class UsageError(UpscalerError):
    """The options or arguments are invalid; nothing was started."""


class MediaError(UpscalerError):
    """An image or a video cannot be read or written."""


class DiskFullError(MediaError):
    """There is no room for a result on its disk."""


class NetworkError(MediaError):
    """A server cannot be reached; later it may be."""


TAKEN_HINT = "--overwrite replaces files"


class TargetTakenError(MediaError):
    """Somebody else has made a target meanwhile, or is making it."""


class MemoryNeededError(UpscalerError):
    """Main memory cannot hold what was asked for."""


class WeightsError(UpscalerError):
    """A weight file is missing, damaged, or belongs to another network."""


class DeviceError(UpscalerError):
    """The requested device is not available, or does not support what was requested."""


class CacheError(UpscalerError):
    """The cache folder cannot be made or written; everything also works without it."""


class TrainingError(UpscalerError):
    """A training run cannot start or cannot continue."""
