"""Packages that read or write one format each; a format whose package is missing names it."""

import importlib
from types import ModuleType

from upscaler.errors import MediaError
from upscaler.images.formats import PACKAGES


def loaded(module: str, what: str) -> ModuleType:
    """Import a package of ``PACKAGES``.

    Args:
        module: Its name in Python.
        what: What it is needed for, such as a format or a file, for the user.

    Raises:
        MediaError: It is not installed, or does not load here.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        hint = "pip install 'upscaler[formats]'"
        raise MediaError(f"{what} needs the package {PACKAGES[module]}", hint) from error
