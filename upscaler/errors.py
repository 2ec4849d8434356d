"""The errors a user can meet. This room imports nothing, so that every other room may raise them."""


class UpscalerError(Exception):
    """Something the user can mend: what happened, to which file, and what to do next.

    Args:
        message: One line that says what is wrong and with which file or value.
        hint: One line that says what to do next; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(UpscalerError):
    """The command line or the arguments cannot be carried out as given; nothing was started."""


class MediaError(UpscalerError):
    """A picture or a video cannot be read or written."""


class WeightsError(UpscalerError):
    """A weight file is missing, damaged, or belongs to another network."""


class DeviceError(UpscalerError):
    """The device asked for is not there, or cannot do what was asked of it."""


class TrainingError(UpscalerError):
    """A training run cannot start or cannot go on."""
