"""TIFFs with several pages of which one is full and the others are thumbnails or levels of a pyramid."""

from PIL import ExifTags, TiffImagePlugin

_REDUCED = 1  # bit of NewSubfileType (TIFF 6.0, section 8)


def select_full_page(image: TiffImagePlugin.TiffImageFile) -> int | None:
    """Make the only full page of an opened TIFF the current one.

    Returns:
        Its number from 0; ``None`` if there are several full pages, or none.
    """
    full_pages = []
    for page in range(image.n_frames):
        image.seek(page)
        if not int(image.tag_v2.get(ExifTags.Base.NewSubfileType, 0)) & _REDUCED:
            full_pages.append(page)
    if len(full_pages) != 1:
        return None
    image.seek(full_pages[0])
    return full_pages[0]
