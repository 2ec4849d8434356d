"""What the commands print for an error: one line, with ``UPSCALER_DEBUG=1`` after its full traceback."""

import os
import traceback

from upscaler.errors import UpscalerError


def error_line(error: BaseException) -> str:
    """One line for the user; for a bug of this program, that it is one."""
    if isinstance(error, UpscalerError):
        return str(error)
    what = f"{type(error).__name__}: {error}".removesuffix(": ").replace("\n", " ")
    return f"internal error, please report it; set UPSCALER_DEBUG=1 for a traceback: {what}"


def error_report(error: BaseException, line: str = "") -> str:
    """What a command prints on stderr.

    Args:
        error: With its traceback and causes.
        line: In place of ``error_line``.
    """
    report = f"error: {line or error_line(error)}"
    if os.environ.get("UPSCALER_DEBUG", "0") in ("", "0"):
        return report
    return "".join(traceback.format_exception(error)) + report
