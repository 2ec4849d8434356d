"""What the commands print for an error: one line, with ``UPSCALER_DEBUG=1`` after its full traceback."""

import os
import re
import traceback

from upscaler.errors import DeviceError, UpscalerError, UsageError, WeightsError
from upscaler.system.console import printable, printable_lines

# How glibc's message ends when a limit leaves no room for a library.
_CANNOT_BE_MAPPED = ("failed to map segment from shared object", "Cannot allocate memory")


def error_line(error: BaseException) -> str:
    """One line for the user; for a bug of this program, that it is one."""
    if isinstance(error, UpscalerError):
        return printable(str(error))
    if isinstance(error, ImportError) and str(error).endswith(_CANNOT_BE_MAPPED):
        library, *_ = re.split(":", str(error))
        text = f"there is too little memory to load {library} (close other programs, or raise ulimit -v)"
        return printable(text)
    what = f"{type(error).__name__}: {error}".removesuffix(": ").replace("\n", " ")
    return printable(f"internal error, please report it; set UPSCALER_DEBUG=1 for a traceback: {what}")


def exit_code(error: BaseException) -> int:
    """With which a command ends: 2 if the arguments, the weights or the device are not possible, else 1."""
    return 2 if isinstance(error, UsageError | WeightsError | DeviceError) else 1


def error_report(error: BaseException, line: str = "") -> str:
    """What a command prints on stderr.

    Args:
        error: With its traceback and causes.
        line: In place of ``error_line``.
    """
    report = f"error: {line or error_line(error)}"
    if os.environ.get("UPSCALER_DEBUG", "0") in ("", "0"):
        return report
    return printable_lines("".join(traceback.format_exception(error))) + report
