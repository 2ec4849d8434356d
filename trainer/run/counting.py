"""Counts in sentences."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 file``, ``2,000 files``."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
