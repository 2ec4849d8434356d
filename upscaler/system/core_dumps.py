"""Files that a system writes when a process crashes."""

import sys
from contextlib import suppress

if sys.platform != "win32":
    import resource


def write_none() -> None:
    """Have a crash of this process leave no file with its memory; on Windows nothing does by default."""
    if sys.platform != "win32":
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
