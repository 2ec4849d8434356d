"""A reader of Ultra HDR files, written from the specifications and using nothing of the program.

Android's Ultra HDR Image Format v1.1 (XMP, container, formulas), CIPA DC-007 (index), ISO 21496-1 (binary
metadata). Whatever contradicts them fails an ``assert``.
"""

import io
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float64]
HDRGM = "{http://ns.adobe.com/hdr-gain-map/1.0/}"
CONTAINER = "{http://ns.google.com/photos/1.0/container/}"
ITEM = CONTAINER[:-1] + "item/}"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
ISO_URN = b"urn:iso:std:iso:ts:21496:-1\0"


@dataclass(frozen=True)
class UltraHdr:
    """A parsed file.

    Attributes:
        primary: The SDR image, ``(H, W, 3)`` uint8.
        gain_map: As stored, ``(h, w)`` or ``(h, w, 3)`` uint8.
        xmp: ``hdrgm`` parameters of the gain map by name, one or three values each; empty without XMP.
        iso: The same from the binary metadata of ISO 21496-1; empty without.
        items: Semantic and length of the directory's items, in order.
        behind: What follows the gain map.
    """

    primary: NDArray[np.uint8]
    gain_map: NDArray[np.uint8]
    xmp: dict[str, Array]
    iso: dict[str, Array]
    items: list[tuple[str, int]]
    behind: bytes


def parse(content: bytes) -> UltraHdr:
    segments, length = _image(content)
    packet = _packet(segments)
    items = _items(packet) if packet is not None else []
    offset, size = _second_in_index(content, segments, length)
    second = content[offset : offset + size]
    described, second_length = _image(second)
    assert second_length == size, "the index states another length than the gain map has"
    behind = content[offset + size :]
    if items:
        assert items[0][0] == "Primary"
        names = [name for name, _ in items]
        after = sum(item_length for _, item_length in items[names.index("GainMap") + 1 :])
        assert dict(items)["GainMap"] == size and after == len(behind) == len(content) - offset - size
    iso = next((data[len(ISO_URN) :] for _, data, _ in described if data.startswith(ISO_URN)), b"")
    if iso:
        versions = [data[len(ISO_URN) :] for _, data, _ in segments if data.startswith(ISO_URN)]
        assert versions == [bytes(4)], "the first image states the versions alone"
    with Image.open(io.BytesIO(content[:length])) as image:
        primary = np.asarray(image.convert("RGB"))
    with Image.open(io.BytesIO(second)) as image:
        gain_map = np.asarray(image)
    of_map = _packet(described)
    return UltraHdr(
        primary=primary,
        gain_map=gain_map,
        xmp={} if of_map is None else _parameters(of_map),
        iso=_iso_parameters(iso) if iso else {},
        items=items,
        behind=behind,
    )


def render(file: UltraHdr, parameters: dict[str, Array]) -> Array:
    """The linear HDR image on a screen that shows all of it, ``(H, W, 3)``; SDR white is 1."""
    height, width = file.primary.shape[:2]
    resized = Image.fromarray(file.gain_map).resize((width, height), Image.Resampling.BILINEAR)
    recovery: Any = np.asarray(resized).astype(np.float64).reshape(height, width, -1) / 255
    log_recovery = recovery ** (1 / parameters["Gamma"])
    log_boost = parameters["GainMapMin"] * (1 - log_recovery) + parameters["GainMapMax"] * log_recovery
    codes = file.primary / 255
    light = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
    return (light + parameters["OffsetSDR"]) * 2**log_boost - parameters["OffsetHDR"]


def _image(content: bytes) -> tuple[list[tuple[int, bytes, int]], int]:
    """Marker, data and offset of the data of an image's segments, and the image's length."""
    assert content[:2] == b"\xff\xd8"
    segments, offset = [], 2
    while True:
        assert content[offset] == 0xFF
        marker = content[offset + 1]
        if marker == 0xD9:
            return segments, offset + 2
        length = int.from_bytes(content[offset + 2 : offset + 4], "big")
        segments.append((marker, content[offset + 4 : offset + 2 + length], offset + 4))
        offset += 2 + length
        if marker == 0xDA:
            while content[offset] != 0xFF or content[offset + 1] in (0, *range(0xD0, 0xD8)):
                offset += 1


def _packet(segments: list[tuple[int, bytes, int]]) -> ElementTree.Element | None:
    prefix = b"http://ns.adobe.com/xap/1.0/\0"
    packets = [data[len(prefix) :] for _, data, _ in segments if data.startswith(prefix)]
    assert len(packets) < 2
    return ElementTree.fromstring(packets[0]) if packets else None


def _items(packet: ElementTree.Element) -> list[tuple[str, int]]:
    found = []
    for item in packet.iter(f"{CONTAINER}Item"):
        assert item.get(f"{ITEM}Mime") in ("image/jpeg", "video/mp4")
        found.append((item.get(f"{ITEM}Semantic", ""), int(item.get(f"{ITEM}Length", "0"))))
    return found


def _second_in_index(content: bytes, segments: list[tuple[int, bytes, int]], length: int) -> tuple[int, int]:
    """Offset and size of the second image, by the Multi-Picture Format."""
    [(data, at)] = [(data, at) for _, data, at in segments if data.startswith(b"MPF\0")]
    origin = at + 4
    assert data[4:8] in (b"II*\0", b"MM\0*")
    order = "<" if data[4:6] == b"II" else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 8)
    (count,) = struct.unpack_from(f"{order}H", data, 4 + directory)
    entries = {}
    for number in range(count):
        entry_at = 4 + directory + 2 + 12 * number
        tag, kind, values, value = struct.unpack_from(f"{order}HHII", data, entry_at)
        entries[tag] = (kind, values, value, data[entry_at + 8 : entry_at + 12])
    assert entries[0xB000][:2] == (7, 4) and entries[0xB000][3] == b"0100"
    assert entries[0xB001][:3] == (4, 1, 2), "two images"
    assert entries[0xB002][:2] == (7, 32)
    first, second = (struct.unpack_from(f"{order}III", data, 4 + entries[0xB002][2] + n) for n in (0, 16))
    assert first == (0x030000, length, 0), "the baseline primary image, its length, and no offset"
    offset = origin + second[2]
    assert second[0] & 0x7000000 == 0, "JPEG"
    assert content[offset : offset + 3] == b"\xff\xd8\xff"
    return offset, second[1]


def _parameters(packet: ElementTree.Element) -> dict[str, Array]:
    defaults = {"GainMapMin": 0, "Gamma": 1, "OffsetSDR": 1 / 64, "OffsetHDR": 1 / 64, "HDRCapacityMin": 0}
    found = {name: np.array([float(value)]) for name, value in defaults.items()}
    for description in packet.iter(f"{RDF}Description"):
        if not description.get(f"{HDRGM}Version"):
            continue
        assert description.get(f"{HDRGM}Version") == "1.0"
        for name, value in description.attrib.items():
            if name.startswith(HDRGM) and name not in (f"{HDRGM}Version", f"{HDRGM}BaseRenditionIsHDR"):
                found[name.removeprefix(HDRGM)] = np.array([float(value)])
        for element in description:
            if element.tag.startswith(HDRGM):
                values = [float(each.text or "") for each in element.iter(f"{RDF}li")]
                found[element.tag.removeprefix(HDRGM)] = np.array(values)
    assert {"GainMapMax", "HDRCapacityMax"} <= set(found)
    return found


def _iso_parameters(data: bytes) -> dict[str, Array]:
    """Version, flags, headrooms, and five fractions for each channel; no common denominator."""
    minimum_version, _, flags = struct.unpack_from(">HHB", data)
    assert minimum_version == 0 and not flags & 0x0C
    channels = 3 if flags & 0x80 else 1
    assert len(data) == 5 + 16 + 40 * channels
    names = {"GainMapMin": "iI", "GainMapMax": "iI", "Gamma": "II", "OffsetSDR": "iI", "OffsetHDR": "iI"}
    found: dict[str, list[float]] = {name: [] for name in names}
    at = 21
    for _ in range(channels):
        for name, kinds in names.items():
            found[name].append(float(Fraction(*struct.unpack_from(f">{kinds}", data, at))))
            at += 8
    return {name: np.array(values) for name, values in found.items()}
