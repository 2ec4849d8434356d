"""Raw files of cameras, developed by LibRaw to 16 bits in sRGB, as a start: white balance of the camera."""

from pathlib import Path
from typing import Any

from upscaler.errors import MediaError
from upscaler.images import exif, library_settings, native_stderr, packages, tiff_directory
from upscaler.images.formats import TIFF_SIGNATURES
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still


def read_size(path: Path) -> tuple[int, int]:
    """Height and width of the upright image, from the header."""
    with native_stderr.discarded(), _opened(path) as raw:
        return _size(raw)


def read(path: Path) -> Still:
    """Develop an image, upright.

    Raises:
        MediaError: It is too large, or no raw file that LibRaw knows, or the package is missing.
    """
    library = packages.loaded("rawpy", "raw files")
    with native_stderr.discarded(), _opened(path) as raw:  # LibRaw prints what it also raises
        library_settings.check_size(path, *_size(raw))
        try:
            pixels = raw.postprocess(use_camera_wb=True, output_bps=16, output_color=library.ColorSpace.sRGB)
        except library.LibRawError as error:  # its text is bytes
            raise MediaError(f"'{path}' is damaged or truncated") from error
    return Still(pixels, metadata=Metadata(exif=_exif(path), dropped=("raw samples (developed)",)))


def _opened(path: Path) -> Any:  # noqa: ANN401 - mypy need not have the package
    library = packages.loaded("rawpy", "raw files")
    try:
        return library.imread(str(path))
    except library.LibRawFileUnsupportedError as error:
        raise MediaError(f"'{path}' is not a raw file that LibRaw knows") from error
    except library.LibRawError as error:  # its text is bytes
        raise MediaError(f"'{path}' is damaged or truncated") from error


def _size(raw: Any) -> tuple[int, int]:  # noqa: ANN401 - as above
    sizes = raw.sizes
    is_turned = sizes.flip in (5, 6)
    return (sizes.width, sizes.height) if is_turned else (sizes.height, sizes.width)


def _exif(path: Path) -> bytes | None:
    """What was photographed how and where; most raw files are TIFFs."""
    with path.open("rb") as file:
        if file.read(4) not in TIFF_SIGNATURES:
            return None
    with tiff_directory.mapped(path) as content:
        return exif.rebuilt(exif.directories(content))
