"""Metadata of a TIFF: what is read from its tags, and which tags are written.

(TIFF 6.0; OGC 19-008r4 for GeoTIFF; the tags of GDAL; TIFF's own tags of EXIF, XMP, IPTC and ICC.)
"""

from pathlib import Path

from PIL import ExifTags

from upscaler.images import exif, tiff_directory
from upscaler.images.metadata import Metadata
from upscaler.images.tiff_directory import BYTE, UNDEFINED, Directory, Entry, doubles

_PIXEL_SCALE, _TIEPOINTS, _TRANSFORMATION = 33550, 33922, 34264
_GEO_KEYS, _GEO_DOUBLES, _GEO_TEXTS = 34735, 34736, 34737
GDAL_METADATA, GDAL_NODATA = 42112, 42113
GEO_TAGS = {
    _PIXEL_SCALE, _TIEPOINTS, _TRANSFORMATION, _GEO_KEYS, _GEO_DOUBLES, _GEO_TEXTS,
    GDAL_METADATA, GDAL_NODATA,
}  # fmt: skip
_NAME_TAGS = {269, 285}  # DocumentName, PageName
COLOR_TAGS = {301, 318, 319}  # TransferFunction, WhitePoint, PrimaryChromaticities
KEPT_TAGS = GEO_TAGS | _NAME_TAGS | COLOR_TAGS
_IPTC, _XMP, _PROFILE = 33723, 700, 34675
_IMAGE_DESCRIPTION = 270
# How pixels are stored, and what replaces it: written anew for the upscaled image, or meaningless for it.
_STRUCTURE = {
    *range(254, 269), 273, 274, *range(277, 285), *range(288, 294), 296, 297, 317, *range(320, 326),
    *range(330, 348), *range(512, 522), *range(529, 533),
}  # fmt: skip
_NAMES = {34377: "Photoshop resources", 37724: "Photoshop layers"}
_RESOLUTION_TAGS = (ExifTags.Base.XResolution, ExifTags.Base.YResolution, ExifTags.Base.ResolutionUnit)
_RASTER_TYPE_KEY, _PIXEL_IS_POINT = 1025, 2
_UNIT_PER_INCH = {2: 1.0, 3: 2.54}  # ResolutionUnit: inch, centimetre


def read(path: Path, offset: int) -> Metadata:
    """Metadata of a page.

    Args:
        path: A TIFF file.
        offset: Of the page's directory.
    """
    with tiff_directory.mapped(path) as content:
        directory = tiff_directory.read(content, offset)
        parts = exif.directories(content, offset)
    for tag in _RESOLUTION_TAGS:  # kept as `dpi`
        parts.first.pop(tag, None)
    is_ome = b"<OME" in directory.get(_IMAGE_DESCRIPTION, doubles(0, ())).data
    if is_ome:  # states the size of the small image
        parts.first.pop(_IMAGE_DESCRIPTION)
    return Metadata(
        profile=_data(directory, _PROFILE),
        exif=exif.rebuilt(parts),
        dpi=_dpi(directory),
        xmp=_data(directory, _XMP),
        iptc=_data(directory, _IPTC),
        tiff_tags=tuple(entry for tag, entry in directory.items() if tag in KEPT_TAGS),
        dropped=_dropped(directory, parts, is_ome=is_ome),
    )


def _data(directory: Directory, tag: int) -> bytes | None:
    return directory[tag].data if tag in directory else None


def _dpi(directory: Directory) -> tuple[float, float] | None:
    unit = directory.get(ExifTags.Base.ResolutionUnit)
    per_inch = _UNIT_PER_INCH.get(int(unit.numbers()[0]) if unit and unit.numbers() else 2)
    values = []
    for tag in _RESOLUTION_TAGS[:2]:
        entry = directory.get(tag)
        if per_inch is None or entry is None or entry.kind != tiff_directory.RATIONAL or entry.count != 1:
            return None
        above, below = (int.from_bytes(entry.data[at : at + 4], "little") for at in (0, 4))
        values.append(above / below * per_inch if below else 0.0)
    # 1 is what programs write that know no resolution.
    return (values[0], values[1]) if all(1 < value < 65_536 for value in values) else None


def _dropped(directory: Directory, parts: exif.Directories, *, is_ome: bool) -> tuple[str, ...]:
    kept = KEPT_TAGS | {_IPTC, _XMP, _PROFILE, *exif.POINTERS, *exif.DESCRIPTIVE_TAGS}
    others = sorted(set(directory) - kept - _STRUCTURE)
    names = ["maker notes"] if parts.has_maker_notes else []
    names += ["OME metadata"] if is_ome else []
    names += [_NAMES[tag] for tag in others if tag in _NAMES]
    if unnamed := [str(tag) for tag in others if tag not in _NAMES]:
        names.append(f"TIFF tags {' '.join(unnamed)}")
    return tuple(names)


def names(entries: tuple[Entry, ...]) -> list[str]:
    """What the tags kept for a TIFF are, in words."""
    tags = {entry.tag for entry in entries}
    words = {
        "GeoTIFF tags": GEO_TAGS,
        "names of document and page": _NAME_TAGS,
        "TIFF colour tags": COLOR_TAGS,
    }
    return [name for name, group in words.items() if tags & group]


def nodata(metadata: Metadata) -> float | None:
    """The sample value that means "no data" (GDAL), or ``None``."""
    for entry in metadata.tiff_tags:
        if entry.tag == GDAL_NODATA:
            try:
                return float(entry.data.rstrip(b"\0 ").decode("ascii"))
            except ValueError:
                return None
    return None


def to_write(source: Metadata, packet: bytes | None, height: int, width: int) -> list[Entry]:
    """The entries of the first directory that describe the upscaled image, except profile and resolution.

    Args:
        source: Metadata of the source.
        packet: XMP to write, or ``None``.
        height: Of the image to write.
        width: Likewise.
    """
    old_height, old_width = source.size or (height, width)
    entries = _scaled_geo_tags(source.tiff_tags, width / old_width, height / old_height)
    if source.exif:
        first = exif.directories(source.exif).first
        entries += [entry for tag, entry in first.items() if tag not in _RESOLUTION_TAGS]
    if packet:
        entries.append(Entry(_XMP, BYTE, len(packet), packet))
    if source.iptc:
        entries.append(Entry(_IPTC, UNDEFINED, len(source.iptc), source.iptc))
    return entries


def _scaled_geo_tags(entries: tuple[Entry, ...], across: float, down: float) -> list[Entry]:
    """The entries for an image whose sides are multiplied: pixels are smaller, and tie points elsewhere."""
    # Where codes stand for points, pixel 0 is at 0, not at 0.5: a factor moves the grid by half a pixel.
    shift = 0.5 if _is_point(entries) else 0.0
    scaled = []
    for entry in entries:
        values = [float(value) for value in entry.numbers()]
        if entry.tag == _PIXEL_SCALE and len(values) == 3:
            entry = doubles(entry.tag, [values[0] / across, values[1] / down, values[2]])
        elif entry.tag == _TIEPOINTS and len(values) % 6 == 0:
            for at in range(0, len(values), 6):
                values[at] = (values[at] + shift) * across - shift
                values[at + 1] = (values[at + 1] + shift) * down - shift
            entry = doubles(entry.tag, values)
        elif entry.tag == _TRANSFORMATION and len(values) == 16:
            for row in range(0, 12, 4):
                by_column, by_row, _, origin = values[row : row + 4]
                values[row] = by_column / across
                values[row + 1] = by_row / down
                values[row + 3] = (
                    origin + by_column * (shift / across - shift) + by_row * (shift / down - shift)
                )
            entry = doubles(entry.tag, values)
        scaled.append(entry)
    return scaled


def _is_point(entries: tuple[Entry, ...]) -> bool:
    """Whether samples are those at points, such as heights of a grid (GTRasterTypeGeoKey)."""
    for entry in entries:
        if entry.tag == _GEO_KEYS:
            keys = entry.numbers()
            rows = [keys[at : at + 4] for at in range(4, len(keys) - 3, 4)]
            return any(row[0] == _RASTER_TYPE_KEY and row[3] == _PIXEL_IS_POINT for row in rows)
    return False
